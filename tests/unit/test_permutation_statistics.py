"""That the order of an epoch is as good as a shuffle's; and that orders of too few rounds are found out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from permutation_reference import Reference

from pyscale.data import Permutation

Order = Callable[[Any], npt.NDArray[np.int64]]  # positions -> what stands there

LIMIT = 6.0  # standard deviations; all that is random here has a fixed seed
SIZES = [65_537, 1_000_003, (1 << 20) + 1, 10**9, 10**12]
SAMPLE = 1 << 18  # positions of a large order


def chi_squared(observed: Any, expected: Any, freedom: int) -> float:
    """Return how many standard deviations the statistic is above its mean."""
    statistic = float(((observed - expected) ** 2 / expected).sum())
    return (statistic - freedom) / math.sqrt(2 * freedom)


def correlation(x: Any, y: Any) -> float:
    """Return the correlation in standard deviations of that of unrelated sequences."""
    return abs(float(np.corrcoef(x, y)[0, 1])) * math.sqrt(len(x))


def serial(order: Order, n: int, lags: list[int]) -> float:
    """Correlate positions with those further on; return the worst."""
    count = min(n - max(lags), SAMPLE)
    begin = order(np.arange(min(n, count + 64)))
    later = (begin[lag:][:count] if lag <= 64 else order(np.arange(lag, lag + count)) for lag in lags)
    return max(correlation(begin[:count], values) for values in later)


def position_and_value(order: Order, n: int) -> float:
    """Count how often each part of the values stands in each part of the positions."""
    bins = 32
    positions = np.arange(n)[:: max(1, n // SAMPLE)] if n < 1 << 22 else np.arange(SAMPLE) * (n // SAMPLE)
    where, what = positions * bins // n, order(positions) * bins // n
    observed = np.bincount(where * bins + what, minlength=bins * bins)
    return chi_squared(observed, len(positions) / bins**2, (bins - 1) ** 2)


def batch_means(order: Order, n: int, ranks: int = 8, batch: int = 64) -> float:
    """Compare the variance of the mean of a rank's batch with that of a random sample's."""
    count = min(n, SAMPLE) // (ranks * batch)
    values = order(np.arange(count * ranks * batch)).reshape(count, batch, ranks) / n
    means = values.mean(axis=1).reshape(-1)
    expected = (1 / 12) / batch
    return abs(float(means.var()) / expected - 1) * math.sqrt(len(means) / 2)


def repeated_differences(order: Order, n: int) -> float:
    """Count pairs of equal differences between neighbours, against shuffles'."""
    count = min(n, SAMPLE) - 1
    differences = np.diff(order(np.arange(count + 1)))
    pairs = sum(k * (k - 1) // 2 for k in Counter(differences.tolist()).values() if k > 1)
    # A difference is d with probability (n - |d|) / n^2: two are equal with probability 2 / (3 n).
    expected = count * (count - 1) / 2 * 2 / (3 * n)
    return (pairs - expected) / math.sqrt(expected + 1)


def worst(order: Order, n: int) -> float:
    """Return the largest of all statistics."""
    row = math.isqrt(n - 1) + 1  # how far apart are positions that a network keeps together longest
    lags = [*range(1, 65), row - 1, row, row + 1, 2 * row, n // row]
    return max(
        position_and_value(order, n),
        batch_means(order, n),
        repeated_differences(order, n),
        serial(order, n, lags),
    )


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_as_good_as_a_shuffle(n: int, seed: int) -> None:
    p = Permutation(n, seed=seed)
    assert worst(p.__getitem__, n) < LIMIT


@pytest.mark.parametrize("n", [65_537, 1_000_003, 10**12])
@pytest.mark.parametrize("rounds", [1, 2])
def test_too_few_rounds_are_found_out(n: int, rounds: int) -> None:
    assert worst(Reference(n, rounds=rounds), n) > 2 * LIMIT


def test_a_shuffle_passes_and_a_sorted_order_does_not() -> None:
    n = 1_000_003
    shuffled = np.random.default_rng(0).permutation(n)
    assert worst(shuffled.__getitem__, n) < LIMIT
    assert worst(np.arange(n).__getitem__, n) > 2 * LIMIT


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_every_order_of_a_few_is_as_likely(n: int) -> None:
    orders = math.factorial(n)
    count = 60 * orders
    seen = Counter(tuple(Permutation(n, seed=seed).indices(0, n).tolist()) for seed in range(count))
    assert len(seen) == orders
    assert chi_squared(np.array(list(seen.values())), count / orders, orders - 1) < LIMIT


@pytest.mark.parametrize("n", [300, 65_537])
def test_fixed_points_are_one_in_the_mean(n: int) -> None:
    count, positions = 1000, np.arange(n)
    fixed = [int((Permutation(n, seed=seed).indices(0, n) == positions).sum()) for seed in range(count)]
    expected = np.array([math.exp(-1) / math.factorial(k) for k in range(5)])  # Poisson's
    expected = count * np.append(expected, 1 - expected.sum())
    observed = np.bincount(np.minimum(fixed, 5), minlength=6)
    assert chi_squared(observed, expected, 5) < LIMIT


@pytest.mark.parametrize("n", [1000, 65_537, 10**9])
@pytest.mark.parametrize("what", ["seed", "epoch", "stream"])
def test_orders_have_nothing_in_common(n: int, what: str) -> None:
    many = [Permutation(n, **{what: value}).indices(0, min(n, 50_000)) for value in (0, 1, 2, 3, 1 << 40)]
    for i, one in enumerate(many):
        for other in many[:i]:
            assert correlation(one, other) < LIMIT
            assert (one == other).sum() < 10
