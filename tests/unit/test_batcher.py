"""Batches of requests: whose answer is whose, and what happens to those that cannot have one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batcher_models import Gate, Model, row, rows_of, value_of

from pyscale.infer import Batcher, BatcherClosed, QueueFull

LONG = 20.0  # seconds: a hang


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Yield a model whose calls wait until they are let through."""
    made = Gate()
    yield made
    made.open()


def counters(batcher: Batcher, name: str = "") -> dict[str, Any]:
    found: dict[str, Any] = batcher.stats()["models"][name]
    return found


def test_every_way_to_ask_gives_the_answer() -> None:
    async def ask(batcher: Batcher) -> list[Any]:
        return await asyncio.gather(*(batcher.predict_async(row(k)) for k in range(100)))

    with Batcher(Model(), max_batch=16) as batcher:
        futures = [batcher.submit(row(k)) for k in range(100)]
        assert [value_of(future.result(LONG)) for future in futures] == list(range(100))
        assert value_of(batcher.predict(row(7))) == 7
        assert [value_of(answer) for answer in asyncio.run(ask(batcher))] == list(range(100))
        assert counters(batcher)["answered"] == 201


def test_an_idle_worker_begins_at_once_and_what_comes_meanwhile_is_the_next_batch(gate: Gate) -> None:
    with Batcher(gate, max_batch=8) as batcher:
        futures = [batcher.submit(row(0))]
        gate.wait_for_calls(1)
        futures += [batcher.submit(row(k)) for k in range(1, 13)]
        gate.open()
        assert [value_of(future.result(LONG)) for future in futures] == list(range(13))
        assert gate.sizes == [1, 8, 4]


def test_rows_are_counted_and_requests_stay_whole(gate: Gate) -> None:
    with Batcher(gate, max_batch=8) as batcher:
        futures = [batcher.submit(row(0))]
        gate.wait_for_calls(1)
        futures += [batcher.submit(rows_of(k, n)) for k, n in enumerate((5, 3, 6, 3, 8, 0, 1), 1)]
        gate.open()
        for k, (future, n) in enumerate(zip(futures, (1, 5, 3, 6, 3, 8, 0, 1), strict=True)):
            assert future.result(LONG).tolist() == rows_of(k, n)[:, 0].tolist()
        assert gate.sizes == [1, 8, 6, 3, 8, 1]


def test_a_request_larger_than_a_batch_is_put_together_again() -> None:
    with Batcher(Model(), max_batch=8) as batcher:
        x = np.arange(300, dtype=np.float32).reshape(100, 3)
        assert batcher.predict(x).tolist() == x[:, 0].tolist()
        assert batcher.submit(x).result(LONG).tolist() == x[:, 0].tolist()
        assert counters(batcher)["batch_rows"]["max"] == 8
        assert counters(batcher)["answered"] == 2


def test_the_predicting_thread_computes_when_nobody_else_does() -> None:
    threads: list[int] = []

    def model(x: Any) -> Any:
        threads.append(threading.get_ident())
        return x[:, 0]

    with Batcher(model) as batcher:
        assert value_of(batcher.predict(row(3))) == 3
        batcher.submit(row(3)).result(LONG)
    assert threads[0] == threading.get_ident() != threads[1]


