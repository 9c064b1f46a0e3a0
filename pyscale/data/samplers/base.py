"""What all samplers have: an order for each epoch, a place among the ranks, and how far they are."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sized
from copy import copy
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from pyscale.comm import Communicator, world
from pyscale.comm.together import agree, together
from pyscale.data.arguments import Indices, integer
from pyscale.data.orders.order import Order, Plan, Sequential
from pyscale.data.orders.permutation import Shuffled
from pyscale.data.orders.window import Window
from pyscale.data.samplers.progress import Counter, Iteration, Progress

STATE_VERSION = 1

Remainder = Literal["exact", "pad", "drop"]
Shuffle = bool | Literal["full", "window"]
T = TypeVar("T")


class Sampler(ABC, Generic[T]):
    """What both samplers have: an order for each epoch, a place among the ranks, and how far they are."""

    def __init__(
        self,
        data: Sized | int | Plan,
        *,
        num_replicas: int | None,
        rank: int | None,
        comm: Communicator | None,
        shuffle: Shuffle,
        seed: int | None,
        drop_last: bool,
        remainder: Remainder,
        block_size: int | None,
        window: int | None,
    ) -> None:
        name = type(self).__name__
        with together(comm, name):
            if remainder not in ("exact", "pad", "drop"):
                raise ValueError(f"{name}: expected remainder 'exact', 'pad' or 'drop', got {remainder!r}")
            self.plan = _plan(name, data, shuffle, block_size, window)
            of_files = self.plan is not data and hasattr(data, "plan")  # which have their own ranks and seed
            if seed is None:
                seed = getattr(data, "seed", 0) if of_files else 0
            self.seed = integer(f"{name}: expected seed", seed, 0, (1 << 64) - 1)
            ranks_of = comm
            if comm is None and num_replicas is None and of_files:
                ranks_of = getattr(data, "comm", None)
            self.num_replicas, self.rank = _place(name, num_replicas, rank, ranks_of)
            self.remainder = remainder
            self.drop_last = bool(drop_last)
        agree(
            comm,
            name,
            sampler=name,
            data=self.plan.describe(),
            seed=self.seed,
            remainder=remainder,
            drop_last=self.drop_last,
        )
        self._progress = Progress()
        self._iteration: Iteration | None = None
        self._cached: tuple[int, Order] | None = None

    @property
    def epoch(self) -> int:
        """The epoch of the iteration that was begun last, or of the next one where none was."""
        return self._current()[0]

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the iterations from now on; after this, it no longer advances by itself.

        Where it is the epoch of a state that was loaded, the iteration still goes on from there.
        """
        epoch = integer(f"{type(self).__name__}.set_epoch: expected an epoch", epoch, 0, (1 << 63) - 1)
        self._progress.set_epoch(epoch)
        self._iteration = None

    def __len__(self) -> int:
        """Return what the iteration in progress delivers here in all, or the next one where there is none."""
        return self._count(self._upcoming())

    @abstractmethod
    def __iter__(self) -> Iterator[T]:
        """Return an iterator of the state that was loaded, or of the next epoch, which it begins when asked.

        Only when something is taken of it: torch's DataLoader makes some that it never uses.
        """

    def state_dict(self, *, delivered: int | None = None) -> dict[str, Any]:
        """Return where the ranks are in the epoch: a few values that JSON has, the same on all of them.

        That is after what was delivered here. Call it on all ranks at the same step. The last step may have a
        sample for some ranks of `ShardedSampler` only: it is over, on the others, when they have asked for
        one more and heard that there is none, as a ``for`` loop does; or with the `delivered` of all ranks.

        Parameters
        ----------
        delivered : int, optional
            How many samples (of `ShardedBatchSampler`: batches) of this iteration were used. By default,
            those that the iteration has handed out, which is not the same where a DataLoader with workers
            asks for them ahead. The same on all ranks: at the end as many as rank 0 has, also on a rank that
            has one less.
        """
        epoch, start = self._progress.epoch, self._progress.start
        if delivered is not None:
            what = f"{type(self).__name__}.state_dict: expected delivered"
            delivered = integer(what, delivered, 0, self._steps(start))
        return self._state(Iteration(epoch, start, self._order(epoch), self._handed(delivered)))

    def _handed(self, delivered: int | None) -> Counter:
        if delivered is not None:
            return Handed(delivered)
        return Handed() if self._iteration is None else self._iteration.counter

    def _state(self, iteration: Iteration) -> dict[str, Any]:
        start, counter = iteration.start, iteration.counter
        begun = self._iteration is not None
        if begun and (counter.exhausted or counter.delivered >= self._steps(start)):
            position = len(self.plan)
        else:
            position = self._position(start, counter.delivered)
        return {
            "version": STATE_VERSION,
            "order": {**self.plan.describe(), "seed": self.seed},
            "epoch": iteration.epoch,
            "position": position,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the ranks were, whatever the number of ranks and the batch size were and are.

        Raises
        ------
        ValueError
            The state is of another version, another data set, order or seed; nothing was changed.
        """
        what = f"{type(self).__name__}.load_state_dict: expected"
        if not isinstance(state, Mapping) or not {"version", "order", "epoch", "position"} <= state.keys():
            raise ValueError(f"{what} what state_dict returns, got {state!r:.200}")
        if state["version"] != STATE_VERSION:
            raise ValueError(f"{what} a state of version {STATE_VERSION}, got {state['version']!r}")
        own, order = {**self.plan.describe(), "seed": self.seed}, state["order"]
        if not isinstance(order, Mapping):
            raise ValueError(f"{what} a description of an order, got {order!r:.200}")
        for key in sorted({*own, *order}):
            if own.get(key) != order.get(key):
                raise ValueError(f"{what} a state of {key}={own.get(key)!r}, got {order.get(key)!r}")
        try:
            epoch = integer(f"{what} an epoch", state["epoch"], 0, (1 << 63) - 1)
            position = integer(f"{what} a position", state["position"], 0, len(self.plan))
        except TypeError as error:
            raise ValueError(f"{what} integers, got {state['epoch']!r}, {state['position']!r}") from error
        self._progress.load(epoch, position)
        self._iteration = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made from, which goes on where this sampler is."""
        state, progress = self.state_dict(), copy(self._progress)
        progress.load(state["epoch"], state["position"])
        return {**self.__dict__, "_progress": progress, "_iteration": None, "_cached": None}

    def _begin(self, counter: Counter) -> Iteration:
        """Begin an iteration, of which `counter` tells how far it is."""
        self._progress.begin(len(self.plan))
        epoch, start = self._progress.epoch, self._progress.start
        self._iteration = Iteration(epoch, start, self._order(epoch), counter)
        return self._iteration

    def _upcoming(self) -> int:
        """Return the first position of the iteration in progress, or of the next one where there is none."""
        at_end = self._iteration is not None and self._iteration.counter.exhausted
        return (self._progress.next(len(self.plan)) if at_end else self._current())[1]

    def _current(self) -> tuple[int, int]:
        """Return epoch and first position of the iteration begun last, or of the next where there is none."""
        if self._iteration is None:
            return self._progress.next(len(self.plan))
        return self._progress.epoch, self._progress.start

    def _order(self, epoch: int) -> Order:
        if self._cached is None or self._cached[0] != epoch:
            self._cached = epoch, self.plan.order(seed=self.seed, epoch=epoch)
        return self._cached[1]

    def _end(self, start: int, unit: int) -> int:
        """Return where an iteration ends, if what is left of the epoch is to be a multiple of `unit`."""
        n = len(self.plan)
        if self.remainder == "exact":
            return n
        whole = (n - start) // unit * unit
        return start + whole + (unit if self.remainder == "pad" and whole < n - start else 0)

    def _padded(self, order: Order, start: int, stop: int, step: int = 1) -> Indices:
        """Return what stands at positions; those past the end stand for those at the beginning."""
        if stop <= len(order):
            return order._range(start, max(start, stop), step)
        # Counted from the end, since the largest n has no integer after it.
        past_end = np.arange(0, stop - start, step, dtype=np.int64) + (start - len(order))
        return order._at(past_end % len(order))

    @abstractmethod
    def _steps(self, start: int) -> int:
        """Return the steps of an iteration; on all ranks the same."""

    @abstractmethod
    def _count(self, start: int) -> int:
        """Return what an iteration delivers on this rank."""

    @abstractmethod
    def _position(self, start: int, delivered: int) -> int:
        """Return the position up to which all ranks have read, after so many steps."""


class Handed:
    """A counter that others count up."""

    def __init__(self, delivered: int = 0) -> None:
        self.delivered, self.exhausted = delivered, False


def _plan(
    name: str,
    data: Sized | int | Plan,
    shuffle: Shuffle,
    block_size: int | None,
    window: int | None,
) -> Plan:
    if shuffle not in (True, False, "full", "window"):
        raise ValueError(f"{name}: expected shuffle True, False, 'full' or 'window', got {shuffle!r}")
    if shuffle != "window" and (block_size is not None or window is not None):
        raise ValueError(f"{name}: expected block_size and window with shuffle='window', got {shuffle!r}")
    plan = getattr(data, "plan", data)  # ParquetShards have one
    if isinstance(plan, Plan):
        if shuffle not in (True, "full"):
            raise ValueError(f"{name}: expected a plan to say how to shuffle, got shuffle={shuffle!r}")
        return plan
    length = len(data) if isinstance(data, Sized) else operator.index(data)
    n = integer(f"{name}: expected a length", length, 0, (1 << 63) - 1)
    if shuffle == "window":
        if block_size is None or window is None:
            raise TypeError(f"{name}: expected block_size and window with shuffle='window'")
        return Window(n, block_size=block_size, window=window)
    return Shuffled(n) if shuffle else Sequential(n)


def _place(
    name: str, num_replicas: int | None, rank: int | None, comm: Communicator | None
) -> tuple[int, int]:
    if (num_replicas is None) != (rank is None):
        raise TypeError(f"{name}: expected num_replicas and rank, got {num_replicas} and {rank}")
    if num_replicas is None or rank is None:
        comm = world() if comm is None else comm
        return comm.size, comm.rank
    if comm is not None:
        raise TypeError(f"{name}: expected comm, or num_replicas and rank, got both")
    count = integer(f"{name}: expected num_replicas", num_replicas, 1, 1 << 31)
    return count, integer(f"{name}: expected rank", rank, 0, count - 1)
