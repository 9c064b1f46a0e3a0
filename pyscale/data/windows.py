"""Reading ahead: the windows of a rank's streams, each put together while earlier ones are delivered."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

import numpy as np

from pyscale.data.shards import Columns, ParquetShards
from pyscale.data.window import Piece, WindowOrder

Runs = list[tuple[int, range]]  # streams, and which steps of each


class Windows:
    """The windows that one rank reads in an epoch: of each stream, those in use and the next one."""

    def __init__(self, shards: ParquetShards, order: WindowOrder, num_threads: int) -> None:
        self._shards, self._order = shards, order
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="pyscale-windows")
        self._windows: dict[tuple[int, int], Future[Columns]] = {}
        self._blocks = _Blocks(shards)

    def request(self, runs: Runs) -> None:
        """Begin to make the windows that runs need."""
        for stream, steps in runs:
            for number, _ in self._order.windows(stream, steps):
                self._begin(stream, number)

    def take(self, runs: Runs) -> Columns:
        """Return the rows of runs that were requested; let go of the windows before them, begin the next."""
        parts = []
        for stream, steps in runs:
            self._begin(stream, self._order.windows(stream, steps)[-1][0] + 1)
        for stream, steps in runs:
            windows = self._order.windows(stream, steps)
            for number, rows in windows:
                window = self._windows[stream, number].result()
                parts.append({name: array[rows.start : rows.stop] for name, array in window.items()})
            self._let_go(stream, windows[-1][0])
        if len(parts) == 1:
            return parts[0]
        return {
            name: np.concatenate([part[name] for part in parts]) if parts else np.empty((0, *shape), dtype)
            for name, (dtype, shape) in self._shards.dtypes.items()
        }

    def close(self) -> None:
        """Let go of everything; returns when no thread is reading any more."""
        self._threads.shutdown(cancel_futures=True)
        self._windows.clear()

    def _begin(self, stream: int, number: int) -> None:
        if (stream, number) not in self._windows and self._order.window(stream, number):
            self._windows[stream, number] = self._threads.submit(self._make, stream, number)

    def _let_go(self, stream: int, before: int) -> None:
        passed = [key for key in self._windows if key[0] == stream and key[1] < before]
        for key in passed:
            del self._windows[key]
        if passed:
            self._blocks.let_go(stream, before)

    def _make(self, stream: int, number: int) -> Columns:
        within = self._order.within(stream, number)
        out = {
            name: np.empty((len(within), *shape), dtype)
            for name, (dtype, shape) in self._shards.dtypes.items()
        }
        for piece in self._order.pieces(stream, number):
            places = within.inverse(np.arange(piece.offset, piece.offset + len(piece.rows)))
            for name, array in self._blocks.read(stream, piece).items():
                out[name][places] = array[piece.rows.start : piece.rows.stop]
            self._blocks.made(stream, number, piece.block)
        return out


class _Blocks:
    """Blocks that several windows of a stream need: read once, and held until all of them are made."""

    def __init__(self, shards: ParquetShards) -> None:
        self._shards = shards
        self._lock = Lock()
        self._held: dict[tuple[int, int], tuple[Future[Columns], set[int]]] = {}
        self._passed: dict[int, int] = {}  # of each stream, the windows before which are not needed any more

    def read(self, stream: int, piece: Piece) -> Columns:
        """Return the columns of the block of a piece."""
        with self._lock:
            held = self._held.get((stream, piece.block))
            if held is None:
                future: Future[Columns] = Future()
                waiting = set(piece.windows[max(0, self._passed.get(stream, 0) - piece.windows.start) :])
                self._held[stream, piece.block] = future, waiting
        if held is not None:
            return held[0].result()
        try:
            future.set_result(self._shards.read(piece.block))
        except BaseException as error:
            future.set_exception(error)
            raise
        return future.result()

    def made(self, stream: int, number: int, block: int) -> None:
        """Let go of a block if no other window needs it, now that this one has it."""
        with self._lock:
            self._drop((stream, block), {number})

    def let_go(self, stream: int, before: int) -> None:
        """Let go of what only the windows before this one need."""
        with self._lock:
            self._passed[stream] = before
            for key in [key for key in self._held if key[0] == stream]:
                self._drop(key, set(range(min(self._held[key][1], default=before), before)))

    def _drop(self, key: tuple[int, int], windows: set[int]) -> None:
        held = self._held.get(key)
        if held is not None:
            held[1].difference_update(windows)
            if not held[1]:
                del self._held[key]
