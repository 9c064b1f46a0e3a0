"""Batches for a training loop, read and gathered ahead."""

from __future__ import annotations

import operator
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from threading import RLock
from typing import Any, Protocol

import numpy as np

from pyscale.config import num_threads as default_threads
from pyscale.data.arguments import Indices, integer, integers
from pyscale.data.loading.buffers import Buffers
from pyscale.data.loading.delivery import delivery
from pyscale.data.loading.feeds import ArrayFeed, Arrays, Feed, ShardFeed
from pyscale.data.samplers import BalancedBatchSampler, ShardedBatchSampler, ShardedSampler
from pyscale.data.samplers.base import Handed
from pyscale.data.tables.shards import ParquetShards
from pyscale.errors import PyscaleError


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
        `batch_size`; an iterator, such as a generator, is enough for one epoch, and a second raises
        ValueError, or has the rest, but for what was made ahead, of a first that was left. By default, a
        `ShardedBatchSampler` of all ranks.
    batch_size : int, optional
        Rows of a batch, where `sampler` does not say.
    prefetch : int
        How many batches are made before they are asked for. Of `ParquetShards`, at least the next window is,
        and the batches of a window are parts of one buffer: copy what is to be kept for long.
    num_threads : int, optional
        By default this rank's share of the cores.
    device : str or torch.device, optional
        Deliver torch tensors there; to a GPU they are copied through pinned memory.
        By default the arrays are those of the source's library: of NumPy, for files.

    Raises
    ------
    TypeError
        Of a source's array, torch has no tensors, such as of text, and there is a `device`.
    DataError
        In an iteration: a file cannot be read, or is not what it was. That is on the rank that reads it: none
        waits for others here. Where nobody catches it, it ends the job on all of them, and is what is shown.
        Where it is caught, the others find out when they wait for this rank: CommError where it has left,
        CommTimeout where it does something else.
    SchemaError
        In an iteration: what is read does not satisfy the schema of `ParquetShards`.

    Notes
    -----
    The threads end with the iteration: at its end, when it raises, and when nobody has it any more, as after
    a loop that is left. `close`, or the end of a ``with`` block, ends it before that. Any thread may iterate
    or close; each batch goes to one of those that iterate.
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
        self._delivery = delivery(device)
        self._source: ParquetShards | Arrays = source if isinstance(source, ParquetShards) else Arrays(source)
        self._delivery.check(self._source.without_rows())
        self.sampler = self._default_sampler(batch_size) if sampler is None else sampler
        self._batches = _batches(self.sampler, batch_size)
        if isinstance(self._source, ParquetShards):
            _check_of_files(self._source, self.sampler)
        self._buffers = Buffers(self._source.dtypes)
        self._iteration: weakref.ref[_Iteration] | None = None

    def __len__(self) -> int:
        """Return the number of batches of the iteration in progress, or the next one where there is none."""
        return self._batches.count()

    def __iter__(self) -> Iterator[Any]:
        """Begin an iteration; the one before, if it was not at its end, is over."""
        self._end()
        self._batches.begin()
        iteration = _Iteration(self._feed(), self._batches, self._prefetch)
        self._iteration = weakref.ref(iteration)
        return iteration

    def state_dict(self) -> dict[str, Any]:
        """Return where the ranks are: after the batches that were delivered, whatever was made ahead.

        See `ShardedSampler.state_dict`.
        """
        return self._batches.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the ranks were; see `ShardedSampler.load_state_dict`. Ends an iteration in progress."""
        self._batches.load_state_dict(state)
        self._end()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the iterations from now on; see `ShardedSampler.set_epoch`."""
        self._batches.set_epoch(epoch)
        self._end()

    def close(self) -> None:
        """End the iteration in progress and its threads, free memory. The loader can be used again."""
        self._end()
        self._buffers.clear()

    def _end(self) -> None:
        iteration = None if self._iteration is None else self._iteration()
        self._iteration = None
        if iteration is not None:
            iteration.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _default_sampler(self, batch_size: int | None) -> ShardedBatchSampler:
        if batch_size is None:
            raise TypeError("Loader: expected a sampler or a batch_size, got neither")
        if isinstance(self._source, ParquetShards):
            return ShardedBatchSampler(self._source, batch_size)
        return ShardedBatchSampler(self._source.length, batch_size)

    def _feed(self) -> Feed:
        if isinstance(self._source, Arrays):
            return ArrayFeed(
                self._source, self._batches.indices, self._buffers, self._num_threads, self._delivery
            )
        assert isinstance(self._batches, _Sharded)
        iteration = self._batches.iteration
        return ShardFeed(
            self._source, self.sampler, iteration, self._buffers, self._num_threads, self._delivery
        )


