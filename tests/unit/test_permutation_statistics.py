"""That the order of an epoch is as good as a shuffle's; and that orders of too few rounds are found out."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from itertools import combinations, permutations, product
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


def between_ranks(order: Order, n: int, ranks: int = 8, batch: int = 64) -> float:
    """Correlate what ranks have at the same step, samples and means of batches; return the worst."""
    count = min(n, SAMPLE) // (ranks * batch)
    shares = order(np.arange(count * ranks * batch)).reshape(count * batch, ranks)
    means = shares.reshape(count, batch, ranks).mean(axis=1)
    pairs = list(combinations(range(ranks), 2))
    return max(correlation(of[:, one], of[:, other]) for of in (shares, means) for one, other in pairs)


def statistics(order: Order, n: int) -> dict[str, float]:
    """Return all statistics, which are above LIMIT where something is wrong."""
    row = math.isqrt(n - 1) + 1  # how far apart are positions that a network keeps together longest
    lags = [*range(1, 65), row - 1, row, row + 1, 2 * row, n // row]
    return {
        "position and value": position_and_value(order, n),
        "batch means": batch_means(order, n),
        "repeated differences": repeated_differences(order, n),
        "serial": serial(order, n, lags),
        "between ranks": between_ranks(order, n),
    }


def worst(order: Order, n: int) -> float:
    """Return the largest of all statistics."""
    return max(statistics(order, n).values())


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


N = 1_000_003  # of the flawed orders


def ranked(keys: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the order in which values are as large, among all, as the keys are."""
    return np.argsort(np.argsort(keys))


