"""The batcher: requests of many callers, computed together."""

from __future__ import annotations

import asyncio
import math
import time
import warnings
import weakref
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Literal

from numpy.typing import NDArray

from pyscale.errors import BatcherClosed
from pyscale.infer.batching.cache import Answers
from pyscale.infer.batching.checks import (
    callable_of,
    checked_rows,
    features_of,
    models_of,
    nanoseconds_of,
    number_of,
    positive,
    whole,
)
from pyscale.infer.batching.computing import Computing
from pyscale.infer.batching.entering import too_late
from pyscale.infer.batching.goal import Goal
from pyscale.infer.batching.queue import Served
from pyscale.infer.batching.reports import report
from pyscale.infer.batching.requests import (
    TAKEN,
    Awaited,
    Part,
    Promised,
    Waiting,
)
from pyscale.infer.batching.workers import Worker, refuse_in_children

__all__ = ["Batcher"]

Array = NDArray[Any]

_MOST_WORKERS = 4096  # beyond, the machine refuses threads somewhere on the way
_now = time.perf_counter_ns


class Batcher(Computing):
    """
    Single requests, computed in batches.

    A request is computed at once if a worker is idle: nothing waits for others to come. Those that come
    meanwhile are the next batch. Requests stay whole, but for those larger than `max_batch`; a batch has rows
    of one type and shape, so that no answer depends on what else came. :meth:`predict` in a thread that finds
    a worker idle computes in that thread.

    Parameters
    ----------
    model : object or mapping of str to object
        Anything with ``predict(rows)``, or a function of rows; or several by name, which share the
        workers and take turns by rows. It must give an answer for each row, and allow `workers` calls at a
        time.
    max_batch : int
        Rows of a batch, at most.
    latency_goal_ms : float, optional
        What 99 of 100 requests should take at most. Batches are made as small as that needs; where it cannot
        be kept, `stats` says so, and a ``RuntimeWarning`` once.
    max_delay_ms : float, optional
        Instead of it: how long 99 of 100 requests should wait at most before they are computed.
    workers : int, optional
        Batches that are computed at the same time, each in a thread of its own: at most 4,096. By default 1.
    max_queue : int, optional
        Rows that may wait; by default 64 batches.
    method : str
        The method of the model.
    cache_size : int
        Answers that are kept for rows that come again; 0 for none. Equal requests at the same time are then
        computed once. Answers are read-only then.
    cache_ttl_s : float
        Seconds for which an answer is kept.

    Raises
    ------
    TypeError
        No model, or arguments of another type.
    ValueError
        Arguments out of range, or both goals.

    Examples
    --------
    >>> with ps.infer.Batcher(model, max_batch=256, latency_goal_ms=5) as batcher:  # doctest: +SKIP
    ...     batcher.predict(row)
    """

    def __init__(
        self,
        model: Any,
        *,
        max_batch: int = 256,
        latency_goal_ms: float | None = None,
        max_delay_ms: float | None = None,
        workers: int | None = None,
        max_queue: int | None = None,
        method: str = "predict",
        cache_size: int = 0,
        cache_ttl_s: float = math.inf,
    ) -> None:
        models = models_of(model)
        rows = positive(max_batch, "max_batch")
        queued = 64 * rows if max_queue is None else positive(max_queue, "max_queue")
        if latency_goal_ms is not None and max_delay_ms is not None:
            raise ValueError("latency_goal_ms, max_delay_ms: expected one of them, got both")
        kind: Literal["latency", "wait"] = "latency"
        goal = None
        if latency_goal_ms is not None:
            goal = nanoseconds_of(latency_goal_ms, 1e6, "latency_goal_ms")
        elif max_delay_ms is not None:
            kind, goal = "wait", nanoseconds_of(max_delay_ms, 1e6, "max_delay_ms")
        count = 1 if workers is None else positive(workers, "workers")
        if count > _MOST_WORKERS:
            raise ValueError(f"workers: expected at most {_MOST_WORKERS}, each a thread, got {count}")
        ttl = nanoseconds_of(cache_ttl_s, 1e9, "cache_ttl_s")
        answers = Answers(positive(cache_size, "cache_size"), ttl) if cache_size != 0 else None
        all_served: dict[str, Served] = {}
        me = weakref.ref(self)
        for name, one in models.items():
            made = Goal(goal, kind, rows) if goal is not None else None
            served = Served(name, made, lambda request: _drop(me, request), lambda part: _part_done(me, part))
            served.call, served.num_features = callable_of(one, method), features_of(one)
            all_served[name] = served
        super().__init__(all_served, rows, queued, answers)
        self._method = method
        self._only = next(iter(all_served.values())) if len(models) == 1 else None
        refuse_in_children(self)
        self._finalizer = weakref.finalize(self, _wake_all, self._workers)
        self._finalizer.atexit = False
        for k in range(count):
            self._workers.append(Worker(rows, f"pyscale-batcher-{k}"))
        self._idle = list(self._workers)

    def submit(
        self, rows: Any, *, model: str | None = None, deadline_ms: float | None = None, priority: int = 0
    ) -> Future[Any]:
        """
        Queue rows, and return at once.

        Parameters
        ----------
        rows : array
            Rows x features, as the model takes them; not to be changed before the answer is there.
        model : str, optional
            Which one, where there are several.
        deadline_ms : float, optional
            The answer is of no use after so many milliseconds: a request that cannot be answered by then
            fails without being computed. One that is being computed by then is answered, late. A future
            fails when a worker comes to it; :meth:`predict` and :meth:`predict_async` at that time.
        priority : int
            Requests of a larger one are computed first, among those for the same model; they are not
            counted, so that those of a smaller one may wait for long.

        Returns
        -------
        concurrent.futures.Future
            Its result is the model's answer for these rows. Cancelling it takes it out of the queue. It
            raises ``TimeoutError`` if its deadline could not be met, and what the model raised for its rows.

        Raises
        ------
        QueueFull
            More rows wait than may.
        BatcherClosed
            The batcher was closed, or made before a fork.
        TypeError
            `rows` is no array of numbers.
        ValueError
            It has another shape than the model wants; or there is no such model.
        """
        served, array, now, deadline = self._checked(rows, model, deadline_ms, priority)
        request = Promised(served, array, now, deadline, priority)
        self._enter(request)
        return request.future

    def predict(
        self, rows: Any, *, model: str | None = None, deadline_ms: float | None = None, priority: int = 0
    ) -> Array:
        """
        Compute rows, and wait for the answer.

        A model that asks for other rows, or what a future calls back, has them computed at once: the thread
        that it runs in is one that the queue would wait for.

        Parameters
        ----------
        rows, model, deadline_ms, priority
            As of :meth:`submit`.

        Returns
        -------
        numpy.ndarray
            The model's answer for these rows.

        Raises
        ------
        TimeoutError
            The deadline could not be met.
        QueueFull, BatcherClosed, TypeError, ValueError
            As :meth:`submit`; and what the model raises for these rows.
        """
        served, array, now, deadline = self._checked(rows, model, deadline_ms, priority)
        if self._idle and self._answers is None and len(array) <= self._max_batch and deadline == math.inf:
            try:
                worker = self._borrow(served, len(array))
                if worker is not None:
                    return self._compute_here(worker, served, array)
            except Exception:
                raise
            except BaseException:  # Ctrl-C
                self._recover()
                raise
        if self._computes():
            return self._compute_inside(served, array)
        request = Waiting(served, array, now, deadline, priority)
        try:
            self._enter(request)
            expired = False
            if deadline == math.inf:
                request.lock.acquire()
            elif not request.lock.acquire(timeout=max(0.0, min((deadline - _now()) / 1e9, 1e6))):
                expired = self._expire(request)
                if not expired:
                    request.lock.acquire()
        except Exception:  # refused
            raise
        except BaseException:  # Ctrl-C
            if not self._abandon(request) and not request.given_up:
                # It is told just now, and has to wake the next of its chain.
                while not request.told:
                    time.sleep(1e-4)
                request.pass_on()
            raise
        if expired:
            raise too_late(request)
        request.pass_on()
        if request.error is not None:
            raise request.error
        served.latencies.append(_now() - now)
        return request.answer  # type: ignore[no-any-return]

    async def predict_async(
        self, rows: Any, *, model: str | None = None, deadline_ms: float | None = None, priority: int = 0
    ) -> Array:
        """
        Compute rows in a coroutine; the event loop goes on meanwhile.

        Parameters
        ----------
        rows, model, deadline_ms, priority
            As of :meth:`submit`.

        Returns
        -------
        numpy.ndarray
            The model's answer for these rows.

        Raises
        ------
        TimeoutError
            The deadline could not be met.
        QueueFull, BatcherClosed, TypeError, ValueError
            As :meth:`submit`; and what the model raises for these rows.
        """
        served, array, now, deadline = self._checked(rows, model, deadline_ms, priority)
        request = Awaited(served, array, now, deadline, priority)
        request.loop = loop = asyncio.get_running_loop()
        request.future = loop.create_future()
        self._enter(request)
        timer = None
        if deadline < math.inf:
            timer = loop.call_later((deadline - _now()) / 1e9, self._expire_awaited, request)
        try:
            return await request.future  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            self._abandon(request)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def swap(self, model: Any, *, name: str | None = None) -> None:
        """
        Take another model from the next batch on.

        Requests that wait are computed by the new one; batches that are being computed are finished by the
        old one. So both may have a part in the answer to a request larger than a batch. Answers that were
        kept are forgotten.

        Parameters
        ----------
        model : object
            As of the constructor, for rows of the same number of columns.
        name : str, optional
            Which one it replaces, where there are several.
        """
        served = self._served_by(name)
        call, features = callable_of(model, self._method), features_of(model)
        if None not in (features, served.num_features) and features != served.num_features:
            raise ValueError(f"model: expected one for {served.num_features} features, got {features}")
        with self._lock:
            served.call = call
            served.num_features = features if features is not None else served.num_features
            served.version += 1
            served.forget_costs()
            if self._answers is not None:
                self._answers.forget(served.name)

    def stats(self) -> dict[str, Any]:
        """
        Tell what was done until now.

        Returns
        -------
        dict
            ``queued_rows``, ``queued_requests``, ``workers``, ``idle_workers``, ``cached``; and ``models``:
            for each, by name, counters of requests and batches, histograms (``latency_ms``, ``wait_ms``,
            ``batch_ms``, ``batch_rows``: their count, quantiles, and buckets as pairs of upper bound and
            count), the learned cost of a batch, and whether the goal is reached (None until
            some dozens of requests over seconds, or some hundreds, were looked at), and if not, why.
            Latencies are those of answers, as the caller has them; waits end when the batch begins.
        """
        with self._lock:
            for served in self._served.values():
                self._note(served)
        return {
            "queued_rows": self._queue.rows,
            "queued_requests": self._queue.requests,
            "workers": len(self._workers),
            "idle_workers": len(self._idle),
            "cached": 0 if self._answers is None else len(self._answers),
            "models": {name: report(served) for name, served in self._served.items()},
        }

    def close(self, drain: bool = True) -> None:
        """
        Take no more requests, and end the threads.

        Parameters
        ----------
        drain : bool
            Compute what waits; otherwise it fails with `BatcherClosed`. What is being computed is finished:
            this waits for it, but for a call by the model, or by what a future calls back.
        """
        if self._forked:
            return
        with self._lock:
            self._closing = True
            self._refusal = "batcher: expected an open one, got one that was closed"
            waiting = [] if drain else self._queue.clear()
            for request in waiting:
                request.served.counters["failed"] += 1
            if not drain:
                self._flights = {key: work for key, work in self._flights.items() if work.state == TAKEN}
            self._idle = []
            for worker in self._workers:
                worker.wake(self)
        self._fail(
            waiting, [BatcherClosed("batcher: closed before this request was computed") for _ in waiting]
        )
        if not self._computes():  # else a thread would wait for its own end
            for worker in self._workers:
                worker.join()

    def __enter__(self) -> Batcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(drain=kind is None)

    def __repr__(self) -> str:
        return (
            f"<pyscale.infer.Batcher: {len(self._served)} models, {len(self._workers)} workers, "
            f"batches of up to {self._max_batch} rows>"
        )

    def _served_by(self, name: str | None) -> Served:
        if name is None and self._only is not None:
            return self._only
        found = self._served.get(name) if name is not None else None
        if found is None:
            raise ValueError(f"model: expected one of {', '.join(map(repr, self._served))}, got {name!r}")
        return found

    def _checked(
        self, rows: Any, model: str | None, deadline_ms: float | None, priority: int
    ) -> tuple[Served, Array, int, float]:
        if self._refusal is not None:
            raise BatcherClosed(self._refusal)
        if self._warning is not None:
            text, self._warning = self._warning, None
            warnings.warn(text, RuntimeWarning, stacklevel=3)
        served = self._only if model is None and self._only is not None else self._served_by(model)
        array = checked_rows(rows, served.num_features)
        if type(priority) is not int:
            whole(priority, "priority")
        now = _now()
        if deadline_ms is None:
            return served, array, now, math.inf
        return served, array, now, now + number_of(deadline_ms, "deadline_ms") * 1e6


def _wake_all(workers: list[Worker]) -> None:
    for worker in workers:
        worker.wake(None)


def _drop(me: weakref.ref[Batcher], request: Promised) -> None:
    batcher = me()
    if batcher is not None:
        batcher._cancelled(request)


def _part_done(me: weakref.ref[Batcher], part: Part) -> bool:
    batcher = me()
    return batcher is not None and batcher._part_done(part)
