"""Rows between ranks: each to the rank that is named for it."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pyscale import _core
from pyscale.arrays import view
from pyscale.comm import Communicator, world
from pyscale.data.agreement import check_same, on_all_ranks

Array = npt.NDArray[Any]

CHUNK_BYTES = 64 << 20  # from here on larger ones are no faster: bench/bench_exchange.py --chunks
_LEAST_CHUNK_BYTES = 64


def exchange(
    rows: Any,
    destinations: npt.ArrayLike,
    comm: Communicator | None = None,
    *,
    chunk_bytes: int = CHUNK_BYTES,
) -> Any:
    """Send each row to the rank that is named for it, and return the rows received. Collective.

    Parameters
    ----------
    rows : array, or mapping of str to array
        Rows along the first axis, any number of them on each rank. Of any dtype without Python objects, which
        is the same on every rank, as the shape of a row is. Arrays are NumPy's, memory-mapped files included,
        or of any library that shares memory with it (torch, JAX, DLPack). Those of a mapping are columns of
        one table: equally long, and the parts of a row stay together.
    destinations : array of int
        Of shape ``(n,)`` for n rows: the rank of each, from 0 to ``comm.size - 1``. The narrower the type,
        the less is read.
    comm : Communicator, optional
        `pyscale.world()` where it is None.
    chunk_bytes : int
        The most memory, on each rank, beyond the rows given and those returned; at least 64. The same on
        every rank. Ranks that share memory need no more than 4 MiB. A copy of rows whose elements do not lie
        one after the other comes on top.

    Returns
    -------
    array, or dict of str to array
        The rows for this rank, those from rank 0 first, and those from one rank in their order there. Of the
        library of `rows`; columns in the order in which this rank gave them.

    Raises
    ------
    TypeError, ValueError, IndexError
        What a rank gave is none of the above. On every rank, naming that one, before any row moves.
    CommMismatch
        Ranks gave other columns, dtypes, shapes of a row or `chunk_bytes`.
    MemoryError
        A rank has no room for what it is sent; on every rank.
    CommError, CommTimeout
        A rank died, left or is late.

    Notes
    -----
    On one node every row is read once, and written once to a buffer in shared memory, which stays in the
    cache; from there the receiver copies it to its place. What a rank keeps goes there at once. Between nodes
    a rank sorts a quarter of `chunk_bytes` at a time and sends it while it sorts the next.
    """
    comm = world() if comm is None else comm
    call = "exchange"

    def look() -> tuple[Table, Array, Array]:
        table = Table.of(rows, call)
        to = open_destinations(destinations, table.length, call)
        return table, to, count(to, comm.size, call)

    (table, to, counts), texts = on_all_ranks(
        comm, call, look, lambda seen: f"{seen[0].text}, chunk_bytes {check_chunk(chunk_bytes, call)}"
    )
    check_same(call, texts)
    return table.like(move(table.columns, to, counts, comm, chunk_bytes, call))


@dataclass(frozen=True)
class Table:
    """What the user gave as rows: columns of one length, each as NumPy sees it."""

    names: list[str] | None  # None: a single array
    columns: list[Array]  # by name
    likes: list[Callable[[Array], Any]]  # make an array of the user's library

    @classmethod
    def of(cls, rows: Any, call: str) -> Table:
        """Open what the user gave; raises TypeError and ValueError."""
        if not isinstance(rows, Mapping):
            array, like = _open_rows(rows, f"{call}: rows")
            return cls(None, [array], [like])
        if not rows or not all(isinstance(name, str) for name in rows):
            raise TypeError(f"{call}: expected columns with names, got {list(rows)}")
        names = sorted(rows)
        arrays, likes = zip(
            *(_open_rows(rows[name], f"{call}: column {name!r}") for name in names), strict=True
        )
        lengths = {name: len(array) for name, array in zip(names, arrays, strict=True)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{call}: expected columns of one length, got {lengths}")
        # In the user's order they go back, by name they travel.
        return cls(list(rows), list(arrays), list(likes))

    @property
    def length(self) -> int:
        """Rows."""
        return len(self.columns[0])

    @property
    def text(self) -> str:
        """What all ranks must agree on."""
        kinds = [f"{column.dtype} rows of shape {column.shape[1:]}" for column in self.columns]
        if self.names is None:
            return kinds[0]
        return "; ".join(f"{name!r}: {kind}" for name, kind in zip(sorted(self.names), kinds, strict=True))

    def like(self, columns: Sequence[Array]) -> Any:
        """Return columns in the form in which the user gave them."""
        made = [like(column) for like, column in zip(self.likes, columns, strict=True)]
        if self.names is None:
            return made[0]
        by_name = dict(zip(sorted(self.names), made, strict=True))
        return {name: by_name[name] for name in self.names}


def _open_rows(x: Any, what: str) -> tuple[Array, Callable[[Array], Any]]:
    """Return rows that have no gaps, and what makes an array of the same library."""
    like: Callable[[Array], Any] = _as_it_is
    if isinstance(x, np.ndarray) and not isinstance(x, np.ma.MaskedArray):
        array = np.asarray(x)  # of any dtype
    else:
        seen = view(x, what=what)
        array, like = seen.array, seen.like
    if array.dtype.hasobject:
        raise TypeError(f"{what}: expected elements without Python objects, got {array.dtype}")
    if array.ndim == 0:
        raise ValueError(f"{what}: expected at least one dimension, got a 0-d array")
    if len(array) and not array[0].flags.c_contiguous:
        array = np.ascontiguousarray(array)
    return array, like


def _as_it_is(array: Array) -> Array:
    return array


def open_destinations(x: npt.ArrayLike, rows: int, call: str) -> Array:
    """Return destinations as the kernels take them; raises TypeError and ValueError."""
    what = f"{call}: destinations"
    array = np.asarray(x) if isinstance(x, (np.ndarray, list, tuple)) else view(x, what=what).array
    if array.size == 0 and isinstance(x, (list, tuple)):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{what}: expected integers, got {array.dtype}")
    if array.shape != (rows,):
        raise ValueError(f"{what}: expected one for each of {rows} rows, got shape {array.shape}")
    native: Array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return native


def count(destinations: Array, ranks: int, call: str) -> Array:
    """Return how many rows are for each rank; raises IndexError for those that are for none."""
    counts, outside = _core.count_destinations(destinations, ranks)
    if outside is not None:
        raise IndexError(
            f"{call}: destinations: expected 0 to {ranks - 1}, got {destinations[outside]} for row {outside}"
        )
    return np.asarray(counts, np.int64)


def check_chunk(chunk_bytes: int, call: str) -> int:
    """Return it as an int; raises TypeError and ValueError."""
    value = operator.index(chunk_bytes)
    if value < _LEAST_CHUNK_BYTES:
        raise ValueError(f"{call}: expected chunk_bytes of at least {_LEAST_CHUNK_BYTES}, got {value}")
    return value


def move(
    columns: Sequence[Array],
    destinations: Array,
    counts: Array,
    comm: Communicator,
    chunk_bytes: int,
    call: str,
) -> list[Array]:
    """Return what the ranks send here, column by column, of arguments that all ranks have checked."""
    arriving = comm.all_to_all(counts)
    total = int(arriving.sum())
    outputs, _ = on_all_ranks(
        comm,
        call,
        lambda: [np.empty((total, *column.shape[1:]), column.dtype) for column in columns],
        lambda _: None,
    )
    ends = np.cumsum(arriving)[:-1]
    for column, output in zip(columns, outputs, strict=True):
        if math.prod(column.shape[1:]) * column.itemsize:
            comm._exchange(column, destinations, np.split(output, ends), chunk_bytes)
    return outputs
