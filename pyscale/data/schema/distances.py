"""How far two histograms over the same buckets are apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


def kolmogorov_smirnov(reference: Counts, found: Counts) -> float:
    """Return the largest difference of the two cumulative shares, of buckets in the order of their values.

    The statistic of A. Kolmogorov (1933) and N. Smirnov (1948) where a bucket is a value; else at most the
    share of the fullest bucket below it.
    """
    differences = np.cumsum(_shares(found)) - np.cumsum(_shares(reference))
    return float(np.abs(differences).max(initial=0.0))


def total_variation(reference: Counts, found: Counts) -> float:
    """Return half the sum of the differences of shares: what part of the rows would have to change.

    All of them, where one side alone has rows.
    """
    if bool(reference.sum()) != bool(found.sum()):
        return 1.0
    return float(np.abs(_shares(found) - _shares(reference)).sum() / 2)


def population_stability_index(reference: Counts, found: Counts) -> float:
    """Return the sum of (q - p) ln(q / p) over the shares p and q of few, large bins.

    The PSI of credit scoring (N. Siddiqi, "Credit Risk Scorecards", 2006), which takes 0.1 for a small change
    and 0.25 for a large one: Jeffreys' divergence (H. Jeffreys, 1946). Half a row is added to every bin, so
    that empty ones count as what they are for the number of rows. Infinite where one side alone has rows.
    """
    if bool(reference.sum()) != bool(found.sum()):
        return math.inf
    p, q = (_shares(counts + np.float64(0.5)) for counts in (reference, found))
    return float(((q - p) * np.log(q / p)).sum())


def deciles(reference: Counts) -> npt.NDArray[np.int64]:
    """Return the first bucket of each of about ten bins that hold equal shares of the reference.

    A bucket of several rows that is more than one decile has a bin of its own: what is larger or smaller has
    others, even where the reference has nothing there.
    """
    below = np.cumsum(reference) - reference
    wanted = np.arange(1, 10) * int(reference.sum()) / 10
    starts, times = np.unique(np.searchsorted(below, wanted, side="right") - 1, return_counts=True)
    alone = starts[(times > 1) & (reference[starts] > 1)]
    bins = np.unique(np.concatenate([[0], starts, alone + 1]))
    return bins[bins < len(reference)]


def _shares(counts: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return counts / max(float(counts.sum()), 1e-300)
