"""Rows between ranks: each to the rank that is named for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pyscale import _core
from pyscale.arrays import view
from pyscale.comm import Communicator, world
from pyscale.data.agreement import check_same, on_all_ranks
from pyscale.data.arguments import integer, without_mask
from pyscale.data.rows.table import Table

Array = npt.NDArray[Any]

# In shared memory larger ones are no faster (bench/bench_exchange.py --chunks). Between nodes they are, by up
# to a third: this is a bound on memory.
CHUNK_BYTES = 64 << 20
_LEAST_CHUNK_BYTES = 64


def exchange(
    rows: Any,
    destinations: npt.ArrayLike,
    comm: Communicator | None = None,
    *,
    out: Any = None,
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
    out : array, or mapping of str to array, optional
        In the form of `rows`, contiguous, apart from them, and with room for at least as many rows as come:
        they go to its beginning, which is what is returned. Each rank's own affair. New arrays, made where it
        is None, get their pages from the kernel, which takes about as long as to move the rows.
    chunk_bytes : int
        The most memory, on each rank, beyond the rows given and those returned; at least 64. The same on
        every rank. Ranks that share memory use 16 MiB of it at most. A copy of rows whose elements do not lie
        one after the other comes on top.

    Returns
    -------
    array, or dict of str to array
        The rows for this rank, those from rank 0 first, and those from one rank in their order there. Of the
        library of `rows`; columns in the order in which this rank gave them.

    Raises
    ------
    TypeError, ValueError, IndexError
        What a rank gave is none of the above, or `out` has too few rows. On every rank, naming that one,
        before any row moves.
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

    def look() -> tuple[Table, Array, Array, list[Array] | None]:
        table = Table.of(rows, call)
        to = open_destinations(destinations, table.length, call)
        room = None if out is None else table.room_in(out, call, apart_from=[to])
        return table, to, count(to, comm.size, call), room

    (table, to, counts, room), texts = on_all_ranks(
        comm, call, look, lambda seen: f"{seen[0].text}, chunk_bytes {check_chunk(chunk_bytes, call)}"
    )
    check_same(call, texts)
    return table.like(move(table.columns, to, counts, comm, chunk_bytes, call, room))


def open_destinations(x: npt.ArrayLike, rows: int, call: str) -> Array:
    """Return destinations as the kernels take them; raises TypeError and ValueError."""
    what = f"{call}: destinations"
    if isinstance(x, (np.ndarray, list, tuple)):
        array = without_mask(f"{what}: expected integers", x)
    else:
        array = view(x, what=what).array
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
    return integer(f"{call}: expected chunk_bytes", chunk_bytes, _LEAST_CHUNK_BYTES, (1 << 63) - 1)


def move(
    columns: Sequence[Array],
    destinations: Array,
    counts: Array,
    comm: Communicator,
    chunk_bytes: int,
    call: str,
    room: list[Array] | None = None,
) -> list[Array]:
    """Return what the ranks send here, column by column, of arguments that all ranks have checked."""
    arriving = comm.all_to_all(counts)
    total = int(arriving.sum())

    def reserve() -> list[Array]:
        if room is None:
            return [np.empty((total, *column.shape[1:]), column.dtype) for column in columns]
        if (least := min(map(len, room))) < total:
            raise ValueError(f"{call}: out: expected room for the {total} rows that come, got {least}")
        return [array[:total] for array in room]

    outputs, _ = on_all_ranks(comm, call, reserve, lambda _: None)
    ends = np.cumsum(arriving)[:-1]
    for column, output in zip(columns, outputs, strict=True):
        if math.prod(column.shape[1:]) * column.itemsize:
            comm._exchange(column, destinations, np.split(output, ends), chunk_bytes)
    return outputs
