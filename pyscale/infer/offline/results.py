"""Where predictions go: a .npy file, or a folder of Parquet files; units in any order, the whole at once."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.offline.sources import Unit

__all__ = ["Results"]

Array = NDArray[Any]


class Results:
    """
    A draft beside the output, hidden, which has the units that are done and becomes the output at the end.

    Parameters
    ----------
    out : path
        What there is to be: a file that ends with .npy, or a folder for Parquet files.
    job : dict
        What the job is, in JSON's terms: a draft of another job is refused, as is one whose model is not
        ``known``, by more than its class.
    """

    def __init__(self, out: str | os.PathLike[str], job: dict[str, Any]) -> None:
        self.out = Path(out)
        self.folder = self.out.with_name(f".{self.out.name}.draft")
        self.is_npy = self.out.suffix == ".npy"
        self._data = self.folder / ("rows.npy" if self.is_npy else "parts")
        self._job = json.loads(json.dumps(job))
        self._lock: io.BufferedWriter | None = None
        self._begun = False

    def begin(self) -> set[int]:
        """Make the draft, or take up the one that is there; returns the units that are done. On one rank."""
        self._refuse_results()
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.folder / "lock"
        try:
            self._lock = open(lock, "wb")  # noqa: SIM115
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may just have removed the draft, and another have made a new one.
            if not os.path.samestat(os.stat(lock), os.fstat(self._lock.fileno())):
                raise BlockingIOError
        except (BlockingIOError, FileNotFoundError):
            self.abandon()
            raise RuntimeError(
                f"{self.out}: expected nobody to write there, got another job that does"
            ) from None
        self._refuse_results()  # of whom this had to wait for
        file = self.folder / "job.json"
        if file.exists():
            try:
                found = json.loads(file.read_text())
            except ValueError:
                found = None
            if found != self._job:
                raise ValueError(
                    f"{self.folder}: expected the draft of this job, got that of another one "
                    "(other rows, another model or method): remove it to begin anew"
                )
            if self._done() and not self._job["known"]:
                raise ValueError(
                    f"{self.folder}: expected the draft of a model with a model_version, got one that may be "
                    "of another model of its class: remove it to begin anew, with a model_version to go on "
                    "with after a kill"
                )
        else:
            draft = file.with_suffix(".new")
            draft.write_text(json.dumps(self._job))
            os.replace(draft, file)
        self._begun = True
        if not self.is_npy:
            self._data.mkdir(exist_ok=True)
        elif not self._data.exists():
            for path in self.folder.glob("*.done"):  # of results that were complete, and are gone
                path.unlink()
        return self._done()

    def _done(self) -> set[int]:
        """Return the numbers of the units that are done."""
        if not self._data.exists():
            return set()
        if self.is_npy:
            return {int(path.stem) for path in self.folder.glob("*.done")}
        return {int(path.stem.removeprefix("part-")) for path in self._data.iterdir()}

    def _refuse_results(self) -> None:
        if self.out.exists():
            raise FileExistsError(f"{self.out}: expected nothing there, since results are written once")

    def prepare(self, rows: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Make room for all rows; `shape` is of one. On one rank, before any writes."""
        if not self.is_npy:
            return
        if self._data.exists():
            return
        if dtype.hasobject:
            raise ValueError("predictions: expected numbers or texts for a .npy file, got Python objects")
        draft = self.folder / "rows.new"
        with open(draft, "wb") as file:
            header = {
                "descr": np.lib.format.dtype_to_descr(dtype),
                "fortran_order": False,
                "shape": (rows, *shape),
            }
            np.lib.format.write_array_header_2_0(file, header)
            file.truncate(file.tell() + rows * int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        os.replace(draft, self._data)

    def write(self, unit: Unit, batches: Iterable[tuple[Array, Any]]) -> None:
        """Write a unit's predictions, and the columns that are kept beside them; then say that it is done."""
        if self.is_npy:
            self._write_rows(unit, batches)
        else:
            self._write_table(unit, batches)

    def _write_rows(self, unit: Unit, batches: Iterable[tuple[Array, Any]]) -> None:
        with open(self._data, "r+b") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
            row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
            file.seek(unit.begin * row_bytes, os.SEEK_CUR)
            for predicted, _ in batches:
                if predicted.dtype != dtype or predicted.shape[1:] != shape[1:]:
                    raise ValueError(
                        f"predictions: expected {dtype} of shape {shape[1:]} a row, as of the first rows, "
                        f"got {predicted.dtype} of {predicted.shape[1:]}"
                    )
                file.write(np.ascontiguousarray(predicted).tobytes())
            file.flush()
            os.fsync(file.fileno())
        (self.folder / f"{unit.number:08}.done").touch()

    def _write_table(self, unit: Unit, batches: Iterable[tuple[Array, Any]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        path = self._data / f"part-{unit.number:08}.parquet"
        # Its own name, since a rank of a run that was killed may still be about to write its own.
        draft = self.folder / f"{path.stem}-{secrets.token_hex(8)}.new"
        writer = None
        try:
            for predicted, kept in batches:
                columns = {} if kept is None else {name: kept.column(name) for name in kept.column_names}
                table = pa.table(columns | _columns_of(predicted))
                writer = writer or parquet.ParquetWriter(draft, table.schema)
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)

    def finish(self) -> None:
        """Make the draft the output. On one rank, when all units are done."""
        os.replace(self._data, self.out)
        shutil.rmtree(self.folder, ignore_errors=True)  # the results are there whatever becomes of it
        self.abandon()

    def remove_if_empty(self) -> None:
        """Remove a draft of this job of which no unit is done; nobody may be writing to it."""
        if self._begun and not self._done():
            shutil.rmtree(self.folder, ignore_errors=True)

    def abandon(self) -> None:
        """Let go of the draft, which stays for the next who goes on."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self._lock.close()
            self._lock = None


def _columns_of(predicted: Array) -> dict[str, Array]:
    """Name a table's columns: one, or one for each of a row's answers, or for each field of those."""
    columns = {"prediction": predicted}
    if predicted.ndim > 1:
        columns = {f"prediction_{place}": predicted[:, place] for place in range(predicted.shape[1])}
    fields = predicted.dtype.names
    if fields is None:
        return columns
    return {
        f"{name}_{field}": np.ascontiguousarray(one[field])
        for name, one in columns.items()
        for field in fields
    }
