"""Times calls that many ranks make together, in small batches taken in turn: A B C, B C A, C A B and so on.

A batch is: barrier, start, n calls, stop. Its time is the maximum over the ranks. What disturbs the machine
for a while then disturbs all contestants alike, and the median over the batches drops what hit one of them
alone.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pyscale.comm import Communicator

_BATCH_SECONDS = 0.02  # several time slices of the kernel, where ranks share a core
_ROUNDS = (5, 25)  # at least, at most
_LONG = 0.1  # seconds a call from which batches need no warm-up


@dataclass(frozen=True, slots=True)
class Timing:
    """The batches of one contestant: seconds a call, the slowest rank's."""

    iterations: int
    seconds: list[float]

    @property
    def median(self) -> float:
        """Median over the batches, in seconds a call."""
        return float(np.median(self.seconds))


def _batch(communicator: Communicator, call: Callable[[], object], iterations: int) -> float:
    communicator.barrier()
    start = time.perf_counter()
    for _ in repeat(None, iterations):
        call()
    return (time.perf_counter() - start) / iterations


def _slowest(communicator: Communicator, seconds: list[float]) -> list[float]:
    """Elementwise maximum over the ranks, the same list on all of them."""
    return [max(times) for times in zip(*communicator.all_gather_object(seconds), strict=True)]


def _calibrate(communicator: Communicator, call: Callable[[], object]) -> int:
    """Count the calls that fill a batch, from times that all ranks share: who counts alone waits for ever."""
    iterations = 1
    while True:
        [seconds] = _slowest(communicator, [_batch(communicator, call, iterations)])
        if seconds * iterations > _BATCH_SECONDS / 5:
            return max(1, round(_BATCH_SECONDS / seconds))
        iterations *= 4


def interleave(
    communicator: Communicator,
    calls: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    iterations: int | None = None,
    warmup: int = 1,
    warm_long: bool = False,
) -> dict[str, Timing]:
    """Time all `calls` in turn for about `seconds`.

    Parameters
    ----------
    communicator
        Whose ranks make the calls together.
    calls
        What to time, by name; every rank gives the same names in the same order.
    seconds
        Time to spend on all of them together; at least five batches of each are taken, whatever they last.
    iterations
        Calls in a batch; chosen so that a batch lasts 20 ms where None.
    warmup
        Untimed calls before each batch, to fetch what the other contestants drove out of the caches.
    warm_long
        Also before long batches: where calls make large new arrays, pages that were free for a while cost
        much more, on a virtual machine, than those that the contestant before has just let go of.
    """
    names = list(calls)
    gc.collect()
    gc.disable()
    try:
        counts = {name: iterations or _calibrate(communicator, call) for name, call in calls.items()}
        trial = [_batch(communicator, calls[name], counts[name]) for name in names]
        lasts = dict(zip(names, _slowest(communicator, trial), strict=True))
        round_seconds = sum(lasts[name] * (counts[name] + warmup) for name in names)
        rounds = int(np.clip(seconds / round_seconds, *_ROUNDS))
        times: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(rounds):
            for k in range(len(names)):
                name = names[(turn + k) % len(names)]
                if lasts[name] < _LONG or warm_long:
                    for _ in repeat(None, warmup):
                        calls[name]()
                times[name].append(_batch(communicator, calls[name], counts[name]))
    finally:
        gc.enable()
    return {name: Timing(counts[name], _slowest(communicator, times[name])) for name in names}
