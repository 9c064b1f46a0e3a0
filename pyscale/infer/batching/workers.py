"""Threads that compute batches, asleep while there is nothing to do."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING

from pyscale.infer.batching.compute import Buffers
from pyscale.infer.batching.requests import show_fault

if TYPE_CHECKING:
    from pyscale.infer.batching.entering import Entering

__all__ = ["Worker", "refuse_in_children"]

_batchers: weakref.WeakSet[Entering] = weakref.WeakSet()


class Worker:
    """A thread, and what a batch needs. While it is idle, a caller may borrow the latter."""

    def __init__(self, max_batch: int, name: str) -> None:
        self.buffers = Buffers(max_batch)
        # Idle threads do not know the batcher, so that it goes away once nobody else knows it.
        self._batcher: Entering | None = None
        self._bell = threading.Lock()
        self._bell.acquire()
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)
        self.thread.start()
        self.user = self.thread.ident  # whose thread computes

    def wake(self, batcher: Entering | None) -> None:
        """Let the thread compute what there is, or end where nobody wants it any more."""
        self._batcher = batcher
        with contextlib.suppress(RuntimeError):  # it was woken, or ends already
            self._bell.release()
        self.user = self.thread.ident  # last: before that, it may be woken again

    def join(self) -> None:
        """Wait for the thread's end."""
        self.thread.join()
        self._batcher = None

    def _work(self) -> None:
        while True:
            self._bell.acquire()
            batcher, self._batcher = self._batcher, None
            if batcher is None:
                return
            try:
                if not batcher._serve(self):
                    return
            except BaseException:
                show_fault()  # of the batcher itself; who waits is still served
                self.wake(batcher)
            del batcher


def refuse_in_children(batcher: Entering) -> None:
    """Let a batcher know when this process is a forked child, which has none of its threads."""
    _batchers.add(batcher)


def _after_fork() -> None:
    for batcher in list(_batchers):
        batcher._lock = threading.Lock()  # a thread of the parent may have had it
        batcher._refusal = (
            "batcher: expected one made in this process, got one from before a fork, "
            "whose threads are the parent's"
        )
        batcher._forked = True


os.register_at_fork(after_in_child=_after_fork)
