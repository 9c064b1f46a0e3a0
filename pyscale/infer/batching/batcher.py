"""The batcher: requests of many callers, computed together."""

from __future__ import annotations

import asyncio
import math
import threading
import time
import warnings
import weakref
from collections.abc import Hashable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Literal

from numpy.typing import NDArray

from pyscale.errors import BatcherClosed, QueueFull
from pyscale.infer.batching.cache import Answers
from pyscale.infer.batching.checks import (
    callable_of,
    checked_rows,
    features_of,
    models_of,
    nanoseconds_of,
    positive,
)
from pyscale.infer.batching.compute import Outcome, answers_of, compute
from pyscale.infer.batching.goal import Goal
from pyscale.infer.batching.queue import Queue, Served, lose
from pyscale.infer.batching.reports import report
from pyscale.infer.batching.requests import (
    QUEUED,
    TAKEN,
    Awaited,
    Part,
    Promised,
    Request,
    Waiting,
    Wakeups,
)
from pyscale.infer.batching.workers import Worker, refuse_in_children

__all__ = ["Batcher"]

Array = NDArray[Any]

_NOTE = 256  # batches or answers between two looks at what was noted
_NOTE_NS = 50_000_000  # or nanoseconds
_now = time.perf_counter_ns


class Batcher:
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
        Batches that are computed at the same time. By default 1.
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
        self._max_batch = positive(max_batch, "max_batch")
        self._max_queue = 64 * self._max_batch if max_queue is None else positive(max_queue, "max_queue")
        if latency_goal_ms is not None and max_delay_ms is not None:
            raise ValueError("latency_goal_ms, max_delay_ms: expected one of them, got both")
        kind: Literal["latency", "wait"] = "latency"
        goal = None
        if latency_goal_ms is not None:
            goal = nanoseconds_of(latency_goal_ms, 1e6, "latency_goal_ms")
        elif max_delay_ms is not None:
            kind, goal = "wait", nanoseconds_of(max_delay_ms, 1e6, "max_delay_ms")
        count = 1 if workers is None else positive(workers, "workers")
        ttl = nanoseconds_of(cache_ttl_s, 1e9, "cache_ttl_s")
        self._answers = Answers(positive(cache_size, "cache_size"), ttl) if cache_size != 0 else None
        self._method = method
        self._served: dict[str, Served] = {}
        me = weakref.ref(self)
        for name, one in models.items():
            made = Goal(goal, kind, self._max_batch) if goal is not None else None
            served = Served(name, made, lambda request: _drop(me, request), lambda part: _part_done(me, part))
            served.call, served.num_features = callable_of(one, method), features_of(one)
            self._served[name] = served
        self._only = next(iter(self._served.values())) if len(models) == 1 else None
        self._lock = threading.Lock()
        self._queue = Queue(list(self._served.values()), self._max_batch)
        self._flights: dict[Hashable, Request] = {}
        self._closing = self._forked = False
        self._refusal: str | None = None
        self._warning: str | None = None
        self._warned = False
        refuse_in_children(self)
        self._workers = [Worker(self._max_batch, f"pyscale-batcher-{k}") for k in range(count)]
        self._idle = list(self._workers)
        self._finalizer = weakref.finalize(self, _wake_all, self._workers)
        self._finalizer.atexit = False

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
            fails without being computed. One that is being computed by then is answered, late.
        priority : int
            Requests of a larger one are computed first, among those for the same model.

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
        served, array, now, deadline = self._checked(rows, model, deadline_ms)
        request = Promised(served, array, now, deadline, priority)
        self._enter(request)
        return request.future

    def predict(
        self, rows: Any, *, model: str | None = None, deadline_ms: float | None = None, priority: int = 0
    ) -> Array:
        """
        Compute rows, and wait for the answer.

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
        served, array, now, deadline = self._checked(rows, model, deadline_ms)
        if self._idle and self._answers is None and len(array) <= self._max_batch and deadline == math.inf:
            worker = self._borrow(served, len(array))
            if worker is not None:
                return self._compute_here(worker, served, array)
        request = Waiting(served, array, now, deadline, priority)
        self._enter(request)
        try:
            expired = False
            if deadline == math.inf:
                request.lock.acquire()
            elif not request.lock.acquire(timeout=max(0.0, min((deadline - _now()) / 1e9, 1e6))):
                expired = self._expire(request)
                if not expired:
                    request.lock.acquire()
        except BaseException:  # Ctrl-C
            if not self._abandon(request) and not request.given_up:
                # It is told just now, and has to wake the next of its chain.
                while not request.told:
                    time.sleep(1e-4)
                request.pass_on()
            raise
        if expired:
            raise _too_late(request)
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
        served, array, now, deadline = self._checked(rows, model, deadline_ms)
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
        old one. Answers that were kept are not used any more.

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
            served.call, served.num_features = call, features
            served.version += 1
            served.forget_costs()

    def stats(self) -> dict[str, Any]:
        """
        Tell what was done until now.

        Returns
        -------
        dict
            ``queued_rows``, ``queued_requests``, ``workers``, ``idle_workers``, ``cached``; and ``models``:
            for each, by name, counters of requests and batches, histograms (``latency_ms``, ``wait_ms``,
            ``batch_ms``, ``batch_rows``: their count, quantiles, and buckets as pairs of upper bound and
            count), the learned cost of a batch, and whether the goal is reached, and if not, why.
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
            Compute what waits; otherwise it fails with `BatcherClosed`. What is being computed is finished.
        """
        if self._forked:
            return
        with self._lock:
            self._closing = True
            self._refusal = "batcher: expected an open one, got one that was closed"
            waiting = [] if drain else self._queue.clear()
            if not drain:
                self._flights = {key: work for key, work in self._flights.items() if work.state == TAKEN}
            idle, self._idle = self._idle, []
        self._fail(
            waiting, [BatcherClosed("batcher: closed before this request was computed") for _ in waiting]
        )
        for worker in idle:
            worker.wake(self)
        for worker in self._workers:
            if worker.thread is not threading.current_thread():
                worker.thread.join()

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

    # What comes in.

    def _served_by(self, name: str | None) -> Served:
        if name is None and self._only is not None:
            return self._only
        found = self._served.get(name) if name is not None else None
        if found is None:
            raise ValueError(f"model: expected one of {', '.join(map(repr, self._served))}, got {name!r}")
        return found

    def _checked(
        self, rows: Any, model: str | None, deadline_ms: float | None
    ) -> tuple[Served, Array, int, float]:
        if self._refusal is not None:
            raise BatcherClosed(self._refusal)
        if self._warning is not None:
            text, self._warning = self._warning, None
            warnings.warn(text, RuntimeWarning, stacklevel=3)
        served = self._only if model is None and self._only is not None else self._served_by(model)
        array = checked_rows(rows, served.num_features)
        now = _now()
        if deadline_ms is None:
            return served, array, now, math.inf
        if math.isnan(deadline_ms):
            raise ValueError("deadline_ms: expected a number, got NaN")
        return served, array, now, now + deadline_ms * 1e6

    def _enter(self, request: Request) -> None:
        """Queue a request; or answer it from what is known; or let it follow an equal one."""
        served = request.served
        count = request.count
        if self._answers is not None and count <= self._max_batch:
            rows = request.rows
            request.key = (served.name, served.version, rows.dtype, rows.shape, rows.tobytes())
        if request.deadline <= request.entered:
            return self._refuse_late(request)
        if count > self._max_batch:
            pieces = range(0, count, self._max_batch)
            request.parts = [Part(request, request.rows[k : k + self._max_batch]) for k in pieces]
        answer = None
        wake: list[Worker] = []
        with self._lock:
            if self._refusal is not None:
                raise BatcherClosed(self._refusal)
            counters = served.counters
            if request.key is not None:
                answer = self._known(request)
            if answer is None and request.leader is None:
                if self._queue.rows + count > self._max_queue:
                    counters["rejected"] += 1
                    raise QueueFull(
                        f"rows: expected at most {self._max_queue - self._queue.rows} that the queue has "
                        f"room for, got {count}"
                    )
                for work in request.parts or (request,):
                    self._queue.push(work)
                    if self._idle:
                        wake.append(self._idle.pop())
                if request.key is not None:
                    self._flights[request.key] = request
            counters["requests"] += 1
            counters["rows"] += count
        for worker in wake:
            worker.wake(self)
        if answer is not None:
            wakeups = Wakeups()
            request.finish(answer, None, wakeups)
            wakeups.go()
        return None

    def _known(self, request: Request) -> Any:
        """Look for the answer; or for an equal request, which this one then follows."""
        assert self._answers is not None
        counters = request.served.counters
        answer = self._answers.get(request.key, request.entered)
        if answer is not None:
            counters["cache_hits"] += 1
            counters["answered"] += 1
            return answer
        leader = self._flights.get(request.key)
        # One that should be computed sooner does not wait in another's place.
        if leader is None or (leader.state == QUEUED and leader.priority < request.priority):
            return None
        request.leader = leader
        if leader.followers is None:
            leader.followers = []
        leader.followers.append(request)
        counters["shared"] += 1
        return None

    # What goes away before it is computed.

    def _refuse_late(self, request: Request) -> None:
        with self._lock:
            counters = request.served.counters
            counters["requests"] += 1
            counters["rows"] += request.count
            counters["expired"] += 1
            request.begin()
            request.alive = False
        self._fail([request], [_too_late(request)])

    def _forget(self, request: Request) -> None:
        """Take out of the queue what nobody waits for, now that `request` does not; under the lock."""
        for work in _works_of(request):
            if work.state == QUEUED and (request.parts is not None or not work.waiting()):
                self._queue.drop(work)
                self._land(work)

    def _land(self, work: Request) -> None:
        if work.key is not None and self._flights.get(work.key) is work:
            del self._flights[work.key]

    def _abandon(self, request: Request) -> bool:
        """Let a caller go that does not wait any more; return whether it will be told nothing."""
        with self._lock:
            if not request.alive:
                return False
            request.served.counters["cancelled"] += 1
            request.alive = False
            self._forget(request)
        return True

    def _expire(self, request: Request) -> bool:
        """Give a request up whose deadline has passed, unless it is being computed."""
        with self._lock:
            if not request.alive or not any(work.state == QUEUED for work in _works_of(request)):
                return False
            request.served.counters["expired"] += 1
            request.alive, request.given_up = False, True
            self._forget(request)
        return True

    def _expire_awaited(self, request: Awaited) -> None:
        if self._expire(request) and not request.future.done():
            request.future.set_exception(_too_late(request))

    def _fail(self, requests: list[Request], errors: list[BaseException]) -> None:
        wakeups = Wakeups()
        for request, error in zip(requests, errors, strict=True):
            request.finish(None, error, wakeups)
        wakeups.go()

    # What is computed.

    def _borrow(self, served: Served, rows: int) -> Worker | None:
        """Take the place of an idle worker, if nobody waits."""
        with self._lock:
            if self._queue.requests or not self._idle or self._refusal is not None:
                return None
            served.counters["requests"] += 1
            served.counters["rows"] += rows
            return self._idle.pop()

    def _compute_here(self, worker: Worker, served: Served, rows: Array) -> Array:
        """Compute a request alone, in its own thread."""
        answer = None
        begin = _now()
        try:
            answer = answers_of(served.call, rows)
        finally:
            spent = _now() - begin
            with self._lock:
                if answer is not None:
                    served.alone.append((len(rows), spent))
                    if len(served.alone) >= _NOTE or begin - served.noted > _NOTE_NS:
                        self._note(served)
                else:
                    served.counters["failed"] += 1
                if self._queue.requests or self._closing:
                    worker.wake(self)
                else:
                    self._idle.append(worker)
        return answer

    def _serve(self, worker: Worker) -> bool:
        """Compute batches until there are none; return whether there may be more."""
        while True:
            late: list[Request] = []
            with self._lock:
                begin = _now()
                batch = self._queue.take(begin, late)
                for request in late:
                    request.served.counters["expired"] += 1
                    self._land(request)
                    self._forget(request)
                if batch:
                    served = batch[0].served
                    call = served.call
                elif not late:
                    if self._closing:
                        return False
                    self._idle.append(worker)
                    return True
            if late:
                self._fail(late, [_too_late(request) for request in late])
            if batch:
                self._run(worker, served, call, batch, begin)

    def _run(self, worker: Worker, served: Served, call: Any, batch: list[Request], begin: int) -> None:
        outcomes: list[Outcome] = []
        told: list[Outcome] = []
        try:
            raised = compute(call, batch, worker.buffers, outcomes)
            end = _now()
            if self._answers is not None:
                outcomes = [_shared(outcome) for outcome in outcomes]
            with self._lock:
                self._book(served, outcomes, begin, end, raised, told)
        except BaseException as fault:  # of the batcher itself: nobody waits for ever
            with self._lock:
                for work in batch:
                    self._flights.pop(work.key, None)
                    told += [Outcome(one, None, fault) for one in lose(work.waiting())]
            raise
        finally:
            wakeups = Wakeups()
            for one, answer, error in told:
                one.finish(answer, error, wakeups)
            wakeups.go()

    def _book(
        self,
        served: Served,
        outcomes: list[Outcome],
        begin: int,
        end: int,
        raised: int,
        told: list[Outcome],
    ) -> None:
        """Count what was done, and say who has to be told what; under the lock."""
        counters = served.counters
        rows = 0
        for outcome in outcomes:
            work, answer, error = outcome
            rows += work.count
            served.waits.append(begin - work.entered)
            if work.key is not None:
                self._land(work)
                if error is None and self._answers is not None:
                    self._answers.put(work.key, answer, end)
            if isinstance(work, Part):  # its whole is told, and counted, when it is complete
                told.append(outcome)
                continue
            for one in work.waiting() if work.followers is not None else (work,):
                if one.alive:
                    one.alive = False
                    counters["answered" if error is None else "failed"] += 1
                    told.append(Outcome(one, answer, error))
        counters["batches"] += 1
        counters["batched_rows"] += rows
        counters["retried_batches"] += raised
        served.batch_times.append(end - begin)
        served.batch_sizes.append(rows)
        if raised == 0 and outcomes[0].error is None:
            served.cost.add(rows, end - begin, end)
        if len(served.waits) >= _NOTE or len(served.latencies) >= _NOTE or (end - served.noted > _NOTE_NS):
            self._note(served)

    def _note(self, served: Served) -> None:
        served.note()
        goal = served.goal
        if goal is not None and goal.reason is not None and not self._warned:
            self._warned = True
            which = f"model {served.name!r}" if served.name else "model"
            self._warning = f"Batcher: the goal of the {which} cannot be kept: {goal.reason}"

    def _part_done(self, part: Part) -> bool:
        """Note a part of a larger request; return whether the whole is to be finished now."""
        whole = part.whole
        assert whole.parts is not None
        with self._lock:
            part.done = True
            if not whole.alive or (part.error is None and not all(one.done for one in whole.parts)):
                return False
            whole.alive = False
            whole.served.counters["answered" if part.error is None else "failed"] += 1
            self._forget(whole)
        return True


def _works_of(request: Request) -> Sequence[Request]:
    """Return what is queued for a request."""
    return request.parts or (request.leader or request,)


def _too_late(request: Request) -> TimeoutError:
    given = (request.deadline - request.entered) / 1e6
    return TimeoutError(f"deadline_ms: expected an answer within {given:.3g} ms, which could not be given")


def _shared(outcome: Outcome) -> Outcome:
    """Make the answer one that several may have: nobody can write to it, and it keeps no batch alive."""
    work, answer, error = outcome
    if error is not None or work.key is None:
        return outcome
    if answer.base is not None:
        answer = answer.copy()
    answer.flags.writeable = False
    return Outcome(work, answer, None)


def _wake_all(workers: list[Worker]) -> None:
    for worker in workers:
        worker.wake(None)


def _drop(me: weakref.ref[Batcher], request: Request) -> None:
    """Take a request out whose future was cancelled."""
    batcher = me()
    if batcher is not None:
        cancelled = False
        with batcher._lock:
            if request.alive:
                request.served.counters["cancelled"] += 1
                request.alive, cancelled = False, True
                batcher._forget(request)
        if cancelled and isinstance(request, Promised):
            request.future.set_running_or_notify_cancel()


def _part_done(me: weakref.ref[Batcher], part: Part) -> bool:
    batcher = me()
    return batcher is not None and batcher._part_done(part)
