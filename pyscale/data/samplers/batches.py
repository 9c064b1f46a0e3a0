"""One rank's batches of an epoch: the same number of them on every rank."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sized

import numpy as np

from pyscale.comm import Communicator
from pyscale.comm.together import agree, together
from pyscale.data.arguments import Indices, integer
from pyscale.data.orders.order import Order, Plan
from pyscale.data.orders.window import Share, WindowOrder
from pyscale.data.samplers.base import Remainder, Sampler, Shuffle
from pyscale.data.samplers.progress import Iteration
from pyscale.data.shares import share


class ShardedBatchSampler(Sampler[list[int]]):
    """One rank's batches of each epoch: the same number of them on every rank.

    A global batch, which is the batches of all ranks at one step, has the next ``R * batch_size`` positions
    of the epoch's order, which does not depend on the ranks; each rank has its part of them, one after the
    other. With ``remainder="exact"`` the last global batch is what is left, split evenly; where that is less
    than half of one, the last two are made equal. So batches are shorter at the end, and empty only if
    `batch_size` is 1 or the data have fewer samples than there are ranks. (torch's DataLoader cannot collate
    an empty batch.) `num_valid` has the number of samples of a step, for means over all ranks.

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
        seed: int | None = None,
        drop_last: bool = False,
        remainder: Remainder = "exact",
        block_size: int | None = None,
        window: int | None = None,
    ) -> None:
        name = type(self).__name__
        with together(comm, name):
            self.batch_size = integer(f"{name}: expected batch_size", batch_size, 1, (1 << 40) - 1)
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
        agree(comm, name, batch_size=self.batch_size)

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
        return self._batch_of(self._order(epoch), start, self._step(step))

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
        """Return the positions of a global batch: from, and up to before."""
        size, end = self.global_batch_size, self._end(start, self.num_replicas)
        begin = start + step * size
        over = (end - start) % size
        penultimate = end - over - size
        if (
            0 < 2 * over < size
            and begin >= penultimate >= start
            and not self.drop_last
            and self.remainder == "exact"
        ):
            # Two short steps rather than one at which ranks may have nothing; whatever their number.
            middle = penultimate + (size + over + 1) // 2
            return (penultimate, middle) if begin == penultimate else (middle, end)
        return begin, min(begin + size, end)

    def _own(self, bounds: tuple[int, int]) -> tuple[int, int]:
        """Return which of a global batch's samples are this rank's: from, and up to before."""
        return share(bounds[1] - bounds[0], self.rank, self.num_replicas)

    def _batch_of(self, order: Order, start: int, step: int) -> Indices:
        return self._batch(order, *self._bounds(start, step))

    def _batch(self, order: Order, begin: int, end: int) -> Indices:
        """Return this rank's part of positions `begin` to ``end - 1``."""
        return self._samples(order, begin, end, *self._own((begin, end)))

    def _samples(self, order: Order, begin: int, end: int, first: int, last: int) -> Indices:
        """Return number `first` to ``last - 1`` of a global batch."""
        if end <= len(order):
            return order._part(begin, end, first, last)
        return self._padded(order, begin + first, begin + last)

    def _shares_of(
        self, order: WindowOrder, start: int, first: int, last: int
    ) -> tuple[list[Share], list[int]]:
        """Return the batches of steps `first` to ``last - 1`` by streams, and the length of each."""
        bounds = [self._bounds(start, step) for step in range(first, last)]
        own = [self._own(one) for one in bounds]
        shares = order.shares(*np.array(bounds).reshape(-1, 2).T, *np.array(own).reshape(-1, 2).T)
        return shares, [high - low for low, high in own]

    def __iter__(self) -> Iterator[list[int]]:
        """Return an iterator of the rest of an epoch that was loaded, or of the next epoch."""
        return BatchIterator(self)

    def _steps(self, start: int) -> int:
        samples = self._end(start, self.num_replicas) - start
        return samples // self.global_batch_size if self.drop_last else -(-samples // self.global_batch_size)

    def _count(self, start: int) -> int:
        return self._steps(start)

    def _position(self, start: int, delivered: int) -> int:
        return min(self._bounds(start, delivered - 1)[1], len(self.plan)) if delivered else start


class BatchIterator:
    """Batches as lists, counted."""

    def __init__(self, sampler: ShardedBatchSampler) -> None:
        self._sampler = sampler
        self._iteration: Iteration | None = None
        self._steps = 0
        self.delivered, self.exhausted = 0, False

    def __iter__(self) -> BatchIterator:
        return self

    def __next__(self) -> list[int]:
        if self._iteration is None:
            self._iteration = self._sampler._begin(self)
            self._steps = self._sampler._steps(self._iteration.start)
        if self.delivered == self._steps:
            self.exhausted = True
            raise StopIteration
        batch = self._sampler._batch_of(self._iteration.order, self._iteration.start, self.delivered)
        self.delivered += 1
        return batch.tolist()  # type: ignore[no-any-return]
