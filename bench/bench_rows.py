"""Times gather_rows beside NumPy's take and beside bare C++, on arrays far larger than the caches.

    python bench/bench_rows.py [--quick] [--json FILE]

Rows come in random order. The bare C++ (bench/cpp/rows.cpp) copies the same rows between the same arrays: as
anybody would write it (plain), with rows prefetched and of a size known to the compiler (tuned), and past the
caches as well where the output begins with a cache line (streamed). `of C++`: time of the fastest by ours.
Contestants take turns, and shares are medians over the turns. NumPy has one thread.

`moved` is what crosses the memory bus if no cache helps: the lines of the rows, the indices, and the output
twice, once fetched and once written. Streamed outputs are not fetched, so that less is moved than that. `in
order` is what a streamed copy from one end to the other moves, the output once.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _environments import BUILD, ROOT, run
from _sizes import human_size
from numpy.typing import NDArray

from pyscale.data import gather_columns, gather_rows, scatter_rows

Array = NDArray[Any]
Calls = dict[str, Callable[[], object]]

ROWS = (4, 8, 16, 32, 64, 256, 512, 1024, 4096, 65536, 1 << 20)
QUICK_ROWS = (4, 64, 256, 4096)
THREADS = (1, 2)
WAYS = ("C++, plain", "C++, tuned", "C++, streamed")  # those of bench/cpp/rows.cpp

_LINE = 64
_MIB = 1 << 20
_MOST_ROWS = 1 << 24


@dataclass(frozen=True)
class Case:
    """What is measured."""

    row: int  # bytes
    beyond: int  # where the output begins: so many bytes beyond the start of a line; NumPy's arrays do by 16
    threads: int


class Bare:
    """The library made of bench/cpp/rows.cpp."""

    def __init__(self) -> None:
        BUILD.mkdir(parents=True, exist_ok=True)
        library, source = BUILD / "rows.so", ROOT / "bench" / "cpp" / "rows.cpp"
        flags = ["-std=c++17", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"]
        run([os.environ.get("CXX", "c++"), *flags, str(source), "-o", str(library)])
        self._library = ctypes.CDLL(str(library))
        self._library.copy_rows.restype = ctypes.c_bool

    def copy_rows(self, way: int, array: Array, indices: Array, out: Array, threads: int) -> bool:
        """Copy rows; return whether there is such a way for them."""
        row = array.nbytes // len(array)
        done: bool = self._library.copy_rows(
            way, _pointer(array), ctypes.c_size_t(row), _pointer(indices), ctypes.c_size_t(len(indices)),
            _pointer(out), threads,
        )  # fmt: skip
        return done

    def copy_in_order(self, array: Array, out: Array, threads: int) -> None:
        """Copy as much as `out` holds from one end to the other; both begin with a line."""
        self._library.copy_in_order(_pointer(array), _pointer(out), ctypes.c_size_t(out.nbytes), threads)


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _lines(nbytes: int) -> NDArray[np.uint8]:
    """Return memory that begins with a cache line."""
    memory = np.empty(nbytes + _LINE, np.uint8)
    return memory[-memory.ctypes.data % _LINE :][:nbytes]


def take_turns(calls: Calls, rounds: int) -> dict[str, NDArray[np.float64]]:
    """Return the seconds of each call in each round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds):
        names = list(calls)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            calls[name]()
            times[name].append(time.perf_counter() - start)
    return {name: np.array(seconds) for name, seconds in times.items()}


