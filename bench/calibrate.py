"""Measures where one algorithm of the shared-memory all-reduce overtakes the next, for csrc/shm/tuning.cpp.

    mpirun -n 4 python bench/calibrate.py

Prints, for arrays in shared memory and for ordinary ones, the time of each algorithm over size, of two_shot
over the size of its pieces and with outputs written through the caches and past them, and of direct over
the patience of a wait; the contestants take turns. Run it for each number of ranks of interest, on a quiet
machine, and on another occasion before you believe it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from _sizes import human_size, parse_size
from _timing import interleave

import pyscale as ps

_ANY = 1 << 40  # bytes; no limit
_PIECE = 256 << 10


def show(title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    """Print a table of microseconds on rank 0; the fastest of a row is marked."""
    if ps.rank() != 0:
        return
    names = list(next(iter(rows.values())))
    print(
        f"\n# {title}, µs a call, {ps.world_size()} ranks\n#{'size':>11}" + "".join(f"{n:>16}" for n in names)
    )
    for size, row in rows.items():
        best = min(row.values())
        cells = (f"{1e6 * row[name]:.2f}{'*' if row[name] == best else ' '}" for name in names)
        print(f"{size:>12}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def main() -> None:
    """Run the sweeps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--max", type=parse_size, default=parse_size("4M"), help="largest size (4M)")
    parser.add_argument("--seconds", type=float, default=0.5, help="a row (0.5)")
    options = parser.parse_args()
    ps.init()
    world = ps.world()
    if world.transport != "shm":
        parser.error(f"expected 2 ranks or more on one machine, got transport {world.transport}")
    group = world._transport.group  # type: ignore[attr-defined]
    shares_cores = world.size > len(os.sched_getaffinity(0))
    usual_patience = (0, 100) if shares_cores else (2000, 50)

    def call(
        array: np.ndarray, out: np.ndarray, algorithm: str, piece: int, patience: tuple[int, int], cache: int
    ) -> None:
        group.set_algorithm(algorithm)
        group.set_tuning(0, 40, _ANY, piece, cache)
        group.set_patience(*patience)
        world.all_reduce(array, "max", out)

    def sweep(
        buffers: str,
        contestants: Mapping[str, Callable[..., None]],
        smallest: int = 64,
        in_place: bool = True,
    ) -> dict[str, dict[str, float]]:
        rows = {}
        size = smallest
        while size <= max(options.max, smallest):
            kind = world.empty if buffers == "shared" else np.empty
            array = kind(size // 4, dtype=np.float32)
            array[:] = 1.0
            out = array if in_place else kind(size // 4, dtype=np.float32)
            calls = {
                name: partial(contestant, array, out)
                for name, contestant in contestants.items()
                if size <= 32 << 10 or not name.startswith("eager")
            }
            times = interleave(world, calls, seconds=options.seconds)
            rows[human_size(size)] = {
                name: times[name].median if name in times else np.inf for name in contestants
            }
            size *= 4
        return rows

    def algorithm(
        name: str, piece: int = _PIECE, patience: tuple[int, int] = usual_patience, cache: int = _ANY
    ) -> Callable[..., None]:
        return partial(call, algorithm=name, piece=piece, patience=patience, cache=cache)

    show("shared arrays", sweep("shared", {name: algorithm(name) for name in ("eager", "direct")}))
    ordinary = ("eager", "one_shot", "two_shot")
    show("ordinary arrays", sweep("ordinary", {name: algorithm(name) for name in ordinary}))
    pieces = {
        human_size(piece): algorithm("two_shot", piece) for piece in (32 << 10, 128 << 10, _PIECE, 1 << 20)
    }
    show("ordinary arrays by two_shot, by piece", sweep("ordinary", pieces))
    patience = {f"{s}/{y}": algorithm("direct", patience=(s, y)) for s in (0, 200, 2000) for y in (0, 100)}
    show("shared arrays by direct, by spins/yields", sweep("shared", patience))
    stores = {"cached": algorithm("two_shot"), "streamed": algorithm("two_shot", cache=0)}
    rows = sweep("ordinary", stores, smallest=1 << 20, in_place=False)
    show("ordinary arrays by two_shot out of place, by the output's stores", rows)


if __name__ == "__main__":
    main()
