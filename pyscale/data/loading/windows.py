"""Reading ahead: the windows of a rank's streams, each put together while earlier ones are delivered."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from threading import Lock

import numpy as np

from pyscale import _core
from pyscale.data.arguments import Indices
from pyscale.data.loading.buffers import Buffers
from pyscale.data.orders.window import Piece, Share, WindowOrder
from pyscale.data.tables.shards import Columns, ParquetShards

_Futures = dict[tuple[int, int], Future[Columns]]  # of windows, by stream and number


class Windows:
    """The windows that one rank reads in an epoch: of each stream, those in use and the next one.

    No more than `rows` are asked for at once.
    """

    def __init__(
        self, shards: ParquetShards, order: WindowOrder, buffers: Buffers, rows: int, num_threads: int
    ) -> None:
        self._order, self._buffers, self._rows = order, buffers, rows
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="pyscale-windows")
        self._windows: _Futures = {}
        self._closing = False
        self._blocks = _Blocks(shards)

    def read(self, shares: list[Share], rows: int) -> Future[Columns]:
        """Begin to make the columns of so many rows, of which shares say where they are from."""
        for share in shares:
            for number, _ in self._order.by_window(share.steps):
                self._begin(share.stream, number)
        return self._threads.submit(self._fill, shares, rows, dict(self._windows))

    def move_on(self, shares: list[Share]) -> None:
        """Begin the windows that follow those of shares, which have been read; let go of those before."""
        for share in shares:
            number, _ = self._order.by_window(share.steps)[-1]
            self._begin(share.stream, number + 1)
            for key in [key for key in self._windows if key[0] == share.stream and key[1] < number]:
                del self._windows[key]
            self._blocks.let_go(share.stream, number)

    def close(self) -> None:
        """Let go of everything; returns when no thread is reading any more."""
        self._closing = True
        self._threads.shutdown(cancel_futures=True)
        self._windows.clear()

    def _begin(self, stream: int, number: int) -> None:
        if (stream, number) not in self._windows and self._order.window(stream, number):
            self._windows[stream, number] = self._threads.submit(self._make, stream, number)

    def _fill(self, shares: list[Share], rows: int, windows: _Futures) -> Columns:
        out = self._buffers.take(rows, self._rows)
        for stream, steps, places in shares:
            for number, chosen in self._order.by_window(steps):
                # Begun before this, so that it cannot be waiting for a thread that waits here.
                window = windows[stream, number].result()
                within = steps[chosen] - number * self._order.window_size
                _place(window, within, out, places[chosen])
        return out

    def _make(self, stream: int, number: int) -> Columns:
        within = self._order.within(stream, number)
        out = self._buffers.take(len(within), self._order.window_size)
        for piece in self._order.pieces(stream, number):
            if self._closing:
                raise CancelledError
            columns = self._blocks.read(stream, piece)
            rows = np.arange(piece.rows.start, piece.rows.stop)
            places = within.inverse(np.arange(piece.offset, piece.offset + len(rows)))
            _place(columns, rows, out, places)
            self._blocks.made(stream, number, piece.block)
        return out


class _Blocks:
    """Blocks that several windows need: read once, and held until all of those are made."""

    def __init__(self, shards: ParquetShards) -> None:
        self._shards = shards
        self._lock = Lock()
        # With each, the windows that still need it, by stream and number.
        self._held: dict[int, tuple[Future[Columns], set[tuple[int, int]]]] = {}
        self._passed: dict[int, int] = {}  # of each stream, the windows before which are not needed any more

    def read(self, stream: int, piece: Piece) -> Columns:
        """Return the columns of the block of a piece."""
        with self._lock:
            held = self._held.get(piece.block)
            future, waiting = held or (Future(), set())
            first = max(0, self._passed.get(stream, 0) - piece.windows.start)
            waiting |= {(stream, number) for number in piece.windows[first:]}
            self._held[piece.block] = future, waiting
        if held is not None:
            return future.result()
        try:
            future.set_result(self._shards.read(piece.block))
        except BaseException as error:
            future.set_exception(error)
            raise
        return future.result()

    def made(self, stream: int, number: int, block: int) -> None:
        """Let go of a block if no other window needs it, now that this one has it."""
        with self._lock:
            self._drop(block, {(stream, number)})

    def let_go(self, stream: int, before: int) -> None:
        """Let go of what only the windows of a stream before this one need."""
        with self._lock:
            self._passed[stream] = before
            for block, (_, waiting) in list(self._held.items()):
                self._drop(block, {key for key in waiting if key[0] == stream and key[1] < before})

    def _drop(self, block: int, windows: set[tuple[int, int]]) -> None:
        held = self._held.get(block)
        if held is not None:
            held[1].difference_update(windows)
            if not held[1]:
                del self._held[block]


def _place(columns: Columns, rows: Indices, out: Columns, places: Indices) -> None:
    """Put rows of columns where they belong in others; without Python's lock, but for Python objects."""
    plain = [name for name, array in out.items() if not array.dtype.hasobject]
    _core.place_columns([columns[name] for name in plain], rows, [out[name] for name in plain], places)
    for name in out.keys() - plain:
        out[name][places] = columns[name][rows]
