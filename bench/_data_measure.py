"""What the programs that run beside a data-loading peer share: turns, fresh processes, records.

It runs in the peers' environments, so it needs NumPy alone.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

K = TypeVar("K")
T = TypeVar("T")

_LONGEST = 600  # seconds of one call in a process of its own


@dataclass(frozen=True, slots=True)
class Figure:
    """One contestant at one task: what each round gave. Only figures of one run and task are compared."""

    task: str  # what all contestants did: "epoch of 1,000,003"
    contestant: str
    quantity: str  # "seconds" or "bytes"
    rounds: list[float]
    amount: float = 1  # of `unit`, in a round
    unit: str = ""  # "indices", "rows": then the rate tells more than the time
    wrong: str = ""  # what was wrong with the answer
    run: str = ""  # the program and peer in whose process it was measured

    @property
    def median(self) -> float:
        """Median of the rounds: seconds or bytes."""
        return float(np.median(self.rounds))

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.amount / self.median


@dataclass(frozen=True, slots=True)
class Note:
    """Something found out that is no figure."""

    text: str


@dataclass(slots=True)
class Recording:
    """All that one run of a program gave."""

    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    failed: str = ""

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read what `main` wrote."""
        record = json.loads(path.read_text())
        record["figures"] = [Figure(**figure) for figure in record["figures"]]
        return cls(**record)


def seconds(call: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turn(contestants: Mapping[K, Callable[[], T]], rounds: int) -> dict[K, list[T]]:
    """Call all of them `rounds` times, in turn, and each round from another one on: A B C, B C A, C A B.

    What disturbs the machine for a while then disturbs all alike.
    """
    names = list(contestants)
    found: dict[K, list[T]] = {name: [] for name in names}
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            for k in range(len(names)):
                name = names[(turn + k) % len(names)]
                found[name].append(contestants[name]())
                gc.collect()
    finally:
        gc.enable()
    return found


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


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Tell which versions of these packages are installed here, of those that are."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def quantity(figure: Figure) -> str:
    """Write a figure with its unit, as people do."""
    if figure.quantity == "bytes":  # the kernel counts pages in heaps
        return f"{figure.median / 1e6:,.1f} MB" if figure.median >= 5e5 else "< 0.5 MB"
    if figure.unit:
        rate = figure.rate
        scale, prefix = next((s, p) for s, p in ((1e6, "M "), (1e3, "k "), (1, "")) if rate >= s or s == 1)
        return f"{rate / scale:,.3g} {prefix}{figure.unit}/s"
    spent = figure.median
    scale, unit = next((s, u) for s, u in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")) if spent >= s or u == "µs")
    return f"{spent / scale:,.3g} {unit}"


def main(
    what: str | None, measure: Callable[[argparse.Namespace], Iterator[Figure | Note]], peers: Sequence[str]
) -> None:
    """Run one of these programs: measure beside a peer, print, and write the JSON that was asked for."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=peers, help="which peer, of those that this environment has")
    parser.add_argument("--quick", action="store_true", help="smaller, and fewer rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="where the flights lie")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was measured is written
    run = f"{Path(sys.argv[0]).stem} {options.peer}"
    recording = Recording(versions=versions(_PACKAGES))
    try:
        for found in measure(options):
            if isinstance(found, Note):
                recording.notes.append(found.text)
                print(f"# {found.text}", flush=True)
                continue
            recording.figures.append(Figure(**{**asdict(found), "run": run}))
            flaw = f"  WRONG: {found.wrong}" if found.wrong else ""
            print(f"{found.task:<58}{found.contestant:<44}{quantity(found):>20}{flaw}", flush=True)
    except BaseException:
        recording.failed = traceback.format_exc()
        raise
    finally:  # what came before a failure is kept
        if options.json:
            options.json.write_text(json.dumps(asdict(recording), indent=1) + "\n")


_PACKAGES = (
    "numpy",
    "pyarrow",
    "torch",
    "torchdata",
    "grain",
    "mosaicml-streaming",
    "webdataset",
)
