"""Requests, by how their callers wait: in a thread, with a future, or in an event loop."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Hashable
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pyscale.infer.batching.queue import Lane, Served

__all__ = ["Awaited", "Loops", "Part", "Promise", "Promised", "Request", "Waiting"]

# The states of work.
QUEUED, TAKEN, DROPPED = range(3)

Loops = dict[asyncio.AbstractEventLoop, list["Awaited"]]


class Request:
    """
    Rows to compute, and somebody who waits for the answer.

    Others that want the same rows computed follow it (`followers`), and are in no queue themselves; one with
    more rows than a batch has `parts`, which are. All fields change under the batcher's lock.
    """

    __slots__ = (
        "alive",
        "answer",
        "count",
        "deadline",
        "entered",
        "error",
        "followers",
        "key",
        "lane",
        "leader",
        "parts",
        "priority",
        "rows",
        "served",
        "state",
    )

    lane: Lane | None

    def __init__(
        self, served: Served, rows: NDArray[Any], entered: int, deadline: float = math.inf, priority: int = 0
    ) -> None:
        self.served = served
        self.rows = rows
        self.count = len(rows)
        self.entered = entered  # nanoseconds, as the deadline
        self.deadline = deadline
        self.priority = priority
        self.state = QUEUED
        self.alive = True  # somebody still waits
        self.key: Hashable = None
        self.leader: Request | None = None
        self.followers: list[Request] | None = None
        self.parts: list[Part] | None = None
        self.answer: Any = None
        self.error: BaseException | None = None

    def begin(self) -> bool:
        """Say that from now on nobody can cancel; return whether somebody did before."""
        return self.alive

    def finish(self, answer: Any, error: BaseException | None, loops: Loops) -> None:
        """Give the answer, or say what went wrong; called without the lock, once."""
        raise NotImplementedError

    def waiting(self) -> list[Request]:
        """Return those who still wait for this work."""
        if self.followers is None:
            return [self] if self.alive else []
        return [one for one in (self, *self.followers) if one.alive]


class Waiting(Request):
    """One whose thread sleeps until the answer is there."""

    __slots__ = ("lock",)

    def __init__(
        self, served: Served, rows: NDArray[Any], entered: int, deadline: float = math.inf, priority: int = 0
    ) -> None:
        super().__init__(served, rows, entered, deadline, priority)
        self.lock = threading.Lock()
        self.lock.acquire()

    def finish(self, answer: Any, error: BaseException | None, loops: Loops) -> None:
        """Wake the thread."""
        self.answer, self.error = answer, error
        self.lock.release()


class Promise(Future[Any]):
    """A future whose request leaves the queue when it is cancelled."""

    request: Promised | None = None

    def cancel(self) -> bool:
        """Cancel, unless the model computes already."""
        if not super().cancel():
            return False
        request, self.request = self.request, None
        if request is not None:
            request.served.drop(request)
        return True


class Promised(Request):
    """One with a future."""

    __slots__ = ("future",)

    def __init__(
        self, served: Served, rows: NDArray[Any], entered: int, deadline: float = math.inf, priority: int = 0
    ) -> None:
        super().__init__(served, rows, entered, deadline, priority)
        self.future = Promise()
        self.future.request = self

    def begin(self) -> bool:
        """Make the future one that runs."""
        if self.alive and not self.future.running():
            self.alive = self.future.set_running_or_notify_cancel()
            if not self.alive:
                self.served.counters["cancelled"] += 1
        return self.alive

    def finish(self, answer: Any, error: BaseException | None, loops: Loops) -> None:
        """Set the future."""
        self.future.request = None
        try:
            if error is None:
                self.served.latencies.append(time.perf_counter_ns() - self.entered)
                self.future.set_result(answer)
            else:
                self.future.set_exception(error)
        except InvalidStateError:  # it was cancelled while it followed another's computation
            pass


class Awaited(Request):
    """One that a coroutine awaits."""

    __slots__ = ("future", "loop")

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def finish(self, answer: Any, error: BaseException | None, loops: Loops) -> None:
        """Leave the answer with those for the same loop, which is woken once for all of them."""
        self.answer, self.error = answer, error
        loops.setdefault(self.loop, []).append(self)

    def deliver(self) -> None:
        """Set the future; called by its loop."""
        if self.future.done():  # nobody awaits it any more
            return
        if self.error is not None:
            self.future.set_exception(self.error)
            return
        self.served.latencies.append(time.perf_counter_ns() - self.entered)
        self.future.set_result(self.answer)


class Part(Request):
    """Some of the rows of a request that is larger than a batch."""

    __slots__ = ("done", "whole")

    def __init__(self, whole: Request, rows: NDArray[Any]) -> None:
        super().__init__(whole.served, rows, whole.entered, whole.deadline, whole.priority)
        self.whole = whole
        self.done = False

    def begin(self) -> bool:
        """Begin the whole."""
        return self.whole.begin()

    def finish(self, answer: Any, error: BaseException | None, loops: Loops) -> None:
        """Finish the whole, if this is the last part or the first that fails."""
        self.answer, self.error = answer, error
        whole = self.whole
        parts = whole.parts
        assert parts is not None
        if not whole.served.part_done(self):
            return
        if error is not None:
            whole.finish(None, error, loops)
        else:
            whole.finish(np.concatenate([part.answer for part in parts]), None, loops)
