"""What waits: by model, type and shape of the rows, and priority; and what is computed next."""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from pyscale.infer.batching.cost import Cost
from pyscale.infer.batching.goal import Goal
from pyscale.infer.batching.histogram import Histogram
from pyscale.infer.batching.requests import DROPPED, QUEUED, TAKEN, Part, Promised, Request

__all__ = ["Lane", "Queue", "Served", "lose"]

_PROBE = 16  # of so many requests that could not be in time, one is tried: the estimate may be wrong
_COUNTERS = (
    "requests",
    "rows",
    "answered",
    "failed",
    "cancelled",
    "expired",
    "rejected",
    "batches",
    "batched_rows",
    "retried_batches",
    "cache_hits",
    "shared",
)


def lose(waiting: list[Request]) -> list[Request]:
    """Let nobody wait any more; return those who have to be told, for whom nobody else will do it."""
    told: list[Request] = []
    for one in waiting:
        if one.begin():
            whole = one.whole if isinstance(one, Part) else one
            whole.alive = False
            told.append(whole)
        one.alive = False
    return told


class Lane:
    """Requests that one batch may hold: those for a model, with rows of one type and shape."""

    __slots__ = ("dead", "heap", "kind")

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.heap: list[tuple[int, int, Request]] = []
        self.dead = 0

    def head(self) -> Request | None:
        """Return the request that is next."""
        heap = self.heap
        while heap and heap[0][2].state != QUEUED:
            heapq.heappop(heap)
            self.dead -= 1
        return heap[0][2] if heap else None

    def tidy(self) -> None:
        """Let go of requests that were dropped, once they are the most."""
        if self.dead > 64 and 2 * self.dead > len(self.heap):
            self.heap = [item for item in self.heap if item[2].state == QUEUED]
            heapq.heapify(self.heap)
            self.dead = 0


class Served:
    """A model, what waits for it, and what is known of it."""

    def __init__(self, name: str, goal: Goal | None, drop: Callable[[Promised], None],
                 part_done: Callable[[Part], bool]) -> None:  # fmt: skip
        self.name = name
        self.goal = goal
        self.drop = drop
        self.part_done = part_done
        self.call: Callable[[Any], Any]
        self.num_features: int | None = None
        self.version = 0
        self.cost = Cost()
        self.lanes: dict[Any, Lane] = {}
        self.queued = 0  # requests
        self.taken = 0.0  # rows, as the queue counts them to be fair
        self.counters = dict.fromkeys(_COUNTERS, 0)
        self.latency, self.wait, self.batch, self.size = Histogram(), Histogram(), Histogram(), Histogram()
        # Whoever was answered says here how long it took, without the lock.
        self.latencies: deque[int] = deque()
        self.waits: list[int] = []
        self.batch_times: list[int] = []
        self.batch_sizes: list[int] = []
        # The rows and nanoseconds of requests that were computed alone, in their threads.
        self.alone: list[tuple[int, int]] = []
        self.noted = 0  # when, in nanoseconds

    def forget_costs(self) -> None:
        """Begin to learn anew: another model has other costs."""
        self.cost = Cost()

    def note(self) -> None:
        """Bring what was noted into the histograms, and before the goal; under the lock."""
        latencies = [self.latencies.popleft() for _ in range(len(self.latencies))]
        self.noted = now = time.perf_counter_ns()
        if self.alone:
            for rows, spent in self.alone:
                self.cost.add(rows, spent, now)
            sizes, times = zip(*self.alone, strict=True)
            latencies += times
            self.waits += [0] * len(times)
            self.batch_times += times
            self.batch_sizes += sizes
            self.counters["answered"] += len(times)
            self.counters["batches"] += len(times)
            self.counters["batched_rows"] += sum(sizes)
            self.alone = []
        self.latency.add(latencies)
        self.wait.add(self.waits)
        self.batch.add(self.batch_times)
        self.size.add(self.batch_sizes)
        if self.goal is not None:
            self.goal.watch(latencies if self.goal.kind == "latency" else self.waits, self.cost, now)
        self.waits, self.batch_times, self.batch_sizes = [], [], []


