"""How requests come in, and go away before they are computed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyscale.errors import BatcherClosed, QueueFull
from pyscale.infer.batching.cache import Answers, Key
from pyscale.infer.batching.queue import Queue, Served
from pyscale.infer.batching.requests import DROPPED, QUEUED, Awaited, Part, Promised, Request, Wakeups
from pyscale.infer.batching.workers import Worker

__all__ = ["Entering", "too_late"]


class Entering:
    """The queue of a batcher, its lock, and all that does not need a model."""

    def __init__(
        self, served: dict[str, Served], max_batch: int, max_queue: int, answers: Answers | None
    ) -> None:
        self._lock = threading.Lock()
        self._served = served
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._queue = Queue(list(served.values()), max_batch)
        self._answers = answers
        self._flights: dict[Key, Request] = {}
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._refusal: str | None = None
        self._closing = self._forked = False

    # Workers compute what was put into the queue.
    def _serve(self, worker: Worker) -> bool:
        raise NotImplementedError

    def _enter(self, request: Request) -> None:
        """Queue a request; or answer it from what is known; or let it follow an equal one."""
        try:
            self._put(request)
        except Exception:  # refused
            raise
        except BaseException:  # Ctrl-C
            self._recover()
            raise

    def _put(self, request: Request) -> None:
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
        with self._lock:
            if self._refusal is not None:
                raise BatcherClosed(self._refusal)
            counters = served.counters
            if request.key is not None:
                answer = self._known(request)
            if answer is None and request.leader is None:
                # Requests without rows take room as well.
                room = self._max_queue - max(self._queue.rows, self._queue.requests)
                if max(count, 1) > room:
                    counters["rejected"] += 1
                    raise QueueFull(f"rows: expected at most {room} that the queue has room for, got {count}")
                for work in request.parts or (request,):
                    self._queue.push(work)
                    if self._idle:
                        self._take_worker().wake(self)
                if request.key is not None:
                    self._flights[request.key] = request
            counters["requests"] += 1
            counters["rows"] += count
        if answer is not None:
            wakeups = Wakeups()
            request.finish(answer, None, wakeups)
            wakeups.go()
            request.alive = False  # it is counted, should its coroutine be cancelled now
        return None

    def _take_worker(self) -> Worker:
        """Take an idle worker, which says whose it is before it is taken; under the lock."""
        worker = self._idle[-1]
        worker.user = threading.get_ident()
        self._idle.pop()
        return worker

    def _rest(self, worker: Worker) -> None:
        """Count a worker among those that are idle; under the lock."""
        if worker not in self._idle:  # it was woken twice
            self._idle.append(worker)
        worker.user = worker.thread.ident

    def _recover(self) -> None:
        """Let workers go that this thread had taken when it was interrupted."""
        me = threading.get_ident()
        with self._lock:
            for worker in self._workers:
                if worker.user == me and worker not in self._idle:
                    worker.wake(self)
                elif worker.user == me:
                    worker.user = worker.thread.ident

    def _known(self, request: Request) -> Any:
        """Look for the answer; or for an equal request, which this one then follows."""
        key = request.key
        assert self._answers is not None
        assert key is not None
        counters = request.served.counters
        answer = self._answers.get(key, request.entered)
        if answer is not None:
            counters["cache_hits"] += 1
            counters["answered"] += 1
            return answer
        leader = self._flights.get(key)
        # One that should be computed sooner does not wait in another's place.
        if (
            leader is None
            or leader.state == DROPPED
            or (leader.state == QUEUED and leader.priority < request.priority)
        ):
            return None
        request.leader = leader
        if leader.followers is None:
            leader.followers = []
        leader.followers.append(request)
        counters["shared"] += 1
        return None

    def _refuse_late(self, request: Request) -> None:
        with self._lock:
            counters = request.served.counters
            counters["requests"] += 1
            counters["rows"] += request.count
            counters["expired"] += 1
            request.begin()
            request.alive, request.given_up = False, True
        self._fail([request], [too_late(request)])

    def _forget(self, request: Request) -> None:
        """Take out of the queue what nobody waits for, now that `request` does not; under the lock."""
        for work in _works_of(request):
            if work.state == QUEUED and (request.parts is not None or not work.waiting()):
                self._queue.drop(work)
            if work.state == DROPPED:
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
            request.future.set_exception(too_late(request))

    def _fail(self, requests: list[Request], errors: list[BaseException]) -> None:
        wakeups = Wakeups()
        for request, error in zip(requests, errors, strict=True):
            request.finish(None, error, wakeups)
        wakeups.go()

    def _part_done(self, part: Part) -> bool:
        """Note a part of a larger request; return whether the whole has an answer, or an error, now."""
        whole = part.whole
        assert whole.parts is not None
        with self._lock:
            part.done = True
            if not whole.alive or (part.error is None and not all(one.done for one in whole.parts)):
                return False
            whole.alive = False
            self._forget(whole)
        whole.error = part.error
        if part.error is None:
            try:
                whole.answer = np.concatenate([one.answer for one in whole.parts])
            except Exception as error:  # answers of different shapes, or no memory
                whole.error = error
        with self._lock:
            whole.served.counters["answered" if whole.error is None else "failed"] += 1
        return True

    def _cancelled(self, request: Promised) -> None:
        """Take a request out whose future was cancelled."""
        with self._lock:
            if not request.alive:  # a worker that took it saw so before, and counted it
                self._forget(request)
                return
            request.served.counters["cancelled"] += 1
            request.alive = False
            self._forget(request)
        request.future.set_running_or_notify_cancel()


def too_late(request: Request) -> TimeoutError:
    """Say that the deadline cannot be met."""
    given = (request.deadline - request.entered) / 1e6
    return TimeoutError(f"deadline_ms: expected an answer within {given:.3g} ms, which could not be given")


def _works_of(request: Request) -> Sequence[Request]:
    """Return what is queued for a request."""
    return request.parts or (request.leader or request,)
