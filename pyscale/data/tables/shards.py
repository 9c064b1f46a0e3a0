"""Tables in files, spread over ranks: which rows there are, and in which order they are read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from pyscale.comm import Communicator, world
from pyscale.comm.together import agree, together
from pyscale.data.arguments import integer
from pyscale.data.orders.digest import digest
from pyscale.data.orders.window import Window
from pyscale.data.tables.arrow import arrow
from pyscale.data.tables.blocks import Block, File, arrow_errors, open_file, read_block, stamp
from pyscale.data.tables.files import find_files, spread
from pyscale.data.tables.values import as_array, dtype_of
from pyscale.errors import DataError

Columns = dict[str, npt.NDArray[Any]]

_OPEN = 64  # files that are kept open


class ParquetShards:
    """Columns of many files as one table, which ranks read in a shuffled order, each its part.

    The row groups of all files are put into a random order, and cut into `streams` parts of equal length,
    which are read side by side; each is shuffled within windows (`Window` has the details, and how good that
    is). A global batch has rows of all streams, and each rank those of its own: so it reads its share of the
    files, the next rank another. The order does not depend on the number of ranks.

    All that can be checked at first is: on every rank together, by all ranks together. `Loader` delivers the
    batches.

    Parameters
    ----------
    paths : path, or sequence of paths
        Files, folders of files, or patterns of `glob`. Parquet, Arrow IPC (.arrow, .feather) and CSV, each by
        its ending; all with the same columns. A CSV file is read as a whole: `to_parquet` makes better files.
    columns : sequence of str, or mapping of str to dtype, optional
        What to read; and as what, where that is not what the files have. By default, all.
    comm : Communicator, optional
        By default `pyscale.world`.
    shuffle : "window" or False
    window : int
        Rows that are shuffled together, in all streams. A rank holds its share of two windows, of a third as
        long as the caller has a batch of it, and the row groups that they are from.
    streams : int
        Should be a multiple of the number of ranks, and divide the global batch: where it does not, some row
        groups are read by two ranks. Where it changes, so does the order. Without a shuffle, one stream is
        the order of the files.
    seed : int
    filters : pyarrow.compute.Expression, or list as of pyarrow.parquet.read_table, optional
        Which rows to read. Row groups whose statistics exclude it are not read. Needs one pass over the
        columns it names, at first, so that every rank knows how many rows there are.
    fill : mapping of str to scalar, optional
        What stands for null in a column. Otherwise it is NaN for floating point, NaT for dates and None for
        strings; integers and booleans with nulls are refused.

    Raises
    ------
    DataError
        A file is missing, damaged, or has other columns; on every rank.
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        columns: Sequence[str] | Mapping[str, npt.DTypeLike] | None = None,
        comm: Communicator | None = None,
        *,
        shuffle: str | bool = "window",
        window: int = 1 << 18,
        streams: int = 8,
        seed: int = 0,
        filters: Any = None,
        fill: Mapping[str, Any] | None = None,
    ) -> None:
        arrow()  # or an ImportError, before anything else
        self.comm = world() if comm is None else comm
        with together(self.comm, "ParquetShards"):
            if shuffle not in ("window", True, False):
                raise ValueError(f"ParquetShards: expected shuffle 'window' or False, got {shuffle!r}")
            self.seed = integer("ParquetShards: expected seed", seed, 0, (1 << 64) - 1)
            self._fill = dict(fill or {})
            self._where = _expression(filters)
            columns_given = _names(columns)
        agree(
            self.comm,
            "ParquetShards",
            columns=columns_given,
            shuffle=bool(shuffle),
            window=window,
            streams=streams,
            seed=seed,
            filters=str(self._where),
            fill=self._fill,
        )
        self.files = find_files(paths, self.comm)
        if len(set(self.files)) < len(self.files):
            again = next(path for path, count in Counter(self.files).items() if count > 1)
            raise ValueError(f"ParquetShards: expected each file once, got {again} again")
        if not self.files:
            raise ValueError(f"ParquetShards: expected files, got none in {paths!r}")
        self._sizes, schema, blocks = self._catalogue(self.files, columns)
        with together(self.comm, "ParquetShards"):
            try:
                self._stamps = {path: stamp(path) for path in self.files}
            except OSError as error:
                raise DataError(f"{error.filename}: expected a file, got {error}") from error
        self.dtypes, self._targets = _types(schema, columns)
        if unknown := self._fill.keys() - self.dtypes.keys():
            raise ValueError(f"ParquetShards: expected fill of {list(self.dtypes)}, got {sorted(unknown)}")
        if self._where is not None:
            blocks = self._counted(blocks)
        self.blocks = [block for block in blocks if block.rows]
        rows = [block.rows for block in self.blocks]
        told = [f"{os.path.basename(path)} {self._sizes[path]}" for path in self.files]
        told.append(repr((self.dtypes, str(self._where), self._fill)))
        identity = digest(*(np.frombuffer(text.encode(), np.uint8) for text in told))
        self.plan = Window(rows, window=window, streams=streams, shuffle=bool(shuffle), identity=identity)
        self._files: dict[str, File] = {}  # the one that was used last is the last
        self._lock = Lock()

    def __len__(self) -> int:
        """Return the number of rows, after the filters."""
        return len(self.plan)

    def read(self, number: int) -> Columns:
        """Return the columns of a block, as arrays of the dtypes of `dtypes`."""
        block = self.blocks[number]
        table = read_block(self._file(block.file), block, list(self.dtypes), self._where)
        try:
            return {name: self._array(name, table.column(name)) for name in self.dtypes}
        except DataError as error:
            raise DataError(f"{block.file}, block {block.number}: {error}") from error

    def _array(self, name: str, column: Any) -> npt.NDArray[Any]:
        target = self._targets.get(name)
        if target is not None:
            try:
                column = column.cast(target)
            except arrow_errors() as error:
                raise DataError(f"column {name!r}: expected values of {target}, got {error}") from error
        try:
            return as_array(name, column, self._fill.get(name))
        except arrow_errors() as error:
            raise DataError(f"column {name!r}: expected values that NumPy has, got {error}") from error

    def close(self) -> None:
        """Close the files. They are opened again when something is read."""
        with self._lock:
            for file in self._files.values():
                file.close()

    def _file(self, path: str) -> File:
        with self._lock:
            found = self._files.get(path)
        if found is None:
            found = open_file(path)
            if found.stamp != self._stamps[path] or found.stamp[0] != self._sizes[path]:
                raise DataError(
                    f"{path}: expected the file that was there at first, got one that was changed"
                )
        with self._lock:
            self._files.pop(path, None)
            self._files[path] = found  # the last one that was used
            if len(self._files) > _OPEN:
                self._files.pop(next(iter(self._files))).close()
        return found

    def _catalogue(self, files: list[str], columns: Any) -> tuple[dict[str, int], Any, list[Block]]:
        """Look into all files, each on one rank. Return their sizes, the schema and all blocks."""
        mine: list[tuple[int, Any, list[Block]]] = []
        with together(self.comm, "ParquetShards"):
            for path in files[self.comm.rank :: self.comm.size]:
                file = open_file(path)
                mine.append((file.stamp[0], _chosen(path, file.schema, columns), file.blocks()))
        told = self.comm.all_gather_object(mine)
        found = [told[i % self.comm.size][i // self.comm.size] for i in range(len(files))]
        schema = found[0][1]
        for path, (_, other, _) in zip(files, found, strict=True):
            if not other.equals(schema):
                raise DataError(
                    f"{path}: expected the columns of {files[0]}, {_named(schema)}, got {_named(other)}"
                )
        sizes = {path: size for path, (size, _, _) in zip(files, found, strict=True)}
        return sizes, schema, [block for _, _, blocks in found for block in blocks]

    def _counted(self, blocks: list[Block]) -> list[Block]:
        """Return the blocks with the rows that the filters leave; each is counted by one rank."""
        mine = spread([block.size for block in blocks], self.comm.size)[self.comm.rank]
        counts = np.zeros(len(blocks), np.int64)
        with together(self.comm, "ParquetShards"):
            opened: dict[str, File] = {}
            for i in mine:
                path = blocks[i].file
                file = opened.setdefault(path, opened.get(path) or open_file(path))
                try:
                    counts[i] = file.count(blocks[i].number, self._where)
                except arrow_errors() as error:
                    raise DataError(
                        f"{path}: expected to filter block {blocks[i].number}, got {error}"
                    ) from error
        self.comm.all_reduce(counts, out=counts)
        return [
            Block(block.file, block.number, int(count), block.size)
            for block, count in zip(blocks, counts, strict=True)
        ]


def _names(columns: Any) -> Any:
    """Return which columns to read, or as what; None for all."""
    if columns is None:
        return None
    if isinstance(columns, str):
        raise TypeError(f"ParquetShards: expected a sequence of columns, got the text {columns!r}")
    names = dict(columns) if isinstance(columns, Mapping) else list(columns)
    if not names:
        raise ValueError("ParquetShards: expected columns, got none")
    return names


def _expression(filters: Any) -> Any:
    if filters is None:
        return None
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet

    if isinstance(filters, compute.Expression):
        return filters
    return parquet.filters_to_expression(filters)


def _chosen(path: str, schema: Any, columns: Any) -> Any:
    """Return the schema of the columns to read."""
    import pyarrow as pa

    names = schema.names if columns is None else list(columns)
    if missing := [name for name in names if name not in schema.names]:
        raise DataError(f"{path}: expected a column {missing[0]!r}, got {schema.names}")
    return pa.schema([pa.field(name, schema.field(name).type) for name in names])


def _types(
    schema: Any, columns: Any
) -> tuple[dict[str, tuple[np.dtype[Any], tuple[int, ...]]], dict[str, Any]]:
    """Return the dtype and row shape of each column, and the Arrow types of those that are converted."""
    import pyarrow as pa

    wanted = columns if isinstance(columns, Mapping) else {}
    for name, dtype in wanted.items():
        if np.dtype(dtype).kind not in "iufbMm" or not np.dtype(dtype).isnative:
            raise TypeError(
                f"column {name!r}: expected a dtype of numbers or dates, got {np.dtype(dtype).str}"
            )
    targets = {name: pa.from_numpy_dtype(np.dtype(dtype)) for name, dtype in wanted.items()}
    targets = {name: target for name, target in targets.items() if target != schema.field(name).type}
    for name, target in targets.items():
        try:
            pa.array([], schema.field(name).type).cast(target)
        except pa.ArrowNotImplementedError as error:
            kind = schema.field(name).type
            raise TypeError(f"column {name!r}: expected what can be cast to {target}, got {kind}") from error
    return {
        field.name: dtype_of(field.name, targets.get(field.name, field.type)) for field in schema
    }, targets


def _named(schema: Any) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
