"""Counts of durations in buckets whose bounds grow by an eighth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Histogram"]

_STEPS = 8  # buckets an octave
_FIRST = 3  # values below 2^3 have buckets of their own
_BUCKETS = (64 - _FIRST) * _STEPS


class Histogram:
    """
    How often which values came: whole numbers from 0, each counted in a bucket that is exact to an eighth.

    Writers exclude each other; whoever reads, reads at any time.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(_BUCKETS, np.int64)
        self.largest = 0

    def add(self, values: Sequence[int] | NDArray[np.int64]) -> None:
        """Count values."""
        array = np.asarray(values, np.int64)
        if len(array) > 0:
            self.largest = max(self.largest, int(array.max()))
            self.counts += np.bincount(_buckets(array), minlength=_BUCKETS)

    def copy(self) -> Histogram:
        """Return what was counted until now."""
        copied = Histogram()
        copied.counts, copied.largest = self.counts.copy(), self.largest
        return copied

    def __len__(self) -> int:
        return int(self.counts.sum())

    def quantile(self, q: float) -> float:
        """Return a value that a share `q` of all values does not exceed; NaN if there are none."""
        counts = self.counts
        total = int(counts.sum())
        if total == 0:
            return float("nan")
        place = int(np.searchsorted(np.cumsum(counts), max(1, int(np.ceil(q * total)))))
        return float(min(_upper(np.array([place]))[0], self.largest))

    def buckets(self) -> list[tuple[int, int]]:
        """Return the largest value of each bucket that is not empty, and its count."""
        counts = self.counts
        (places,) = np.nonzero(counts)
        return [(int(bound), int(count)) for bound, count in zip(_upper(places), counts[places], strict=True)]


def _buckets(values: NDArray[np.int64]) -> NDArray[np.int64]:
    values = np.maximum(values, 0)
    # The exponent of a float64 is the number's highest bit, but for rounding from 2^53 on.
    octave = np.maximum(np.frexp(values.astype(np.float64))[1] - 1 - _FIRST, 0)
    small = values < 1 << _FIRST
    return np.where(small, values, (octave + 1) * _STEPS + (values >> octave) - _STEPS)


def _upper(places: NDArray[np.intp]) -> NDArray[np.int64]:
    octave = np.maximum(places // _STEPS - 1, 0)
    step = np.where(places < _STEPS, places, places % _STEPS + _STEPS)
    return ((step + 1).astype(np.int64) << octave) - 1
