"""How batches are computed, and what is noted of them."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.batching.compute import Outcome, answers_of, compute
from pyscale.infer.batching.entering import Entering, too_late
from pyscale.infer.batching.queue import Served, lose
from pyscale.infer.batching.requests import Part, Request, Wakeups
from pyscale.infer.batching.workers import Worker

__all__ = ["Computing"]

_NOTE = 256  # batches or answers between two looks at what was noted
_NOTE_NS = 50_000_000  # or nanoseconds
_now = time.perf_counter_ns


class Computing(Entering):
    """The batches of a batcher."""

    _warning: str | None = None
    _warned = False

    def _borrow(self, served: Served, rows: int) -> Worker | None:
        """Take the place of an idle worker, if nobody waits."""
        with self._lock:
            if self._queue.requests or not self._idle or self._refusal is not None:
                return None
            served.counters["requests"] += 1
            served.counters["rows"] += rows
            return self._take_worker()

    def _compute_here(self, worker: Worker, served: Served, rows: NDArray[Any]) -> NDArray[Any]:
        """Compute a request alone, in its own thread."""
        answer = None
        begin = _now()
        try:
            answer = answers_of(served.call, rows.copy())  # the model may write to its rows
        finally:
            spent = _now() - begin
            with self._lock:
                if self._queue.requests or self._closing:
                    worker.wake(self)
                else:
                    self._rest(worker)
                if answer is not None:
                    served.alone.append((len(rows), spent))
                    if len(served.alone) >= _NOTE or begin - served.noted > _NOTE_NS:
                        self._note(served)
                else:
                    served.counters["failed"] += 1
        return answer

    def _computes(self) -> bool:
        """Tell whether this thread computes already: the model, or what a future called back, asks again."""
        me = threading.get_ident()
        return any(worker.user == me for worker in self._workers)

    def _compute_inside(self, served: Served, rows: NDArray[Any]) -> NDArray[Any]:
        """Compute a request at once, in a thread that the queue would wait for."""
        most = self._max_batch
        answer = None
        try:
            pieces = [
                answers_of(served.call, rows[k : k + most].copy()) for k in range(0, max(len(rows), 1), most)
            ]
            answer = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        finally:
            with self._lock:
                served.counters["requests"] += 1
                served.counters["rows"] += len(rows)
                served.counters["answered" if answer is not None else "failed"] += 1
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
                    self._rest(worker)
                    return True
            if late:
                self._fail(late, [too_late(request) for request in late])
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
                    if work.key is not None:
                        self._flights.pop(work.key, None)
                    lost = lose(work.waiting())
                    served.counters["failed"] += len(lost)
                    told += [Outcome(one, None, fault) for one in lost]
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


def _shared(outcome: Outcome) -> Outcome:
    """Make the answer one that several may have: nobody can write to it, and it keeps no batch alive."""
    work, answer, error = outcome
    if error is not None or work.key is None:
        return outcome
    if answer.base is not None:
        answer = answer.copy()
    answer.flags.writeable = False
    return Outcome(work, answer, None)
