"""A preprocessing step's result, kept as Parquet as long as its inputs and its code are the same."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyscale.comm import Communicator
from pyscale.comm.together import together
from pyscale.data.caching.fingerprint import Fingerprints
from pyscale.data.caching.graph import digest
from pyscale.data.caching.waiting import on_rank_0
from pyscale.data.tables.arrow import Stream, arrow, as_stream, check_compression
from pyscale.data.tables.draft import draft, move, remove_drafts_of_the_dead
from pyscale.data.tables.formats import BATCH_ROWS
from pyscale.data.tables.parquet import ROW_GROUP_ROWS

VERSION = 1  # of an entry

_ATTEMPTS, _PAUSE = 100, 0.01  # s

_DATA, _FACTS = "data.parquet", "entry.json"


@dataclass(frozen=True)
class Cached:
    """The result of a step.

    Attributes
    ----------
    path : pathlib.Path
        Its Parquet file.
    hit : bool
        Whether it was there already.
    rows : int
    """

    path: Path
    hit: bool
    rows: int

    def table(self, columns: Sequence[str] | None = None) -> Any:
        """Return it, or some columns of it, as a pyarrow.Table.

        Raises
        ------
        ValueError
            It has no such column.
        """
        with arrow().parquet.ParquetFile(self.path) as file:
            return _narrow(file.read(_known(file, columns)), columns)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Yield it, or some columns of it, as record batches.

        Raises
        ------
        ValueError
            It has no such column.
        """
        with arrow().parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=_known(file, columns)):
                yield _narrow(batch, columns)

    def arrays(self, columns: Sequence[str] | None = None) -> dict[str, npt.NDArray[Any]]:
        """Return it, or some columns of it, as NumPy arrays; lists of a fixed size as rows of two dimensions.

        Raises
        ------
        ValueError
            A column has nulls, or lists with nulls in them; or it has no such column.
        """
        table = self.table(columns)
        return {name: _array(name, table.column(name)) for name in table.column_names}


def cache(
    fn: Callable[[Any], Any],
    inputs: Any,
    *,
    directory: str | os.PathLike[str],
    comm: Communicator | None = None,
    key: Any = None,
    files: str = "stat",
    verify: bool = True,
    compression: str | None = "zstd",
) -> Cached:
    """Return ``fn(inputs)``, from `directory` if it was computed before.

    A result is known by the fingerprint of the inputs, of the code of `fn`, and of the versions of Python,
    NumPy and pyarrow. It appears in the directory when all of it is on the disk. Of several processes that
    compute the same at the same time, the first to end wins. What is cut off or otherwise corrupt is computed
    again. Collective where there is a `comm`.

    Parameters
    ----------
    fn : callable
        Returns a pyarrow.Table, a dict of NumPy arrays (of one or two dimensions), a data frame; or, so that
        memory is bounded, a RecordBatchReader or an iterator of record batches. Must not use `comm`.
    inputs : any
        What `fn` is given. A `pathlib.Path`, and text that is the path of a file, stands for the file; a
        `Path` of a folder for all files in it, also behind links. Else numbers, text, NumPy arrays, pyarrow
        data, frames, functions, lists, tuples, dicts and sets count by their content, and other objects by
        their class and what pickle would keep of them.
    directory : path
        On a file system that all ranks see.
    comm : Communicator, optional
        The ranks that want the result. Rank 0 computes it, of its own inputs, and the others wait as long as
        that takes; an exception reaches all. For directories of nodes, ``comm.split(comm.node_rank)``.
    key : any, optional
        Stands for the inputs, where these have no fingerprint.
    files : {"stat", "content"}
        What a file is known by: its path, size and time of change in ns; or its content, wherever it is.
    verify : bool
        Whether the checksum of a result that is found is compared, which reads all of it; else its size.
    compression : str, optional
        As pyarrow calls it; None for none.

    Returns
    -------
    Cached

    Raises
    ------
    TypeError
        Something in the inputs, or in what the code refers to, has no fingerprint; or the result is no table.
    Exception
        What `fn` raises.
    OSError
        The result cannot be written, such as on a full disk; nothing is left of it.

    Notes
    -----
    Code is compared as compiled: comments do not count, another version of Python does. With `fn` count the
    functions, classes and other globals of the program that it names, directly or not; what is bound to
    them: defaults, attributes, closures, the arguments of a `functools.partial`, a method's object; these as
    inputs do, files included; and modules that a body imports, which are imported for that. Installed
    packages count by their version.

    Not seen: what is reached by other ways than by name, such as `getattr` or a registry; globals, and parts
    of them, that have no fingerprint, such as locks and open files, of which the type counts; what a class
    leaves out of its pickles; compiled extensions of the program; files that are neither inputs nor bound to
    the code, even if a global says their path; the environment; random numbers; the machine.

    A global that the step itself changes, such as a list of calls or a random generator, is another one the
    next time: the result is then not found.
    """

    def folder() -> Path:
        if files not in ("stat", "content"):
            raise ValueError(f"cache: expected files to be 'stat' or 'content', got {files!r}")
        check_compression("cache", compression)
        if not callable(fn):
            raise TypeError(f"cache: expected a callable, got {type(fn).__name__}")
        return Path(directory).absolute()

    def look_up() -> Cached:
        parent = folder()
        fingerprint = _fingerprint(fn, inputs, key, files, compression)
        entry = _Entry(parent / f"{_name(fn)}-{fingerprint.hex()}")
        remove_drafts_of_the_dead(parent)
        rows = entry.rows(verify)
        if rows is not None and _is_there(entry.data):
            return Cached(entry.data, True, rows)
        rows = entry.make(fn, inputs, compression)
        if not _is_there(entry.data):
            raise FileNotFoundError(f"cache: expected the result to stay, got it removed: {entry.data}")
        return Cached(entry.data, False, rows)

    found = on_rank_0(comm, "cache", look_up)
    with together(comm, "cache"):
        folder()  # No rank knows earlier what another was given
        if not _is_there(found.path):
            raise FileNotFoundError(
                f"cache: expected a directory that all ranks see, such as one a node for "
                f"comm.split(comm.node_rank), got no {found.path}"
            )
    return found


