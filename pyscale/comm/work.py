"""Collectives in the background: handles, and the thread that runs them in order."""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from pyscale.errors import CommError, CommTimeout


class Work:
    """The handle of a collective that was started and may still be running."""

    def __init__(self, call: str, lost: list[BaseException]) -> None:
        self._call = call
        self._lost = lost  # where an error goes that nobody has waited for
        self._finished = threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None
        self._is_told = False

    def __del__(self) -> None:
        if self._error is not None and not self._is_told and not self._lost:
            self._lost.append(self._error)  # the first says it all

    def done(self) -> bool:
        """Return whether the collective has ended, well or not."""
        return self._finished.is_set()

    def wait(self, timeout: float | None = None) -> Any:
        """Return the result once it is there.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait; None waits as long as the communicator's own timeout lets the collective run.

        Raises
        ------
        CommTimeout
            The collective is still running; it goes on, and can be waited for again.
        CommError
            It failed.
        """
        if not _wait(self._finished, timeout, self._call):
            raise CommTimeout(f"{self._call}: expected the result within {timeout:g} s, it is still running")
        if self._error is not None:
            self._is_told = True
            raise self._error
        return self._result

    def run(self, body: Callable[[], Any]) -> None:
        """Run `body` and keep what it returns or raises."""
        try:
            self._result = body()
        except BaseException as error:  # handed to whoever waits
            # Its traceback refers to this frame, and would keep the handle that nobody else has.
            if not isinstance(error, CommError):
                error.add_note("".join(traceback.format_exception(error)))
            error.__context__ = None
            self._error = error.with_traceback(None)


def _wait(finished: threading.Event, timeout: float | None, call: str) -> bool:
    if not finished.is_set() and sys.is_finalizing():
        raise CommError(f"{call}: expected the result before Python exits, which ends its thread")
    return finished.wait(timeout)


class Worker:
    """Runs one communicator's collectives in the order in which they were started.

    The order is the program's, and so the same on every rank; blocking calls wait for those that were started
    before them. It has a thread for that, unless MPI may not be called from one: then each ends before
    `start` returns. Where one has failed whose handle is gone, the next blocking call raises its error: that
    comes at the same place of the program on all ranks.
    """

    def __init__(self, *, has_thread: bool) -> None:
        self._queue: queue.SimpleQueue[tuple[Work, Callable[[], Any]] | None] = queue.SimpleQueue()
        self._last: tuple[threading.Event, str] | None = None  # not the handle: it would keep the result
        self._lost: list[BaseException] = []
        self._pid = os.getpid()
        self._has_thread = has_thread
        if has_thread:
            threading.Thread(target=self._run, name="pyscale-collectives", daemon=True).start()

    def start(self, call: str, body: Callable[[], Any]) -> Work:
        """Queue a collective."""
        self._check_process()
        work = Work(call, self._lost)
        if not self._has_thread:
            work.run(body)
            work._finished.set()
            return work
        self._last = (work._finished, call)
        self._queue.put((work, body))
        return work

    def drain(self) -> None:
        """Wait until all that was started has ended; raise the error of one that nobody will wait for."""
        self.finish()
        self._raise_lost()

    def finish(self) -> None:
        """Wait until all that was started has ended, well or not."""
        last = self._last
        if last is not None:
            self._check_process()
            finished, call = last
            _wait(finished, None, call)
            if self._last is last:
                self._last = None

    def close(self) -> list[BaseException]:
        """End the thread once it has done what was queued; return the errors that nobody has been told."""
        self._queue.put(None)
        return self._lost

    def _raise_lost(self) -> None:
        if self._lost:
            error = self._lost.pop(0)
            error.add_note("It is that of an earlier call, whose handle nobody has waited for.")
            raise error

    def _check_process(self) -> None:
        if os.getpid() != self._pid:  # threads do not survive a fork
            raise CommError("expected the process that joined the job, got a forked child of it")

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            work, body = item
            finished = work._finished
            work.run(body)
            del item, work, body  # an idle thread keeps nobody's arrays alive
            finished.set()
