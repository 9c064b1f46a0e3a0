"""Bare C++ beside pyscale: what a round trip, the memory traffic and an all-reduce cost without a library."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from _environments import BUILD, ROOT, Environment, run
from _results import Result, geometric_mean, load
from _sizes import human_size

_MIB = 1 << 20
_OCCASIONS = 5  # the bare program and pyscale in turn


def compile_program(name: str) -> Path:
    """Build bench/cpp/NAME.cpp with the system's compiler."""
    program = BUILD / name
    source = ROOT / "bench" / "cpp" / f"{name}.cpp"
    run([os.environ.get("CXX", "c++"), "-std=c++17", "-O3", "-march=native", str(source), "-o", str(program)])
    return program


def _pyscale(
    environment: Environment, smallest: str, largest: str, *options: str, ranks: int = 2
) -> dict[tuple[str, int], Result]:
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        file = Path(folder) / "results.json"
        options += ("--min", smallest, "--max", largest, "--against", "none", "--json", str(file))
        environment.start(ranks, "allreduce.py", *options, timeout=300)
        return {(result.placement, result.size): result for result in load(file)}


def round_trip(environment: Environment) -> Iterator[str]:
    """Time 4 B between two ranks, from Python, beside a cache line that bounces between two C++ processes."""
    program = compile_program("roundtrip")
    bare: list[float] = []
    ours: dict[str, list[float]] = {}
    for _ in range(_OCCASIONS):
        bare.append(float(run([str(program)], timeout=60)) * 1e6)
        for (placement, _), result in _pyscale(environment, "4", "4").items():
            ours.setdefault(placement, []).append(result.microseconds)
    base = float(np.median(bare))
    yield "| | µs | beyond the bare round trip (bar: below 1) |"
    yield "|---|--:|--:|"
    yield f"| C++: a cache line there and back | {base:.2f} | |"
    for placement, times in ours.items():
        own = float(np.median(times))
        yield f"| pyscale: all_reduce of 4 B, {placement} | {own:.2f} | {own - base:.2f} |"


def bandwidth(environment: Environment) -> Iterator[str]:
    """Time 1 to 16 MiB of shared memory on two ranks, beside a C++ loop with the same reads and writes."""
    program = compile_program("membw")
    sizes = [_MIB << k for k in range(5)]
    bare: dict[tuple[str, int], list[float]] = {}
    ours: dict[tuple[str, int], list[float]] = {}
    for _ in range(_OCCASIONS):
        for line in run([str(program), *map(str, sizes)], timeout=120).splitlines():
            size, in_place, out_of_place = map(float, line.split())
            bare.setdefault(("in-place", int(size)), []).append(in_place)
            bare.setdefault(("out-of-place", int(size)), []).append(out_of_place)
        for key, result in _pyscale(environment, "1M", "16M").items():
            ours.setdefault(key, []).append(result.seconds)
    yield "| size | placement | C++ loop, µs | GB/s | pyscale, µs | GB/s | share (bar: 80%) |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for (placement, nbytes), times in sorted(ours.items()):
        base, own = float(np.median(bare[placement, nbytes])), float(np.median(times))
        moved = 4 * nbytes / 1e9  # two arrays read and two written, half by each rank
        row = [human_size(nbytes), placement, f"{base * 1e6:,.1f}", f"{moved / base:.1f}"]
        row += [f"{own * 1e6:,.1f}", f"{moved / own:.1f}", f"{base / own:.0%}"]
        yield "| " + " | ".join(row) + " |"


def shares(environment: Environment, ranks: Sequence[int]) -> dict[str, float]:
    """Time shared arrays of 4 B to 64 MiB beside the same all-reduce as a C++ program of its own.

    Returns the bare program's time over pyscale's for each number of ranks, the geometric mean over sizes and
    placements.
    """
    program = compile_program("bare")
    sizes = [4**power for power in range(1, 14)]
    found = {}
    for count in ranks:
        ratios: dict[tuple[str, int], list[float]] = {}
        for _ in range(_OCCASIONS):
            bare = {}
            for line in run([str(program), str(count), *map(str, sizes)], timeout=120).splitlines():
                size, in_place, out_of_place = map(float, line.split())
                bare["in-place", int(size)], bare["out-of-place", int(size)] = in_place, out_of_place
            for key, result in _pyscale(environment, "4", "64M", "--step-factor", "4", ranks=count).items():
                ratios.setdefault(key, []).append(bare[key] / result.seconds)
        found[str(count)] = geometric_mean([float(np.median(values)) for values in ratios.values()])
    return found


def memory(environment: Environment, ranks: int) -> Iterator[str]:
    """Measure what each rank holds beyond the user's arrays and MPI."""
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        file = Path(folder) / "memory.json"
        environment.start(ranks, "memory.py", "--json", str(file), timeout=300)
        stages: dict[str, int] = json.loads(file.read_text())["bytes"]
    yield f"| {ranks} ranks, the one that holds most | MiB (bar: 16) |"
    yield "|---|--:|"
    for name, value in stages.items():
        yield f"| {name} | {value / _MIB:.1f} |"