class Queue:
    """The requests of all models. Everything here happens under the batcher's lock."""

    def __init__(self, served: list[Served], max_batch: int) -> None:
        self._served = served
        self._max_batch = max_batch
        self._numbers = count()
        self._turn = 0.0
        self._refused = 0
        self.rows = 0
        self.requests = 0

    def push(self, work: Request) -> None:
        """Append a request to those of its priority."""
        served = work.served
        rows = work.rows
        kind = (rows.dtype, rows.shape[1:])
        lane = served.lanes.get(kind)
        if lane is None:
            lane = served.lanes[kind] = Lane(kind)
        work.lane, work.state = lane, QUEUED
        heapq.heappush(lane.heap, (-work.priority, next(self._numbers), work))
        if served.queued == 0 and served.taken < self._turn:
            served.taken = self._turn  # who did not ask for long has no claim to all of the time now
        served.queued += 1
        self.rows += work.count
        self.requests += 1

    def drop(self, work: Request) -> None:
        """Take a request out that nobody waits for."""
        if work.state == QUEUED:
            lane = work.lane
            self._leave(work, DROPPED)
            if lane is not None:
                lane.dead += 1
                lane.tidy()

    def clear(self) -> list[Request]:
        """Take all out; return those who wait."""
        waiting = []
        for served in self._served:
            for lane in served.lanes.values():
                for _, _, work in lane.heap:
                    if work.state == QUEUED:
                        waiting += lose(work.waiting())
                        self._leave(work, DROPPED)
            served.lanes.clear()
        return waiting

    def take(self, now: int, late: list[Request]) -> list[Request]:
        """
        Take the next batch.

        Models take turns by rows. A request that does not fit whole waits for the next batch, and so do those
        behind it. Who cannot be answered in time is put to `late`.
        """
        while self.requests:
            served = self._served[0]
            if len(self._served) > 1:
                served = min((one for one in self._served if one.queued), key=lambda one: one.taken)
            lane = self._lane(served)
            if lane is None:
                continue
            batch = self._fill(served, lane, now, late)
            if not lane.heap and served.lanes.get(lane.kind) is lane:
                del served.lanes[lane.kind]
            if batch:
                rows = sum(work.count for work in batch)
                self._turn = served.taken
                served.taken += max(rows, 1)
                return batch
        return []

    def _lane(self, served: Served) -> Lane | None:
        lanes = served.lanes
        if len(lanes) == 1:
            (lane,) = lanes.values()
            if lane.head() is not None:
                return lane
        for kind in [kind for kind, lane in lanes.items() if lane.head() is None]:
            del lanes[kind]
        return min(lanes.values(), key=lambda lane: lane.heap[0][:2], default=None)

    def _fill(self, served: Served, lane: Lane, now: int, late: list[Request]) -> list[Request]:
        batch: list[Request] = []
        rows = 0
        cost = served.cost
        limit = self._max_batch
        nearest = math.inf
        while (work := lane.head()) is not None:
            if not batch and served.goal is not None:
                limit = served.goal.limit(cost, now - work.entered)
            if batch and rows + work.count > limit:
                break
            deadline = work.deadline
            if work.followers is not None:
                deadline = min((one.deadline for one in work.waiting()), default=math.inf)
            if deadline < math.inf and not self._in_time(work, deadline, now, late):
                continue
            nearest_then = min(nearest, deadline)
            if batch and nearest_then < now + cost.of(rows + work.count):
                break
            heapq.heappop(lane.heap)
            begun = [one.begin() for one in work.waiting()]  # all of them, not only until one can
            if not any(begun):
                self._leave(work, DROPPED)
                continue
            self._leave(work, TAKEN)
            batch.append(work)
            rows += work.count
            nearest = nearest_then
        return batch

    def _in_time(self, work: Request, deadline: float, now: int, late: list[Request]) -> bool:
        """Tell whether all who wait can be answered in time; those who cannot wait no more."""
        end = now + work.served.cost.of(work.count)
        if deadline >= end:
            return True
        if deadline > now:
            self._refused += 1
            if self._refused % _PROBE == 0:
                return True
        late += lose([one for one in work.waiting() if one.deadline < end])
        if not work.waiting():
            self.drop(work)
        return False

    def _leave(self, work: Request, state: int) -> None:
        work.state = state
        work.lane = None
        work.served.queued -= 1
        self.rows -= work.count
        self.requests -= 1
