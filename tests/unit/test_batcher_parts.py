"""What the batcher is made of: gathering rows, learning costs, keeping goals, counting durations."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from batcher_models import Model, row
from hypothesis import given, settings
from hypothesis import strategies as st

from pyscale import _core
from pyscale.infer import Batcher
from pyscale.infer.batching.cost import Cost
from pyscale.infer.batching.goal import Goal
from pyscale.infer.batching.histogram import Histogram

LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "by rows": lambda x: x,
    "by columns": np.asfortranarray,
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every other column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "one row for all": lambda x: np.broadcast_to(x[:1], x.shape),
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "misaligned": lambda x: np.frombuffer(b"x" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
}


@settings(deadline=None, max_examples=60)
@given(
    pieces=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(list(LAYOUTS))), min_size=1, max_size=12),
    columns=st.integers(0, 9),
    dtype=st.sampled_from(["float32", "float64", "int8", "float16", "bool"]),
    spare=st.integers(0, 3),
)
def test_rows_of_any_layout_are_collected(
    pieces: list[tuple[int, str]], columns: int, dtype: str, spare: int
) -> None:
    rng = np.random.default_rng(0)
    arrays: list[Any] = [
        LAYOUTS[layout](rng.integers(0, 2 if dtype == "bool" else 99, (n, columns)).astype(dtype))
        for n, layout in pieces
    ]
    wanted = np.concatenate(arrays)
    out = np.ones((len(wanted) + spare, columns), dtype)
    assert _core.collect_rows(arrays, out) == len(wanted)
    assert out[: len(wanted)].tobytes() == wanted.tobytes()
    assert (out[len(wanted) :] == 1).all()


def test_rows_of_more_dimensions_and_many_bytes_are_collected() -> None:
    arrays: list[Any] = [np.full((n, 4, 5), n, np.float32) for n in (1, 0, 3, 5000)]
    out = np.empty((5004, 4, 5), np.float32)
    assert _core.collect_rows(arrays, out) == 5004
    assert out.tobytes() == np.concatenate(arrays).tobytes()


@pytest.mark.parametrize(
    ("arrays", "out"),
    [
        ([np.zeros((2, 3))], np.zeros((1, 3))),
        ([np.zeros((1, 3)), np.zeros((1, 2))], np.zeros((9, 3))),
        ([np.zeros((1, 3)), np.zeros((1, 3), np.float32)], np.zeros((9, 3))),
        ([np.zeros(3)], np.zeros((9, 3))),
        ([[1.0, 2.0, 3.0]], np.zeros((9, 3))),
        ([np.zeros((1, 3))], np.zeros((9, 6))[:, ::2]),
        ([np.zeros((1, 3))], np.broadcast_to(np.zeros(3), (9, 3))),
        ([np.zeros((1, 3), object)], np.zeros((9, 3), object)),
        ([np.zeros((1, 3), ">f8")], np.zeros((9, 3))),
        ([np.zeros((2, 3, 4))[:, :, ::2]], np.zeros((9, 3, 2))),
    ],
)
def test_rows_that_do_not_fit_are_refused_before_anything_is_written(arrays: list[Any], out: Any) -> None:
    before = out.tolist()
    with pytest.raises(ValueError, match="expected"):
        _core.collect_rows(arrays, out)
    assert out.tolist() == before


@settings(deadline=None, max_examples=30)
@given(a=st.floats(0, 1e5), b=st.floats(0, 1e7), seed=st.integers(0, 99), spoilt=st.floats(0, 0.3))
def test_costs_are_learned_although_some_batches_were_held_up(
    a: float, b: float, seed: int, spoilt: float
) -> None:
    rng = np.random.default_rng(seed)
    cost = Cost()
    for k in range(400):
        rows = int(2 ** rng.uniform(0, 8))
        held_up = rng.exponential(1e8) if rng.random() < spoilt else 0.0
        cost.add(rows, round((a * rows + b) * rng.uniform(0.97, 1.03) + held_up), k * 10**8)
    for rows in (1, 16, 256):
        assert cost.of(rows) == pytest.approx(a * rows + b, rel=0.3, abs=100)


def test_a_slow_first_batch_and_batches_of_one_size_do_not_mislead() -> None:
    cost = Cost()
    assert cost.rows_within(1.0) == float("inf")
    cost.add(8, 10**10, 0)
    for k in range(20):
        cost.add(8, 8000, k * 10**9)
    assert (cost.of(8), cost.of(16)) == (8000, 16000)
    assert cost.rows_within(4000) == 4


def test_batches_are_as_large_as_the_goal_allows() -> None:
    cost = Cost()
    for k in range(64):
        rows = 1 << k % 8
        cost.add(rows, 100_000 + 10_000 * rows, k * 10**9)
    latency, wait = Goal(2e6, "latency", 256), Goal(2e6, "wait", 256)
    assert latency.limit(cost, 0) == pytest.approx(90, abs=2)  # 2 t(n) is the goal
    assert wait.limit(cost, 0) == pytest.approx(190, abs=2)
    assert latency.limit(cost, 1.5e6) == 256  # late already
    assert Goal(2.5e5, "latency", 256).limit(cost, 0) == pytest.approx(2, abs=1)
    assert Goal(1e5, "latency", 256).limit(cost, 0) == 256  # not even one row is in time
    assert Goal(1e9, "latency", 256).limit(cost, 0) == 256


def test_a_goal_that_is_missed_makes_batches_smaller_and_is_said() -> None:
    cost = Cost()
    for k in range(64):
        cost.add(1 << k % 8, 1000 * (1 << k % 8), k * 10**9)
    goal = Goal(200_000, "latency", 256)
    before = goal.limit(cost, 0)
    assert goal.reached is None
    goal.watch([300_000] * 512, cost, 0)
    assert goal.reached is None
    assert goal.limit(cost, 0) < before
    goal.watch([300_000] * 1024, cost, 0)
    assert goal.reached is False
    assert "at most" in str(goal.reason)
    goal.watch([100_000] * 512 * 40, cost, 0)
    assert goal.reached is True
    assert goal.limit(cost, 0) == before


def test_few_requests_are_judged_after_a_while() -> None:
    """Four in a second: a goal is known to be missed after some dozens, and kept where one alone is late."""
    cost = Cost()
    missed, kept = Goal(5e6, "latency", 256), Goal(5e6, "latency", 256)
    for k in range(200):
        missed.watch([30_000_000], cost, k * 250_000_000)
        kept.watch([30_000_000 if k % 40 == 0 else 1_000_000], cost, k * 250_000_000)
        assert (missed.reached, kept.reached) == (None if k < 95 else False, None if k < 31 else True)
    assert "took 30 ms" in str(missed.reason)


def test_a_goal_is_not_said_to_be_reached_before_it_is_judged() -> None:
    with Batcher(Model(seconds=0.003), latency_goal_ms=1) as batcher:
        for _ in range(5):
            batcher.predict(row(1))
        assert batcher.stats()["models"][""]["goal_reached"] is None


def test_an_impossible_goal_is_said_once_in_a_warning_and_in_stats() -> None:
    with Batcher(Model(seconds=0.0003), latency_goal_ms=0.1, max_batch=4) as batcher:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            end = time.monotonic() + 15
            while not caught and time.monotonic() < end:
                batcher.predict(row(1))
            for _ in range(2000):
                batcher.predict(row(1))
        (warning,) = caught
        assert warning.category is RuntimeWarning
        assert "one row alone takes the model" in str(warning.message)
        found = batcher.stats()["models"][""]
        assert found["goal_reached"] is False
        assert "one row alone" in found["goal_reason"]


@settings(deadline=None, max_examples=60)
@given(values=st.lists(st.integers(0, 2**60), min_size=1, max_size=200), q=st.floats(0, 1))
def test_quantiles_are_exact_to_an_eighth(values: list[int], q: float) -> None:
    histogram = Histogram()
    histogram.add(values[:50])
    histogram.add(values[50:])
    wanted = sorted(values)[max(0, int(np.ceil(q * len(values))) - 1)]
    assert wanted <= histogram.quantile(q) * (1 + 1e-12)
    assert histogram.quantile(q) <= wanted * 1.126 + 1e-9
    assert sum(count for _, count in histogram.buckets()) == len(histogram) == len(values)
    assert all(a < b for (a, _), (b, _) in zip(histogram.buckets(), histogram.buckets()[1:], strict=False))
    assert np.isnan(Histogram().quantile(q))
