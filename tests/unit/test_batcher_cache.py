"""Answers that are kept, and equal requests that are computed once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from typing import Any

import numpy as np
import pytest
from batcher_models import Gate, Model, row, rows_of, value_of

from pyscale.infer import Batcher

LONG = 20.0


def counters(batcher: Batcher) -> dict[str, Any]:
    found: dict[str, Any] = batcher.stats()["models"][""]
    return found


def test_rows_that_come_again_are_not_computed_again() -> None:
    model = Model()
    with Batcher(model, cache_size=2) as batcher:
        for k in (1, 2, 1, 2, 3, 2, 1):  # 1 makes room for 3
            assert value_of(batcher.predict(row(k))) == k
        assert model.firsts == [1, 2, 3, 1]
        assert value_of(asyncio.run(batcher.predict_async(row(1)))) == 1
        assert value_of(batcher.submit(row(1)).result(LONG)) == 1
        assert counters(batcher)["cache_hits"] == 5
        assert batcher.stats()["cached"] == 2
        answer = batcher.predict(row(1))
        with pytest.raises(ValueError, match="read-only"):
            answer[0] = 5


def test_the_key_is_the_bytes_their_type_and_their_shape() -> None:
    model = Model()
    with Batcher(model, cache_size=99) as batcher:
        zeros: list[Any] = [
            np.zeros((1, 4), np.float32),
            np.zeros((2, 2), np.float32),
            np.zeros((1, 2), np.float64),
            np.zeros((1, 4), np.int32),
            -np.zeros((1, 4), np.float32),
        ]
        for _ in range(2):
            for x in zeros:
                assert batcher.predict(x).shape == (len(x),)
        strided = np.zeros((1, 8), np.float32)[:, ::2]
        batcher.predict(strided)
        assert len(model.sizes) == 5


def test_answers_grow_old() -> None:
    model = Model()
    with Batcher(model, cache_size=9, cache_ttl_s=0.05) as batcher:
        batcher.predict(row(1))
        time.sleep(0.06)
        batcher.predict(row(1))
        assert len(model.sizes) == 2


def test_answers_of_another_version_are_not_used() -> None:
    with Batcher(Model(), cache_size=9) as batcher:
        assert value_of(batcher.predict(row(1))) == 1
        batcher.swap(Model(factor=3))
        assert batcher.stats()["cached"] == 0
        assert value_of(batcher.predict(row(1))) == 3
    with Batcher({"a": Model(), "b": Model()}, cache_size=9) as batcher:
        for name in "ab":
            batcher.predict(row(1), model=name)
        batcher.swap(Model(), name="a")
        assert batcher.stats()["cached"] == 1


def test_equal_requests_at_the_same_time_are_computed_once() -> None:
    gate = Gate()
    with Batcher(gate, cache_size=9, max_batch=4) as batcher:
        first = [batcher.submit(row(1)) for _ in range(3)]
        gate.wait_for_calls(1)
        first += [batcher.submit(row(1)) for _ in range(3)]
        queued = [batcher.submit(row(2)) for _ in range(3)]
        assert first[4].cancel()
        gate.open()
        assert [value_of(f.result(LONG)) for f in first if not f.cancelled()] == [1] * 5
        assert [value_of(f.result(LONG)) for f in queued] == [2] * 3
        assert gate.firsts == [1, 2]
        assert counters(batcher)["shared"] == 7


def test_followers_outlive_their_leader() -> None:
    gate = Gate()
    with Batcher(gate, cache_size=9, max_batch=1) as batcher:
        batcher.submit(row(0))
        gate.wait_for_calls(1)
        leader, follower, gone = (batcher.submit(row(1)) for _ in range(3))
        late, patient = batcher.submit(row(2), deadline_ms=1), batcher.submit(row(2))
        nobody = [batcher.submit(row(3)) for _ in range(2)]
        urgent = batcher.submit(row(2), priority=1)
        for future in (leader, gone, *nobody):
            assert future.cancel()
        time.sleep(0.005)
        gate.open()
        assert value_of(follower.result(LONG)) == 1
        assert value_of(patient.result(LONG)) == 2
        assert value_of(urgent.result(LONG)) == 2
        with pytest.raises(TimeoutError):
            late.result(LONG)
        assert gate.firsts == [0, 2, 1, 2]
        assert counters(batcher)["cancelled"] == 4


def test_errors_are_shared_and_not_kept() -> None:
    gate = Gate()
    with Batcher(gate, cache_size=9) as batcher:
        futures = [batcher.submit(row(-1)) for _ in range(3)]
        gate.open()
        for future in futures:
            with pytest.raises(ArithmeticError):
                future.result(LONG)
        with pytest.raises(ArithmeticError):
            batcher.predict(row(-1))
        assert batcher.stats()["cached"] == 0


def test_requests_larger_than_a_batch_are_not_kept() -> None:
    model = Model()
    with Batcher(model, cache_size=9, max_batch=4) as batcher:
        for _ in range(2):
            assert batcher.predict(rows_of(1, 10)).tolist() == [1] * 10
        assert model.sizes == [4, 4, 2, 4, 4, 2]


def test_nobody_follows_a_request_that_a_worker_found_cancelled() -> None:
    gate = Gate()
    with Batcher(gate, cache_size=9, max_batch=1) as batcher:
        running = batcher.submit(row(0))
        gate.wait_for_calls(1)
        future = batcher.submit(row(1))
        assert concurrent.futures.Future.cancel(future)  # as far as a thread may have come
        gate.open()
        running.result(LONG)
        assert value_of(batcher.submit(row(2)).result(LONG)) == 2
        assert value_of(batcher.submit(row(1)).result(LONG)) == 1
        assert future.cancel()
        assert batcher._flights == {}


def test_a_hit_whose_coroutine_is_cancelled_is_counted_once() -> None:
    async def ask(batcher: Batcher) -> None:
        await batcher.predict_async(row(1))
        task = asyncio.ensure_future(batcher.predict_async(row(1)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Batcher(Model(), cache_size=9) as batcher:
        asyncio.run(ask(batcher))
        found = counters(batcher)
    assert found["cache_hits"] == 1
    assert (found["requests"], found["answered"], found["cancelled"]) == (2, 2, 0)
