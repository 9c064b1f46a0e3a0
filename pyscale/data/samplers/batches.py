"""One rank's batches of an epoch: the same number of them on every rank."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sized

import numpy as np

from pyscale.comm import Communicator
from pyscale.data.arguments import Indices, integer
from pyscale.data.orders.order import Order, Plan
from pyscale.data.orders.window import Share, WindowOrder
from pyscale.data.samplers.base import Remainder, Sampler, Shuffle
from pyscale.data.shares import share


class ShardedBatchSampler(Sampler[list[int]]):
    """One rank's batches of each epoch: the same number of them on every rank.

    A global batch, which is the batches of all ranks at one step, has the next ``R * batch_size`` positions
    of the epoch's order, which does not depend on the ranks; each rank has its part of them, one after the
    other. With ``remainder="exact"`` the last global batch is what is left, split evenly, so that batches are
    shorter, or empty where less is left than there are ranks; `num_valid` has the number of its samples, for
    means over all ranks.

    Parameters
    ----------
    data, num_replicas, rank, comm, shuffle, seed, remainder, block_size, window
        As of `ShardedSampler`, but that with "pad" and "drop" the last batch is shorter, on all ranks alike.
    batch_size : int
        Of a rank.
    drop_last : bool
        Leave out the last global batch where it is not full.

    See Also
    --------
    ShardedSampler, BalancedBatchSampler
    """

    def __init__(
        self,
        data: Sized | int | Plan,
        batch_size: int,
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
        self.batch_size = integer("ShardedBatchSampler: expected batch_size", batch_size, 1, (1 << 40) - 1)
        super().__init__(
            data,
            num_replicas=num_replicas,
            rank=rank,
            comm=comm,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
            remainder=remainder,
            block_size=block_size,
            window=window,
        )

    @property
    def global_batch_size(self) -> int:
        """The samples of a step, of all ranks together; the last step may have fewer."""
        return self.num_replicas * self.batch_size

    def __getitem__(self, step: int) -> list[int]:
        """Return the batch of a step of the iteration that was begun last; of the next where none was."""
        batch: list[int] = self.indices(step).tolist()
        return batch

    def indices(self, step: int) -> Indices:
        """Return the same as an array of int64."""
        epoch, start = self._current()
        return self._batch(self._order(epoch), *self._bounds(start, self._step(step)))

    def num_valid(self, step: int) -> int:
        """Return the samples of a step, of all ranks together, those that complete it not counted."""
        begin, end = self._bounds(self._current()[1], self._step(step))
        return min(end, len(self.plan)) - begin

    def _step(self, step: int) -> int:
        index = operator.index(step)
        if not -len(self) <= index < len(self):
            raise IndexError(f"{type(self).__name__}: expected a step of {len(self)}, got {index}")
        return index % len(self)

    def _bounds(self, start: int, step: int) -> tuple[int, int]:
        begin = start + step * self.global_batch_size
        return begin, min(begin + self.global_batch_size, self._end(start, self.num_replicas))

    def _batch(self, order: Order, begin: int, end: int) -> Indices:
        """Return this rank's part of positions `begin` to ``end - 1``."""
        first, last = share(end - begin, self.rank, self.num_replicas)
        if end <= len(order):
            return order._part(begin, end, first, last)
        return self._padded(order, begin + first, begin + last)

    def shares(self, first: int, last: int) -> list[Share]:
        """Return the batches of steps `first` to ``last - 1`` by the streams of a `Window`."""
        epoch, start = self._current()
        order = self._order(epoch)
        bounds = np.array([self._bounds(start, step) for step in range(first, last)]).reshape(-1, 2)
        if not isinstance(order, WindowOrder) or (bounds > len(order)).any():
            raise TypeError("ShardedBatchSampler.shares: expected a plan of windows, and no padding")
        own = [share(end - begin, self.rank, self.num_replicas) for begin, end in bounds.tolist()]
        return order.shares(*bounds.T, *np.array(own).reshape(-1, 2).T)

    def size(self, step: int) -> int:
        """Return the length of the batch of a step."""
        begin, end = self._bounds(self._current()[1], self._step(step))
        first, last = share(end - begin, self.rank, self.num_replicas)
        return last - first

    def _iterate(self, order: Order, start: int) -> BatchIterator:
        return BatchIterator(
            self._batch(order, *self._bounds(start, step)) for step in range(self._steps(start))
        )

    def _steps(self, start: int) -> int:
        samples = self._end(start, self.num_replicas) - start
        return samples // self.global_batch_size if self.drop_last else -(-samples // self.global_batch_size)

    def _count(self, start: int) -> int:
        return self._steps(start)

    def _position(self, start: int, delivered: int) -> int:
        return min(start + delivered * self.global_batch_size, len(self.plan))


class BatchIterator:
    """Batches as lists, counted."""

    def __init__(self, batches: Iterator[Indices]) -> None:
        self._batches = batches
        self.delivered, self.exhausted = 0, False

    def __iter__(self) -> BatchIterator:
        return self

    def __next__(self) -> list[int]:
        try:
            batch: list[int] = next(self._batches).tolist()
        except StopIteration:
            self.exhausted = True
            raise
        self.delivered += 1
        return batch
