"""Threads that compute batches, asleep while there is nothing to do."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING

from pyscale.infer.batching.compute import Buffers

if TYPE_CHECKING:
    from pyscale.infer.batching.batcher import Batcher

__all__ = ["Worker", "refuse_in_children"]

_batchers: weakref.WeakSet[Batcher] = weakref.WeakSet()


class Worker:
    """A thread, and what a batch needs. While it is idle, a caller may borrow the latter."""

    def __init__(self, batcher: Batcher, max_batch: int, name: str) -> None:
        self.buffers = Buffers(max_batch)
        self._bell = threading.Lock()
        self._bell.acquire()
        # Idle threads know the batcher weakly, so that it goes away once nobody else knows it.
        arguments = (weakref.ref(batcher), self, self._bell)
        self.thread = threading.Thread(target=_work, args=arguments, name=name, daemon=True)
        self.thread.start()

    def wake(self) -> None:
        """Let the thread look for work."""
        with contextlib.suppress(RuntimeError):  # it is about to look anyway
            self._bell.release()


def _work(batcher: weakref.ref[Batcher], worker: Worker, bell: threading.Lock) -> None:
    while True:
        bell.acquire()
        found = batcher()
        if found is None or not found._serve(worker):
            return
        del found


def refuse_in_children(batcher: Batcher) -> None:
    """Let a batcher know when this process is a forked child, which has none of its threads."""
    _batchers.add(batcher)


def _after_fork() -> None:
    for batcher in list(_batchers):
        batcher._refusal = (
            "batcher: expected one made in this process, got one from before a fork, "
            "whose threads are the parent's"
        )
        batcher._forked = True


os.register_at_fork(after_in_child=_after_fork)
