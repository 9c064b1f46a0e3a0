"""Reading ahead: groups of batches, each put together in threads while an earlier one is delivered."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from pyscale import _core
from pyscale.data.loading.buffers import Buffers
from pyscale.data.loading.held import Held
from pyscale.data.orders.window import Piece, Share, WindowOrder
from pyscale.data.tables.shards import Columns, ParquetShards

_Places = npt.NDArray[np.uint32]
_NOWHERE = np.iinfo(np.uint32).max


class Making:
    """A group of batches that threads are at."""

    def __init__(self, columns: Columns, shares: Sequence[Future[None]]) -> None:
        self._columns, self._shares = columns, shares

    def result(self) -> Columns:
        """Return its columns, once they are made."""
        for share in self._shares:
            share.result()
        return self._columns


class Groups:
    """What one rank reads in an epoch: of each stream, a thread reads what it has in a group.

    Parameters
    ----------
    size : int
        The most rows of a group.
    """

    def __init__(
        self, shards: ParquetShards, order: WindowOrder, buffers: Buffers, size: int, num_threads: int
    ) -> None:
        self._shards, self._order, self._buffers, self._size = shards, order, buffers, size
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="pyscale-groups")
        self._closing = False
        self._held = Held(shards)

    def make(self, shares: Sequence[Share], rows: int) -> Making:
        """Begin to make a group of so many rows, of which shares say where they are from."""
        out = {name: self._buffers.take(name, rows, self._size) for name in self._shards.dtypes}
        size = self._order.window_size
        tasks = []
        for share in shares:
            pieces = {number: self._order.pieces(share.stream, number) for number in share.windows(size)}
            blocks = [(piece.block, piece.windows.stop) for of_one in pieces.values() for piece in of_one]
            # Here, so that a group that is made later cannot let go of what this one needs.
            self._held.expect(share.stream, blocks, share.end // size)
            tasks.append(self._threads.submit(self._read, share, pieces, out))
        return Making(out, tasks)

    def close(self) -> None:
        """Let go of everything; returns when no thread is reading any more."""
        self._closing = True
        self._threads.shutdown(cancel_futures=True)
        self._held.close()
        self._shards.close()

    def _read(self, share: Share, pieces: dict[int, list[Piece]], out: Columns) -> None:
        order = self._order
        for number, steps, places in share.by_window(order.window_size):
            to = np.full(len(order.window(share.stream, number)), _NOWHERE, np.uint32)
            to[order.within(share.stream, number, steps)] = places.astype(np.uint32)
            for piece in pieces[number]:
                if self._closing:
                    raise CancelledError
                of_piece = to[piece.offset : piece.offset + len(piece.rows)]
                rows = None
                if len(places) < len(to):
                    rows = np.flatnonzero(of_piece != _NOWHERE).astype(np.uint32)
                    of_piece = of_piece[rows]
                if len(of_piece):
                    columns = self._held.columns(piece.block)
                    _place(_slice(columns, piece.rows), rows, out, of_piece)
                    del columns
                self._held.leave(piece.block)


def _slice(columns: Columns, rows: range) -> Columns:
    return {name: array[rows.start : rows.stop] for name, array in columns.items()}


def _place(columns: Columns, rows: _Places | None, out: Columns, places: _Places) -> None:
    """Put rows of columns where they belong in others; without Python's lock, but for Python objects."""
    plain = [name for name, array in out.items() if not array.dtype.hasobject]
    _core.place_columns([columns[name] for name in plain], rows, [out[name] for name in plain], places)
    for name in out.keys() - plain:
        column: npt.NDArray[Any] = columns[name]
        out[name][places] = column if rows is None else column[rows]