def test_types_and_shapes_are_never_mixed(gate: Gate) -> None:
    with Batcher(gate, max_batch=64) as batcher:
        first = batcher.submit(row(0))
        gate.wait_for_calls(1)
        x = np.arange(12, dtype=np.float64).reshape(4, 3)
        asked: list[Any] = [
            x[1:2],
            x.astype(np.float32)[1:2],
            x[::-2],
            x.astype(np.float32)[:2],
            x[1:2, :2],
            x.T[:3, :3],
        ]
        futures = [batcher.submit(one) for one in asked]
        gate.open()
        for one, future in zip(asked, futures, strict=True):
            answer = future.result(LONG)
            assert answer.dtype == one.dtype
            assert answer.tolist() == one[:, 0].tolist()
        assert sorted(gate.kinds[1:]) == [("float32", 3), ("float64", 2), ("float64", 3)]
        first.result(LONG)


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([[1.0, 2.0, 3.0]], TypeError),
        (np.array([["a", "b", "c"]]), TypeError),
        (np.array([[None, 1, 2]], dtype=object), TypeError),
        (np.zeros((1, 3), ">f4"), TypeError),
        (np.zeros(3), ValueError),
        (np.zeros((1, 4)), ValueError),
        (np.zeros((1, 3, 3)), ValueError),
        (np.zeros(()), ValueError),
    ],
)
def test_what_the_model_cannot_take_is_refused_before_it_is_queued(rows: Any, error: type[Exception]) -> None:
    model = Model(num_features=3)
    with Batcher(model) as batcher:
        for ask in (batcher.predict, batcher.submit, lambda x: asyncio.run(batcher.predict_async(x))):
            with pytest.raises(error, match=r"^rows: expected"):
                ask(rows)
        assert counters(batcher)["requests"] == 0
    assert model.sizes == []


def test_one_poisoned_request_fails_alone(gate: Gate) -> None:
    with Batcher(gate, max_batch=64) as batcher:
        futures = [batcher.submit(row(0))]
        gate.wait_for_calls(1)
        poisoned = {5, 11, 12}
        futures += [batcher.submit(row(-k if k in poisoned else k)) for k in range(1, 33)]
        gate.open()
        for k, future in enumerate(futures):
            if k in poisoned:
                with pytest.raises(ArithmeticError, match=rf"row {-k}\b"):
                    future.result(LONG)
            else:
                assert value_of(future.result(LONG)) == k
        found = counters(batcher)
        assert (found["answered"], found["failed"]) == (30, 3)
        assert found["retried_batches"] > 0
        with pytest.raises(ArithmeticError):
            batcher.predict(row(-1))
        assert value_of(batcher.predict(row(1))) == 1


@pytest.mark.parametrize("answer", [np.zeros(3), np.float32(1), "no array", None])
def test_a_model_that_does_not_answer_each_row_is_an_error(answer: Any) -> None:
    with (
        Batcher(lambda x: answer) as batcher,
        pytest.raises(ValueError, match="an answer for each of 2 rows"),
    ):
        batcher.predict(np.zeros((2, 3)))


@pytest.mark.parametrize("reuse", ["its input", "a view of it", "one buffer", "a view of a buffer"])
def test_answers_do_not_share_memory_that_is_written_again(reuse: str, gate: Gate) -> None:
    buffer = np.zeros((64, 3), np.float32)

    def model(x: Any) -> Any:
        gate.predict(x)
        if reuse == "its input":
            return x
        if reuse == "a view of it":
            return x[:, ::2]
        if reuse == "one buffer" and len(x) == len(buffer):
            buffer[:] = x
            return buffer
        buffer[: len(x)] = x
        return buffer[: len(x)]

    with Batcher(model, max_batch=64) as batcher:
        batcher.submit(row(0))
        gate.wait_for_calls(1)
        futures = [batcher.submit(row(k)) for k in range(1, 200)]
        gate.open()
        answers = [future.result(LONG) for future in futures]
        assert [answer[0, 0] for answer in answers] == list(range(1, 200))


def test_the_queue_is_bounded_and_says_so_at_once(gate: Gate) -> None:
    with Batcher(gate, max_batch=4, max_queue=10) as batcher:
        first = batcher.submit(row(0))
        gate.wait_for_calls(1)
        others = [batcher.submit(rows_of(k, 4)) for k in (1, 2)]
        with pytest.raises(QueueFull, match="at most 2 that the queue has room for, got 3"):
            batcher.submit(rows_of(3, 3))
        with pytest.raises(QueueFull):
            batcher.predict(rows_of(3, 11))
        assert others[0].cancel()
        others.append(batcher.submit(rows_of(3, 6)))
        gate.open()
        assert [f.result(LONG)[0] for f in (first, *others[1:])] == [0, 2, 3]
        assert counters(batcher)["rejected"] == 2


