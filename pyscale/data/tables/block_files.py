"""The formats of files: Parquet has row groups, Arrow record batches, and others are read as a whole."""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pyscale.data.tables.blocks import Block, File, arrow_errors, in_a_line
from pyscale.data.tables.formats import ENDINGS, sound
from pyscale.errors import DataError


class ParquetFile(File):
    """A block is a row group."""

    def __init__(self, path: str, types: Mapping[str, Any]) -> None:
        import pyarrow.dataset as dataset
        import pyarrow.fs as fs
        import pyarrow.parquet as parquet

        super().__init__(path, types)
        self._metadata = parquet.read_metadata(path)
        self.digest = _footer(path, self._metadata.serialized_size)
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
        """Return rows of a row group; nothing is read where its statistics decide, and exclude them all."""
        if where is None:
            return self._whole(number, columns)
        if beside := self._without_statistics(where):
            return _chosen(self._whole(number, dict.fromkeys([*columns, *beside])), columns, where)
        group = self._fragment.subset(row_group_ids=[number], schema=self._schema)
        return group.to_table(schema=self._schema, columns=list(columns), filter=where, use_threads=False)

    def _whole(self, number: int, columns: Iterable[str]) -> Any:
        """Return all rows of a row group."""
        import pyarrow.parquet as parquet

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

    def close(self) -> None:
        """Close the file, but for threads that are reading it."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def count(self, number: int, where: Any) -> int:
        """Return how many rows of a row group are true; decided by its statistics where these may decide."""
        if self._without_statistics(where):
            return super().count(number, where)
        group = self._fragment.subset(row_group_ids=[number], schema=self._schema)
        return int(group.count_rows(filter=where, use_threads=False))

    def _without_statistics(self, where: Any) -> list[str]:
        """Return the columns that are read for a filter, without a look at statistics; [] where these do.

        Statistics leave NaN out, and pyarrow takes what all other numbers are for what all are.
        """
        text, schema = str(where), self._schema
        named = [field for field in schema if field.name in text]
        if not any(_has_floats(field.type) for field in named):
            return []
        return list(dict.fromkeys(field.name for field in named))


_IDLE = 4  # readers of one file that are kept


class ArrowFile(File):
    """A file of Arrow's IPC format; a block is a record batch."""

    def __init__(self, path: str, types: Mapping[str, Any]) -> None:
        import pyarrow as pa

        super().__init__(path, types)
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
            return _chosen(sound(pa.Table.from_batches([reader.get_batch(number)])), columns, where)


class WholeFile(File):
    """A file that is one block: where its rows begin is known by reading it."""

    def __init__(self, path: str, types: Mapping[str, Any]) -> None:
        super().__init__(path, types)
        self._types = types
        table = self._table()
        self._schema = table.schema
        self._block = Block(path, 0, table.num_rows, os.path.getsize(path))

    @property
    def schema(self) -> Any:
        """The pyarrow.Schema."""
        return self._schema

    def blocks(self) -> list[Block]:
        """Return the whole file."""
        return [self._block]

    def read(self, number: int, columns: Sequence[str], where: Any = None) -> Any:
        """Return rows of the file."""
        return _chosen(self._table(), columns, where)

    @abstractmethod
    def _table(self) -> Any:
        """Read the file."""


class ArrowStream(WholeFile):
    """A stream of Arrow's IPC format."""

    def _table(self) -> Any:
        import pyarrow as pa

        with pa.OSFile(self.path) as source, pa.ipc.open_stream(source) as reader:
            return sound(reader.read_all())


class CsvFile(WholeFile):
    """A file of comma-separated values; types are those that are wanted, or what pyarrow finds in it."""

    def _table(self) -> Any:
        import pyarrow.csv as csv

        return csv.read_csv(
            self.path,
            read_options=csv.ReadOptions(use_threads=False),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(column_types=_parsed(self._types)),
        )


def _parsed(types: Mapping[str, Any]) -> dict[str, Any]:
    """Return as what pyarrow is to read the columns of a CSV file; of others it finds the types itself."""
    import pyarrow as pa

    found = {}
    for name, kind in types.items():
        if pa.types.is_integer(kind) or pa.types.is_string(kind):
            found[name] = kind
        elif pa.types.is_floating(kind):
            found[name] = pa.float64()  # for smaller ones it makes infinities
    return found


def _arrow(path: str, types: Mapping[str, Any]) -> File:
    with open(path, "rb") as file:
        is_file = file.read(6) == b"ARROW1"
    return ArrowFile(path, types) if is_file else ArrowStream(path, types)


_FORMATS: dict[str, Callable[[str, Mapping[str, Any]], File]] = {
    "parquet": ParquetFile,
    "ipc": _arrow,
    "csv": CsvFile,
}


def open_file(path: str, types: Mapping[str, Any] | None = None) -> File:
    """Return the file of a path, by the ending of its name.

    Parameters
    ----------
    path : str
    types : mapping of str to pyarrow.DataType, optional
        As what columns are wanted, for formats whose files do not say it.

    Raises
    ------
    DataError
        It is not there, not of the format that its name says, or damaged.
    """
    for ending, name in ENDINGS.items():
        if path.lower().endswith(ending):
            try:
                return _FORMATS[name](path, types or {})
            except arrow_errors() as error:
                raise DataError(f"{path}: expected a file of {ending}, got {in_a_line(error)}") from error
    if not os.path.lexists(path):
        raise DataError(f"{path}: expected a file or folder, got none: it is missing")
    raise ValueError(f"{path}: expected a name that ends with {', '.join(ENDINGS)}")


def _footer(path: str, size: int) -> str:
    """Return a digest of a Parquet file's footer: its schema, and of its row groups places and statistics."""
    with open(path, "rb") as file:
        file.seek(-(size + 8), os.SEEK_END)
        return hashlib.blake2b(file.read(), digest_size=16).hexdigest()


def _has_floats(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _has_floats(kind.value_type)
    return bool(pa.types.is_floating(kind)) or any(
        _has_floats(kind.field(i).type) for i in range(kind.num_fields)
    )


def _chosen(table: Any, columns: Sequence[str], where: Any) -> Any:
    return (table if where is None else table.filter(where)).select(list(columns))