def _is_there(path: Path) -> bool:
    """Return whether a file is there, or soon is: another may be replacing it, as it was corrupt."""
    for _ in range(_ATTEMPTS):
        if path.exists():
            return True
        time.sleep(_PAUSE)
    return False


@dataclass(frozen=True)
class _Entry:
    """A folder of the Parquet file and the facts by which it is found corrupt."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / _DATA

    def rows(self, verify: bool) -> int | None:
        """Return how many rows it has; None where it is not there, or corrupt."""
        try:
            facts = json.loads((self.folder / _FACTS).read_text())
            if facts["version"] != VERSION or self.data.stat().st_size != facts["bytes"]:
                return None
            if verify and _checksum(self.data) != facts["blake2b"]:
                return None
            return int(facts["rows"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def make(self, fn: Callable[[Any], Any], inputs: Any, compression: str | None) -> int:
        """Compute it, and return how many rows it has."""
        with draft(self.folder) as place:
            made = _Entry(place / self.folder.name)
            made.folder.mkdir()
            rows = _write(as_stream(fn(inputs), "cache: the result"), made.data, compression)
            facts = {
                "version": VERSION,
                "rows": rows,
                "bytes": made.data.stat().st_size,
                "blake2b": _checksum(made.data),
            }
            (made.folder / _FACTS).write_text(json.dumps(facts))
            return self._take(made, place, rows)

    def _take(self, made: _Entry, place: Path, rows: int) -> int:
        """Put what was made in its place, unless another has been there first; return the rows of what is."""
        for attempt in range(_ATTEMPTS):
            try:
                move(made.folder, self.folder)
                return rows
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
            if (theirs := self.rows(verify=True)) is not None:
                return theirs
            try:
                os.rename(self.folder, place / f"corrupt-{attempt}")
            except FileNotFoundError:  # another has taken it away
                continue
        raise OSError(
            f"cache: expected to replace what is corrupt, got it back {_ATTEMPTS} times: {self.folder}"
        )


def _fingerprint(
    fn: Callable[[Any], Any], inputs: Any, key: Any, files: str, compression: str | None
) -> bytes:
    versions = (VERSION, sys.version_info[:3], np.__version__, arrow().__version__, compression)
    fingerprints = Fingerprints(files)
    code = fingerprints.of(fn, "cache: fn")
    if key is not None:
        given = digest("key", fingerprints.of(key, "cache: key"))
    else:
        try:
            given = digest("inputs", fingerprints.of(inputs, "cache: inputs"))
        except TypeError as error:
            raise TypeError(f"{error}; or a key, which stands for the inputs") from error
    return digest("cache", code, given, repr(versions).encode())


def _name(fn: Callable[[Any], Any]) -> str:
    inner = getattr(fn, "func", fn)  # of a partial
    name = getattr(inner, "__name__", type(inner).__name__)
    return re.sub(r"\W+", "", str(name), flags=re.ASCII)[:60] or "step"


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _write(stream: Stream, path: Path, compression: str | None) -> int:
    """Write batches, joined or cut to row groups, and return how many rows they have."""
    pa = arrow()
    total = waiting = 0
    batches: list[Any] = []
    with pa.parquet.ParquetWriter(path, stream.schema, compression=compression or "none") as writer:
        for batch in stream.batches:
            batches.append(batch)
            total += len(batch)
            waiting += len(batch)
            if waiting >= ROW_GROUP_ROWS:
                table = pa.Table.from_batches(batches)
                whole = waiting - waiting % ROW_GROUP_ROWS
                writer.write_table(table.slice(0, whole), row_group_size=ROW_GROUP_ROWS)
                batches = table.slice(whole).to_batches()
                waiting -= whole
        if waiting:
            table = pa.Table.from_batches(batches, stream.schema)
            writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
    return total


def _known(file: Any, columns: Sequence[str] | None) -> list[str] | None:
    if columns is None:
        return None
    if isinstance(columns, str):
        raise TypeError(f"cache: expected a sequence of columns, got the text {columns!r}")
    names = file.schema_arrow.names
    for name in columns:
        if name not in names:
            raise ValueError(f"cache: expected columns of {names}, got {name!r}")
    return list(columns)


def _narrow(rows: Any, columns: Sequence[str] | None) -> Any:
    """Return the columns alone: of ``"a.b"``, pyarrow reads the field ``b`` of a column ``a`` as well."""
    return rows if columns is None else rows.select(list(columns))


def _array(name: str, column: Any) -> npt.NDArray[Any]:
    if nulls := sum(map(_nulls, column.chunks)):
        raise ValueError(f"arrays: expected no nulls, got {nulls} in column {name!r}")
    if not arrow().types.is_fixed_size_list(column.type):
        return column.to_numpy()  # type: ignore[no-any-return]
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate([*flat, np.empty(0, flat[0].dtype)]).reshape(-1, column.type.list_size)


def _nulls(array: Any) -> int:
    """Return how many nulls an array has, in its lists too."""
    kinds = arrow().types
    lists = (kinds.is_list, kinds.is_large_list, kinds.is_fixed_size_list)
    inside = _nulls(array.flatten()) if any(is_list(array.type) for is_list in lists) else 0
    return int(array.null_count) + inside
