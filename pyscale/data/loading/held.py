"""Blocks that several groups of batches have rows of: read once, and held until the last one has them."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock

from pyscale.data.tables.shards import Columns, ParquetShards


@dataclass
class _Block:
    ends: dict[int, int] = field(
        default_factory=dict
    )  # of streams, the window from which on it is not needed
    users: int = 0  # shares that are still to read it
    columns: Future[Columns] | None = None


class Held:
    """The blocks that a rank is at."""

    def __init__(self, shards: ParquetShards) -> None:
        self._shards = shards
        self._lock = Lock()
        self._blocks: dict[int, _Block] = {}
        self._of_stream: dict[int, set[int]] = {}  # which of these it has expected
        self._passed: dict[
            int, int
        ] = {}  # of each stream, the window before which nothing is needed any more

    def expect(self, stream: int, blocks: Iterable[tuple[int, int]], passed: int) -> None:
        """Say that a share will read blocks of a stream, given with the window at which each is over.

        Later shares will be from windows of the stream from `passed` on.
        """
        with self._lock:
            self._passed[stream] = passed
            expected = self._of_stream.setdefault(stream, set())
            for number, end in blocks:
                block = self._blocks.setdefault(number, _Block())
                block.ends[stream] = end
                block.users += 1
                expected.add(number)
            for number in list(expected):
                self._let_go(number)

    def columns(self, number: int) -> Columns:
        """Return the columns of a block that is expected; the first who asks reads it."""
        with self._lock:
            block = self._blocks[number]
            first = block.columns is None
            future = block.columns = block.columns or Future()
        if first:
            try:
                future.set_result(self._shards.read(number))
            except BaseException as error:
                future.set_exception(error)
                raise
        return future.result()

    def leave(self, number: int) -> None:
        """Say that a share has what it expected of a block."""
        with self._lock:
            self._blocks[number].users -= 1
            self._let_go(number)

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._blocks.clear()
            self._of_stream.clear()

    def _let_go(self, number: int) -> None:
        """Let go of a block that nobody needs, or will need."""
        block = self._blocks[number]
        passed = (end <= self._passed[stream] for stream, end in block.ends.items())
        if block.users == 0 and all(passed):
            del self._blocks[number]
            for stream in block.ends:
                self._of_stream[stream].discard(number)