_ENDED = "Loader: expected an open iteration, got one that was closed, or that a later one has ended"


class _Iteration:
    """The batches of one epoch, counted as they are handed out."""

    def __init__(self, feed: Feed, batches: _Batches, prefetch: int) -> None:
        self._feed, self._batches = feed, batches
        self._prefetch = prefetch
        self._requested = self._delivered = 0
        self._at_end = self._closed = False
        self._process = os.getpid()
        self._lock = RLock()

    def __iter__(self) -> _Iteration:
        return self

    def __next__(self) -> Any:
        if self._process != os.getpid():
            raise PyscaleError("Loader: expected the process that began the iteration, got a fork of it")
        with self._lock:
            if self._at_end:
                raise StopIteration
            if self._closed:
                raise PyscaleError(_ENDED)
            try:
                return self._batch()
            except BaseException as error:  # the end, a failure, Ctrl-C
                closed_by_another = self._closed and not self._at_end
                self.close()
                if closed_by_another and isinstance(error, Exception):
                    raise PyscaleError(_ENDED) from error
                raise

    def _batch(self) -> Any:
        while self._requested <= self._delivered + self._prefetch and self._batches.has(self._requested):
            self._feed.request(self._requested)
            self._requested += 1
        if self._delivered == self._requested:
            self._at_end = True
            self._batches.handed(self._delivered, at_end=True)
            raise StopIteration
        batch = self._feed.take(self._delivered)
        self._delivered += 1
        self._batches.handed(self._delivered, at_end=False)
        return batch

    def close(self) -> None:
        """End the threads, also under another thread that waits for a batch; that one raises."""
        self._closed = True
        if self._process == os.getpid():
            self._feed.close()

    def __del__(self) -> None:
        with suppress(
            RuntimeError
        ):  # of a thread that cannot wait for itself, where the last reference was its own
            self.close()


class _Batches(Protocol):
    """Which rows make the batches of an iteration, from what the caller gave as the sampler."""

    def begin(self) -> None:
        """Begin an iteration."""

    def handed(self, batches: int, *, at_end: bool) -> None:
        """Note how many batches were delivered, and whether there is no more."""

    def count(self) -> int:
        """Return the number of batches."""

    def has(self, step: int) -> bool:
        """Return whether there is a batch for a step; they are asked for in turn."""

    def indices(self, step: int) -> Indices:
        """Return the rows of a step that there is."""

    def state_dict(self) -> dict[str, Any]:
        """Return the sampler's state after what was delivered."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the sampler's state."""

    def set_epoch(self, epoch: int) -> None:
        """Set the sampler's epoch."""


