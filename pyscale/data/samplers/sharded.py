"""One rank's share of an epoch, a sample at a time."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sized
from typing import Any, overload

import numpy as np

from pyscale._iterate import IndexIterator
from pyscale.comm import Communicator
from pyscale.comm.together import together
from pyscale.data.arguments import Indices
from pyscale.data.orders.order import Order, Plan
from pyscale.data.samplers.base import Remainder, Sampler, Shuffle

_CHUNK = 1 << 13  # indices that an iteration makes at a time


class ShardedSampler(Sampler[int]):
    """One rank's share of each epoch, a sample at a time.

    Rank ``r`` of ``R`` has positions ``r``, ``r + R``, ``r + 2 R``, … of the epoch's order, which does not
    depend on the ranks. Memory is constant, whatever the size of the data. For torch's DataLoader it is a
    sampler. Shares may differ by one sample, and DataLoader's batches of them by one batch: use
    `ShardedBatchSampler` where all ranks must have as many.

    The epoch advances by itself: every iteration has the next one, and a new order. Not so where `set_epoch`
    was called.

    Parameters
    ----------
    data : sized, int or plan
        The data set, or its length; or what an epoch consists of: `Weighted`, `Mixture`, `Stratified`,
        `Window`.
    num_replicas, rank : int, optional
        The number of ranks, and which one this is. By default, those of `comm`.
    comm : Communicator, optional
        By default `pyscale.world`. Where it is given, making the sampler is collective: arguments that are
        wrong on one rank, or not the same on all, are an error on every rank.
    shuffle : bool, "full" or "window"
        Every sample anywhere (True, "full"), or blocks and windows as in `Window`, of `block_size` samples
        and `window` samples. False: as they stand.
    seed : int, optional
        By default 0, or that of `ParquetShards`.
    drop_last : bool
        The same as ``remainder="drop"``.
    remainder : {"exact", "pad", "drop"}
        Where the ranks do not divide the samples: all once, so that some ranks have one more; the last ones
        completed from the first ones of the epoch; or left out.

    Raises
    ------
    TypeError, ValueError
        For arguments that are not as said here.

    See Also
    --------
    ShardedBatchSampler
    """

    def __init__(
        self,
        data: Sized | int | Plan,
        *,
        num_replicas: int | None = None,
        rank: int | None = None,
        comm: Communicator | None = None,
        shuffle: Shuffle = True,
        seed: int | None = None,
        drop_last: bool = False,
        remainder: Remainder = "exact",
        block_size: int | None = None,
        window: int | None = None,
    ) -> None:
        with together(comm, "ShardedSampler"):
            if drop_last and remainder == "pad":
                raise ValueError("ShardedSampler: expected drop_last or remainder='pad', got both")
        super().__init__(
            data,
            num_replicas=num_replicas,
            rank=rank,
            comm=comm,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
            remainder="drop" if drop_last else remainder,
            block_size=block_size,
            window=window,
        )

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Indices: ...
    def __getitem__(self, index: Any) -> int | Indices:
        """Return what the iteration that was begun last delivers here, or the next: a sample, or a slice."""
        count = len(self)
        if isinstance(index, slice):
            chosen = range(*index.indices(count))
            if not chosen:
                return self._share(0, 0)
            low, high = sorted((chosen[0], chosen[-1]))
            samples = self._share(low, high + 1, abs(chosen.step))
            return samples if chosen.step > 0 else samples[::-1].copy()
        at = operator.index(index)
        if not -count <= at < count:
            raise IndexError(f"ShardedSampler: expected an index of {count}, got {at}")
        return int(self._share(at % count, at % count + 1)[0])

    def indices(self, start: int, stop: int) -> Indices:
        """Return the same of `start` to ``stop - 1``, with ``0 <= start <= stop <= len(self)``, as int64."""
        start, stop = operator.index(start), operator.index(stop)
        if not 0 <= start <= stop <= len(self):
            raise IndexError(
                f"ShardedSampler.indices: expected 0 <= start <= stop <= {len(self)}, got {start} and {stop}"
            )
        return self._share(start, stop)

    def _share(self, first: int, last: int, step: int = 1) -> Indices:
        epoch, start = self._current()
        return self._part(self._order(epoch), start, first, last, step)

    def _part(self, order: Order, start: int, first: int, last: int, step: int = 1) -> Indices:
        """Return number ``range(first, last, step)`` of what this rank has from `start` on."""
        positions = range(start + self.rank, len(order) + self.num_replicas, self.num_replicas)[
            first:last:step
        ]
        if not positions:
            return order._at(np.empty(0, np.int64))
        return self._padded(order, positions[0], positions[-1] + 1, positions.step)

    def __iter__(self) -> Iterator[int]:
        """Return an iterator of the rest of an epoch that was loaded, or of the next epoch."""
        mine: list[IndexIterator] = []
        mine.append(IndexIterator(self._chunks(mine)))
        return mine[0]

    def _chunks(self, iterator: list[IndexIterator]) -> Iterator[Indices]:
        iteration = self._begin(iterator.pop())
        count = self._count(iteration.start)
        for first in range(0, count, _CHUNK):
            yield self._part(iteration.order, iteration.start, first, min(first + _CHUNK, count))

    def _steps(self, start: int) -> int:
        return -(-(self._end(start, self.num_replicas) - start) // self.num_replicas)

    def _count(self, start: int) -> int:
        return max(0, -(-(self._end(start, self.num_replicas) - start - self.rank) // self.num_replicas))

    def _position(self, start: int, delivered: int) -> int:
        return min(start + delivered * self.num_replicas, len(self.plan))
