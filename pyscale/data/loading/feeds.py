"""Where a loader's batches come from, by one protocol: arrays in memory, and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pyscale import _core
from pyscale.arrays import view
from pyscale.data.arguments import Indices
from pyscale.data.loading.buffers import Buffers, Columns, Rows
from pyscale.data.loading.windows import Windows
from pyscale.data.orders.window import Share, WindowOrder
from pyscale.data.samplers import ShardedBatchSampler
from pyscale.data.samplers.progress import Iteration
from pyscale.data.tables.shards import ParquetShards

Array = npt.NDArray[Any]


class Feed(Protocol):
    """Batches, made ahead in threads."""

    def request(self, step: int) -> None:
        """Begin to make the batch of a step. Steps are requested one after the other."""

    def take(self, step: int) -> Any:
        """Return the batch of a step that was requested, as arrays in the structure of the source."""

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
        self, source: Arrays, indices: Callable[[int], Indices], buffers: Buffers, num_threads: int
    ) -> None:
        self._source, self._indices, self._buffers = source, indices, buffers
        self._arrays = list(source.arrays.values())
        self._core = _core.GatherAhead(num_threads)
        self._requested: dict[int, tuple[int, Columns]] = {}

    def request(self, step: int) -> None:
        """Begin to gather the batch of a step."""
        indices = self._indices(step)
        outs = self._buffers.take(len(indices), len(indices))
        self._requested[step] = self._core.submit(self._arrays, indices, list(outs.values())), outs

    def take(self, step: int) -> Any:
        """Return the batch of a step, once it is gathered."""
        ticket, outs = self._requested.pop(step)
        self._core.wait(ticket)
        return self._source.structured(outs)

    def close(self) -> None:
        """Let go of everything; when this returns, no thread is at work any more."""
        self._core.close()
        self._requested.clear()


class ShardFeed:
    """Batches of files: several at a time are put together in threads, as parts of one buffer."""

    _ROWS = 1 << 15  # of a buffer

    def __init__(
        self,
        shards: ParquetShards,
        sampler: ShardedBatchSampler,
        iteration: Iteration,
        buffers: Buffers,
        num_threads: int,
    ) -> None:
        order = iteration.order
        assert isinstance(order, WindowOrder)
        self._sampler, self._order, self._start = sampler, order, iteration.start
        self._steps = sampler._steps(iteration.start)
        most = min(self._ROWS, order.window_size * order.streams // sampler.num_replicas)
        self._group = max(1, most // sampler.batch_size)
        self._windows = Windows(shards, order, buffers, self._group * sampler.batch_size, num_threads)
        self._groups: dict[int, tuple[Future[Columns], list[Share], list[int]]] = {}
        self._current: Columns = {}

    def request(self, step: int) -> None:
        """Begin to make the buffer that has the batch of a step."""
        group, number = divmod(step, self._group)
        if number == 0:
            last = min(step + self._group, self._steps)
            shares, lengths = self._sampler._shares_of(self._order, self._start, step, last)
            ends = np.cumsum(lengths).tolist()
            self._groups[group] = self._windows.read(shares, ends[-1]), shares, [0, *ends]

    def take(self, step: int) -> Columns:
        """Return the columns of a batch, once it is there."""
        group, number = divmod(step, self._group)
        future, shares, bounds = self._groups[group]
        if number == 0:
            self._current = future.result()
            self._windows.move_on(shares)
        if number == len(bounds) - 2:
            del self._groups[group]
        return {name: array[bounds[number] : bounds[number + 1]] for name, array in self._current.items()}

    def close(self) -> None:
        """Let go of everything; when this returns, no thread is at work any more."""
        self._windows.close()
        self._groups.clear()
        self._current = {}


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