class _Sharded:
    """Batches of pyscale's samplers, each found by its step, whatever the sampler does meanwhile."""

    def __init__(self, sampler: ShardedBatchSampler | ShardedSampler, batch_size: int | None) -> None:
        self._sampler, self._size = sampler, batch_size
        self._begun = False

    def begin(self) -> None:
        self._counter = Handed()
        self.iteration = self._sampler._begin(self._counter)
        self._steps = self._in_batches(self._sampler._steps(self.iteration.start))
        self._samples = self._sampler._count(self.iteration.start)
        self._begun = True

    def handed(self, batches: int, *, at_end: bool) -> None:
        samples = batches if self._size is None else batches * self._size
        self._counter.delivered = min(samples, self._samples)
        self._counter.exhausted = at_end or batches == self._steps

    def count(self) -> int:
        if self._size is None:
            return len(self._sampler)
        # Of the share that is longest, so that all ranks have as many.
        return self._in_batches(self._sampler._steps(self._sampler._upcoming()))

    def has(self, step: int) -> bool:
        return step < self._steps

    def indices(self, step: int) -> Indices:
        order, start = self.iteration.order, self.iteration.start
        if isinstance(self._sampler, ShardedBatchSampler):
            return self._sampler._batch_of(order, start, step)
        assert self._size is not None
        end = min((step + 1) * self._size, self._sampler._count(start))
        return self._sampler._part(order, start, min(step * self._size, end), end)

    def state_dict(self) -> dict[str, Any]:
        return self._sampler._state(self.iteration) if self._begun else self._sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sampler.load_state_dict(state)
        self._begun = False

    def set_epoch(self, epoch: int) -> None:
        self._sampler.set_epoch(epoch)
        self._begun = False

    def _in_batches(self, steps: int) -> int:
        return steps if self._size is None else -(-steps // self._size)


class _Listed:
    """Batches of any iterable, asked for one after the other."""

    def __init__(self, sampler: Iterable[Any], batch_size: int | None) -> None:
        self._sampler, self._size = sampler, batch_size
        self._epochs = 0

    def begin(self) -> None:
        self._epochs += 1
        iterator = iter(self._sampler)
        self._is_iterator = iterator is self._sampler
        self._iterator = (found for found in iterator)  # which islice does not begin anew
        self._next: tuple[int, Indices] | None = None
        self._at_end = False

    def handed(self, batches: int, *, at_end: bool) -> None:
        pass

    def count(self) -> int:
        length = operator.length_hint(self._sampler, -1)
        if length < 0:
            raise TypeError(f"Loader: expected a sampler with a length, got {type(self._sampler).__name__}")
        return length if self._size is None else -(-length // self._size)

    def has(self, step: int) -> bool:
        if not self._at_end and (self._next is None or self._next[0] != step):
            found = list(islice(self._iterator, self._size or 1))
            self._at_end = len(found) < (self._size or 1)
            if not found:
                self._next = None
                if step == 0 and self._epochs > 1 and self._is_iterator:
                    kind = type(self._sampler).__name__
                    raise ValueError(f"Loader: expected a sampler for every epoch, got a {kind} at its end")
            else:
                self._next = step, self._whole(found[0] if self._size is None else found)
        return self._next is not None and self._next[0] == step

    def indices(self, step: int) -> Indices:
        assert self._next is not None
        return self._next[1]

    def state_dict(self) -> dict[str, Any]:
        raise TypeError(
            f"Loader: expected a sampler of pyscale for a state, got {type(self._sampler).__name__}"
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.state_dict()

    def set_epoch(self, epoch: int) -> None:
        self._sampler.set_epoch(epoch)  # type: ignore[attr-defined]

    def _whole(self, found: Any) -> Indices:
        if np.ndim(found) != 1:
            what = "a list of indices for each batch, or a batch_size"
            raise TypeError(f"Loader: expected {what}, got {found!r:.80}")
        return integers("Loader: expected indices", found)


def _check_of_files(shards: ParquetShards, sampler: Any) -> None:
    if not isinstance(sampler, ShardedBatchSampler) or isinstance(sampler, BalancedBatchSampler):
        kind = type(sampler).__name__
        raise TypeError(f"Loader: expected a ShardedBatchSampler for files, got {kind}")
    if sampler.plan is not shards.plan:
        raise ValueError("Loader: expected a sampler of the shards: ShardedBatchSampler(shards, batch_size)")
    if sampler.remainder == "pad":
        raise ValueError("Loader: expected remainder 'exact' or 'drop' for files, got 'pad'")


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
