"""Requests, by how their callers wait: in a thread, with a future, or in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import threading
import time
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from pyscale.infer.batching.cache import Key
    from pyscale.infer.batching.queue import Lane, Served

__all__ = ["Awaited", "Part", "Promise", "Promised", "Request", "Waiting", "Wakeups", "show_fault"]

# The states of work; what is in no queue yet is as if dropped.
QUEUED, TAKEN, DROPPED = range(3)

_CHAINS = 16  # one would be the cheapest, were it not for threads that get no core at once


class Wakeups:
    """
    Who is to be woken for a batch of answers: event loops once each, and threads in chains.

    Sixty threads woken at once would all ask for Python's lock, and get it one after the other. So each wakes
    the next when it has it.
    """

    __slots__ = ("futures", "loops", "threads")

    def __init__(self) -> None:
        self.loops: dict[asyncio.AbstractEventLoop, list[Awaited]] = {}
        self.threads: list[Waiting] = []
        self.futures: list[Promised] = []

    def go(self) -> None:
        """Wake all."""
        threads = self.threads
        for one, after in zip(threads, threads[_CHAINS:], strict=False):
            one.after = after
        for one in threads:
            one.told = True
        for one in threads[:_CHAINS]:
            one.lock.release()
        for loop, requests in self.loops.items():
            try:
                loop.call_soon_threadsafe(_deliver, requests)
            except RuntimeError:  # the loop is closed, and nobody awaits any more
                pass
            except Exception:  # of a loop of somebody's own
                show_fault()
        for promised in self.futures:  # last, since these may call back, and take their time
            try:
                promised.deliver()
            except BaseException:  # of what was called back: the others are told all the same
                show_fault()


def show_fault() -> None:
    """Show the exception that is being handled as one of any thread."""
    threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


def _deliver(requests: list[Awaited]) -> None:
    for request in requests:
        request.deliver()


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
        "given_up",
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
        self.state = DROPPED
        self.alive = True  # somebody still waits
        self.given_up = False  # its caller knows already that it is too late
        self.key: Key | None = None
        self.leader: Request | None = None
        self.followers: list[Request] | None = None
        self.parts: list[Part] | None = None
        self.answer: Any = None
        self.error: BaseException | None = None

    def begin(self) -> bool:
        """Say that from now on nobody can cancel; return whether somebody did before."""
        return self.alive

    def finish(self, answer: Any, error: BaseException | None, wakeups: Wakeups) -> None:
        """Give the answer, or say what went wrong; called without the lock, once."""
        raise NotImplementedError

    def waiting(self) -> list[Request]:
        """Return those who still wait for this work."""
        if self.followers is None:
            return [self] if self.alive else []
        return [one for one in (self, *self.followers) if one.alive]


class Waiting(Request):
    """One whose thread sleeps until the answer is there."""

    __slots__ = ("after", "lock", "told")

    def __init__(
        self, served: Served, rows: NDArray[Any], entered: int, deadline: float = math.inf, priority: int = 0
    ) -> None:
        super().__init__(served, rows, entered, deadline, priority)
        self.lock = threading.Lock()
        self.lock.acquire()
        self.after: Waiting | None = None  # the next of its chain
        self.told = False

    def finish(self, answer: Any, error: BaseException | None, wakeups: Wakeups) -> None:
        """Let the thread be woken."""
        self.answer, self.error = answer, error
        wakeups.threads.append(self)

    def pass_on(self) -> None:
        """Wake the next of the chain."""
        if self.after is not None:
            with contextlib.suppress(RuntimeError):  # it was woken
                self.after.lock.release()


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

    def finish(self, answer: Any, error: BaseException | None, wakeups: Wakeups) -> None:
        """Leave the future to be set after others were woken."""
        self.answer, self.error = answer, error
        wakeups.futures.append(self)

    def deliver(self) -> None:
        """Set the future."""
        answer, error = self.answer, self.error
        self.future.request = None
        try:
            if error is None:
                self.served.latencies.append(time.perf_counter_ns() - self.entered)
                self.future.set_result(answer)
            else:
                self.future.set_exception(error)
        except InvalidStateError:  # it was cancelled while it followed another's computation
            self.future.set_running_or_notify_cancel()  # tell those who wait for one of several futures


class Awaited(Request):
    """One that a coroutine awaits."""

    __slots__ = ("future", "loop")

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def finish(self, answer: Any, error: BaseException | None, wakeups: Wakeups) -> None:
        """Leave the answer with those for the same loop, which is woken once for all of them."""
        self.answer, self.error = answer, error
        wakeups.loops.setdefault(self.loop, []).append(self)

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

    def finish(self, answer: Any, error: BaseException | None, wakeups: Wakeups) -> None:
        """Finish the whole, if this is the last part or the first that fails."""
        self.answer, self.error = answer, error
        if self.whole.served.part_done(self):
            self.whole.finish(self.whole.answer, self.whole.error, wakeups)