def bins_that_prefer_values() -> npt.NDArray[np.int64]:
    """Move a few values to parts of the order of their own, outer to outer, so that no mean changes."""
    random = np.random.default_rng(1)
    order = random.permutation(N)
    some = random.choice(N, N // 50, replace=False)
    outer = [
        np.minimum(x * 32 // N, 31 - x * 32 // N) + random.random(len(some)) for x in (some, order[some])
    ]
    order[some[np.argsort(outer[0])]] = order[some][np.argsort(outer[1])]
    return order


def batches_with_a_leaning() -> npt.NDArray[np.int64]:
    """Shift all values of a batch of 64 by the same, and each batch of 8 ranks by something else."""
    random = np.random.default_rng(2)
    shift = np.repeat(random.normal(0, 0.02, (N // 512 + 1, 8)), 64, axis=0).reshape(-1)[:N]
    return ranked(random.random(N) + shift)


def steps_that_come_again() -> npt.NDArray[np.int64]:
    """Let some values follow others by always the same difference."""
    random = np.random.default_rng(3)
    order = random.permutation(N)
    for place in random.choice(SAMPLE // 2, 200, replace=False) * 2:
        at = int(np.flatnonzero(order == (order[place] + 12_345) % N)[0])
        order[[place + 1, at]] = order[[at, place + 1]]
    return order


def neighbours_alike() -> npt.NDArray[np.int64]:
    """Let a value lean to the one 17 positions before, which another rank has, two steps before."""
    keys = np.random.default_rng(4).random(N + 17)
    return ranked(keys[17:] + 0.03 * keys[:-17])


def ranks_alike() -> npt.NDArray[np.int64]:
    """Let rank 1 of 8 lean to what rank 0 has at the same step; and rank 3 to the contrary of rank 2."""
    keys = np.random.default_rng(5).random((N // 8 + 1, 8)) - 0.5
    keys[:, 1] += 0.1 * keys[:, 0]
    keys[:, 3] -= 0.1 * keys[:, 2]
    return ranked(keys.reshape(-1)[:N])


FLAWED: dict[str, Callable[[], npt.NDArray[np.int64]]] = {  # each by the one statistic that finds it out
    "position and value": bins_that_prefer_values,
    "batch means": batches_with_a_leaning,
    "repeated differences": steps_that_come_again,
    "serial": neighbours_alike,
    "between ranks": ranks_alike,
}


@pytest.mark.parametrize("name", FLAWED)
def test_each_statistic_finds_what_no_other_does(name: str) -> None:
    found = statistics(FLAWED[name]().__getitem__, N)
    assert found.pop(name) > 2 * LIMIT
    assert max(found.values()) < LIMIT


Draw = Callable[[int, int], list[int]]  # n, seed -> an order


def ours(n: int, seed: int) -> list[int]:
    order: list[int] = Permutation(n, seed=seed)[:].tolist()
    return order


def one_cycle(n: int, seed: int) -> list[int]:
    """Sattolo's: a shuffle but for a 1, which leaves no element where it was."""
    draw, order = random.Random(seed), list(range(n))
    for i in range(n - 1, 0, -1):
        j = draw.randrange(i)
        order[i], order[j] = order[j], order[i]
    return order


def swapped_with_any(n: int, seed: int) -> list[int]:
    """The shuffle that everybody writes first: all orders come, but not as often."""
    draw, order = random.Random(seed), list(range(n))
    for i in range(n):
        j = draw.randrange(n)
        order[i], order[j] = order[j], order[i]
    return order


def all_orders(draw: Draw, n: int) -> float:
    """Compare how often each order of a few comes."""
    orders = math.factorial(n)
    count = 60 * orders
    seen = Counter(tuple(draw(n, seed)) for seed in range(count))
    observed = np.array([seen[order] for order in permutations(range(n))])
    return chi_squared(observed, count / orders, orders - 1)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_every_order_of_a_few_is_as_likely(n: int) -> None:
    assert all_orders(ours, n) < LIMIT
    assert all_orders(one_cycle, n) > 2 * LIMIT
    if n > 4:  # it takes some to tell
        assert all_orders(swapped_with_any, n) > 2 * LIMIT


def fixed_points(draw: Draw, n: int) -> float:
    """Compare how often there are 0, 1, 2, … of them, which is as Poisson's law says."""
    count, positions = 1000, np.arange(n)
    fixed = [int((np.asarray(draw(n, seed)) == positions).sum()) for seed in range(count)]
    expected = np.array([math.exp(-1) / math.factorial(k) for k in range(5)])
    expected = count * np.append(expected, 1 - expected.sum())
    return chi_squared(np.bincount(np.minimum(fixed, 5), minlength=6), expected, 5)


@pytest.mark.parametrize("n", [300, 65_537])
def test_fixed_points_are_one_in_the_mean(n: int) -> None:
    assert fixed_points(lambda n, seed: Permutation(n, seed=seed)[:], n) < LIMIT  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("draw", [one_cycle, lambda n, seed: [0, *(1 + i for i in ours(n - 1, seed))]])
def test_too_few_and_too_many_fixed_points_are_found_out(draw: Draw) -> None:
    assert fixed_points(draw, 300) > 2 * LIMIT


Keyed = Callable[[int, int, int], Permutation]  # seed, epoch, stream


def related(make: Keyed, n: int) -> float:
    """Correlate the orders of all small seeds, epochs and streams; return the worst."""
    keys = product(range(3), repeat=3)
    orders = [make(*key).indices(0, min(n, 2000)) for key in keys]
    return max(correlation(one, other) for one, other in combinations(orders, 2))


@pytest.mark.parametrize("n", [5000, 65_537, 10**9])
def test_keys_are_mixed_and_not_added(n: int) -> None:
    def mixed(seed: int, epoch: int, stream: int) -> Permutation:
        return Permutation(n, seed=seed, epoch=epoch, stream=stream)

    assert related(mixed, n) < LIMIT
    controls: list[Keyed] = [
        lambda seed, epoch, stream: mixed(seed + epoch, 0, stream),
        lambda seed, epoch, stream: mixed(seed ^ epoch, 0, stream),
        lambda seed, epoch, stream: mixed(seed, epoch + stream, 0),
    ]
    for added in controls:
        assert related(added, n) > 2 * LIMIT


@pytest.mark.parametrize("n", [1000, 65_537, 10**9])
@pytest.mark.parametrize("what", ["seed", "epoch", "stream"])
def test_orders_have_nothing_in_common(n: int, what: str) -> None:
    many = [Permutation(n, **{what: value}).indices(0, min(n, 50_000)) for value in (0, 1, 2, 3, 1 << 40)]
    for i, one in enumerate(many):
        for other in many[:i]:
            assert correlation(one, other) < LIMIT
            assert (one == other).sum() < 10
