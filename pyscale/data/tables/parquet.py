"""Parquet files that split well: even files of even row groups, in order, there at once or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyscale.comm import Communicator
from pyscale.comm.together import agree, together
from pyscale.data.arguments import integer
from pyscale.data.schema import Schema
from pyscale.data.schema.casts import check_castable
from pyscale.data.schema.types import nearest
from pyscale.data.tables.arranged import Rows, SortKey, evenly, shuffled, sorted_by, spooled
from pyscale.data.tables.arrow import arrow, as_stream, as_table, check_compression, is_stream
from pyscale.data.tables.draft import move, shared_draft

ROW_GROUP_ROWS = 1 << 17


def to_parquet(
    data: Any,
    path: str | os.PathLike[str],
    *,
    row_group_rows: int = ROW_GROUP_ROWS,
    files: int | None = None,
    sort_by: str | SortKey | Sequence[str | SortKey] | None = None,
    shuffle: int | None = None,
    compression: str | None = "zstd",
    schema: Any = None,
    comm: Communicator | None = None,
) -> list[Path]:
    """Write a table as Parquet files that split well.

    Row groups of a file differ by one row at most, and so do a rank's files. The files appear together when
    all is written, and on the disk; a failure, on any rank, leaves nothing. Collective where there is a
    `comm`.

    Parameters
    ----------
    data : pyarrow.Table, RecordBatch or RecordBatchReader, dict of arrays, iterator of batches, …
        Also what has ``__arrow_c_stream__``, such as a data frame of pandas or Polars. Readers and iterators
        are first copied to an Arrow file beside the target, so that memory is bounded and rows are counted.
    path : path
        A file, if it ends in ``.parquet`` or ``.pq``, which is replaced; or a folder, which must be new or
        empty and gets files ``part-00000-of-00008.parquet`` and so on.
    row_group_rows : int
        The most rows of a row group.
    files : int, optional
        How many, a multiple of the number of ranks; None: one a rank.
    sort_by : str, (str, "ascending" or "descending"), or a sequence of these, optional
        Columns to sort by, each rank its own rows: stable, NaN after all numbers and null last. The files say
        so, and readers with a filter skip row groups.
    shuffle : int, optional
        The seed of a `Permutation` of the rows, each rank its own; None leaves them where they are. Not True
        or False: those would be seeds 1 and 0.
    compression : str, optional
        As pyarrow calls it; None for none.
    schema : Schema or pyarrow.Schema, optional
        What the data must satisfy; or the columns to write, and the types that their values are cast to: a
        value that is another one then is an error.
    comm : Communicator, optional
        The ranks, each of which writes its own part of the table, into one folder that all see.

    Returns
    -------
    list of Path
        All files, those of rank 0 first, by their absolute paths.

    Raises
    ------
    SchemaError
        The data does not satisfy `schema`.
    FileExistsError
        The folder is not empty.
    OSError
        Nothing more can be written, such as on a full disk.
    ValueError, TypeError
        Arguments, on every rank as all others.
    """
    rank, size = (0, 1) if comm is None else (comm.rank, comm.size)
    with together(comm, "to_parquet"):
        target = _target(path)
        plan = _Plan.of(target, row_group_rows, files, sort_by, shuffle, compression, size)
        if not (schema is None or isinstance(schema, (Schema, arrow().Schema))):
            raise TypeError(f"to_parquet: expected a Schema or a pyarrow.Schema, got {type(schema).__name__}")
    agree(comm, "to_parquet", schema=type(schema), **vars(plan))
    with shared_draft(target, comm) as folder:
        table = _checked(data, schema, plan, folder / f"spool-{rank}", comm)
        with together(comm, "to_parquet"):
            if plan.is_folder:
                (folder / target.name).mkdir(exist_ok=True)
            rows = plan.ordered(table, rank)
            for name, part in zip(plan.names(rank), evenly(0, len(rows), plan.files // size), strict=True):
                plan.write(rows, part, folder / name)
        with together(comm, "to_parquet"):
            if rank == 0:
                move(folder / target.name, target)
    return [target.parent / name for number in range(size) for name in plan.names(number)]


@dataclass(frozen=True)
class _Plan:
    """How a table becomes files."""

    target: Path
    is_folder: bool
    files: int
    row_group_rows: int
    sort_by: tuple[SortKey, ...]
    shuffle: int | None
    compression: str | None
    ranks: int

    @classmethod
    def of(
        cls,
        target: Path,
        row_group_rows: int,
        files: int | None,
        sort_by: Any,
        shuffle: int | None,
        compression: str | None,
        ranks: int,
    ) -> _Plan:
        """Check the arguments."""
        check_compression("to_parquet", compression)
        if isinstance(shuffle, (bool, np.bool_)):
            raise TypeError(f"shuffle: expected a seed or None, got {shuffle}")
        files = ranks if files is None else integer("to_parquet: expected files", files, 1, 1 << 31)
        row_group_rows = integer("to_parquet: expected row_group_rows", row_group_rows, 1, (1 << 63) - 1)
        is_folder = target.suffix.lower() not in (".parquet", ".pq")
        if files % ranks:
            raise ValueError(f"to_parquet: expected files to be a multiple of {ranks} ranks, got {files}")
        if sort_by is not None and shuffle is not None:
            raise ValueError("to_parquet: expected sort_by or shuffle, got both")
        if not is_folder and files > 1:
            raise ValueError(f"to_parquet: expected a folder for {files} files, got {target.name!r}")
        if is_folder and target.exists() and os.path.samefile(target, "."):
            raise ValueError("to_parquet: expected a folder other than the working directory, got that")
        if not is_folder and target.is_dir():
            raise IsADirectoryError(
                f"to_parquet: expected a file, or a name for one, got the folder {target}"
            )
        if is_folder and target.exists() and not target.is_dir():
            raise NotADirectoryError(
                f"to_parquet: expected a folder, or a name for one, got the file {target}"
            )
        if is_folder and target.is_dir() and any(target.iterdir()):
            raise FileExistsError(
                f"to_parquet: expected a new or empty folder, got {target} with files in it"
            )
        return cls(target, is_folder, files, row_group_rows, _sort_keys(sort_by), shuffle, compression, ranks)

    def names(self, rank: int) -> list[str]:
        """Return the files of a rank, from the parent of the target."""
        if not self.is_folder:
            return [self.target.name]
        a_rank = self.files // self.ranks
        numbers = range(rank * a_rank, (rank + 1) * a_rank)
        return [f"{self.target.name}/part-{number:05}-of-{self.files:05}.parquet" for number in numbers]

    def ordered(self, table: Any, rank: int) -> Rows:
        """Return the rows of a rank's table in the order of the files."""
        if self.shuffle is not None:
            return shuffled(table, self.shuffle, rank)
        return sorted_by(table, self.sort_by) if self.sort_by else Rows(table)

    def write(self, rows: Rows, part: tuple[int, int], path: Path) -> None:
        """Write some rows as a file."""
        parquet = arrow().parquet
        start, stop = part
        sorting = None
        if self.sort_by:
            sorting = parquet.SortingColumn.from_ordering(rows.schema, list(self.sort_by), "at_end")
        with parquet.ParquetWriter(
            path,
            rows.schema,
            compression=self.compression or "none",
            sorting_columns=sorting,
            write_page_index=True,
            write_page_checksum=True,
        ) as writer:
            groups = -(-(stop - start) // self.row_group_rows)
            for first, end in evenly(start, stop, groups) if groups else ():
                writer.write_table(rows[first:end], row_group_size=end - first)


def _target(path: str | os.PathLike[str]) -> Path:
    """Return where to write as a path with a name, also where a link leads to a folder."""
    target = Path(os.path.abspath(path))
    return Path(os.path.realpath(target)) if target.is_dir() else target


def _sort_keys(sort_by: Any) -> tuple[SortKey, ...]:
    if sort_by is None:
        return ()
    is_one = isinstance(sort_by, str) or (
        isinstance(sort_by, tuple) and len(sort_by) == 2 and sort_by[1] in ("ascending", "descending")
    )
    if not (is_one or isinstance(sort_by, Sequence)):
        raise TypeError(f"to_parquet: expected sort_by of columns, got {sort_by!r}")
    keys = [(key, "ascending") if isinstance(key, str) else key for key in ([sort_by] if is_one else sort_by)]
    for key in keys:
        if not (isinstance(key, tuple) and len(key) == 2 and key[1] in ("ascending", "descending")):
            raise ValueError(
                f"to_parquet: expected sort_by of columns, or (column, 'descending'), got {key!r}"
            )
    return tuple(keys)


def _checked(data: Any, schema: Any, plan: _Plan, spool: Path, comm: Communicator | None) -> Any:
    """Return this rank's data as a table, in memory or mapped, which all ranks' schemas allow. Collective."""
    pa = arrow()
    validator = schema.validator() if isinstance(schema, Schema) else None
    with together(comm, "to_parquet"):
        look_at: Callable[[Any], None] = validator.add if validator is not None else _pass
        if is_stream(data):
            table = spooled(as_stream(data, "to_parquet"), spool, look_at)
        else:
            table = as_table(data, "to_parquet")
            look_at(table)
        if len(table) and not table.schema.names:
            raise ValueError(f"to_parquet: expected columns, got none in {len(table)} rows")
        if isinstance(schema, pa.Schema):
            table = _cast(table, schema)
        for name, _ in plan.sort_by:
            if table.schema.names.count(name) != 1:
                raise ValueError(
                    f"to_parquet: expected sort_by of columns {table.schema.names}, got {name!r}"
                )
    if validator is not None:
        validator.finish(comm).raise_if_failed()
    if comm is not None and comm.size > 1:
        told = comm.all_gather_object(table.schema)
        for rank, theirs in enumerate(told):
            if not theirs.equals(told[0]):
                raise ValueError(
                    f"to_parquet: expected the same columns on every rank, got on rank 0 ({told[0]}) and on "
                    f"rank {rank} ({theirs})"
                )
    return table


def _cast(table: Any, schema: Any) -> Any:
    """Return a table with the columns and types of a schema; raises where a value would be lost."""
    if missing := [name for name in schema.names if name not in table.schema.names]:
        raise ValueError(f"to_parquet: expected a column {missing[0]!r}, got {table.schema.names}")
    check_castable(table, schema)
    columns = [nearest(table.column(field.name), field.type) for field in schema]
    return arrow().table(columns, names=schema.names).cast(schema)


def _pass(batch: Any) -> None:
    """Look at nothing."""
