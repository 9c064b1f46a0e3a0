"""Files as blocks of rows that can be read by themselves: Parquet's row groups, Arrow's record batches."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
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
    """A file of one of the formats; `open` gives the one of a path."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.stamp = stamp(path)

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
        return int(self.read(number, self.schema.names[:1], where).num_rows)

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


class ParquetFile(File):
    """A block is a row group."""

    def __init__(self, path: str) -> None:
        import pyarrow.dataset as dataset
        import pyarrow.fs as fs
        import pyarrow.parquet as parquet

        super().__init__(path)
        self._metadata = parquet.read_metadata(path)
        self._schema = self._metadata.schema.to_arrow_schema()
        checked = dataset.ParquetFragmentScanOptions(page_checksum_verification=True)
        self._idle: deque[Any] = deque(maxlen=_IDLE)
        self._fragment = dataset.ParquetFileFormat(default_fragment_scan_options=checked).make_fragment(
            path, fs.LocalFileSystem()
        )

    @property
    def schema(self) -> Any:
        """The pyarrow.Schema."""
        return self._schema

    def blocks(self) -> list[Block]:
        """Return the row groups."""
        groups = (self._metadata.row_group(i) for i in range(self._metadata.num_row_groups))
        return [Block(self.path, i, g.num_rows, g.total_byte_size) for i, g in enumerate(groups)]

    def read(self, number: int, columns: Sequence[str], where: Any = None) -> Any:
        """Return rows of a row group; where its statistics exclude them all, nothing is read."""
        import pyarrow.parquet as parquet

        if where is None:
            try:
                reader = self._idle.pop()  # no two threads have the same
            except IndexError:
                # Reading ahead in a thread of Arrow's own costs more than it gains where threads read ahead.
                reader = parquet.ParquetFile(
                    self.path, metadata=self._metadata, page_checksum_verification=True, pre_buffer=False
                )
            try:
                table = reader.read_row_group(number, columns=list(columns), use_threads=False)
            except BaseException:
                reader.close()
                raise
            self._idle.append(reader)
            return table
        group = self._fragment.subset(row_group_ids=[number], schema=self._schema)
        return group.to_table(schema=self._schema, columns=list(columns), filter=where, use_threads=False)

    def close(self) -> None:
        """Close the file, but for threads that are reading it."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def count(self, number: int, where: Any) -> int:
        """Return how many rows of a row group are true; decided by its statistics where that is possible."""
        group = self._fragment.subset(row_group_ids=[number], schema=self._schema)
        return int(group.count_rows(filter=where, use_threads=False))


_IDLE = 4  # readers of one file that are kept


class ArrowFile(File):
    """A file of Arrow's IPC format; a block is a record batch."""

    def __init__(self, path: str) -> None:
        import pyarrow as pa

        super().__init__(path)
        # Of one column, so that not all is read.
        first = pa.ipc.IpcReadOptions(included_fields=[0])
        with pa.OSFile(path) as source, pa.ipc.open_file(source) as reader:
            self._schema = reader.schema
        with pa.OSFile(path) as source, pa.ipc.open_file(source, options=first) as reader:
            rows = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
        size = os.path.getsize(path) // max(1, len(rows))
        self._blocks = [Block(path, i, count, size) for i, count in enumerate(rows)]

    @property
    def schema(self) -> Any:
        """The pyarrow.Schema."""
        return self._schema

    def blocks(self) -> list[Block]:
        """Return the record batches."""
        return self._blocks

    def read(self, number: int, columns: Sequence[str], where: Any = None) -> Any:
        """Return rows of a record batch."""
        import pyarrow as pa

        # Read, not mapped: whoever touches a map of a file that is cut off is killed.
        with pa.OSFile(self.path) as source, pa.ipc.open_file(source) as reader:
            return _chosen(pa.Table.from_batches([reader.get_batch(number)]), columns, where)


class CsvFile(File):
    """A file of comma-separated values, as one block: where its rows begin is known by reading it."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        table = self._table()
        self._schema = table.schema
        self._block = Block(path, 0, table.num_rows, os.path.getsize(path))

    @property
    def schema(self) -> Any:
        """The pyarrow.Schema, as pyarrow finds it in the values."""
        return self._schema

    def blocks(self) -> list[Block]:
        """Return the whole file."""
        return [self._block]

    def read(self, number: int, columns: Sequence[str], where: Any = None) -> Any:
        """Return rows of the file."""
        return _chosen(self._table(), columns, where)

    def _table(self) -> Any:
        import pyarrow.csv as csv

        return csv.read_csv(self.path, read_options=csv.ReadOptions(use_threads=False))


_FORMATS: dict[str, type[File]] = {
    ".parquet": ParquetFile,
    ".pq": ParquetFile,
    ".arrow": ArrowFile,
    ".feather": ArrowFile,
    ".ipc": ArrowFile,
    ".csv": CsvFile,
    ".csv.gz": CsvFile,
}


def open_file(path: str) -> File:
    """Return the file of a path, by the ending of its name.

    Raises
    ------
    DataError
        It is not there, not of the format that its name says, or damaged.
    """
    for ending, kind in _FORMATS.items():
        if path.lower().endswith(ending):
            try:
                return kind(path)
            except arrow_errors() as error:
                raise DataError(f"{path}: expected a file of {ending}, got {_line(error)}") from error
    raise ValueError(f"{path}: expected a name that ends with {', '.join(_FORMATS)}")


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
        raise DataError(f"{block.file}: expected to read block {block.number}, got {_line(error)}") from error
    file.check_unchanged()  # nor while it was read
    if table.num_rows != block.rows:
        raise DataError(
            f"{block.file}: expected {block.rows} rows in block {block.number}, got {table.num_rows}"
        )
    return table


def _chosen(table: Any, columns: Sequence[str], where: Any) -> Any:
    return (table if where is None else table.filter(where)).select(list(columns))


def stamp(path: str) -> tuple[int, int, int]:
    """Return what tells a file from another in its place: its size, when it was changed, and its number."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ino


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
