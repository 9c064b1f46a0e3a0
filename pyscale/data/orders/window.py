"""An order for files that are read from front to back: shuffled blocks, then shuffled windows of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from pyscale.data.arguments import Indices, integer, integers
from pyscale.data.orders.digest import digest
from pyscale.data.orders.order import Order, Plan, Sequential
from pyscale.data.orders.permutation import VERSION, Permutation
from pyscale.data.shares import share


class Piece(NamedTuple):
    """A part of a block that is in a window."""

    block: int
    rows: range  # of the block
    offset: int  # in the window, before that is shuffled
    windows: range  # of the stream: all that have a part of this block


class Share(NamedTuple):
    """What a rank has of a stream: runs of its steps, ascending."""

    stream: int
    counts: Indices  # of steps in each run
    first_steps: Indices
    first_places: Indices  # of those, among all that the rank has; the places of a run follow each other too

    @property
    def end(self) -> int:
        """A step after the last, and none of the rank's is before it and after that one."""
        return int(self.first_steps[-1] + self.counts[-1])

    def windows(self, window_size: int) -> list[int]:
        """Return the numbers of the windows that the steps are of."""
        ends = self.first_steps + self.counts - 1
        firsts, lasts = (x[self.counts > 0] // window_size for x in (self.first_steps, ends))
        numbers: list[int] = np.unique(_ranges(firsts, lasts - firsts + 1)).tolist()
        return numbers

    def by_window(self, window_size: int) -> Iterator[tuple[int, slice | Indices, Indices]]:
        """Give the steps by windows: its number, the steps from the start of the window, and their places."""
        places = _ranges(self.first_places, self.counts)
        start, stop = int(self.first_steps[0]), self.end
        if stop - start == len(places):  # all one after the other
            for number in range(start // window_size, (stop - 1) // window_size + 1):
                first = number * window_size
                low, high = max(start, first), min(stop, first + window_size)
                yield number, slice(low - first, high - first), places[low - start : high - start]
            return
        steps = _ranges(self.first_steps, self.counts)
        numbers = steps // window_size
        cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(steps)]
        for low, high in pairwise(cuts):
            number = int(numbers[low])
            yield number, steps[low:high] - number * window_size, places[low:high]


class Blocks:
    """Consecutive samples, as files or row groups hold them, one block after the other in a random order."""

    def __init__(self, sizes: Indices, permutation: Permutation | Sequential) -> None:
        self._sizes, self._order = sizes, permutation[:]
        self._firsts = np.concatenate([[0], np.cumsum(sizes)])[self._order]
        self._starts = np.concatenate([[0], np.cumsum(sizes[self._order])])

    def size(self, block: int) -> int:
        """Return the number of samples of a block."""
        return int(self._sizes[block])

    def samples(self, sequence: Indices) -> Indices:
        """Return what stands at positions of the sequence of blocks."""
        slots = np.searchsorted(self._starts, sequence, "right") - 1
        samples: Indices = self._firsts[slots] + (sequence - self._starts[slots])
        return samples

    def slots(self, start: int, stop: int) -> tuple[Indices, Indices, Indices]:
        """Return the blocks at positions `start` to ``stop - 1``: their numbers, first samples, places."""
        low = int(np.searchsorted(self._starts, start, "right")) - 1
        high = int(np.searchsorted(self._starts, stop, "left"))
        return self._order[low:high], self._firsts[low:high], self._starts[low:high]


class EvenBlocks:
    """Blocks of one size, but for the last sample's: the same in constant memory."""

    def __init__(self, n: int, size: int, permutation: Permutation | Sequential) -> None:
        self._n, self._size, self._permutation = n, size, permutation
        self._short = n % size or size
        self._slot_of_short = permutation.inverse(len(permutation) - 1)

    def size(self, block: int) -> int:
        """Return the number of samples of a block."""
        return min(self._size, self._n - block * self._size)

    def samples(self, sequence: Indices) -> Indices:
        """Return the same as `Blocks.samples`."""
        # Behind the short block, counted from its end: to count it as a whole one could pass 2^63.
        after = sequence >= self._slot_of_short * self._size + self._short
        slots, within = np.divmod(sequence - after * self._short, self._size)
        samples: Indices = self._permutation._at(slots + after) * self._size + within
        return samples

    def slots(self, start: int, stop: int) -> tuple[Indices, Indices, Indices]:
        """Return the same as `Blocks.slots`."""
        slots = np.arange(self._slot(start), self._slot(stop - 1) + 1)
        blocks = self._permutation.indices(int(slots[0]), int(slots[-1]) + 1)
        missing = (slots > self._slot_of_short) * (self._size - self._short)
        return blocks, blocks * self._size, slots * self._size - missing

    def _slot(self, position: int) -> int:
        before = self._slot_of_short * self._size
        if position < before + self._short:
            return position // self._size
        return 1 + (position - self._short) // self._size


class WindowOrder(Order):
    """The order of one epoch of a `Window`."""

    def __init__(self, plan: Window, *, seed: int, epoch: int) -> None:
        self._n, self.streams, self.window_size = len(plan), plan.streams, plan.window_of_stream
        self._seed, self._epoch, self._shuffle = seed, epoch, plan.shuffle
        permutation = self._permutation(plan.num_blocks, 0)
        self.blocks: Blocks | EvenBlocks
        if plan.sizes is None:
            self.blocks = (
                EvenBlocks(self._n, plan.block_size, permutation) if self._n else Blocks(_NONE, permutation)
            )
        else:
            self.blocks = Blocks(plan.sizes, permutation)
        self._windows: OrderedDict[tuple[int, int], Permutation | Sequential] = OrderedDict()

    def __len__(self) -> int:
        return self._n

    def _permutation(self, n: int, key: int) -> Permutation | Sequential:
        if not self._shuffle:
            return Sequential(n)
        return Permutation(n, seed=self._seed, epoch=self._epoch, stream=key)

    def shares(self, begins: Indices, ends: Indices, firsts: Indices, lasts: Indices) -> list[Share]:
        """Return of each global batch the part that is one rank's, by streams.

        The samples at positions ``begins[t]`` to ``ends[t] - 1`` are numbered by their streams, so that a
        part of them is from few; the rank has number ``firsts[t]`` to ``lasts[t] - 1``. Places are given to
        what it has in all batches, one after the other.
        """
        streams = np.arange(self.streams)
        starts, stops = (-((streams - x[:, None]) // self.streams) for x in (begins, ends))
        before = np.cumsum(stops - starts, axis=1) - (stops - starts)
        low, high = (np.clip(x[:, None] - before, 0, stops - starts) for x in (firsts, lasts))
        sizes = lasts - firsts
        steps, places = (starts + low).T, ((np.cumsum(sizes) - sizes - firsts)[:, None] + before + low).T
        return [
            Share(stream, counts, steps[stream], places[stream])
            for stream, counts in enumerate((high - low).T)
            if counts.any()
        ]

    def stream(self, stream: int) -> range:
        """Return the part of the sequence of blocks that a stream reads, one position after the other."""
        return range(*share(self._n, stream, self.streams))

    def window(self, stream: int, number: int) -> range:
        """Return the part of the sequence of blocks that a window holds."""
        return self.stream(stream)[number * self.window_size : (number + 1) * self.window_size]

    def within(self, stream: int, number: int, steps: slice | Indices) -> Indices:
        """Return where steps of a window, counted from its start, are in what it holds."""
        return _at(self._within(stream, number), steps)

    def _within(self, stream: int, number: int) -> Permutation | Sequential:
        windows = -(-self._n // self.window_size)  # at most so many in a stream
        return self._permutation(len(self.window(stream, number)), 1 + stream * windows + number)

    def pieces(self, stream: int, number: int) -> list[Piece]:
        """Return what a window holds, as parts of blocks, in the sequence of blocks."""
        part, whole = self.window(stream, number), self.stream(stream)
        if not part:
            return []
        blocks, _, starts = (array.tolist() for array in self.blocks.slots(part.start, part.stop))
        ends = [*starts[1:], min(starts[-1] + self.blocks.size(blocks[-1]), whole.stop)]
        return [
            Piece(
                block,
                range(max(part.start, start) - start, min(part.stop, end) - start),
                max(part.start, start) - part.start,
                range(
                    (max(start, whole.start) - whole.start) // self.window_size,
                    (min(end, whole.stop) - 1 - whole.start) // self.window_size + 1,
                ),
            )
            for block, start, end in zip(blocks, starts, ends, strict=True)
            if start < end
        ]

    def _at(self, positions: Indices) -> Indices:
        # Position p is step p // streams of stream p % streams.
        steps, streams = np.divmod(positions.reshape(-1), self.streams)
        numbers, steps = np.divmod(steps, self.window_size)
        sequence = np.empty(positions.size, np.int64)
        # Where all is in the order of its windows, which is how it is read, the sort has nothing to do.
        keys = numbers * self.streams + streams
        by_window = np.argsort(keys, kind="stable")
        bounds = np.flatnonzero(np.diff(keys[by_window], prepend=-1, append=-1))
        for low, high in pairwise(bounds.tolist()):
            chosen = by_window[low:high]
            stream, number = int(streams[chosen[0]]), int(numbers[chosen[0]])
            sequence[chosen] = self._shuffled(stream, number, steps[chosen])
        return self.blocks.samples(sequence).reshape(positions.shape)

    def _part(self, begin: int, end: int, first: int, last: int) -> Indices:
        sequence = np.empty(last - first, np.int64)
        for share_of_stream in self.shares(*np.array([[begin], [end], [first], [last]])):
            for number, within, places in share_of_stream.by_window(self.window_size):
                sequence[places] = self._shuffled(share_of_stream.stream, number, within)
        return self.blocks.samples(sequence)

    def _shuffled(self, stream: int, number: int, steps: slice | Indices) -> Indices:
        """Return where steps of a window stand in the sequence of blocks; the last windows are kept."""
        found = self._windows.get((stream, number))
        if found is None:
            found = self._within(stream, number)
            self._windows[stream, number] = found
            if len(self._windows) > self.streams + 1:
                self._windows.popitem(last=False)
        return self.window(stream, number).start + _at(found, steps)


class Window(Plan):
    """All samples, in an order that reads them nearly from front to back: for files, and memory mapped.

    Blocks of consecutive samples are put into a random order; what they hold, one block after the other, is
    cut into windows, and each window is shuffled. A reader so needs the blocks of one window at a time.

    With several `streams`, the blocks in their random order are cut into as many parts of equal length,
    which are read side by side, each with a window of its own of ``window / streams`` samples: position ``p``
    of the epoch is step ``p // streams`` of stream ``p % streams``. So ranks can read from different files,
    and the order depends on `streams` alone, not on how many ranks there are.

    Parameters
    ----------
    n : int, or sequence of int
        The number of samples; or the size of each block, where they differ.
    block_size : int
        Samples in a block. Not given where `n` has the sizes.
    window : int
        Samples that are shuffled together, in all streams: what a reader has to hold.
    streams : int
    shuffle : bool
        False: blocks and windows stay as they are, and only the streams are side by side.
    identity : str
        What tells these samples from others of as many, such as names of files: a state is of one of them.

    Notes
    -----
    How good the shuffle is: two samples of one global batch come from the same block with a probability of
    about ``block_size / window``, which a full shuffle has at ``block_size / n``. In the worst case, where
    all the samples of a block are alike, the mean of a global batch so varies more than that of a full
    shuffle, by about `variance_inflation`: 1.13 for batches of 256, blocks of 1,000 and windows of 2,000,000.
    (The part of one rank, which is from few streams, varies more.)
    """

    def __init__(
        self,
        n: int | Sequence[int],
        *,
        window: int,
        block_size: int | None = None,
        streams: int = 1,
        shuffle: bool = True,
        identity: str = "",
    ) -> None:
        self._identity = identity
        self.shuffle = bool(shuffle)
        self.streams = integer("Window: expected streams", streams, 1, 1 << 12)
        self.sizes: Indices | None = None
        if np.ndim(n) == 0:
            self._n = integer("Window: expected n", n, 0, (1 << 63) - 1)
            if block_size is None:
                raise TypeError("Window: expected block_size, or the sizes of the blocks in the place of n")
            self.block_size = integer("Window: expected block_size", block_size, 1, (1 << 63) - 1)
            self.num_blocks = -(-self._n // self.block_size)
        else:
            if block_size is not None:
                raise TypeError("Window: expected block_size or the sizes of the blocks, got both")
            self.sizes = integers("Window: expected sizes", n).copy()  # which the caller may change
            if self.sizes.ndim != 1 or (self.sizes < 0).any():
                raise ValueError("Window: expected a list of sizes from 0, got " + repr(n))
            self._n = integer("Window: expected sizes with a sum", sum(self.sizes.tolist()), 0, (1 << 63) - 1)
            self.num_blocks = len(self.sizes)
            self.block_size = max(1, -(-self._n // max(1, self.num_blocks)))
        self._blocks = self.block_size if self.sizes is None else digest(self.sizes)
        self._window = integer("Window: expected window", window, 1, (1 << 63) - 1)

    def __len__(self) -> int:
        return self._n

    @property
    def window_of_stream(self) -> int:
        """The samples of one stream that are shuffled together."""
        return max(1, self._window // self.streams)

    def variance_inflation(self, batch_size: int) -> float:
        """Return about how much more the mean of a global batch varies than that of a full shuffle.

        In the worst case, that samples of one block are all alike: the ratio of the variances is then near
        ``1 + (batch_size - 1) * same``, where `same` is the probability that two samples of a batch come from
        one block. That is for many blocks, of which a window has whole ones. Where windows cut blocks, or
        where there are few blocks, which a full shuffle brings together as well, it is a rough upper figure:
        26 for 20 blocks of 5,000 in windows of 50,000 and 8 streams, where about 7 was measured.
        """
        window = min(self.window_of_stream, self._n)
        same = (min(self.block_size, window) - 1) / max(1, window - 1) / self.streams
        return 1 + (batch_size - 1) * same

    def order(self, *, seed: int, epoch: int) -> WindowOrder:
        """Return the order of an epoch."""
        return WindowOrder(self, seed=seed, epoch=epoch)

    def describe(self) -> dict[str, Any]:
        """Return what tells this plan from others, in values that JSON has."""
        return {
            "kind": "window",
            "n": self._n,
            "blocks": self._blocks,
            "window": self._window,
            "streams": self.streams,
            "shuffle": self.shuffle,
            "identity": self._identity,
            "permutation": VERSION,
            "version": 1,
        }


_NONE = np.empty(0, np.int64)


def _at(order: Permutation | Sequential, positions: slice | Indices) -> Indices:
    return (
        order.indices(positions.start, positions.stop)
        if isinstance(positions, slice)
        else order._at(positions)
    )


def _ranges(starts: Indices, counts: Indices) -> Indices:
    """Return ranges, one after the other."""
    ends = np.cumsum(counts)
    values: Indices = np.arange(counts.sum()) + np.repeat(starts - (ends - counts), counts)
    return values
