"""A global shuffle of rows in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pyscale.comm import Communicator, world
from pyscale.data.agreement import check_same, on_all_ranks
from pyscale.data.orders.permutation import Permutation
from pyscale.data.rows.exchange import CHUNK_BYTES, check_chunk, count, move
from pyscale.data.rows.gather import scatter_rows
from pyscale.data.rows.table import Table
from pyscale.data.shares import share

_BLOCK = 1 << 16  # rows whose places are looked up at a time


def shuffle_in_memory(
    rows: Any,
    comm: Communicator | None = None,
    *,
    seed: int = 0,
    epoch: int = 0,
    chunk_bytes: int = CHUNK_BYTES,
) -> Any:
    """Shuffle the rows of all ranks, and return this rank's share of them. Collective.

    The result is a function of the rows and their order alone: all ranks' results, one after the other, are
    ``everything[Permutation(n, seed=seed, epoch=epoch)[:]]``, where `everything` are the `n` rows of all
    ranks, one after the other. How many ranks there are, and how many rows each has, makes no difference.

    Parameters
    ----------
    rows : array, or mapping of str to array
        As for `exchange`; any number of rows on each rank.
    comm : Communicator, optional
        `pyscale.world()` where it is None.
    seed, epoch : int
        Of the order, as for `Permutation`; the same on every rank.
    chunk_bytes : int
        As for `exchange`.

    Returns
    -------
    array, or dict of str to array
        In the form of `rows`. Shares differ by one row at most, and the first ranks have the larger ones:
        whatever the ranks came with, they leave with equal work.

    Raises
    ------
    TypeError, ValueError, CommMismatch, MemoryError, CommError, CommTimeout
        As `exchange`.

    Notes
    -----
    A rank holds the rows it had, those it gets, one column of those once more in its order, and 20 bytes a
    row for their places.
    """
    comm = world() if comm is None else comm
    call = "shuffle_in_memory"

    def look() -> Table:
        Permutation(0, seed=seed, epoch=epoch)  # refuses what is no seed
        check_chunk(chunk_bytes, call)
        return Table.of(rows, call)

    table, told = on_all_ranks(
        comm,
        call,
        look,
        lambda table: (table.length, f"{table.text}, seed {seed}, epoch {epoch}, chunk_bytes {chunk_bytes}"),
    )
    check_same(call, [text for _, text in told])
    lengths = [length for length, _ in told]
    order = Permutation(sum(lengths), seed=seed, epoch=epoch)
    places, owners = _look_up(order, sum(lengths[: comm.rank]), table.length, comm.size)
    *arrived, places = move(
        [*table.columns, places], owners, count(owners, comm.size, call), comm, chunk_bytes, call
    )
    places -= share(len(order), comm.rank, comm.size)[0]
    shuffled = []
    while arrived:  # each column goes before the next one comes
        column = arrived.pop(0)
        ordered = np.empty_like(column)
        scatter_rows(column, places, ordered)
        shuffled.append(ordered)
        del column
    return table.like(shuffled)


def _look_up(
    order: Permutation, first: int, length: int, ranks: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return where each of the rows from `first` on goes in the order, and which rank has that place."""
    places, owners = np.empty(length, np.int64), np.empty(length, np.int32)
    starts = np.array([share(len(order), rank, ranks)[0] for rank in range(1, ranks)], np.int64)
    for start in range(0, length, _BLOCK):
        part = slice(start, min(start + _BLOCK, length))
        places[part] = order.inverse(np.arange(first + part.start, first + part.stop))
        owners[part] = np.searchsorted(starts, places[part], side="right")
    return places, owners
