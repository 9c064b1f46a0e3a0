"""Communicators that end with something under way: `mpirun -n 2 python worker_endings.py NAME`."""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import launch
import numpy as np
from launch import report

import pyscale as ps


def outcome(call: Callable[[], Any]) -> str:
    try:
        return f"result {call()!r:.60}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def ends_under_a_thread() -> None:
    """`close` or `shutdown` while another thread waits in a collective, and while the main thread does."""
    how, waiter = sys.argv[2:]
    ps.init(timeout=20.0)
    part = ps.world().split(0)
    assert part is not None
    c = ps.world() if how == "shutdown" else part
    end = ps.shutdown if how == "shutdown" else c.close
    seen: dict[str, Any] = {}

    def wait() -> None:
        seen["outcome"] = outcome(c.barrier)

    def finish() -> None:
        time.sleep(0.3)
        start = time.monotonic()
        end()
        seen["seconds"] = time.monotonic() - start

    ps.barrier()
    if ps.rank() == 0:
        here, there = (finish, wait) if waiter == "thread" else (wait, finish)
        thread = threading.Thread(target=there)
        thread.start()
        here()
        thread.join()
        seen["again"] = outcome(lambda: c.all_reduce(np.ones(3)))
    else:
        time.sleep(0.6)
        seen["outcome"] = outcome(lambda: c.all_reduce(np.ones(200_000)))
    report(seen)


def ends_with_work_under_way() -> None:
    """`close` and `shutdown` wait for what was started."""
    ps.init(timeout=20.0)
    c = ps.world() if sys.argv[2] == "shutdown" else ps.world().split(0)
    assert c is not None
    ps.barrier()
    if ps.rank() != 0:
        time.sleep(0.5)
    works = [c.all_reduce_async(np.full(n, ps.rank() + 1.0)) for n in (3, 100_000)]
    ps.shutdown() if sys.argv[2] == "shutdown" else c.close()
    report([work.done() and float(work.wait().sum()) for work in works])


class Holder:
    """In a cycle with itself, so that only the garbage collector finds it."""

    def __init__(self, c: ps.Communicator, last: Callable[[ps.Communicator], object]) -> None:
        self.itself, self.c, self.last = self, c, last
        self.array = c.empty(1000)

    def __del__(self) -> None:
        keep_the_lock()
        os.write(1, f"deleted: {outcome(lambda: self.last(self.c))}\n".encode())


def keep_the_lock() -> None:
    """Let a thread that wakes up wait for Python's lock until Python exits, and then be told so."""
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass


def exits_with_cycles() -> None:
    """The interpreter finds communicators when there is no other thread any more."""
    last, under_way, status = sys.argv[2:]
    if under_way == "thread at the lock":
        sys.setswitchinterval(0.25)
        atexit.register(keep_the_lock)  # after shutdown, so just before the end
    ps.init(timeout=20.0)
    part = ps.world().split(0)
    assert part is not None
    ones = np.ones(100_000)
    calls: dict[str, Callable[[ps.Communicator], object]] = {
        "close": ps.Communicator.close,
        "barrier": ps.Communicator.barrier,
        "all_reduce": lambda c: c.all_reduce(ones),
    }
    vars(launch)["kept"] = Holder(part, calls[last])  # a module's own, until its end
    ps.barrier()
    if ps.rank() == 0 and under_way == "work":
        part.all_reduce_async(np.ones(100_000))
    if ps.rank() == 0 and under_way.startswith("thread"):
        # No function of this file: its frame would keep what the module of the cycle is found by.
        call = (part.all_reduce, (ones,)) if last == "all_reduce" else (part.barrier, ())
        threading.Thread(target=call[0], args=call[1], daemon=True).start()
        time.sleep(0.2)
    if ps.rank() != 0:
        time.sleep(0.5)
    del part
    if status != "0":
        sys.exit(int(status))


def forks_with_arrays() -> None:
    """A child holds arrays that its parent frees, and whose memory it gives to others."""
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    ps.init(timeout=20.0)
    c = ps.world()
    kept: Any = c.empty(50_000)
    freed: Any = c.empty(50_000)
    kept[:], freed[:] = 1, 2
    fork = multiprocessing.get_context("fork")
    parent, child_end = fork.Pipe()

    def child() -> None:
        nonlocal kept, freed
        before = float(kept[0])
        child_end.recv()
        kept[:], freed[:] = 98, 99
        child_end.send((before, float(kept.sum()), float(freed.sum()), outcome(lambda: c.empty(3))))
        kept = freed = None
        gc.collect()
        child_end.send(outcome(c.barrier))

    process = fork.Process(target=child)
    process.start()
    freed = None
    gc.collect()
    new = c.empty(50_000)
    new[:] = 3
    parent.send(None)
    told = [parent.recv(), parent.recv()]
    process.join()
    sums = [float(c.all_reduce(x, out=x).sum()) for x in (kept, new)]
    again = c.empty(50_000)
    again[:] = 5
    sums.append(float(c.all_reduce(again).sum()))
    report({"child": told, "status": process.exitcode, "sums": sums})


if __name__ == "__main__":
    globals()[sys.argv[1]]()
