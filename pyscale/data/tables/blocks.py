"""Files as blocks of rows that can be read by themselves."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyscale.errors import DataError


@dataclass(frozen=True)
class Block:
    """Rows of a file that are read together."""

    file: str
    number: int  # in the file
    rows: int
    size: int  # bytes, before they are decoded


class File(ABC):
    """A file of one of the formats; `open_file` gives the one of a path."""

    def __init__(self, path: str, types: Mapping[str, Any]) -> None:
        self.path = path
        self.stamp = stamp(path)
        self.digest = ""  # of what is read of it at first, where that says what is in it

    @property
    @abstractmethod
    def schema(self) -> Any:
        """The pyarrow.Schema."""

    @abstractmethod
    def blocks(self) -> list[Block]:
        """Return the blocks, in the file's order."""

    @abstractmethod
    def read(self, number: int, columns: Sequence[str], where: Any = None) -> Any:
        """Return the rows of a block for which `where`, a pyarrow.compute.Expression, is true, as a Table."""

    def count(self, number: int, where: Any) -> int:
        """Return how many rows that is."""
        return int(self.read(number, (), where).num_rows)

    def close(self) -> None:  # noqa: B027 - most have nothing open
        """Let go of what was left open for the next `read`."""

    def check_unchanged(self) -> None:
        """Raise DataError where it is another file now, or none."""
        try:
            now = stamp(self.path)
        except OSError as error:
            raise DataError(f"{self.path}: expected the file that was there at first, got {error}") from error
        if now != self.stamp:
            raise DataError(
                f"{self.path}: expected the file that was there at first, got one that was changed"
            )


def arrow_errors() -> tuple[type[Exception], ...]:
    """Return what pyarrow raises for files and values that are not what they should be."""
    import pyarrow as pa

    return OSError, ValueError, pa.lib.ArrowException


def read_block(file: File, block: Block, columns: Sequence[str], where: Any = None) -> Any:
    """Return a block's rows as a Table, as many as it is said to have.

    Raises
    ------
    DataError
        The file has been changed or is damaged.
    """
    file.check_unchanged()
    try:
        table = file.read(block.number, columns, where)
    except arrow_errors() as error:
        raise DataError(
            f"{block.file}: expected to read block {block.number}, got {in_a_line(error)}"
        ) from error
    file.check_unchanged()  # nor while it was read
    if table.num_rows != block.rows:
        raise DataError(
            f"{block.file}: expected {block.rows} rows in block {block.number}, got {table.num_rows}"
        )
    return table


def stamp(path: str) -> tuple[int, int, int]:
    """Return what tells a file from another in its place: its size, when it was changed, and its number."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ino


def in_a_line(error: Exception) -> str:
    """Return an exception in words."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
