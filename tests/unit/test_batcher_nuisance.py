"""Models and callers that misbehave: they are told so, and nobody else waits for ever."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from batcher_models import Gate, Model, row, rows_of, value_of

from pyscale.infer import Batcher, QueueFull
from pyscale.infer.batching.requests import Promised
from pyscale.infer.batching.workers import Worker

LONG = 20.0  # seconds: a hang


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Yield a model whose calls wait until they are let through."""
    made = Gate()
    yield made
    made.open()


@pytest.mark.parametrize("error", [StopIteration, SystemExit, KeyboardInterrupt, MemoryError])
def test_whatever_a_model_raises_reaches_its_callers_alone(error: type[BaseException]) -> None:
    class Raises(Gate):
        def predict(self, x: Any) -> Any:
            if (super().predict(np.abs(x)) == 1).any():
                raise error
            return x[:, 0].copy()

    async def ask(batcher: Batcher) -> list[Any]:
        asked = [batcher.predict_async(row(k)) for k in (2, 3)]
        if error is StopIteration:  # the others leave an event loop, from wherever they are raised
            asked.insert(0, batcher.predict_async(row(1)))
        tasks = [asyncio.ensure_future(one) for one in asked]
        await asyncio.sleep(0)
        raises.open()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), LONG)

    raises = Raises()
    with Batcher(raises, max_batch=64) as batcher:
        batcher.submit(row(0))
        raises.wait_for_calls(1)
        futures = [batcher.submit(row(k)) for k in (1, 2)]
        answers = asyncio.run(ask(batcher))
        assert [value_of(answer) for answer in answers[-2:]] == [2, 3]
        wanted = RuntimeError if error is StopIteration else error
        with pytest.raises(wanted):
            futures[0].result(LONG)
        assert value_of(futures[1].result(LONG)) == 2
        if error is StopIteration:
            assert type(answers[0]) is RuntimeError
            with pytest.raises(RuntimeError, match="model: raised StopIteration"):
                batcher.predict(row(1))


def test_a_callback_that_raises_keeps_no_answer_from_others(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", shown.append)

    def leave(_: Any) -> None:
        raise SystemExit

    with Batcher(gate) as batcher:
        batcher.submit(row(0))
        gate.wait_for_calls(1)
        futures = [batcher.submit(row(k)) for k in (1, 2)]
        futures[0].add_done_callback(leave)
        gate.open()
        assert [value_of(future.result(LONG)) for future in futures] == [1, 2]
    assert [one.exc_type for one in shown] == [SystemExit]


def test_a_loop_that_cannot_be_woken_keeps_no_answer_from_others(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", shown.append)

    async def ask(batcher: Batcher) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(batcher.predict_async(row(1)))
        await asyncio.sleep(0)
        future = batcher.submit(row(2))
        with monkeypatch.context() as patch:
            patch.setattr(loop, "call_soon_threadsafe", lambda *_: [][0])
            gate.open()
            assert value_of(future.result(LONG)) == 2
        task.cancel()

    with Batcher(gate) as batcher:
        batcher.submit(row(0))
        gate.wait_for_calls(1)
        asyncio.run(ask(batcher))
    assert [one.exc_type for one in shown] == [IndexError]


def test_parts_whose_answers_do_not_fit_together_are_an_error() -> None:
    calls: list[int] = []

    def model(x: Any) -> Any:
        calls.append(len(x))
        return np.zeros((len(x), len(calls)))

    with Batcher(model, max_batch=4) as batcher:
        with pytest.raises(ValueError, match="must match exactly"):
            batcher.submit(rows_of(1, 9)).result(LONG)
        with pytest.raises(ValueError, match="must match exactly"):
            batcher.predict(rows_of(1, 9))
        found = batcher.stats()["models"][""]
        assert (found["failed"], found["answered"]) == (2, 0)


def test_two_answers_for_all_rows_are_not_taken_for_those_of_two_rows() -> None:
    with (
        Batcher(lambda x: (x[:, 0], x[:, 1])) as batcher,
        pytest.raises(TypeError, match="an answer for each row, got a tuple"),
    ):
        batcher.predict(rows_of(1, 2))


def test_models_and_callbacks_may_ask_the_batcher_that_calls_them() -> None:
    batchers: list[Batcher] = []

    def outer(x: Any) -> Any:
        return batchers[0].predict(np.repeat(x, 5, axis=0), model="inner")[::5] + 1

    inner = Model()
    with Batcher({"inner": inner, "outer": outer}, max_batch=4) as batcher:
        batchers.append(batcher)
        assert value_of(batcher.predict(row(3), model="outer")) == 4
        assert value_of(batcher.submit(row(5), model="outer").result(LONG)) == 6
        assert inner.sizes == [4, 1, 4, 1]
        called: concurrent.futures.Future[Any] = concurrent.futures.Future()
        batcher.submit(row(1), model="inner").add_done_callback(
            lambda future: called.set_result(batcher.predict(future.result()[:, None], model="inner"))
        )
        assert value_of(called.result(LONG)) == 1
        found = batcher.stats()["models"]
        assert [(found[name]["requests"], found[name]["answered"]) for name in found] == [(4, 4), (2, 2)]


def test_a_callback_or_a_model_may_close() -> None:
    with Batcher(Model(), workers=2) as batcher:
        closed = threading.Event()

        def close(_: Any) -> None:
            batcher.close()
            closed.set()

        batcher.submit(row(1)).add_done_callback(close)
        assert closed.wait(LONG)

    def model(x: Any) -> Any:
        other.close()
        return x[:, 0].copy()

    other = Batcher(model)
    assert value_of(other.predict(row(1))) == 1
    other.close()
    assert not any(worker.thread.is_alive() for worker in other._workers)


def test_requests_without_rows_take_room_in_the_queue(gate: Gate) -> None:
    with Batcher(gate, max_batch=4, max_queue=8) as batcher:
        batcher.submit(row(0))
        gate.wait_for_calls(1)
        futures = [batcher.submit(rows_of(0, 0)) for _ in range(8)]
        for count in (0, 1):
            with pytest.raises(QueueFull, match=f"at most 0 that the queue has room for, got {count}"):
                batcher.submit(rows_of(0, count))
        gate.open()
        assert [len(future.result(LONG)) for future in futures] == [0] * 8


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"priority": "high"}, TypeError),
        ({"priority": float("nan")}, TypeError),
        ({"deadline_ms": "soon"}, TypeError),
        ({"deadline_ms": float("nan")}, ValueError),
    ],
)
def test_arguments_of_requests_are_checked(options: dict[str, Any], error: type[Exception]) -> None:
    with Batcher(Model()) as batcher:
        for ask in (batcher.predict, batcher.submit):
            with pytest.raises(error, match=rf"^{next(iter(options))}: expected"):
                ask(row(1), **options)
        assert batcher.stats()["models"][""]["requests"] == 0


