"""What the programs that run beside a data-loading peer share: tasks in turn, fresh processes.

It runs in the peers' environments, so it needs NumPy alone.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from _recording import Figure
from _turns import in_turn, seconds

T = TypeVar("T")

_LONGEST = 600  # seconds of one call in a process of its own


def timed(
    task: str,
    contestants: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    amount: float = 1,
    unit: str = "",
    wrong: Mapping[str, str] | None = None,
) -> Iterator[Figure]:
    """Time all contestants at one task, in this process."""
    calls = {name: (lambda call=call: seconds(call)) for name, call in contestants.items()}
    for name, spent in in_turn(calls, rounds).items():
        yield Figure(task, name, "seconds", spent, amount, unit, (wrong or {}).get(name, ""))


def in_child(call: Callable[[], T]) -> T:
    """Call it in a process of its own, a copy of this one, and return what it returned.

    This process must not have begun threads before: OpenMP's are not there in the copy, which waits for them.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            signal.alarm(_LONGEST)
            with os.fdopen(writing, "wb") as pipe:
                try:
                    pipe.write(pickle.dumps((True, call())))
                    status = 0
                except BaseException:
                    pipe.write(pickle.dumps((False, traceback.format_exc())))
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        message = pipe.read()
    _, status = os.waitpid(child, 0)
    if not message:
        raise RuntimeError(f"child: expected a result, got exit status {status}")
    done, result = pickle.loads(message)
    if not done:
        raise RuntimeError(f"child: expected a result, got\n{result}")
    return result  # type: ignore[no-any-return]


def _resident(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith(name + ":"))


def time_and_memory(call: Callable[[bool], object]) -> tuple[float, float]:
    """Time a call, and tell by how much the memory of the process rose at its highest: seconds, bytes.

    Before, it is called with True to do the same in small: that loads code, and is not timed. What that
    takes of memory counts, but the pages of files, as those of code, do not.
    """
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest so far
    before, code = _resident("VmRSS"), _resident("RssFile")
    call(True)
    spent = seconds(lambda: call(False))
    return spent, float(_resident("VmHWM") - before - (_resident("RssFile") - code))


def timed_afresh(
    task: str,
    contestants: Mapping[str, Callable[[bool], object]],
    *,
    rounds: int,
    amount: float = 1,
    unit: str = "",
    wrong: Mapping[str, str] | None = None,
) -> Iterator[Figure]:
    """Time all contestants at one task and tell the memory, each in a fresh process every time."""

    def afresh(call: Callable[[bool], object]) -> Callable[[], tuple[float, float]]:
        return lambda: in_child(lambda: time_and_memory(call))

    calls = {name: afresh(call) for name, call in contestants.items()}
    for name, pairs in in_turn(calls, rounds).items():
        flaw = (wrong or {}).get(name, "")
        yield Figure(task, name, "seconds", [spent for spent, _ in pairs], amount, unit, flaw)
        yield Figure(task, name, "bytes", [rise for _, rise in pairs], wrong=flaw)


def flaw_of(order: Any, n: int) -> str:
    """Tell what keeps these indices from being 0 to ``n - 1``, each once; empty where nothing does."""
    times = np.bincount(np.asarray(order, np.int64), minlength=n)
    lost, repeated = int((times[:n] == 0).sum()), int(np.maximum(times.astype(np.int64) - 1, 0).sum())
    return f"{lost:,} of {n:,} lost, {repeated:,} repeated" if lost or repeated or len(times) > n else ""
