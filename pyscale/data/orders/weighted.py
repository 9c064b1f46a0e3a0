"""Samples drawn by their weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pyscale.data.arguments import Indices, integer, without_mask
from pyscale.data.orders.digest import digest
from pyscale.data.orders.order import Order, Plan
from pyscale.data.orders.permutation import VERSION, Permutation

_BITS = 62
_DRAWS = 1  # the stream of the random numbers


class Draws(Order):
    """Samples drawn with replacement: each draw by itself, from a number that its position gives."""

    def __init__(self, ends: Indices, length: int, *, seed: int, epoch: int) -> None:
        self._ends, self._length = ends, length
        # Numbers that differ are, among 2^62 of them, as good as independent ones.
        self._numbers = Permutation(1 << _BITS, seed=seed, epoch=epoch, stream=_DRAWS)

    def __len__(self) -> int:
        return self._length

    def _at(self, positions: Indices) -> Indices:
        return np.searchsorted(self._ends, self._numbers._at(positions), "right")


class Listed(Order):
    """An order that is an array."""

    def __init__(self, samples: Indices) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def _at(self, positions: Indices) -> Indices:
        return self._samples[positions]


class Weighted(Plan):
    """Samples drawn with probabilities that are as their weights.

    With replacement, each draw is by itself (inverse transform sampling). Without, no sample comes twice in
    an epoch: the next one is drawn from those that are left, by the weights that are left [1]_.

    Takes 16 bytes a sample with replacement; without, 8, and 8 more a draw.

    Parameters
    ----------
    weights : array_like
        Of each sample, from 0; of shape (n,). Those of weight 0 are never drawn.
    num_samples : int, optional
        The draws of an epoch, by default as many as there are weights (without replacement: above 0).
    replacement : bool

    References
    ----------
    .. [1] P. Efraimidis and P. Spirakis, "Weighted random sampling with a reservoir", Information Processing
       Letters 97, 2006.
    """

    def __init__(
        self, weights: npt.ArrayLike, *, num_samples: int | None = None, replacement: bool = True
    ) -> None:
        given = without_mask("Weighted: expected weights", weights)
        if given.ndim != 1 or given.dtype.kind not in "iuf":
            raise TypeError(
                f"Weighted: expected one number a sample, got {given.dtype} of shape {given.shape}"
            )
        self._weights = given.astype(np.float64)
        bad = np.flatnonzero(~(np.isfinite(self._weights) & (self._weights >= 0)))
        if bad.size:
            raise ValueError(f"Weighted: expected weights from 0, got {given[bad[0]]} at {bad[0]}")
        self._digest = digest(self._weights)
        self._replacement = replacement
        above = int(np.count_nonzero(self._weights))
        if replacement:
            length, most = len(given), 1 << 48
        else:
            length = most = above
        if num_samples is not None:
            length = num_samples
        self._length = integer("Weighted: expected num_samples", length, 0, most)
        if self._length and not above:
            raise ValueError("Weighted: expected a weight above 0, got none")
        self._ends = self._thresholds() if replacement and above else np.empty(0, np.int64)

    def __len__(self) -> int:
        return self._length

    @property
    def num_samples(self) -> int:
        """The size of the data set: one weight a sample."""
        return len(self._weights)

    def order(self, *, seed: int, epoch: int) -> Order:
        """Return the order of an epoch."""
        if self._replacement:
            return Draws(self._ends, self._length, seed=seed, epoch=epoch)
        # The sample whose exponential clock, which runs as fast as its weight, rings first is drawn first.
        uniform = Permutation(1 << _BITS, seed=seed, epoch=epoch, stream=_DRAWS)[: len(self._weights)]
        drawable = np.flatnonzero(self._weights)
        between_0_and_1 = (uniform[drawable].astype(np.float64) + 0.5) / 2.0**_BITS
        # Both as logarithms: a quotient would overflow for the smallest weights.
        rings = _minus_log(self._weights[drawable]) - _minus_log(_minus_log(between_0_and_1))
        return Listed(drawable[np.argsort(rings, kind="stable")[: self._length]])

    def describe(self) -> dict[str, Any]:
        """Return what tells this plan from others, in values that JSON has."""
        return {
            "kind": "weighted" if self._replacement else "weighted without replacement",
            "n": self._length,
            "weights": self._digest,
            "permutation": VERSION,
            "version": 1,
        }

    def _thresholds(self) -> Indices:
        """Return where, among 2^62 numbers, those of each sample end."""
        sums = np.cumsum(self._weights / self._weights.max())
        last = int(np.flatnonzero(self._weights)[-1])
        ends: Indices = np.minimum(sums / sums[-1] * 2.0**_BITS, 2.0**_BITS).astype(np.int64)
        ends[last:] = 1 << _BITS  # whatever the rounding
        return ends


def _minus_log(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return -log(x) by operations that IEEE 754 defines: that of a library differs between machines."""
    mantissa, exponent = np.frexp(x)
    small = mantissa < np.sqrt(0.5)
    mantissa, exponent = np.where(small, 2 * mantissa, mantissa), exponent - small
    ratio = (mantissa - 1) / (mantissa + 1)  # log(m) = 2 atanh(ratio), |ratio| < 0.172
    square = ratio * ratio
    series = np.zeros_like(square)
    for k in range(21, 0, -2):
        series = series * square + 1.0 / k
    result: npt.NDArray[np.float64] = -(exponent * 0.6931471805599453 + 2 * ratio * series)
    return result
