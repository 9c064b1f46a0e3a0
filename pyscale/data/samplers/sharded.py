"""One rank's share of an epoch, a sample at a time."""

from __future__ import annotations

import operator
from collections.abc import Sized
from typing import Any, overload

from pyscale._iterate import IndexIterator
from pyscale.comm import Communicator
from pyscale.data.arguments import Indices
from pyscale.data.orders.order import Order, Plan
from pyscale.data.samplers.base import Remainder, Sampler, Shuffle

_CHUNK = 1 << 13  # indices that an iteration makes at a time


class ShardedSampler(Sampler[int]):
    """One rank's share of each epoch, a sample at a time.

    Rank ``r`` of ``R`` has positions ``r``, ``r + R``, ``r + 2 R``, … of the epoch's order, which does not
    depend on the ranks. Memory is constant, whatever the size of the data. For torch's DataLoader, it is a
    sampler; for batches, and the same number of them on all ranks, use `ShardedBatchSampler`.

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
        By default `pyscale.world`.
    shuffle : bool, "full" or "window"
        Every sample anywhere (True, "full"), or blocks and windows as in `Window`, of `block_size` samples
        and `window` samples. False: as they stand.
    seed : int
    drop_last : bool
        The same as ``remainder="drop"``.
    remainder : {"exact", "pad", "drop"}
        Where the ranks do not divide the samples: all once, so that some ranks have one more; the last ones
        completed from the first ones of the epoch; or left out.

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
        seed: int = 0,
        drop_last: bool = False,
        remainder: Remainder = "exact",
        block_size: int | None = None,
        window: int | None = None,
    ) -> None:
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
            start, stop, step = index.indices(count)
            return self._share(start, max(start, stop))[::step] if step > 0 else self._share(0, count)[index]
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

    def _share(self, first: int, last: int) -> Indices:
        epoch, start = self._current()
        return self._part(self._order(epoch), start, first, last)

    def _part(self, order: Order, start: int, first: int, last: int) -> Indices:
        step = self.num_replicas
        begin = start + self.rank + first * step
        return self._padded(order, begin, begin + max(0, last - first - 1) * step + (last > first), step)

    def _iterate(self, order: Order, start: int) -> IndexIterator:
        count = self._count(start)
        return IndexIterator(
            self._part(order, start, first, min(first + _CHUNK, count)) for first in range(0, count, _CHUNK)
        )

    def _steps(self, start: int) -> int:
        return -(-(self._end(start, self.num_replicas) - start) // self.num_replicas)

    def _count(self, start: int) -> int:
        return max(0, -(-(self._end(start, self.num_replicas) - start - self.rank) // self.num_replicas))

    def _position(self, start: int, delivered: int) -> int:
        return min(start + delivered * self.num_replicas, len(self.plan))
