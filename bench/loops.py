"""Times the loop that threads share beside a parallel region of OpenMP.

    python bench/loops.py [--calls N]

A loop (bench/cpp/loops.cpp) is a chunk for each core, so many microseconds each: one thread alone would take
cores times as long. Loops come one after another, or with a pause, as single requests do. Contestants take
turns in processes of their own, since OpenMP's threads want a core for milliseconds after a loop. `busy`:
beside a process for each core that computes all the time. Microseconds: the median of all calls, and what 1 %
of them exceed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from _environments import BUILD, ROOT, run
from numpy.typing import NDArray

WORK = (15, 100, 400)
PAUSES = (0, 2000, 20000)
CONTESTANTS = ("OpenMP", "pyscale")
_TURNS = 4


def build() -> dict[str, Path]:
    """Compile the program for both."""
    BUILD.mkdir(parents=True, exist_ok=True)
    core = [str(ROOT / "csrc" / "core" / f"{name}.cpp") for name in ("parallel", "helpers", "shared_loop")]
    flags = ["-std=c++17", "-O3", f"-I{ROOT / 'csrc'}", "-pthread"]
    programs = {name: BUILD / f"loops-{name}" for name in CONTESTANTS}
    for name, program in programs.items():
        openmp = ["-fopenmp"] * (name == "OpenMP")
        command = [os.environ.get("CXX", "c++"), *flags, *openmp, str(ROOT / "bench" / "cpp" / "loops.cpp")]
        run([*command, *core, "-o", str(program)])
    return programs


def measure(
    programs: Mapping[str, Path], work: int, pause: int, calls: int, busy: bool
) -> dict[str, NDArray[np.float64]]:
    """Return the microseconds of all calls of each contestant."""
    threads = len(os.sched_getaffinity(0))
    times: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(_TURNS):
        for name in CONTESTANTS if turn % 2 == 0 else reversed(CONTESTANTS):
            words = map(str, (threads, work, pause, calls // _TURNS))
            times[name] += map(float, run([str(programs[name]), *words, *["busy"] * busy]).split())
    return {name: np.array(found) for name, found in times.items()}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=200, help="of each kind (200)")
    calls = max(_TURNS, parser.parse_args().calls)
    programs = build()
    names = [f"{name}, {what}" for name in CONTESTANTS for what in ("median", "99 %")]
    print("| µs a thread | pause, ms | machine | " + " | ".join(names) + " |")
    print("|--:|--:|---|" + "--:|" * len(names))
    for busy, pause, work in product((False, True), PAUSES, WORK):
        found = measure(programs, work, pause, calls, busy)
        figures = [f"{q(found[name]):,.0f}" for name in CONTESTANTS for q in (np.median, _late)]
        cells = [str(work), f"{pause / 1000:g}", "busy" if busy else "quiet", *figures]
        print("| " + " | ".join(cells) + " |", flush=True)


def _late(times: NDArray[np.float64]) -> Any:
    return np.quantile(times, 0.99)


if __name__ == "__main__":
    main()
