"""Samplers: what all ranks deliver, put together, is the epoch, whatever the ranks, batches and restarts."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyscale.data import (
    BalancedBatchSampler,
    Mixture,
    Permutation,
    ShardedBatchSampler,
    ShardedSampler,
    Stratified,
    Weighted,
    Window,
)

BIG = 10**12


def sampler(n: Any, ranks: int, rank: int, **options: Any) -> ShardedSampler:
    return ShardedSampler(n, num_replicas=ranks, rank=rank, **options)


def batches(n: Any, size: int, ranks: int, rank: int, **options: Any) -> ShardedBatchSampler:
    return ShardedBatchSampler(n, size, num_replicas=ranks, rank=rank, **options)


def flat(lists: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(lists))


def order(n: int, epoch: int = 0, seed: int = 0) -> list[int]:
    samples: list[int] = Permutation(n, seed=seed, epoch=epoch)[:].tolist()
    return samples


@given(n=st.integers(0, 300), ranks=st.integers(1, 9), remainder=st.sampled_from(["exact", "pad", "drop"]))
@settings(max_examples=150, deadline=None)
def test_the_shares_of_all_ranks(n: int, ranks: int, remainder: Any) -> None:
    shares = [list(sampler(n, ranks, rank, remainder=remainder)) for rank in range(ranks)]
    expected = order(n)
    if remainder == "pad":
        missing = -n % ranks
        expected = [*expected, *(expected[i % n] for i in range(missing))]
    elif remainder == "drop":
        expected = expected[: n // ranks * ranks]
    assert shares == [expected[rank::ranks] for rank in range(ranks)]


@given(
    n=st.integers(0, 300),
    ranks=st.integers(1, 9),
    size=st.integers(1, 40),
    remainder=st.sampled_from(["exact", "pad", "drop"]),
    drop_last=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_the_batches_of_all_ranks(n: int, ranks: int, size: int, remainder: Any, drop_last: bool) -> None:
    all_ranks = [
        batches(n, size, ranks, rank, remainder=remainder, drop_last=drop_last) for rank in range(ranks)
    ]
    delivered = [list(one) for one in all_ranks]
    steps = {len(of_rank) for of_rank in delivered}
    assert len(steps) == 1, "every rank has the same number of steps"
    expected = order(n)
    seen: list[int] = []
    for step in range(steps.pop()):
        together = [index for of_rank in delivered for index in of_rank[step]]
        lengths = [len(of_rank[step]) for of_rank in delivered]
        assert max(lengths) - min(lengths) <= (1 if remainder == "exact" else 0)
        assert max(lengths) <= size
        seen += together
    if remainder == "pad" and n:
        expected = expected + [expected[i % n] for i in range(-n % ranks)]
    if remainder == "drop":
        expected = expected[: n // ranks * ranks]
    if drop_last:
        expected = expected[: len(expected) // (size * ranks) * size * ranks]
    assert seen == expected, "ranks one after the other, steps one after the other, are the order itself"


@given(
    n=st.integers(1, 400),
    legs=st.lists(
        st.tuples(st.integers(1, 8), st.integers(1, 17), st.integers(0, 12), st.booleans()),
        min_size=1,
        max_size=5,
    ),
    shuffle=st.sampled_from([True, False, "window"]),
)
@settings(max_examples=200, deadline=None)
def test_restarts_at_other_world_and_batch_sizes(
    n: int, legs: list[tuple[int, int, int, bool]], shuffle: Any
) -> None:
    options: dict[str, Any] = {"shuffle": shuffle, "seed": 5}
    if shuffle == "window":
        options |= {"block_size": 7, "window": 20}
    whole = list(sampler(n, 1, 0, **options))
    seen: list[int] = []
    state = None
    for ranks, size, steps, by_batch in [*legs, (1, 1, n, False)]:
        states = []
        shares: list[list[list[int]]] = []
        for rank in range(ranks):
            one: Any = (
                batches(n, size, ranks, rank, **options) if by_batch else sampler(n, ranks, rank, **options)
            )
            if state is not None:
                one.load_state_dict(state)
            if state is not None and state["position"] == n:
                states.append(state)
                continue
            handed = list(islice(iter(one), steps))
            shares.append(handed if by_batch else [[index] for index in handed])
            states.append(one.state_dict())
        for step in range(max(map(len, shares), default=0)):
            seen += [index for share in shares if step < len(share) for index in share[step]]
        assert all(one == states[0] for one in states)
        state = json.loads(json.dumps(states[0]))
    assert seen == whole


@given(
    n=st.integers(1, 300),
    legs=st.lists(
        st.tuples(st.integers(1, 8), st.integers(1, 17), st.integers(0, 9), st.booleans()),
        min_size=1,
        max_size=4,
    ),
    remainder=st.sampled_from(["exact", "pad", "drop"]),
    drop_last=st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_restarts_where_the_remainder_is_padded_or_dropped(
    n: int, legs: list[tuple[int, int, int, bool]], remainder: Any, drop_last: bool
) -> None:
    """All is once and in turn; what is left at the end is dealt with as the ranks that read it say."""
    whole, seen, position = order(n), 0, 0
    state: dict[str, Any] | None = None
    for ranks, size, steps, by_batch in [*legs, (3, 2, 10**6, True)]:
        options: dict[str, Any] = {"remainder": remainder}
        if by_batch or remainder != "pad":
            options["drop_last"] = drop_last
        shares: list[list[list[int]]] = []
        states = []
        for rank in range(ranks):
            one: Any = (
                batches(n, size, ranks, rank, **options) if by_batch else sampler(n, ranks, rank, **options)
            )
            if state is not None:
                one.load_state_dict(state)
            handed = list(islice(iter(one), steps))
            shares.append(handed if by_batch else [[index] for index in handed])
            states.append(one.state_dict())
        assert all(one == states[0] for one in states)
        state = json.loads(json.dumps(states[0]))
        lengths = [len(share) for share in shares]
        assert len(set(lengths)) == 1 or (remainder == "exact" and not by_batch and not drop_last)
        delivered = [
            index
            for step in range(max(lengths))
            for share in shares
            if step < len(share)
            for index in share[step]
        ]
        left = whole[position:]
        assert delivered[: len(left)] == left[: len(delivered)]
        padding = delivered[len(left) :]
        assert padding == (whole * ranks)[: len(padding)]
        assert len(padding) < ranks
        assert remainder == "pad" or not padding
        dropped = left[len(delivered) :] if state["position"] == n else []
        drops = ranks * size if drop_last and by_batch else ranks
        assert len(dropped) < drops + (ranks if remainder == "drop" else 0)
        assert not dropped or drop_last or remainder == "drop"
        seen += len(delivered) - len(padding)
        position = state["position"]
        assert position == seen + len(dropped)
        if position == n:
            break
    assert position == n


def test_states_are_small_and_the_same_on_all_ranks() -> None:
    for steps in (0, 1, 5, 7):
        states = []
        for rank in range(4):
            one = batches(101, 4, 4, rank)
            list(islice(iter(one), steps))
            states.append(one.state_dict())
        assert all(state == states[0] for state in states)
        assert len(json.dumps(states[0])) < 1000
        assert states[0]["position"] == min(steps * 16, 101)


@given(
    n=st.integers(0, 60),
    ranks=st.integers(1, 7),
    start=st.integers(0, 60),
    options=st.sampled_from([{}, {"drop_last": True}, {"remainder": "pad"}, {"remainder": "drop"}]),
)
@settings(max_examples=100, deadline=None)
def test_states_are_the_same_on_all_ranks_at_every_step(
    n: int, ranks: int, start: int, options: dict[str, Any]
) -> None:
    """Also at the last one, at which some ranks of a `ShardedSampler` have nothing."""
    start = min(start, max(0, n - 1))  # from n on it would be the next epoch
    several = [sampler(n, ranks, rank, **options) for rank in range(ranks)]
    for one in several:
        one.load_state_dict({**one.state_dict(), "position": start})
    iterators = [iter(one) for one in several]
    steps = len(several[0])
    seen: list[int] = []
    for step in range(1, steps + 1):
        seen += [index for iterator in iterators for index in islice(iterator, 1)]
        states = [one.state_dict() for one in several]
        assert states == [one.state_dict(delivered=step) for one in several]
        assert all(state == states[0] for state in states)
        expected = min(n, start + step * ranks) if step < steps else n
        assert states[0]["position"] == expected
        if not options:
            rest = sampler(n, 1, 0)
            rest.load_state_dict(states[0])
            assert seen + (list(rest) if expected < n else []) == order(n)[start:]


def test_the_last_step_of_ranks_that_have_one_less() -> None:
    """Only what it is told, or that there is no more, tells such a rank that the others have it too."""
    one = sampler(5, 2, 1)
    assert len(list(islice(iter(one), 2))) == 2
    assert one.state_dict()["position"] == one.state_dict(delivered=2)["position"] == 4
    assert one.state_dict(delivered=3)["position"] == 5
    with pytest.raises(ValueError, match="from 0 to 3, got 4"):
        one.state_dict(delivered=4)


def test_the_epoch_advances_by_itself() -> None:
    one = sampler(100, 1, 0)
    assert [list(one) for _ in range(3)] == [order(100, epoch) for epoch in range(3)]
    next(iter(one))  # one that was given up counts too
    assert one.epoch == 3
    assert list(one) == order(100, 4)


def test_the_epoch_that_was_set_stays() -> None:
    one = sampler(100, 1, 0)
    one.set_epoch(7)
    assert list(one) == list(one) == order(100, 7)
    one.set_epoch(8)
    assert list(one) == order(100, 8)
    assert one.epoch == 8


def test_a_state_and_then_its_epoch() -> None:
    one = sampler(100, 2, 1)
    one.set_epoch(3)
    list(islice(iter(one), 10))
    state = one.state_dict()
    for epoch, expected in ((3, order(100, 3)[21::2]), (4, order(100, 4)[1::2])):
        other = sampler(100, 2, 1)
        other.load_state_dict(state)
        other.set_epoch(epoch)
        assert len(other) == len(expected)
        assert list(other) == expected
        assert list(other) == order(100, epoch)[1::2]


@pytest.mark.parametrize("asked_for_too_many", [False, True])
@pytest.mark.parametrize("remainder", ["exact", "pad", "drop"])
def test_a_state_at_the_end_of_an_epoch(asked_for_too_many: bool, remainder: Any) -> None:
    for ranks in (1, 3):
        one = batches(100, 8, ranks, 0, remainder=remainder)
        iterator = iter(one)
        for _ in range(len(one)):
            next(iterator)
        if asked_for_too_many:
            assert next(iterator, None) is None
        state = one.state_dict()
        assert (state["epoch"], state["position"]) == (0, 100)
        other = batches(100, 8, 1, 0)
        other.load_state_dict(state)
        assert other.epoch == 1
        assert flat(other) == order(100, 1)
        other.load_state_dict(state)
        other.set_epoch(0)  # whose samples were all delivered
        assert list(other) == []


def test_what_was_delivered_can_be_said() -> None:
    one = batches(100, 8, 2, 0)
    list(islice(iter(one), 5))  # three of which are still in a queue
    state = one.state_dict(delivered=2)
    assert state["position"] == 32
    with pytest.raises(ValueError, match="from 0 to 7, got 8"):
        one.state_dict(delivered=8)


def test_states_of_something_else_are_refused() -> None:
    one = sampler(100, 1, 0, seed=1)
    list(islice(iter(one), 10))
    before = one.state_dict()
    good = before
    for change, message in (
        ({"version": 2}, "version 1, got 2"),
        ({"position": 101}, "position from 0 to 100, got 101"),
        ({"position": -1}, "got -1"),
        ({"position": "3"}, "integers"),
        ({"epoch": -1}, "got -1"),
        ({"order": {**good["order"], "n": 101}}, "n=100, got 101"),
        ({"order": {**good["order"], "seed": 2}}, "seed=1, got 2"),
        ({"order": {**good["order"], "kind": "window"}}, "kind="),
        ({"order": {**good["order"], "permutation": 9}}, "permutation=1"),
        ({"order": 3}, "description"),
    ):
        with pytest.raises(ValueError, match=message):
            one.load_state_dict({**good, **change})
        assert one.state_dict() == before
    for nothing in ({}, {"version": 1}, None, [1]):
        with pytest.raises(ValueError, match="what state_dict returns"):
            one.load_state_dict(nothing)  # type: ignore[arg-type]


def test_random_access() -> None:
    one = sampler(1000, 3, 1)
    everything = list(one)
    one.set_epoch(0)
    assert [one[i] for i in range(-len(one), len(one))] == everything * 2
    assert one.indices(5, 100).tolist() == one[5:100].tolist() == everything[5:100]
    for part in (slice(None), slice(3, 90, 7), slice(None, None, -1), slice(90, 3, -4), slice(9, 3)):
        assert one[part].tolist() == everything[part]
    for outside in (len(one), -len(one) - 1):
        with pytest.raises(IndexError, match="expected an index of 333"):
            one[outside]
    with pytest.raises(IndexError, match="got 5 and 4"):
        one.indices(5, 4)


def test_the_valid_samples_of_steps() -> None:
    for remainder in ("exact", "pad", "drop"):
        one = batches(103, 8, 4, 2, remainder=remainder)
        ends = {"exact": [20, 19], "pad": [32, 7], "drop": [32, 4]}[remainder]
        assert [one.num_valid(step) for step in range(len(one))] == [32, 32, *ends]
        assert [one[step] for step in range(len(one))] == list(one)
    with pytest.raises(IndexError, match="expected a step of 4, got 4"):
        one.num_valid(4)


def test_the_largest_data_are_completed() -> None:
    n = (1 << 63) - 1
    one = sampler(n, 5, 4, remainder="pad", shuffle=False)
    assert one[-2:].tolist() == [n // 5 * 5 - 1, n // 5 * 5 + 4 - n]


def test_huge_data_in_constant_memory() -> None:
    one = sampler(BIG, 8, 3, seed=9)
    assert len(one) == BIG // 8
    expected = Permutation(BIG, seed=9)
    middle = one.state_dict()
    middle["position"] = BIG // 2
    one.load_state_dict(middle)
    assert len(one) == BIG // 16
    assert list(islice(iter(one), 3)) == [expected[BIG // 2 + 3 + 8 * i] for i in range(3)]
    many = batches(BIG, 1024, 8, 0, shuffle="window", block_size=1000, window=50_000)
    many.load_state_dict({**many.state_dict(), "position": BIG - 5000})
    assert [len(batch) for batch in many] == [625]


def test_copies_go_on() -> None:
    one = sampler(100, 2, 0)
    iterator = iter(one)
    list(islice(iterator, 10))
    for other in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        assert other.state_dict() == one.state_dict()
        assert list(other) == order(100)[20::2]
    assert list(iterator) == order(100)[20::2]


def test_what_is_refused() -> None:
    for error, message, arguments in (
        (ValueError, "remainder 'exact', 'pad' or 'drop'", {"remainder": "keep"}),
        (ValueError, "rank from 0 to 1, got 2", {"num_replicas": 2, "rank": 2}),
        (ValueError, "num_replicas from 1", {"num_replicas": 0, "rank": 0}),
        (TypeError, "num_replicas and rank", {"num_replicas": 2}),
        (ValueError, "seed from 0", {"seed": -1}),
        (ValueError, "shuffle True", {"shuffle": "half"}),
        (ValueError, "with shuffle='window'", {"window": 3}),
        (TypeError, "block_size and window", {"shuffle": "window"}),
        (ValueError, "drop_last or remainder='pad'", {"drop_last": True, "remainder": "pad"}),
    ):
        with pytest.raises(error, match=message):
            ShardedSampler(10, **arguments)
    with pytest.raises(ValueError, match="length from 0"):
        ShardedSampler(-1)
    with pytest.raises(TypeError):
        ShardedSampler(1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size from 1"):
        ShardedBatchSampler(10, 0)
    with pytest.raises(ValueError, match="a plan to say"):
        ShardedSampler(Window(10, block_size=2, window=4), shuffle=False)


def test_without_ranks_there_is_one() -> None:
    one = ShardedSampler([10, 20, 30], shuffle=False)
    assert (one.num_replicas, one.rank) == (1, 0)
    assert list(one) == [0, 1, 2]


@pytest.fixture
def torch_data() -> Any:
    return pytest.importorskip("torch.utils.data")


def test_torch_takes_them(torch_data: Any) -> None:
    data = list(range(103))
    for rank in range(3):
        loader = torch_data.DataLoader(data, batch_size=10, sampler=sampler(data, 3, rank))
        assert flat(batch.tolist() for batch in loader) == order(103)[rank::3]
        by_batch = batches(data, 10, 3, rank)
        loader = torch_data.DataLoader(data, batch_sampler=by_batch)
        assert len(loader) == len(by_batch) == 4
        assert [batch.tolist() for batch in loader] == [by_batch[step] for step in range(4)]


def test_as_torchs_own_where_nothing_is_shuffled(torch_data: Any) -> None:
    class Data(torch_data.Dataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return 103

    for rank in range(8):
        theirs = torch_data.DistributedSampler(Data(), num_replicas=8, rank=rank, shuffle=False)
        assert list(theirs) == list(sampler(103, 8, rank, shuffle=False, remainder="pad"))
        drops = torch_data.DistributedSampler(
            Data(), num_replicas=8, rank=rank, shuffle=False, drop_last=True
        )
        assert list(drops) == list(sampler(103, 8, rank, shuffle=False, drop_last=True))


@given(
    n=st.integers(0, 300),
    size=st.integers(1, 20),
    ranks=st.integers(1, 6),
    streams=st.integers(1, 5),
    window=st.integers(1, 60),
    shuffle=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_ranks_share_streams(n: int, size: int, ranks: int, streams: int, window: int, shuffle: bool) -> None:
    plan = Window(n, block_size=9, window=window, streams=streams, shuffle=shuffle)
    whole = plan.order(seed=0, epoch=0)[:].tolist()
    delivered = [list(batches(plan, size, ranks, rank)) for rank in range(ranks)]
    one_rank = list(batches(plan, size * ranks, 1, 0))
    done = 0
    for step in range(len(one_rank)):
        together = flat(of_rank[step] for of_rank in delivered)
        assert together == one_rank[step]
        positions = range(done, done := done + len(together))
        assert together == [whole[p] for p in sorted(positions, key=lambda p: (p % streams, p))]


@given(
    n=st.integers(0, 200),
    size=st.integers(1, 20),
    ranks=st.integers(1, 6),
    remainder=st.sampled_from(["exact", "pad", "drop"]),
)
@settings(max_examples=60, deadline=None)
def test_balanced_batches_are_the_same_global_batches(n: int, size: int, ranks: int, remainder: Any) -> None:
    lengths = np.random.default_rng(n).lognormal(5, 1, n)
    options: Any = {"num_replicas": ranks, "remainder": remainder}
    dealt = [list(BalancedBatchSampler(n, size, lengths, rank=rank, **options)) for rank in range(ranks)]
    plain = [list(ShardedBatchSampler(n, size, rank=rank, **options)) for rank in range(ranks)]
    for step in range(len(plain[0])):
        assert sorted(flat(one[step] for one in dealt)) == sorted(flat(one[step] for one in plain))
        counts = [len(one[step]) for one in dealt]
        assert max(counts) - min(counts) <= 1


def test_balanced_batches_cost_the_same() -> None:
    lengths = np.minimum(np.random.default_rng(0).lognormal(5, 1, 40_000).astype(np.int64), 2048)
    for quadratic in (0, 1e-3):
        samplers = [
            BalancedBatchSampler(40_000, 128, lengths, quadratic=quadratic, num_replicas=32, rank=rank)
            for rank in range(32)
        ]
        costs = lengths + quadratic * lengths.astype(float) ** 2
        for step in range(3):
            loads = np.array([costs[one.indices(step)].sum() for one in samplers])
            assert loads.max() / loads.mean() < 1.001
            plain = np.array(
                [costs[batches(40_000, 128, 32, rank).indices(step)].sum() for rank in range(32)]
            )
            assert plain.max() / plain.mean() > 1.1


def test_lengths_that_are_refused() -> None:
    for lengths, error, message in (
        ([1, np.nan], ValueError, "lengths from 0, got nan at 1"),
        ([1, -2], ValueError, "got -2 at 1"),
        ([[1]], TypeError, "one number a sample"),
        (["a"], TypeError, "one number a sample"),
    ):
        with pytest.raises(error, match=message):
            BalancedBatchSampler(2, 1, lengths, num_replicas=1, rank=0)
    with pytest.raises(ValueError, match="quadratic"):
        BalancedBatchSampler(2, 1, [1, 2], quadratic=-1, num_replicas=1, rank=0)
    for data, expected in (
        (3, 3),
        (1, 1),
        (Weighted([1.0, 1, 1], num_samples=2), 3),
        (Weighted([1.0, 0, 0], replacement=False), 3),
        (Mixture([1, 2], length=2), 3),
        (Stratified(["a"]), 1),
        (Window([2, 2], window=2), 4),
    ):
        for remainder in ("exact", "drop"):  # which of the samples come is of no account
            options: Any = {"num_replicas": 1, "rank": 0, "remainder": remainder}
            with pytest.raises(ValueError, match=f"lengths of {expected} samples, got 2"):
                BalancedBatchSampler(data, 1, [1, 2], **options)
            assert len(BalancedBatchSampler(data, 1, [1] * expected, **options)) > 0


def go_through_torchs_loader(workers: int, by_batch: bool) -> None:
    from torch.utils.data import DataLoader

    data = list(range(100))

    def make() -> tuple[Any, Any]:
        one: Any = batches(100, 10, 1, 0) if by_batch else sampler(100, 1, 0)
        how = {"batch_sampler": one} if by_batch else {"sampler": one, "batch_size": 10}
        return one, DataLoader(data, num_workers=workers, **how)

    one, loader = make()
    for epoch in range(3):
        assert one.epoch == max(0, epoch - 1)
        assert flat(batch.tolist() for batch in loader) == order(100, epoch)
        assert one.epoch == epoch
    one, loader = make()
    used = [batch.tolist() for batch in islice(loader, 4)]
    state = one.state_dict(delivered=4 if by_batch else 40)
    one, loader = make()
    one.load_state_dict(state)
    assert flat(used) + flat(batch.tolist() for batch in loader) == order(100)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("by_batch", [True, False])
def test_epochs_and_restarts_of_torch_with_workers(torch_data: Any, workers: int, by_batch: bool) -> None:
    # With workers, torch makes two iterators for each epoch and uses one. They are forks: of a process of its
    # own, since this one may have threads.
    program = f"import test_samplers; test_samplers.go_through_torchs_loader({workers}, {by_batch})"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


def test_no_rank_has_an_empty_batch_where_there_is_a_choice() -> None:
    for n in range(8, 120):
        for ranks, size in ((4, 4), (3, 2), (4, 2)):
            delivered = [list(batches(n, size, ranks, rank)) for rank in range(ranks)]
            if n >= ranks:
                assert all(batch for one in delivered for batch in one)
            whole = list(batches(n, size * ranks, 1, 0))
            together = [flat(one[step] for one in delivered) for step in range(len(whole))]
            assert together == whole, "the global batches do not depend on the number of ranks"


def test_only_plans_are_plans() -> None:
    class Data:
        plan = "abc"

        def __len__(self) -> int:
            return 100

    assert len(sampler(Data(), 1, 0)) == 100
