"""Orders beside plain references: windows, mixtures, strata, weights."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyscale.data import (
    Mixture,
    Order,
    Permutation,
    Sequential,
    ShardedBatchSampler,
    ShardedSampler,
    Shuffled,
    Stratified,
    Weighted,
    Window,
)
from pyscale.data.arguments import Indices
from pyscale.data.orders.mixture import MixtureOrder


def plain_window(sizes: list[int], window: int, streams: int, seed: int, epoch: int) -> list[int]:
    """Return the order of a `Window`, from what its documentation says."""
    n, firsts = sum(sizes), np.concatenate([[0], np.cumsum(sizes)])
    permutation = Permutation(len(sizes), seed=seed, epoch=epoch)
    sequence = [i for block in permutation for i in range(firsts[block], firsts[block] + sizes[block])]
    width = max(1, window // streams)
    parts = []
    begin = 0
    for stream in range(streams):
        length = n // streams + (stream < n % streams)
        part = sequence[begin : begin + length]
        begin += length
        shuffled: list[int] = []
        for number, first in enumerate(range(0, length, width)):
            held = part[first : first + width]
            key = 1 + stream * -(-n // width) + number
            shuffled += [held[i] for i in Permutation(len(held), seed=seed, epoch=epoch, stream=key)]
        parts.append(shuffled)
    return [parts[p % streams][p // streams] for p in range(n)]


@given(
    sizes=st.lists(st.integers(0, 30), max_size=12),
    window=st.integers(1, 80),
    streams=st.integers(1, 5),
    epoch=st.integers(0, 3),
)
@settings(max_examples=100, deadline=None)
def test_windows_of_blocks_of_any_size(sizes: list[int], window: int, streams: int, epoch: int) -> None:
    order = Window(sizes, window=window, streams=streams).order(seed=3, epoch=epoch)
    assert order[:].tolist() == plain_window(sizes, window, streams, 3, epoch)


@given(
    n=st.integers(0, 300),
    block_size=st.integers(1, 40),
    window=st.integers(1, 80),
    streams=st.integers(1, 5),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_windows_of_even_blocks(n: int, block_size: int, window: int, streams: int, data: Any) -> None:
    sizes = [min(block_size, n - first) for first in range(0, n, block_size)]
    order = Window(n, block_size=block_size, window=window, streams=streams).order(seed=1, epoch=2)
    expected = plain_window(sizes, window, streams, 1, 2)
    assert order[:].tolist() == list(order) == expected
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    assert order.indices(start, stop).tolist() == expected[start:stop]
    step = data.draw(st.integers(1, 9))
    assert order[start::step].tolist() == expected[start::step]
    assert order[::-1].tolist() == expected[::-1]


def test_a_window_of_a_huge_data_set_takes_no_memory() -> None:
    plan = Window(10**12, block_size=1000, window=10_000, streams=3)
    order = plan.order(seed=0, epoch=0)
    middle = order.indices(5 * 10**11, 5 * 10**11 + 30_000)
    assert len(set(middle.tolist())) == 30_000
    assert len(set((middle // 1000).tolist())) <= 3 * 14


def test_windows_of_as_many_samples_as_there_may_be() -> None:
    n = 2**63 - 1
    order = Window(n, block_size=1000, window=1000).order(seed=0, epoch=0)
    first = Permutation(-(-n // 1000))[-1] * 1000  # of the last block, which ends the last window
    assert np.sort(order[n - n % 1000 :]).tolist() == [*range(first + 1000 - n % 1000, first + 1000)]


def test_the_quality_of_windows_is_what_is_said() -> None:
    n, block_size, batch = 200_000, 500, 64
    for window, streams in ((5_000, 1), (20_000, 1), (20_000, 4)):
        plan = Window(n, block_size=block_size, window=window, streams=streams)
        means: list[npt.NDArray[np.float64]] = []
        for epoch in range(12):
            value = np.random.default_rng(epoch).normal(size=n // block_size)  # of all the samples of a block
            order = plan.order(seed=1, epoch=epoch)[:]
            means.append(value[order // block_size][: n // batch * batch].reshape(-1, batch).mean(axis=1))
        measured = np.concatenate(means).var() * batch
        assert measured == pytest.approx(plan.variance_inflation(batch), rel=0.15)
    everything = Window(n, block_size=block_size, window=n)
    assert everything.variance_inflation(batch) == pytest.approx(1, abs=0.2)


@given(
    parts=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9)), min_size=1, max_size=9).filter(
        lambda parts: any(weight for _, weight in parts)
    ),
    length=st.integers(1, 700),
    seed=st.integers(0, 5),
)
@settings(max_examples=150, deadline=None)
def test_mixtures(parts: list[tuple[int, int]], length: int, seed: int) -> None:
    sizes, weights = [size for size, _ in parts], [weight for _, weight in parts]
    plan = Mixture(sizes, weights, length=length)
    depth = math.ceil(math.log2(len(parts))) if len(parts) > 1 else 0
    drawn = [np.zeros(size, int) for size in sizes]
    for epoch in range(3):
        order = plan.order(seed=seed, epoch=epoch)
        samples = order[:]
        which, local = plan.locate(samples)
        counts = np.zeros(len(parts), int)
        for position in range(length):
            if position % 97 == 0 or position % 256 == 0:
                assert order.counts(position).tolist() == counts.tolist()
            counts[which[position]] += 1
            drawn[which[position]][local[position]] += 1
        assert order.counts(length).tolist() == counts.tolist()
        total = np.array([one.sum() for one in drawn])
        share = np.array(weights) / sum(weights) * length * (epoch + 1)
        assert (np.abs(total - share) <= depth + 1e-9).all()
        # No sample again before all were there.
        assert all(one.max() - one.min() <= 1 for one in drawn)


def test_the_share_is_kept_at_every_block() -> None:
    plan = Mixture([1000, 50, 3000, 7], [0.5, 0.3, 0.15, 0.05], length=100_000)
    order = plan.order(seed=2, epoch=5)
    which, _ = plan.locate(order[:])
    for stop in range(256, 100_000, 256):
        counts = np.bincount(which[stop - 256 : stop], minlength=4)
        assert (np.abs(counts - np.array([0.5, 0.3, 0.15, 0.05]) * 256) <= 4).all()


def test_ranks_that_stride_meet_every_data_set() -> None:
    # The draws themselves are regular: without an order in blocks, each of two ranks would have one data set.
    plan = Mixture([1000, 1000], [1, 1])
    for ranks in (2, 4, 8):
        for rank in range(ranks):
            which, _ = plan.locate(list(ShardedSampler(plan, num_replicas=ranks, rank=rank)))
            assert 0.3 < which.mean() < 0.7


def test_blocks_of_a_mixture_are_shuffled() -> None:
    # What a rank that strides gets of a block of 256 is a draw without replacement: hypergeometric.
    blocks = 3000
    plan = Mixture([10**6, 10**6], [1, 1], length=256 * blocks)
    which, _ = plan.locate(plan.order(seed=1, epoch=0)[:])
    by_block = which.reshape(blocks, 256)
    assert (by_block.sum(axis=1) == 128).all()
    expected = 128 * 0.25 * (256 - 128) / 255
    for chosen in (np.s_[:, ::2], np.s_[:, :128], np.s_[:, np.arange(256) % 16 < 8]):
        assert by_block[chosen].sum(axis=1).var() == pytest.approx(expected, rel=0.12)
    # The draws in their regular order would not pass.
    regular = np.tile([0, 1], 128 * blocks).reshape(blocks, 256)
    assert regular[:, ::2].sum(axis=1).var() == 0
    # Neighbours are alike as often as they should be.
    alike = (by_block[:, 1:] == by_block[:, :-1]).mean()
    assert alike == pytest.approx(127 / 255, abs=0.003)


def test_counts_take_no_longer_far_into_an_epoch() -> None:
    plan = Mixture([10**9, 10**6], [0.9, 0.1], length=10**12)
    order = plan.order(seed=0, epoch=3)
    assert isinstance(order, MixtureOrder)
    counts = order.counts(10**12 - 1)
    assert counts.sum() == 10**12 - 1
    assert abs(int(counts[0]) - 9 * 10**11) < 1000


@given(labels=st.lists(st.sampled_from("aabbbbcd"), max_size=500), epoch=st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_strata(labels: list[str], epoch: int) -> None:
    order = Stratified(labels).order(seed=1, epoch=epoch)
    samples = order[:].tolist()
    assert sorted(samples) == list(range(len(labels)))
    classes = Counter(labels)
    depth = math.ceil(math.log2(len(classes))) if len(classes) > 1 else 0
    for stop in range(256, len(labels) + 1, 256):
        found = Counter(labels[i] for i in samples[:stop])
        for name, count in classes.items():
            assert abs(found[name] - count * stop / len(labels)) <= depth


def test_batches_of_strata_are_alike() -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2], [9000, 900, 100]))
    sampler = ShardedBatchSampler(Stratified(labels), 256, num_replicas=1, rank=0)
    for batch in list(sampler)[:-2]:
        counts = np.bincount(labels[batch], minlength=3)
        assert (np.abs(counts - np.array([0.9, 0.09, 0.01]) * 256) <= 4).all()


def test_weights_with_replacement() -> None:
    rng = np.random.default_rng(0)
    weights = rng.exponential(size=50)
    weights[[0, 17, 49]] = 0
    plan = Weighted(weights, num_samples=200_000)
    drawn = np.bincount(plan.order(seed=1, epoch=0)[:], minlength=50)
    expected = weights / weights.sum() * 200_000
    assert (drawn[[0, 17, 49]] == 0).all()
    drawable = expected > 0
    chi_square = ((drawn - expected)[drawable] ** 2 / expected[drawable]).sum()
    assert 20 < chi_square < 85  # of 46 degrees of freedom, 1 in 1000 on either side
    # A wrong law is told from the right one.
    wrong = np.sqrt(weights) / np.sqrt(weights).sum() * 200_000
    assert ((drawn - wrong)[drawable] ** 2 / wrong[drawable]).sum() > 1000


def test_weights_without_replacement() -> None:
    weights = np.array([1.0, 2.0, 4.0, 0.0])
    firsts: Counter[tuple[int, ...]] = Counter()
    epochs = 20_000
    plan = Weighted(weights, replacement=False)
    assert len(plan) == 3
    for epoch in range(epochs):
        firsts[tuple(plan.order(seed=1, epoch=epoch)[:].tolist())] += 1
    for order, count in firsts.items():
        probability, left = 1.0, 7.0
        for sample in order:
            probability *= weights[sample] / left
            left -= weights[sample]
        assert count / epochs == pytest.approx(probability, abs=5 * math.sqrt(probability / epochs))
    assert len(firsts) == 6


@given(
    weights=st.lists(st.floats(0, 1e300) | st.integers(0, 3).map(float), min_size=1, max_size=60),
    replacement=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_only_what_has_a_weight_is_drawn(weights: list[float], replacement: bool) -> None:
    if replacement and not any(weights):
        with pytest.raises(ValueError, match="a weight above 0"):
            Weighted(weights)
        return
    plan = Weighted(weights, replacement=replacement)
    drawn = plan.order(seed=0, epoch=1)[:].tolist()
    assert all(weights[sample] > 0 for sample in drawn)
    if not replacement:
        assert sorted(drawn) == [i for i, weight in enumerate(weights) if weight > 0]


PLANS: dict[str, Callable[[], Any]] = {
    "sequential": lambda: Sequential(500),
    "window": lambda: Window(500, block_size=30, window=90, streams=2),
    "mixture": lambda: Mixture([300, 100, 20], [3, 1.5, 0.5], length=500),
    "stratified": lambda: Stratified(np.arange(500) % 7),
    "weighted": lambda: Weighted(np.arange(500)),
    "without replacement": lambda: Weighted(np.arange(501), replacement=False),
}
# Orders of one version never change.
PINNED = {
    "sequential": [0, 1, 2, 3, 4, 5],
    "window": [309, 264, 302, 172, 364, 179],
    "mixture": [163, 387, 272, 169, 363, 254],
    "stratified": [284, 101, 31, 304, 342, 358],
    "weighted": [496, 395, 336, 433, 405, 67],
    "without replacement": [277, 353, 256, 441, 303, 213],
}


@pytest.mark.parametrize("name", PLANS)
def test_orders_are_the_same_everywhere(name: str) -> None:
    assert PLANS[name]().order(seed=4, epoch=1)[:6].tolist() == PINNED[name]


@pytest.mark.parametrize("name", PLANS)
def test_samplers_take_all_plans(name: str) -> None:
    plan = PLANS[name]()
    whole = plan.order(seed=4, epoch=0)
    assert isinstance(whole, Order)
    everything: Indices = whole[:]
    shares = [ShardedSampler(plan, num_replicas=3, rank=rank, seed=4) for rank in range(3)]
    assert [list(share) for share in shares] == [everything[rank::3].tolist() for rank in range(3)]
    state = json.loads(json.dumps(shares[0].state_dict()))
    assert len(json.dumps(state)) < 1000
    state |= {"position": 77, "epoch": 2}
    batches = ShardedBatchSampler(PLANS[name](), 20, num_replicas=1, rank=0, seed=4)
    batches.load_state_dict(state)
    assert sorted(next(iter(batches))) == sorted(plan.order(seed=4, epoch=2)[77:97].tolist())
    for other in PLANS:
        if other != name:
            with pytest.raises(ValueError, match="expected a state of"):
                ShardedSampler(PLANS[other](), num_replicas=3, rank=0, seed=4).load_state_dict(state)


class _NeitherSameNorNot:
    """Answers comparisons as pandas.NA does."""

    def __ne__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")


def test_what_is_refused() -> None:
    for error, message, make in (
        (TypeError, "block_size", lambda: Window(10, window=3)),
        (TypeError, "got both", lambda: Window([3, 4], window=3, block_size=2)),
        (ValueError, "window from 1", lambda: Window(10, window=0, block_size=2)),
        (ValueError, "sizes from 0", lambda: Window([3, -4], window=3)),
        (ValueError, "sizes from 0", lambda: Mixture([])),
        (ValueError, "2 weights", lambda: Mixture([1, 2], [1])),
        (ValueError, "weights from 0, got nan at 1", lambda: Mixture([1, 2], [1, math.nan])),
        (ValueError, "weights from 0, got -1", lambda: Mixture([1, 2], [1, -1])),
        (ValueError, "got none in 1", lambda: Mixture([1, 0], [1, 1])),
        (ValueError, "a weight above 0", lambda: Mixture([1, 1], [0, 0])),
        (ValueError, "one label a sample", lambda: Stratified([[1, 2]])),
        (ValueError, "NaN at 1", lambda: Stratified([1.0, math.nan])),
        (ValueError, "NaN at 0", lambda: Stratified(np.array([math.nan, 1.0], object))),
        (ValueError, "NaN at 1", lambda: Stratified(np.array(["2013-01-01", "NaT"], "M8[D]"))),
        (
            TypeError,
            "Stratified: expected labels that can be sorted",
            lambda: Stratified([None, "a"]),  # type: ignore[arg-type]
        ),
        (
            TypeError,
            "Stratified: expected labels that can be sorted",
            lambda: Stratified(np.array([_NeitherSameNorNot(), "a"], object)),
        ),
        (ValueError, "Sequential: expected n from 0", lambda: Sequential(-1)),
        (ValueError, "Sequential: expected n from 0", lambda: Sequential(1 << 63)),
        (TypeError, "Sequential: expected n as a whole", lambda: Sequential(2.5)),  # type: ignore[arg-type]
        (ValueError, "Shuffled: expected n from 0", lambda: Shuffled(-1)),
        (TypeError, "Shuffled: expected n as a whole", lambda: Shuffled("3")),  # type: ignore[arg-type]
        (IndexError, "from 0 to 4, got 99", lambda: Sequential(5).inverse(99)),
        (IndexError, "from 0 to 4, got -1", lambda: Sequential(5).inverse([0, -1])),
        (TypeError, "of integers", lambda: Sequential(5).inverse(1.0)),
        (ValueError, "weights from 0, got nan at 0", lambda: Weighted([math.nan])),
        (ValueError, "weights from 0, got inf at 0", lambda: Weighted([math.inf])),
        (TypeError, "one number a sample", lambda: Weighted(["a"])),
        (
            ValueError,
            "num_samples from 0 to 2, got 3",
            lambda: Weighted([1, 1, 0], num_samples=3, replacement=False),
        ),
    ):
        with pytest.raises(error, match=message):
            make()


def test_plans_of_numpys_integers_have_states_for_json() -> None:
    for plan in (Sequential(np.int64(5)), Shuffled(np.int64(5))):  # type: ignore[arg-type]
        state = ShardedSampler(plan, num_replicas=1, rank=0).state_dict()
        assert json.loads(json.dumps(state)) == state


@pytest.mark.parametrize("plan", [Mixture, lambda sizes: Window(sizes, window=3)])
def test_sizes_are_as_they_were_given(plan: Callable[[Indices], Mixture | Window]) -> None:
    sizes = np.array([3, 4])
    given = plan(sizes)
    expected = given.order(seed=0, epoch=0)[:]
    sizes[:] = 9, 1
    np.testing.assert_array_equal(given.order(seed=0, epoch=0)[:], expected)


@pytest.mark.parametrize("dtype", ["<u8", ">u8"])
def test_positions_beyond_63_bits_are_not_taken_for_negative_ones(dtype: str) -> None:
    for order in (Sequential(5), Permutation(5), Window(5, window=2, block_size=2).order(seed=0, epoch=0)):
        with pytest.raises(IndexError, match=r"below 2\^63, got 18446744073709551615"):
            order[np.array([2**64 - 1], dtype)]


def test_positions_of_samples_as_they_stand() -> None:
    assert Sequential(5).inverse(np.uint8(4)) == 4
    assert Sequential(5).inverse([[4, 0]]).tolist() == [[4, 0]]