def test_cancelled_requests_are_not_computed_and_leave_no_memory(gate: Gate) -> None:
    with Batcher(gate, max_batch=4) as batcher:
        first = batcher.submit(row(0))
        gate.wait_for_calls(1)
        assert not first.cancel()
        for k in range(1, 5000):
            future = batcher.submit(row(k))
            assert future.cancel()
            assert future.cancel()
        (lane,) = batcher._only.lanes.values()  # type: ignore[union-attr]
        assert len(lane.heap) < 200
        assert batcher.stats()["queued_rows"] == 0
        last = batcher.submit(row(9))
        gate.open()
        assert value_of(last.result(LONG)) == 9
        assert gate.sizes == [1, 1]
        assert counters(batcher)["cancelled"] == 4999
        done, _ = concurrent.futures.wait([future], LONG)
        assert done == {future}


def test_a_cancelled_coroutine_leaves_the_queue(gate: Gate) -> None:
    async def ask(batcher: Batcher) -> None:
        task = asyncio.create_task(batcher.predict_async(row(1)))
        other = asyncio.create_task(batcher.predict_async(row(2)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open()
        assert value_of(await other) == 2

    with Batcher(gate, max_batch=4) as batcher:
        batcher.submit(row(0))
        gate.wait_for_calls(1)
        asyncio.run(ask(batcher))
        assert gate.sizes == [1, 1]


def test_deadlines(gate: Gate) -> None:
    async def ask(batcher: Batcher) -> None:
        with pytest.raises(TimeoutError, match="within 15 ms"):
            await batcher.predict_async(row(5), deadline_ms=15)

    with Batcher(gate, max_batch=4) as batcher:
        with pytest.raises(TimeoutError):
            batcher.predict(row(1), deadline_ms=0)
        first = batcher.submit(row(0), deadline_ms=10_000)
        gate.wait_for_calls(1)
        begin = time.perf_counter()
        with pytest.raises(TimeoutError, match="within 20 ms"):
            batcher.predict(row(2), deadline_ms=20)
        with pytest.raises(TimeoutError, match="within 30 ms"):
            batcher.predict(rows_of(2, 9), deadline_ms=30)
        asyncio.run(ask(batcher))
        assert time.perf_counter() - begin < LONG / 2
        late, large, in_time = (
            batcher.submit(row(3), deadline_ms=1),
            batcher.submit(rows_of(3, 9), deadline_ms=1),
            batcher.submit(row(4), deadline_ms=60_000),
        )
        time.sleep(0.01)
        gate.open()
        assert (value_of(first.result(LONG)), value_of(in_time.result(LONG))) == (0, 4)
        for future in (late, large):
            with pytest.raises(TimeoutError):
                future.result(LONG)
        assert gate.sizes == [1, 1]
        assert counters(batcher)["expired"] == 6


def test_a_deadline_that_cannot_be_met_costs_the_model_nothing_but_is_tried_again_sometimes() -> None:
    model = Model(seconds=0.02)
    with Batcher(model) as batcher:
        for k in range(10):
            batcher.predict(row(k))
        calls = len(model.sizes)
        failed = 0
        for k in range(64):
            try:
                batcher.predict(row(k), deadline_ms=5)
            except TimeoutError:
                failed += 1
        assert failed >= 50
        assert 1 <= len(model.sizes) - calls <= 8


def test_priorities(gate: Gate) -> None:
    with Batcher(gate, max_batch=1) as batcher:
        batcher.submit(row(0))
        gate.wait_for_calls(1)
        order = [(1, 0), (2, 5), (3, -1), (4, 5), (5, 0)]
        futures = [batcher.submit(row(k), priority=priority) for k, priority in order]
        gate.open()
        concurrent.futures.wait(futures, LONG)
        assert [int(x) for x in gate.firsts] == [0, 2, 4, 1, 5, 3]


def test_models_that_share_workers_take_turns_by_rows() -> None:
    first = Gate()
    served: list[str] = []

    def note(name: str, x: Any) -> Any:
        served.extend([name] * len(x))
        return x[:, 0]

    models: dict[str, Callable[[Any], Any]] = {
        "gate": first.predict,
        "few": lambda x: note("few", x),
        "many": lambda x: note("many", x),
    }
    with Batcher(models, max_batch=8, max_queue=2000) as batcher:
        batcher.submit(row(0), model="gate")
        first.wait_for_calls(1)
        futures = [batcher.submit(rows_of(k, 8), model="many") for k in range(100)]
        futures += [batcher.submit(rows_of(k, 2), model="few") for k in range(12)]
        first.open()
        concurrent.futures.wait(futures, LONG)
        # The few were all computed while the many got about as much.
        last_of_few = len(served) - 1 - served[::-1].index("few")
        assert served[:last_of_few].count("many") <= 40
        with pytest.raises(ValueError, match="'gate', 'few', 'many', got None"):
            batcher.predict(row(1))
        with pytest.raises(ValueError, match="got 'fewer'"):
            batcher.predict(row(1), model="fewer")


def test_swap_loses_nothing(gate: Gate) -> None:
    with Batcher(gate, max_batch=4, workers=2) as batcher:
        old = batcher.submit(row(1))
        gate.wait_for_calls(1)
        new = Model(factor=10.0)
        batcher.swap(new)
        after = [batcher.submit(row(k)) for k in range(10)]
        assert [value_of(future.result(LONG)) for future in after] == [10.0 * k for k in range(10)]
        gate.open()
        assert value_of(old.result(LONG)) == 1
        assert counters(batcher)["version"] == 1
        with pytest.raises(TypeError, match="a method 'predict' or a function"):
            batcher.swap(3)
    with (
        Batcher(Model(num_features=3)) as batcher,
        pytest.raises(ValueError, match="for 3 features, got 4"),
    ):
        batcher.swap(Model(num_features=4))


def test_close(gate: Gate) -> None:
    batcher = Batcher(gate, max_batch=2)
    running = batcher.submit(row(0))
    gate.wait_for_calls(1)
    waiting = [batcher.submit(row(1)), batcher.submit(rows_of(2, 5))]
    threading.Timer(0.05, gate.open).start()
    batcher.close(drain=False)
    assert value_of(running.result(0)) == 0
    for future in waiting:
        with pytest.raises(BatcherClosed):
            future.result(0)
    with pytest.raises(BatcherClosed):
        batcher.predict(row(1))
    batcher.close()
    found = counters(batcher)
    assert (found["requests"], found["answered"], found["failed"]) == (3, 1, 2)

    slow = Model(seconds=0.005)
    with Batcher(slow, max_batch=2) as batcher:
        futures = [batcher.submit(row(k)) for k in range(20)]
    assert [value_of(future.result(0)) for future in futures] == list(range(20))


def test_a_batcher_that_is_forgotten_ends_its_threads() -> None:
    before = threading.active_count()
    batcher = Batcher(Model(), workers=3)
    future = batcher.submit(row(4))
    gone = weakref.ref(batcher)
    del batcher
    assert value_of(future.result(LONG)) == 4
    end = time.monotonic() + LONG
    while threading.active_count() > before:
        gc.collect()
        assert time.monotonic() < end
        time.sleep(0.001)
    assert gone() is None


def _ask_in_child(batcher: Batcher, queue: Any) -> None:
    try:
        batcher.predict(row(1))
    except BatcherClosed as error:
        queue.put(str(error))
    batcher.close()
    with Batcher(Model()) as other:
        queue.put(value_of(other.predict(row(5))))


def fork_with_a_batcher_open() -> None:
    context = multiprocessing.get_context("fork")
    with Batcher(Model()) as batcher:
        batcher.predict(row(1))
        queue = context.Queue()
        child = context.Process(target=_ask_in_child, args=(batcher, queue))
        child.start()
        assert "before a fork" in queue.get(timeout=LONG)
        assert queue.get(timeout=LONG) == 5
        child.join(LONG)
        assert child.exitcode == 0
        assert value_of(batcher.predict(row(2))) == 2


def fork_while_the_lock_is_held() -> None:
    with Batcher(Model()) as batcher:
        with batcher._lock:
            child = os.fork()
            if child == 0:
                signal.alarm(10)
                batcher.stats()
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert value_of(batcher.predict(row(1))) == 1


@pytest.mark.parametrize("way", ["fork_with_a_batcher_open", "fork_while_the_lock_is_held"])
def test_a_forked_child_is_refused_and_may_make_its_own(way: str) -> None:
    # In a process of its own, since libraries that others imported here warn of a fork.
    program = f"import test_batcher; test_batcher.{way}()"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_batch": 0}, ValueError, "max_batch: expected 1 or more"),
        ({"max_batch": 1.5}, TypeError, "max_batch: expected a whole number"),
        ({"workers": 0}, ValueError, "workers"),
        ({"workers": 10**9}, ValueError, "workers: expected at most 4096"),
        ({"max_queue": -1}, ValueError, "max_queue"),
        ({"latency_goal_ms": 0}, ValueError, "latency_goal_ms"),
        ({"latency_goal_ms": 1, "max_delay_ms": 1}, ValueError, "expected one of them"),
        ({"cache_size": -1}, ValueError, "cache_size"),
        ({"cache_size": 1, "cache_ttl_s": float("nan")}, ValueError, "cache_ttl_s"),
        ({"method": "transform"}, TypeError, "a method 'transform'"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Batcher(Model(), **arguments)


@pytest.mark.parametrize("how", ["idle", "queued", "inside"])
def test_a_model_that_writes_to_its_rows_changes_none_of_the_callers(how: str) -> None:
    def write(x: Any) -> Any:
        if how == "inside" and x[0, 0] == 1:
            return batcher.predict(x + 1)
        x[:] += 1
        return x[:, 0].copy()

    mine = row(1)
    with Batcher(write) as batcher:
        found = batcher.submit(mine).result() if how == "queued" else batcher.predict(mine)
    assert found.tolist() == [3 if how == "inside" else 2]
    assert mine.tolist() == row(1).tolist()


def test_bad_models() -> None:
    for model, error in (({}, ValueError), ({1: Model()}, TypeError), (None, TypeError)):
        with pytest.raises(error, match=r"^model: expected"):
            Batcher(model)


def test_a_method_may_be_named() -> None:
    class Classifier:
        def predict_proba(self, x: Any) -> Any:
            return np.stack([x[:, 0], 1 - x[:, 0]], axis=1)

    with Batcher(Classifier(), method="predict_proba") as batcher:
        assert batcher.predict(row(0.25)).tolist() == [[0.25, 0.75]]


def test_stats_are_read_while_the_model_computes(gate: Gate) -> None:
    with Batcher(gate) as batcher:
        future = batcher.submit(row(0))
        gate.wait_for_calls(1)
        batcher.submit(rows_of(1, 5))
        found = batcher.stats()
        assert (found["queued_rows"], found["queued_requests"], found["idle_workers"]) == (5, 1, 0)
        gate.open()
        future.result(LONG)


def test_an_interrupt_reaches_the_caller_and_nobody_else(gate: Gate, interrupts: None) -> None:
    with Batcher(gate, max_batch=4) as batcher:
        other = batcher.submit(row(0))
        gate.wait_for_calls(1)
        main = threading.main_thread().ident
        assert main is not None
        threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            batcher.predict(row(1))
        assert batcher.stats()["queued_rows"] == 0
        gate.open()
        assert value_of(other.result(LONG)) == 0
        assert value_of(batcher.predict(row(2))) == 2


def test_a_fault_of_the_batcher_itself_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", shown.append)
    with Batcher(Model(), max_batch=4, cache_size=9) as batcher:
        for fault in ("_book", "_land"):
            with monkeypatch.context() as patch:
                patch.setattr(batcher, fault, lambda *arguments: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    batcher.submit(row(1)).result(LONG)
            assert value_of(batcher.submit(row(2)).result(LONG)) == 2
        assert [one.exc_type for one in shown] == [ZeroDivisionError] * 2
    with Batcher(Model()) as batcher, monkeypatch.context() as patch:
        patch.setattr(batcher, "_note", lambda *arguments: 1 / 0)
        batcher._only.noted = -(10**12)  # type: ignore[union-attr]
        with pytest.raises(ZeroDivisionError):
            batcher.predict(row(1))
        patch.undo()
        assert value_of(batcher.submit(row(2)).result(LONG)) == 2
