"""Tables in files, spread over ranks: which rows there are, and in which order they are read."""

from __future__ import annotations

import os
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
from pyscale.data.schema import Schema
from pyscale.data.tables.arrow import arrow
from pyscale.data.tables.block_files import open_file
from pyscale.data.tables.blocks import Block, File, arrow_errors, read_block, stamp
from pyscale.data.tables.checking import Checked, check_columns, check_schema
from pyscale.data.tables.files import find_files, folders_of, path_names, spread
from pyscale.data.tables.selection import (
    Shape,
    check_partitions,
    chosen,
    dtypes_of,
    expression,
    in_common,
    in_full,
    names_of,
    types_of,
)
from pyscale.data.tables.values import as_array, converted
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
        Files, folders of files, or patterns of `glob`; a relative path is one of the working directory of
        now. Parquet (.parquet, .pq), Arrow IPC (.arrow, .arrows, .feather, .ipc) and CSV (.csv, .csv.gz), by
        their endings; all with the same columns, of which a file without rows need not know the types. CSV
        files and streams of Arrow are read as a whole: `to_parquet` makes better files. Folders named
        ``key=value`` are folders; the column that they name is not read.
    columns : sequence of str, or mapping of str to dtype, optional
        What to read; and as what, where that is not what the files have: then files may differ in it. ``str``
        is for text, such as digits that a CSV file has where zeros in front count. By default, all.
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
        Which rows to read. Row groups whose statistics exclude it are not read; of filters of floats they do
        not decide, since they leave NaN out. Needs one pass over the columns it names, at first, so that
        every rank knows how many rows there are.
    fill : mapping of str to scalar, optional
        What stands for null in a column. Otherwise it is NaN for floating point, NaT for dates and None for
        strings; integers and booleans with nulls are refused. What the column's type does not hold exactly is
        refused, but for floats, which are rounded to the nearest.
    schema : Schema, optional
        What the columns that are read must satisfy, as they are in the files: each row group, or block of
        another format, is looked at once, when it is first read. That takes no pass of its own, as `validate`
        does; but what is unique, or distributed as other data, only that can tell: such schemas are refused.

    Raises
    ------
    DataError
        A file or folder is missing, damaged, has other columns than the first, a column twice, or values that
        have no place in the dtype that is wanted; or all columns are read of files in folders ``key=value``
        whose column is not in them; on every rank.
    SchemaError
        When a block is read: the first that does not satisfy `schema`, before any of its rows is delivered,
        with all that is wrong with it: the file, the row group, counts and rows; these are numbered from the
        beginning of the file, without those that filters leave out. On the rank that reads it.

    Notes
    -----
    A state of a sampler or loader goes with files of the same names, sizes and, of Parquet, footers (which
    have the places, sizes and statistics of all that is in a file), and with the same columns, dtypes,
    filters and fill. Of other formats, contents are not compared.
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
        schema: Schema | None = None,
    ) -> None:
        arrow()  # or an ImportError, before anything else
        self.comm = world() if comm is None else comm
        with together(self.comm, "ParquetShards"):
            if shuffle not in ("window", True, False):
                raise ValueError(f"ParquetShards: expected shuffle 'window' or False, got {shuffle!r}")
            self.seed = integer("ParquetShards: expected seed", seed, 0, (1 << 64) - 1)
            if not (fill is None or isinstance(fill, Mapping)):
                raise TypeError(f"fill: expected a mapping of columns to values, got {fill!r}")
            self._fill = dict(fill or {})
            self._where = expression(filters)
            where = in_full(self._where)
            check_schema(schema)
            columns_given = names_of(columns)
            names = path_names(paths)
            self._wanted = types_of(columns_given)
        agree(
            self.comm,
            "ParquetShards",
            columns=columns_given,
            shuffle=bool(shuffle),
            window=window,
            streams=streams,
            seed=seed,
            filters=where,
            fill=self._fill,
            schema=schema,
        )
        self.files = self._found(names)
        self._sizes, digests, kinds, blocks = self._catalogue(names, columns_given)
        with together(self.comm, "ParquetShards"):
            try:
                self._stamps = {path: stamp(path) for path in self.files}
            except OSError as error:
                raise DataError(f"{error.filename}: expected a file, got {error}") from error
        self._kinds = kinds
        self.dtypes = dtypes_of(kinds, self._fill)
        check_columns(schema, self.dtypes)
        if self._where is not None:
            blocks = self._counted(blocks)
        self._checked = Checked(schema, blocks)
        self.blocks = [block for block in blocks if block.rows]
        rows = [block.rows for block in self.blocks]
        told = [f"{os.path.basename(path)} {self._sizes[path]} {digests[path]}" for path in self.files]
        told.append(repr((self.dtypes, where, self._fill)))
        identity = digest(*(np.frombuffer(text.encode(), np.uint8) for text in told))
        self.plan = Window(rows, window=window, streams=streams, shuffle=bool(shuffle), identity=identity)
        self._files: dict[str, File] = {}  # the one that was used last is the last
        self._lock = Lock()

    def __len__(self) -> int:
        """Return the number of rows, after the filters."""
        return len(self.plan)

    def read(self, number: int) -> Columns:
        """Return the columns of a block, as arrays of the dtypes of `dtypes`; they satisfy the schema."""
        block = self.blocks[number]
        table = read_block(self._file(block.file), block, list(self.dtypes), self._where)
        self._checked.look_at(block, table)
        try:
            return {name: self._array(name, table.column(name)) for name in self.dtypes}
        except DataError as error:
            raise DataError(f"{block.file}, block {block.number}: {error}") from error

    def _array(self, name: str, column: Any) -> npt.NDArray[Any]:
        if column.type != self._kinds[name]:
            column = converted(name, column, self._kinds[name])
        try:
            return as_array(name, column, self._fill.get(name))
        except arrow_errors() as error:
            raise DataError(f"column {name!r}: expected values that NumPy has, got {error}") from error

    def without_rows(self) -> Columns:
        """Return columns of no rows."""
        return {name: np.empty((0, *row), dtype) for name, (dtype, row) in self.dtypes.items()}

    def close(self) -> None:
        """Close the files. They are opened again when something is read."""
        with self._lock:
            for file in self._files.values():
                file.close()

    def _file(self, path: str) -> File:
        with self._lock:
            found = self._files.get(path)
        if found is None:
            found = open_file(path, self._wanted)
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

    def _found(self, names: list[str]) -> list[str]:
        """Return the files, by paths that stay the same where the working directory changes."""
        files = [os.path.abspath(path) for path in find_files(names, self.comm)]
        if self.comm.size > 1:
            files = self.comm.broadcast_object(files)
        if not files:
            raise ValueError(f"ParquetShards: expected files, got none in {names!r}")
        with together(self.comm, "ParquetShards"):
            seen: dict[str, str] = {}
            for path in files:
                first = seen.setdefault(os.path.realpath(path), path)
                if first is not path:
                    other = "again" if first == path else f"and {first}, which are the same"
                    raise ValueError(f"ParquetShards: expected each file once, got {path} {other}")
        return files

    def _catalogue(
        self, names: list[str], columns: Any
    ) -> tuple[dict[str, int], dict[str, str], dict[str, Any], list[Block]]:
        """Look into all files, each on one rank. Return sizes, digests, types of columns and all blocks."""
        mine: list[tuple[int, str, Shape, list[Block]]] = []
        folders = folders_of(names) if columns is None else set()
        with together(self.comm, "ParquetShards"):
            for path in self.files[self.comm.rank :: self.comm.size]:
                file = open_file(path, self._wanted)
                schema, blocks = chosen(path, file.schema, columns), file.blocks()
                if columns is None:
                    check_partitions(path, schema.names, folders)
                has_rows = any(block.rows for block in blocks)
                mine.append((file.stamp[0], file.digest, (schema, has_rows), blocks))
        told = self.comm.all_gather_object(mine)
        found = [told[i % self.comm.size][i // self.comm.size] for i in range(len(self.files))]
        kinds = in_common(self.files, [shape for _, _, shape, _ in found], self._wanted)
        sizes = {path: size for path, (size, _, _, _) in zip(self.files, found, strict=True)}
        digests = {path: digest for path, (_, digest, _, _) in zip(self.files, found, strict=True)}
        return sizes, digests, kinds, [block for _, _, _, blocks in found for block in blocks]

    def _counted(self, blocks: list[Block]) -> list[Block]:
        """Return the blocks with the rows that the filters leave; each is counted by one rank."""
        mine = spread([block.size for block in blocks], self.comm.size)[self.comm.rank]
        counts = np.zeros(len(blocks), np.int64)
        with together(self.comm, "ParquetShards"):
            opened: dict[str, File] = {}
            for i in mine:
                if not blocks[i].rows:  # its columns may be of other types than the filters'
                    continue
                path = blocks[i].file
                file = opened.setdefault(path, opened.get(path) or open_file(path, self._wanted))
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