def check(out: Array, array: Array, indices: Array, name: str, call: Callable[[], object]) -> None:
    """Make one call, and compare all that it wrote with what it should have written."""
    out.view(np.uint8)[...] = 0xFF
    call()
    step = max(1, (1 << 22) * len(out) // out.nbytes)
    for start in range(0, len(out), step):
        wanted = array[indices[start : start + step]]
        assert out[start : start + step].tobytes() == wanted.tobytes(), f"{name}: wrong rows"


def _as_rows(memory: Array, row: int) -> Array:
    """See memory as rows of float32."""
    floats = memory[: len(memory) // row * row].view(np.float32)
    return floats if row == 4 else floats.reshape(-1, row // 4)


def gather(bare: Bare, memory: Array, space: Array, case: Case, rounds: int) -> dict[str, Any]:
    """Time one size of row, taken from `memory` to `space`."""
    row, threads = case.row, case.threads
    array = _as_rows(memory, row)
    count = min((len(space) - _LINE) // row, _MOST_ROWS)
    out = _as_rows(space[case.beyond :][: count * row], row)
    indices = np.random.default_rng(row).integers(0, len(array), count)
    calls: Calls = {
        "pyscale": lambda: gather_rows(array, indices, out, num_threads=threads),
        "take, raise": lambda: np.take(array, indices, axis=0, out=out),
        "take, clip": lambda: np.take(array, indices, axis=0, out=out, mode="clip"),
    }
    for way, name in enumerate(WAYS):
        if bare.copy_rows(way, array, indices, out, threads):
            calls[name] = partial(bare.copy_rows, way, array, indices, out, threads)
    for name, call in calls.items():
        check(out, array, indices, name, call)
    calls["in order"] = lambda: bare.copy_in_order(memory, space[: out.nbytes], threads)
    times = take_turns(calls, rounds)

    ours = times["pyscale"]
    seconds = {name: float(np.median(spent)) for name, spent in times.items()}
    fastest = min(WAYS, key=lambda way: seconds.get(way, np.inf))
    moved = count * (-(-row // _LINE) * _LINE + 2 * row + indices.itemsize)
    return {
        "what": "gather",
        **asdict(case),
        "rows": count,
        "seconds": seconds,
        "fastest": fastest,
        "share of C++": float(np.median(times[fastest] / ours)),
        "times plain C++": float(np.median(times[WAYS[0]] / ours)),
        "times take, raise": float(np.median(times["take, raise"] / ours)),
        "times take, clip": float(np.median(times["take, clip"] / ours)),
        "GB/s": out.nbytes / seconds["pyscale"] / 1e9,
        "moved GB/s": moved / seconds["pyscale"] / 1e9,
        "in order GB/s": 2 * out.nbytes / seconds["in order"] / 1e9,
    }


def scatter(memory: Array, space: Array, case: Case, rounds: int) -> dict[str, Any]:
    """Time one size of row, put from `space` into `memory`, beside NumPy's assignment."""
    row, threads = case.row, case.threads
    out = _as_rows(memory, row)
    count = min((len(space) - _LINE) // row, _MOST_ROWS, len(out))
    rows = _as_rows(space[case.beyond :][: count * row], row)
    indices = np.random.default_rng(row).permutation(len(out))[:count]

    def assign() -> None:
        out[indices] = rows

    calls: Calls = {
        "pyscale": lambda: scatter_rows(rows, indices, out, num_threads=threads),
        "assignment": assign,
    }
    for name, call in calls.items():
        rows.view(np.uint8)[...] = np.random.default_rng(len(name)).integers(0, 256, 1, np.uint8)
        call()
        assert (out[indices[:: max(1, count >> 16)]].view(np.uint8) == rows.view(np.uint8).flat[0]).all(), (
            name
        )
    times = take_turns(calls, rounds)
    return {
        "what": "scatter",
        **asdict(case),
        "rows": count,
        "seconds": {name: float(np.median(spent)) for name, spent in times.items()},
        "times assignment": float(np.median(times["assignment"] / times["pyscale"])),
        "GB/s": rows.nbytes / float(np.median(times["pyscale"])) / 1e9,
    }


def columns(memory: Array, threads: int, rounds: int, *, batch: int = 4096) -> dict[str, Any]:
    """Time batches of a table's columns, 24 of 4 B and 8 of 8 B, beside a `take` of each."""
    rows = len(memory) // (24 * 4 + 8 * 8)
    floats, doubles = memory[: rows * 96].view(np.float32), memory[rows * 96 :][: rows * 64].view(np.float64)
    table = [*floats.reshape(24, rows), *doubles.reshape(8, rows)]
    outs = [np.empty(batch, column.dtype) for column in table]
    batches = np.random.default_rng(0).integers(0, rows, (rounds * 20, batch))

    def by_take(mode: Any) -> None:
        for indices in batches:
            for column, out in zip(table, outs, strict=True):
                np.take(column, indices, out=out, mode=mode)

    def by_columns() -> None:
        for indices in batches:
            gather_columns(table, indices, outs, num_threads=threads)

    calls: Calls = {
        "pyscale": by_columns,
        "take, raise": lambda: by_take("raise"),
        "take, clip": lambda: by_take("clip"),
    }
    for name, call in calls.items():
        call()
        wrong = [
            k for k, (out, x) in enumerate(zip(outs, table, strict=True)) if (out != x[batches[-1]]).any()
        ]
        assert not wrong, f"{name}: wrong columns {wrong}"
    times = take_turns(calls, rounds)
    ours = times["pyscale"]
    return {
        "what": "columns",
        "threads": threads,
        "rows": batch,
        "seconds": {name: float(np.median(spent)) / len(batches) for name, spent in times.items()},
        "times take, raise": float(np.median(times["take, raise"] / ours)),
        "times take, clip": float(np.median(times["take, clip"] / ours)),
    }


def measure(quick: bool) -> list[dict[str, Any]]:
    """Measure all cases: 2 GiB of rows, or an eighth of that."""
    total, part, rounds = (256 * _MIB, 64 * _MIB, 5) if quick else (2048 * _MIB, 256 * _MIB, 7)
    bare = Bare()
    memory, space = _lines(total), _lines(part + _LINE)
    memory[:] = np.resize(np.random.default_rng(0).integers(0, 128, _MIB + 1, np.uint8), total)
    space[:] = 0
    cases = [
        Case(row, beyond, threads)
        for row in (QUICK_ROWS if quick else ROWS)
        for beyond in ((16, 0) if row >= 256 else (16,))
        for threads in THREADS
    ]
    results = [gather(bare, memory, space, case, rounds) for case in cases]
    results += [columns(memory, threads, rounds) for threads in THREADS]
    results += [scatter(memory, space, case, rounds) for case in cases if case.row <= 4096 and case.beyond]
    return results


def table(results: list[dict[str, Any]]) -> Iterator[str]:
    """Write results as lines of text."""
    yield "# gather: GB/s of the output; times and shares are of time"
    yield (
        f"{'row':>9}{'out at':>7}{'threads':>8}{'GB/s':>8}{'of C++':>8}{'x plain':>8}"
        f"{'x raise':>8}{'x clip':>8}{'moved':>8}{'in order':>9}"
    )
    for result in results:
        if result["what"] == "gather":
            yield (
                f"{human_size(result['row']):>9}{result['beyond']:>7}{result['threads']:>8}{result['GB/s']:>8.2f}"
                f"{result['share of C++']:>8.0%}{result['times plain C++']:>8.2f}"
                f"{result['times take, raise']:>8.2f}{result['times take, clip']:>8.2f}"
                f"{result['moved GB/s']:>8.1f}{result['in order GB/s']:>9.1f}"
            )
    yield "# scatter, beside out[indices] = rows"
    yield f"{'row':>9}{'at':>7}{'threads':>8}{'GB/s':>8}{'x NumPy':>8}"
    for result in results:
        if result["what"] == "scatter":
            yield (
                f"{human_size(result['row']):>9}{result['beyond']:>7}{result['threads']:>8}{result['GB/s']:>8.2f}"
                f"{result['times assignment']:>8.2f}"
            )
    yield "# columns: 24 of 4 B and 8 of 8 B, beside a take of each"
    for result in results:
        if result["what"] == "columns":
            spent = result["seconds"]["pyscale"] * 1e6
            yield (
                f"{result['rows']:>9} rows{result['threads']:>8} threads{spent:>9.0f} us"
                f"{result['times take, raise']:>8.2f}{result['times take, clip']:>8.2f}"
            )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="an eighth of the memory, and fewer sizes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args()
    results = measure(options.quick)
    print(*table(results), sep="\n")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