def test_a_function_swapped_in_takes_rows_of_the_same_width() -> None:
    with Batcher(Model(num_features=3)) as batcher:
        batcher.swap(lambda x: x[:, 0].copy())
        with pytest.raises(ValueError, match="rows x 3 features"):
            batcher.predict(np.zeros((1, 4)))


def test_a_thread_that_cannot_be_started_leaves_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Worker] = []
    start = Worker.__init__

    def fails_third(worker: Worker, *arguments: Any) -> None:
        if len(made) == 2:
            raise RuntimeError("can't start new thread")
        start(worker, *arguments)
        made.append(worker)

    monkeypatch.setattr(Worker, "__init__", fails_third)
    with pytest.raises(RuntimeError, match="can't start"):
        Batcher(Model(), workers=3)
    for worker in made:
        worker.thread.join(LONG)
        assert not worker.thread.is_alive()


def test_a_future_cancelled_at_the_last_moment_is_done_for_all() -> None:
    with Batcher(Model()) as batcher:
        served = batcher._only
        assert served is not None
        request = Promised(served, row(1), 0)
        assert concurrent.futures.Future.cancel(request.future)
        request.deliver()
        done, _ = concurrent.futures.wait([request.future], LONG)
        assert done == {request.future}


@pytest.mark.parametrize("where", ["_compute_here", "_take_worker", "_rest"])
def test_an_interrupt_at_any_time_costs_no_worker(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Batcher(Model()) as batcher:
        for before in (True, False):
            with monkeypatch.context() as patch:
                real = getattr(batcher, where)

                def interrupted(*arguments: Any, real: Any = real, before: bool = before) -> None:
                    if threading.current_thread() is not threading.main_thread():
                        return real(*arguments)  # type: ignore[no-any-return]
                    if not before:
                        real(*arguments)
                    raise KeyboardInterrupt

                patch.setattr(batcher, where, interrupted)
                with pytest.raises(KeyboardInterrupt):
                    batcher.predict(row(1))
            assert value_of(batcher.submit(row(2)).result(LONG)) == 2
            assert value_of(batcher.predict(row(3))) == 3
            assert [worker.user for worker in batcher._workers] == [
                worker.thread.ident for worker in batcher._workers
            ]


def test_an_interrupt_while_a_worker_is_woken_costs_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    with Batcher(Model()) as batcher:
        for ask in (batcher.submit, lambda x: asyncio.run(batcher.predict_async(x))):
            with monkeypatch.context() as patch:
                calls: list[Any] = []
                real = Worker.wake

                def interrupted(worker: Worker, batcher: Any, calls: Any = calls, real: Any = real) -> None:
                    calls.append(worker)
                    if len(calls) == 1:
                        raise KeyboardInterrupt
                    real(worker, batcher)

                patch.setattr(Worker, "wake", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    ask(row(1))
            assert value_of(batcher.submit(row(2)).result(LONG)) == 2
