"""What is predicted: arrays and Parquet files, as units of rows that ranks take one at a time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["ArraySource", "ParquetSource", "Source", "Unit", "open_source"]

Array = NDArray[Any]
_SAMPLED = 1024  # rows that an array is known by

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True, slots=True)
class Unit:
    """Rows that one rank predicts and writes, whole or not at all."""

    number: int
    begin: int  # of all rows
    rows: int
    file: str = ""
    row_groups: tuple[int, ...] = ()


class Source(Protocol):
    """Rows in units, in order."""

    units: list[Unit]
    is_table: bool  # of columns with names, which may be kept; else an array

    def describe(self) -> dict[str, Any]:
        """Say in JSON's terms what it is, so that a job that goes on can be told from another."""

    def batches(self, unit: Unit) -> Iterator[tuple[Any, Any]]:
        """Give a unit's rows batch by batch: what the model takes, and columns to keep or None."""


class ArraySource:
    """An array that every rank has, or has mapped."""

    is_table = False

    def __init__(self, array: Array, batch_rows: int) -> None:
        if array.ndim != 2:
            raise ValueError(f"source: expected rows x features, got shape {array.shape}")
        self._array = array
        self.units = [
            Unit(number, begin, min(batch_rows, len(array) - begin))
            for number, begin in enumerate(range(0, len(array), batch_rows))
        ]

    def describe(self) -> dict[str, Any]:
        """Say its shape, its type, some of its rows, how it is cut, and the file that it is mapped from."""
        array = self._array
        some = array[:: max(1, len(array) // _SAMPLED)]
        return {
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "some_rows": hashlib.sha256(np.ascontiguousarray(some).tobytes()).hexdigest(),
            "unit_rows": self.units[0].rows if self.units else 0,
            "file": _file_of(array),
        }

    def batches(self, unit: Unit) -> Iterator[tuple[Array, None]]:
        """Give the unit's rows at once."""
        yield self._array[unit.begin : unit.begin + unit.rows], None


class ParquetSource:
    """The row groups of Parquet files; a unit has whole ones of one file."""

    is_table = True

    def __init__(
        self, files: Sequence[str], columns: Sequence[str] | None, keep: Sequence[str], batch_rows: int
    ) -> None:
        import pyarrow.parquet as parquet

        self._columns = columns
        self._keep = list(keep)
        self._files = list(files)
        self.units: list[Unit] = []
        begin = 0
        for file in files:
            with parquet.ParquetFile(file) as opened:
                names = opened.schema_arrow.names
                wanted = [*(columns or ()), *keep]
                if missing := [name for name in wanted if name not in names]:
                    raise ValueError(f"{file}: expected columns {wanted}, got none called {missing[0]!r}")
                groups: list[int] = []
                rows = 0
                for group in range(opened.num_row_groups):
                    groups.append(group)
                    rows += opened.metadata.row_group(group).num_rows
                    if rows >= batch_rows or group == opened.num_row_groups - 1:
                        if rows:
                            self.units.append(Unit(len(self.units), begin, rows, file, tuple(groups)))
                        begin += rows
                        groups, rows = [], 0

    def describe(self) -> dict[str, Any]:
        """Say the files with their sizes and times, and the columns."""
        stats = [os.stat(file) for file in self._files]
        return {
            "files": [
                [file, at.st_size, at.st_mtime_ns] for file, at in zip(self._files, stats, strict=True)
            ],
            "columns": None if self._columns is None else list(self._columns),
            "keep": self._keep,
            "units": [unit.rows for unit in self.units],
        }

    def batches(self, unit: Unit) -> Iterator[tuple[Any, Any]]:
        """Give the unit's row groups one by one, as Arrow tables."""
        import pyarrow.parquet as parquet

        with parquet.ParquetFile(unit.file) as opened:
            for group in unit.row_groups:
                if opened.metadata.row_group(group).num_rows == 0:
                    continue
                wanted = None if self._columns is None else [*dict.fromkeys([*self._columns, *self._keep])]
                table = opened.read_row_group(group, columns=wanted)
                features = self._columns or [name for name in table.column_names if name not in self._keep]
                yield table.select(features), table.select(self._keep) if self._keep else None


def open_source(source: Any, columns: Sequence[str] | None, keep: Sequence[str], batch_rows: int) -> Source:
    """Open an array, or Parquet files by their paths, folders or patterns."""
    if isinstance(source, np.ndarray):
        if columns is not None or keep:
            raise ValueError("columns, keep: expected none for an array, which has no names")
        return ArraySource(source, batch_rows)
    return ParquetSource(_files(source), columns, keep, batch_rows)


def _file_of(array: Array) -> list[Any] | None:
    """Name the file that an array is mapped from, with its size and time."""
    file = getattr(array, "filename", None)  # of numpy.memmap
    if file is None or not os.path.exists(file):
        return None
    at = os.stat(file)
    return [os.fspath(file), at.st_size, at.st_mtime_ns]


def _files(paths: Paths) -> list[str]:
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    if not isinstance(paths, Sequence):
        raise TypeError(f"source: expected an array or paths of Parquet files, got {type(paths).__name__}")
    found: list[str] = []
    for path in paths:
        name = os.fspath(path)
        if os.path.isdir(name):
            inside = sorted(str(file) for file in Path(name).rglob("*.parquet"))
            found += [file for file in inside if not os.path.relpath(file, name).startswith((".", "_"))]
        elif os.path.exists(name):
            found.append(name)
        else:
            matching = sorted(glob(name, recursive=True))
            if not matching:
                raise FileNotFoundError(f"source: expected Parquet files, got none at {name}")
            found += matching
    if not found:
        raise FileNotFoundError(f"source: expected Parquet files, got none in {paths}")
    return found
