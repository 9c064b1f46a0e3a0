"""Collectives in the background: handles, and the thread that runs them in order."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any

from pyscale.errors import CommError, CommTimeout


class Work:
    """The handle of a collective that was started and may still be running."""

    def __init__(self, call: str) -> None:
        self._call = call
        self._finished = threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None

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
        if not self._ends_within(timeout):
            raise CommTimeout(f"{self._call}: expected the result within {timeout:g} s, it is still running")
        if self._error is not None:
            raise self._error
        return self._result

    def _ends_within(self, timeout: float | None) -> bool:
        if not self._finished.is_set() and sys.is_finalizing():
            raise CommError(f"{self._call}: expected the result before Python exits, which ends its thread")
        return self._finished.wait(timeout)

    def run(self, body: Callable[[], Any]) -> None:
        """Run `body` and keep what it returns or raises."""
        try:
            self._result = body()
        except BaseException as error:  # handed to whoever waits
            self._error = error
        self._finished.set()


class Worker:
    """A thread that runs one communicator's collectives in the order in which they were started.

    The order is the program's, and so the same on every rank; blocking calls wait for those that were started
    before them.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Work, Callable[[], Any]] | None] = queue.SimpleQueue()
        self._last: Work | None = None
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="pyscale-collectives", daemon=True)
        self._thread.start()

    def start(self, call: str, body: Callable[[], Any]) -> Work:
        """Queue a collective."""
        self._check_process()
        work = self._last = Work(call)
        self._queue.put((work, body))
        return work

    def drain(self) -> None:
        """Wait until all that was started has ended."""
        last = self._last
        if last is not None:
            self._check_process()
            last._ends_within(None)
            if self._last is last:
                self._last = None

    def close(self) -> None:
        """End the thread once it has done what was queued."""
        self._queue.put(None)

    def _check_process(self) -> None:
        if os.getpid() != self._pid:  # threads do not survive a fork
            raise CommError("expected the process that joined the job, got a forked child of it")

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            work, body = item
            work.run(body)
            del item, work, body  # an idle thread keeps nobody's arrays alive
