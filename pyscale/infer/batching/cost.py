"""What a batch costs, learned from those that were computed: seconds = a * rows + b."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cost"]

_KEPT = 512  # batches
_PAUSE = 100_000_000  # nanoseconds between two fits
_ENOUGH = 8  # batches before anything is believed


class Cost:
    """
    A line through the times of batches that neither a slow first call nor a busy machine bends.

    Batches are put together by their size, in steps of a half octave; each group stands for its median, so
    that less than half of it can be wrong by any amount; the line is the one with the median of the slopes
    between groups (Theil and Sen).
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque(maxlen=_KEPT)
        self._next_fit = 0
        self.a = 0.0  # nanoseconds a row
        self.b = 0.0  # nanoseconds a batch
        self.known = False

    def add(self, rows: int, nanoseconds: int, now: int) -> None:
        """Learn from one batch that ended now, on a clock of nanoseconds."""
        self._seen.append((rows, nanoseconds))
        if now >= self._next_fit and len(self._seen) >= _ENOUGH:
            self._next_fit = now + _PAUSE
            self._fit()

    def of(self, rows: int) -> float:
        """Estimate the nanoseconds of a batch; 0 while nothing is known."""
        return self.a * rows + self.b

    def rows_within(self, nanoseconds: float) -> float:
        """Return the rows that a batch of so long may have; infinity while nothing is known."""
        if not self.known:
            return math.inf
        if nanoseconds <= self.b:
            return 0.0
        return (nanoseconds - self.b) / self.a if self.a > 0 else math.inf

    def _fit(self) -> None:
        seen = np.array(self._seen, np.float64)
        rows, times = seen.T
        groups = np.round(2 * np.log2(np.maximum(rows, 1))).astype(np.int64)
        order = np.lexsort((times, groups))
        rows, times, groups = rows[order], times[order], groups[order]
        starts = np.flatnonzero(np.diff(groups, prepend=-1))
        counts = np.diff(starts, append=len(groups))
        x = np.add.reduceat(rows, starts) / counts
        y = times[starts + (counts - 1) // 2]  # of a group that is in order
        # A group of one or two is an anecdote, unless there is nothing else.
        many = counts >= min(3, counts.max())
        a, b = _line(x[many], y[many])
        self.a, self.b, self.known = a, b, True


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Return a and b, neither negative."""
    if len(x) == 1:
        # All the same size: a share for each row is the careful guess, since it promises least of more rows.
        return float(y[0] / max(x[0], 1.0)), 0.0
    first, second = np.triu_indices(len(x), 1)
    a = max(0.0, float(np.median((y[second] - y[first]) / (x[second] - x[first]))))
    b = float(np.median(y - a * x))
    if b < 0:
        return max(0.0, float(np.median(y / np.maximum(x, 1.0)))), 0.0
    return a, b
