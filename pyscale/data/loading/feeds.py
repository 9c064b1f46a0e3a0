"""Where a loader's batches come from, by one protocol: arrays in memory, and files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pyscale import _core
from pyscale.arrays import view
from pyscale.data.arguments import Indices
from pyscale.data.loading.buffers import Buffers, Columns, Rows
from pyscale.data.loading.delivery import Delivery
from pyscale.data.loading.groups import Groups, Making
from pyscale.data.orders.window import WindowOrder
from pyscale.data.samplers import ShardedBatchSampler
from pyscale.data.samplers.progress import Iteration
from pyscale.data.tables.shards import ParquetShards

Array = npt.NDArray[Any]

_MOST_ROWS = (1 << 32) - 1  # of a group


class Feed(Protocol):
    """Batches, made ahead in threads."""

    def request(self, step: int) -> None:
        """Begin to make the batch of a step. Steps are requested one after the other."""

    def take(self, step: int) -> Any:
        """Return the batch of a step that was requested, as it is delivered. Steps are taken in turn."""

    def close(self) -> None:
        """Let go of everything; when this returns, no thread is at work any more."""


class Arrays:
    """Arrays of one length, in the structure in which the caller has them.

    Parameters
    ----------
    source : array, or mapping, tuple or list of arrays
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        if isinstance(source, Mapping):
            given = {f"[{name!r}]": array for name, array in source.items()}
        elif isinstance(source, (tuple, list)):
            given = {f"[{i}]": array for i, array in enumerate(source)}
        else:
            given = {"": source}
        views = {name: _rows(array, f"Loader: source{name}") for name, array in given.items()}
        self.arrays = {name: array for name, (array, _) in views.items()}
        self._like = {name: like for name, (_, like) in views.items()}
        lengths = {name: len(array) for name, (array, _) in views.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"Loader: expected arrays of one length, got {lengths or 'none'}")
        self.length = next(iter(lengths.values()))

    @property
    def dtypes(self) -> dict[str, Rows]:
        """Of each array, the dtype and the shape of a row."""
        return {name: (array.dtype, array.shape[1:]) for name, array in self.arrays.items()}

    def without_rows(self) -> Any:
        """Return a batch of no rows."""
        return self.structured(
            {name: np.empty((0, *row), dtype) for name, (dtype, row) in self.dtypes.items()}
        )

    def structured(self, columns: Columns) -> Any:
        """Return arrays, one for each of the source's, in its structure and of its libraries."""
        made = [self._like[name](array) for name, array in columns.items()]
        if isinstance(self._source, Mapping):
            return dict(zip(self._source, made, strict=True))
        if hasattr(self._source, "_fields"):  # a NamedTuple
            return type(self._source)(*made)
        if isinstance(self._source, (tuple, list)):
            return tuple(made)
        return made[0]


class ArrayFeed:
    """Batches of rows of arrays, gathered in C++ threads."""

    def __init__(
        self,
        source: Arrays,
        indices: Callable[[int], Indices],
        buffers: Buffers,
        num_threads: int,
        delivery: Delivery,
    ) -> None:
        self._source, self._indices, self._buffers, self._delivery = source, indices, buffers, delivery
        self._arrays = list(source.arrays.values())
        self._core = _core.GatherAhead(num_threads)
        self._requested: dict[int, tuple[int, Columns]] = {}

    def request(self, step: int) -> None:
        """Begin to gather the batch of a step."""
        indices = self._indices(step)
        rows = len(indices)
        outs = {name: self._buffers.take(name, rows, rows) for name in self._source.arrays}
        self._requested[step] = self._core.submit(self._arrays, indices, list(outs.values())), outs

    def take(self, step: int) -> Any:
        """Return the batch of a step, once it is gathered."""
        ticket, outs = self._requested.pop(step)
        self._core.wait(ticket)
        return self._delivery.batch(self._source.structured(outs))

    def close(self) -> None:
        """Let go of everything; when this returns, no thread is at work any more."""
        self._core.close()
        self._requested.clear()


class _Group(NamedTuple):
    """Batches that are made together."""

    end: int  # the step after the last
    making: Making
    bounds: list[int]  # of its batches


class ShardFeed:
    """Batches of files, of which those of one window are made together: parts of one buffer."""

    def __init__(
        self,
        shards: ParquetShards,
        sampler: ShardedBatchSampler,
        iteration: Iteration,
        buffers: Buffers,
        num_threads: int,
        delivery: Delivery,
    ) -> None:
        order = iteration.order
        assert isinstance(order, WindowOrder)
        self._sampler, self._order, self._start = sampler, order, iteration.start
        self._delivery = delivery
        self._steps = sampler._steps(iteration.start)
        self._window = order.window_size * order.streams
        most = min((self._window // sampler.global_batch_size + 1) * sampler.batch_size, len(order))
        if most > _MOST_ROWS:
            raise ValueError(f"Loader: expected a window of at most {_MOST_ROWS} rows a rank, got {most}")
        self._made = Groups(shards, order, buffers, most, num_threads)
        self._groups: deque[_Group] = deque()  # that were begun, and of which no batch was taken
        self._batches: Iterator[Any] = iter(())  # of the one before those
        self._current_end = 0

    def request(self, step: int) -> None:
        """Begin to make the group that has the batch of a step."""
        if step >= (self._groups[-1].end if self._groups else self._current_end):
            self._begin(step)

    def take(self, step: int) -> Any:
        """Return the batch of a step, once it is there."""
        if step == self._current_end:
            group = self._groups.popleft()
            self._current_end = group.end
            if not self._groups and group.end < self._steps:
                self._begin(group.end)  # already: it is being made while this one is delivered
            self._batches = self._delivery.cut(group.making.result(), group.bounds)
        return next(self._batches)

    def close(self) -> None:
        """Let go of everything; when this returns, no thread is at work any more."""
        self._made.close()
        self._groups.clear()
        self._batches = iter(())

    def _begin(self, step: int) -> None:
        """Begin to make the group whose first batch is that of a step: the rest of a window."""
        begin, _ = self._sampler._bounds(self._start, step)
        end_of_window = (begin // self._window + 1) * self._window
        batches = -(-(end_of_window - begin) // self._sampler.global_batch_size)
        last = min(step + batches, self._steps)
        shares, lengths = self._sampler._shares_of(self._order, self._start, step, last)
        bounds = [0, *np.cumsum(lengths).tolist()]
        self._groups.append(_Group(last, self._made.make(shares, bounds[-1]), bounds))


class _Rows(NamedTuple):
    array: Array
    like: Callable[[Array], Any]


def _rows(x: Any, what: str) -> _Rows:
    """Return an array of rows, each contiguous."""
    array: Array
    like: Callable[[Array], Any]
    if isinstance(x, np.ndarray) and not isinstance(x, np.ma.MaskedArray):
        array, like = np.asarray(x), lambda batch: batch  # of any dtype but objects
    else:
        opened = view(x, what=what)
        array, like = opened.array, opened.like
    if array.ndim < 1:
        raise ValueError(f"{what}: expected rows, got an array of no dimensions")
    if array.dtype.hasobject:
        raise TypeError(f"{what}: expected numbers, dates or strings of a fixed length, got {array.dtype}")
    if array.size and not array[:1].flags.c_contiguous:
        raise ValueError(f"{what}: expected rows that are contiguous, got strides {array.strides}")
    return _Rows(array, like)
