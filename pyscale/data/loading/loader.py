"""Batches for a training loop, read and gathered ahead."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from pyscale.config import num_threads as default_threads
from pyscale.data.arguments import Indices, integer, integers
from pyscale.data.loading.buffers import Buffers
from pyscale.data.loading.feeds import ArrayFeed, Arrays, Feed, ShardFeed
from pyscale.data.samplers import ShardedBatchSampler, ShardedSampler
from pyscale.data.tables.shards import ParquetShards


class Loader:
    """Batches of a data set, one rank's: what comes next is made in threads while the caller computes.

    Every iteration is an epoch. Threads run without Python's lock: gathering in C++, reading in pyarrow.

    Parameters
    ----------
    source : array, mapping or tuple of arrays, or ParquetShards
        Arrays of one length, of NumPy (memory-mapped ones too), torch, JAX or another library with buffers. A
        batch has the same structure, with rows gathered from each. `ParquetShards`: a batch is a dict of the
        columns.
    sampler : ShardedBatchSampler, ShardedSampler or iterable, optional
        Which rows make each batch. An iterable gives lists of indices, or indices one by one where there is a
        `batch_size`. By default, a `ShardedBatchSampler` of all ranks.
    batch_size : int, optional
        Rows of a batch, where `sampler` does not say.
    prefetch : int
        How many batches are made before they are asked for. Of `ParquetShards`, at least the next window is.
    num_threads : int, optional
        By default this rank's share of the cores.
    device : str or torch.device, optional
        Deliver torch tensors there; to a GPU they are copied from pinned memory, while the caller goes on.
        By default the arrays are those of the source's library: of NumPy, for files.

    Raises
    ------
    DataError
        In an iteration: a file cannot be read, or is not what it was.

    Notes
    -----
    `close`, or the end of a ``with`` block, ends the threads; so does the end of an iteration, also by an
    exception or Ctrl-C.
    """

    def __init__(
        self,
        source: Any,
        sampler: Any = None,
        batch_size: int | None = None,
        *,
        prefetch: int = 2,
        num_threads: int | None = None,
        device: Any = None,
    ) -> None:
        if batch_size is not None:
            batch_size = integer("Loader: expected batch_size", batch_size, 1, (1 << 40) - 1)
        self._prefetch = integer("Loader: expected prefetch", prefetch, 0, 1 << 16)
        threads = default_threads() if num_threads is None else num_threads
        self._num_threads = integer("Loader: expected num_threads", threads, 1, 1 << 10)
        self._deliver = _delivery(device)
        self._source: ParquetShards | Arrays = source if isinstance(source, ParquetShards) else Arrays(source)
        self.sampler = self._default_sampler(batch_size) if sampler is None else sampler
        self._batches = _batches(self.sampler, batch_size)
        if isinstance(source, ParquetShards) and getattr(sampler, "plan", source.plan) is not source.plan:
            raise ValueError(
                "Loader: expected a sampler of the shards: ShardedBatchSampler(shards, batch_size)"
            )
        self._buffers = Buffers(self._source.dtypes)
        self._iteration: _Iteration | None = None

    def __len__(self) -> int:
        """Return the number of batches of the iteration in progress, or the next one where there is none."""
        return self._batches.count()

    def __iter__(self) -> Iterator[Any]:
        """Begin an iteration; the one before, if it was not at its end, is over."""
        self._end()
        self._batches.begin()
        self._iteration = _Iteration(self._feed(), self._batches, self._prefetch, self._deliver)
        return self._iteration

    def state_dict(self) -> dict[str, Any]:
        """Return where the ranks are: after the batches that were delivered, whatever was made ahead.

        See `ShardedSampler.state_dict`.
        """
        return self._batches.state_dict(0 if self._iteration is None else self._iteration.delivered)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the ranks were; see `ShardedSampler.load_state_dict`. Ends an iteration in progress."""
        self._batches.load_state_dict(state)
        self.close()
        self._iteration = None

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the iterations from now on; see `ShardedSampler.set_epoch`."""
        self.sampler.set_epoch(epoch)
        self.close()
        self._iteration = None

    def close(self) -> None:
        """End the iteration in progress and its threads, free memory. The loader can be used again."""
        self._end()
        self._buffers.clear()

    def _end(self) -> None:
        if self._iteration is not None:
            self._iteration.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _default_sampler(self, batch_size: int | None) -> ShardedBatchSampler:
        if batch_size is None:
            raise TypeError("Loader: expected a sampler or a batch_size, got neither")
        if isinstance(self._source, ParquetShards):
            return ShardedBatchSampler(
                self._source.plan, batch_size, comm=self._source.comm, seed=self._source.seed
            )
        return ShardedBatchSampler(self._source.length, batch_size)

    def _feed(self) -> Feed:
        if isinstance(self._source, Arrays):
            return ArrayFeed(self._source, self._batches.indices, self._buffers, self._num_threads)
        if not isinstance(self.sampler, ShardedBatchSampler):
            kind = type(self.sampler).__name__
            raise TypeError(f"Loader: expected a ShardedBatchSampler for files, got {kind}")
        steps = self._batches.count()
        return ShardFeed(self._source, self.sampler, steps, self._buffers, self._num_threads)


class _Iteration:
    """The batches of one epoch, counted as they are handed out."""

    def __init__(self, feed: Feed, batches: _Batches, prefetch: int, deliver: Callable[[Any], Any]) -> None:
        self._feed, self._batches, self._deliver = feed, batches, deliver
        self._prefetch = prefetch
        self._requested = 0
        self.delivered = 0
        self._closed = False

    def __iter__(self) -> _Iteration:
        return self

    def __next__(self) -> Any:
        if self._closed:
            raise StopIteration
        try:
            while self._requested <= self.delivered + self._prefetch and self._batches.has(self._requested):
                self._feed.request(self._requested)
                self._requested += 1
            if self.delivered == self._requested:
                raise StopIteration
            batch = self._deliver(self._feed.take(self.delivered))
        except StopIteration:
            self._batches.finish()
            self.close()
            raise
        except BaseException:  # a failure, Ctrl-C
            self.close()
            raise
        self.delivered += 1
        return batch

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._feed.close()

    def __del__(self) -> None:
        self.close()


class _Batches(Protocol):
    """Which rows make the batches of an iteration, from what the caller gave as the sampler."""

    def begin(self) -> None:
        """Begin an iteration."""

    def finish(self) -> None:
        """Note that the iteration is at its end."""

    def count(self) -> int:
        """Return the number of batches."""

    def has(self, step: int) -> bool:
        """Return whether there is a batch for a step; they are asked for in turn."""

    def indices(self, step: int) -> Indices:
        """Return the rows of a step that there is."""

    def state_dict(self, delivered: int) -> dict[str, Any]:
        """Return the sampler's state after so many batches."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the sampler's state."""


class _Sharded:
    """Batches of pyscale's samplers, any of which is found by its step."""

    def __init__(self, sampler: ShardedBatchSampler | ShardedSampler, batch_size: int | None) -> None:
        self._sampler, self._size = sampler, batch_size

    def begin(self) -> None:
        iter(self._sampler)
        self._steps = self.count()

    def finish(self) -> None:
        self._sampler._finish()

    def count(self) -> int:
        return len(self._sampler) if self._size is None else -(-len(self._sampler) // self._size)

    def has(self, step: int) -> bool:
        return step < self._steps

    def indices(self, step: int) -> Indices:
        if isinstance(self._sampler, ShardedBatchSampler):
            return self._sampler.indices(step)
        assert self._size is not None
        return self._sampler.indices(step * self._size, min((step + 1) * self._size, len(self._sampler)))

    def state_dict(self, delivered: int) -> dict[str, Any]:
        if not delivered or self._sampler.finished:
            return self._sampler.state_dict()
        samples = delivered if self._size is None else min(delivered * self._size, len(self._sampler))
        return self._sampler.state_dict(delivered=samples)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sampler.load_state_dict(state)


class _Listed:
    """Batches of any iterable, asked for one after the other."""

    def __init__(self, sampler: Iterable[Any], batch_size: int | None) -> None:
        self._sampler, self._size = sampler, batch_size

    def begin(self) -> None:
        self._iterator = iter(self._sampler)
        self._next: tuple[int, Indices] | None = None

    def finish(self) -> None:
        pass

    def count(self) -> int:
        length = operator.length_hint(self._sampler, -1)
        if length < 0:
            raise TypeError(f"Loader: expected a sampler with a length, got {type(self._sampler).__name__}")
        return length if self._size is None else -(-length // self._size)

    def has(self, step: int) -> bool:
        if self._next is None or self._next[0] != step:
            if self._size is None:
                found = next(self._iterator, None)
            else:
                found = [index for _, index in zip(range(self._size), self._iterator, strict=False)] or None
            self._next = None if found is None else (step, integers("Loader: expected indices", found))
        return self._next is not None

    def indices(self, step: int) -> Indices:
        assert self._next is not None
        return self._next[1]

    def state_dict(self, delivered: int) -> dict[str, Any]:
        raise TypeError(
            f"Loader: expected a sampler of pyscale for a state, got {type(self._sampler).__name__}"
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.state_dict(0)


def _batches(sampler: Any, batch_size: int | None) -> _Batches:
    if isinstance(sampler, ShardedBatchSampler):
        if batch_size not in (None, sampler.batch_size):
            raise ValueError(
                f"Loader: expected the sampler's batch_size {sampler.batch_size}, got {batch_size}"
            )
        return _Sharded(sampler, None)
    if isinstance(sampler, ShardedSampler):
        if batch_size is None:
            raise TypeError("Loader: expected a batch_size with a ShardedSampler, got none")
        return _Sharded(sampler, batch_size)
    if not isinstance(sampler, Iterable):
        raise TypeError(f"Loader: expected a sampler that is iterable, got {type(sampler).__name__}")
    return _Listed(sampler, batch_size)


def _delivery(device: Any) -> Callable[[Any], Any]:
    """Return what makes of a batch what the caller gets."""
    if device is None:
        return lambda batch: batch
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "Loader: expected torch for a device, got none: pip install 'pyscale-ml[torch]'"
        ) from error
    target = torch.device(device)

    def tensor(array: Any) -> Any:
        if isinstance(array, np.ndarray):
            if array.dtype.kind not in "iufb":
                raise TypeError(f"Loader: expected numbers for a tensor, got {array.dtype}")
            array = torch.from_numpy(array)
        if target.type == "cuda":
            return array.pin_memory().to(target, non_blocking=True)
        return array.to(target)

    def deliver(batch: Any) -> Any:
        if isinstance(batch, dict):
            return {name: tensor(array) for name, array in batch.items()}
        if isinstance(batch, tuple):
            return tuple(tensor(array) for array in batch)
        return tensor(batch)

    return deliver
