"""Times how contestants predict, in turn, in batches that walk through different rows; and checks answers.

It needs NumPy alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
from _recording import Figure, Note
from _turns import in_turn, seconds
from numpy.typing import NDArray

Array = NDArray[Any]

BATCHES = (1, 8, 64, 1024, 65536)
_LONGEST = 5.0  # seconds: a contestant whose call would take longer is left out
_SETTLE = 0.01  # seconds before a turn, so that threads of the contestant before it fall asleep
_CHECKED = {1: 64, 8: 32, 64: 16}  # calls that are checked, by batch; else one or two


@dataclass(frozen=True)
class Asked:
    """A contestant, ready."""

    predict: Callable[[Any], Any]
    rows: Array  # of the type that it wants
    answers: Callable[[Any], Any] = np.asarray  # brings its answer to the form of `expected`
    expected: Array | None = None  # the first rows' probabilities; None: it has trees of its own
    raw: Callable[[Any], Any] | None = None  # whose answers must be `sums` to the bit
    sums: Array | None = None
    close: float = 1e-5  # by which an answer may differ from what is expected


class _Turns:
    """Calls of one contestant with batches of one size."""

    def __init__(self, asked: Asked, batch: int, budget: float, rounds: int) -> None:
        self._predict = asked.predict
        rows = asked.rows[: max(4096, 16 * batch)]
        self.parts = [rows[k : k + batch] for k in range(0, len(rows) - batch + 1, batch)]
        self._budget, self._spent, self._next = budget, 0.0, 0
        self._long = seconds(lambda: self._predict(self.parts[0]))  # code and threads that are loaded now
        if self._long < budget / 10:
            few = self.parts[:4]
            self._long = seconds(lambda: [self._predict(part) for part in few]) / len(few)
        self._calls = max(1, int(budget / rounds / max(self._long, 1e-7)))

    def __call__(self) -> float | None:
        """Return seconds a call; None where it had its time."""
        if self._spent and self._spent + self._calls * self._long > 1.2 * self._budget:
            return None
        time.sleep(_SETTLE)
        if self._long < 10 * _SETTLE:
            self._predict(self.parts[0])  # threads awake, code in the caches
        first = self._next % len(self.parts)
        turn = list(islice(cycle(self.parts), first, first + self._calls))
        self._next = first + self._calls
        predict = self._predict
        start = time.perf_counter()
        for part in turn:
            predict(part)
        spent = time.perf_counter() - start
        self._spent += spent
        return spent / self._calls


def timed_batches(
    task: str,
    contestants: Mapping[str, Asked],
    batches: Sequence[int] = BATCHES,
    *,
    budget: float,
    rounds: int,
) -> Iterator[Figure | Note]:
    """Time all contestants, for about `budget` seconds each and batch; the first one is ours."""
    a_row: dict[str, float] = {}  # seconds, by the batches before
    for batch in batches:
        name_of_task = f"{task}, batches of {batch:,}"
        slow = {name for name in contestants if a_row.get(name, 0) * batch > _LONGEST}
        if slow:
            yield Note(
                f"{name_of_task}: {', '.join(sorted(slow))} would take more than {_LONGEST:.0f} s a call."
            )
        taking = {name: asked for name, asked in contestants.items() if name not in slow}
        flaws = {}
        for name, asked in taking.items():
            checks = list(_checks(name_of_task, name, asked, batch))
            flaws[name] = "; ".join(figure.wrong for figure in checks if figure.wrong)
            yield from checks
        turns = {name: _Turns(asked, batch, budget, rounds) for name, asked in taking.items()}
        for name, found in in_turn(turns, rounds).items():
            spent = [one for one in found if one is not None]
            figure = Figure(name_of_task, name, "seconds", spent, batch, wrong=flaws[name])
            a_row[name] = figure.median / batch
            yield figure


def _checks(task: str, name: str, asked: Asked, batch: int) -> Iterator[Figure]:
    """Tell by how much the answers in batches of this size differ from the library's."""
    if asked.expected is None:
        return
    calls = _CHECKED.get(batch, max(1, 2048 // batch))
    count = min(calls * batch, len(asked.expected))
    parts = [asked.rows[k : k + batch] for k in range(0, count, batch)]
    got = np.concatenate([asked.answers(asked.predict(part)) for part in parts])[:count]
    wanted = asked.expected[: len(got)]
    far = float(np.abs(got.astype(np.float64) - wanted).max()) if got.shape == wanted.shape else np.inf
    wrong = "" if far <= asked.close else f"differs by up to {far:.2g}"  # NaN is wrong, too
    yield Figure(task, name, "difference", [far], wrong=wrong)
    if got.dtype == wanted.dtype and np.isfinite(far):
        with np.errstate(over="ignore"):
            steps = np.abs(got - wanted) / np.spacing(np.abs(wanted))
        yield Figure(task, name, "ulp", [float(steps.max())])
    if asked.raw and asked.sums is not None:
        sums = np.concatenate([np.asarray(asked.raw(part)) for part in parts])[:count]
        other = differing(sums, asked.sums[: len(sums)])
        yield Figure(
            task, name, "other sums", [other], len(sums), wrong=f"{other} other sums" if other else ""
        )


def differing(got: Array, wanted: Array) -> int:
    """Count the numbers whose bits are not those that were wanted."""
    got = got.reshape(wanted.shape)
    if got.dtype != wanted.dtype:
        return wanted.size
    kind = f"u{wanted.itemsize}"
    return int((np.ascontiguousarray(got).view(kind) != np.ascontiguousarray(wanted).view(kind)).sum())
