"""Times pyscale's all-reduce beside MPI's own, and checks every element of both.

    mpirun -n 8 python bench/allreduce.py

prints, for each size, nccl-tests' columns out of place and in place: time (median over batches of the
slowest rank), algbw = bytes / time, busbw = algbw x 2(n-1)/n, and #wrong, the elements that differ from an
answer known in advance. Each peer's time stands beside them, from the same run and taken in turn, with the
ratio: how many times as long the peer took.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
from _peers import PEERS, Contestant, Pyscale
from _results import Result, save
from _sizes import human_size, parse_size
from _table import PLACEMENTS, NcclTable, osu_text
from _timing import interleave
from _values import Array, KnownValues, clear

import pyscale as ps

if TYPE_CHECKING:
    from pyscale.comm import Communicator

DTYPES = (
    *("float64", "float32", "float16", "bfloat16", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
)


Bound = tuple[Callable[[], object], Array, Array]  # a call, its source and target


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--min",
        type=parse_size,
        default=4,
        metavar="SIZE",
        help="smallest size a rank in bytes (4); 64K and 1M are understood",
    )
    add("--max", type=parse_size, default=parse_size("64M"), metavar="SIZE", help="largest size (64M)")
    add("--step-factor", type=int, default=2, help="from size to size (2)")
    add("--dtype", choices=DTYPES, default="float32")
    add("--op", choices=("sum", "mean", "min", "max", "prod"), default="sum")
    add("--iterations", type=int, help="calls a batch (as many as last 20 ms)")
    add("--warmup", type=int, default=1, help="untimed calls before each batch (1)")
    add(
        "--seconds",
        type=float,
        default=0.3,
        help="time to spend on each size and placement (0.3), five batches at least",
    )
    add("--against", default="mpi", help="peers, separated by commas, of mpi, gloo and none (mpi)")
    add(
        "--patience",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="leave out a peer from the size on at which a call takes longer (1)",
    )
    add(
        "--buffers",
        choices=("shared", "ordinary", "both"),
        default="shared",
        help="arrays of pyscale's empty(), of NumPy's, or both",
    )
    add("--osu", action="store_true", help="print OSU's text instead: size and latency out of place")
    add("--json", type=Path, metavar="FILE", help="write all batches of all contestants")
    add("--plot", type=Path, metavar="FILE.png", help="draw latency and bandwidth over size")
    options = parser.parse_args(argv)
    options.against = [name for name in options.against.split(",") if name not in ("", "none")]
    for name in options.against:
        if name not in PEERS:
            parser.error(f"--against: expected {', '.join(PEERS)} or none, got {name}")
    if options.step_factor < 2:
        parser.error(f"--step-factor: expected 2 or more, got {options.step_factor}")
    options.buffers = ("shared", "ordinary") if options.buffers == "both" else (options.buffers,)
    return options


def sizes(options: argparse.Namespace, itemsize: int) -> list[int]:
    """Sizes in bytes that hold a whole number of elements, each once."""
    chosen = []
    size = options.min
    while size <= options.max:
        chosen.append(size // itemsize * itemsize)
        size *= options.step_factor
    return sorted({size for size in chosen if size})


class Progress:
    """One line on the standard error of rank 0, rewritten in place."""

    def __init__(self, rank: int, sizes: Sequence[int]) -> None:
        self._shown = rank == 0
        self._sizes, self._start = sizes, time.monotonic()

    def show(self, index: int, doing: str) -> None:
        """Say what is done to which of the sizes."""
        if self._shown:
            line = f"{index + 1} of {len(self._sizes)} sizes, {human_size(self._sizes[index])}: {doing}"
            line += f", {time.monotonic() - self._start:.0f} s"
            print(f"{line:<78}", end="\r", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leave the line empty for what is printed next."""
        if self._shown:
            print(" " * 78, end="\r", file=sys.stderr, flush=True)


class Bench:
    """The contestants, their buffers, and what was measured so far."""

    def __init__(self, communicator: Communicator, options: argparse.Namespace) -> None:
        self._communicator, self._options = communicator, options
        self.dtype = np.dtype(ml_dtypes.bfloat16 if options.dtype == "bfloat16" else options.dtype)
        self.sizes = sizes(options, self.dtype.itemsize)
        if not self.sizes:
            raise SystemExit(
                f"--min, --max: expected room for a {options.dtype}, got {options.min} and {options.max}"
            )
        count = self.sizes[-1] // self.dtype.itemsize
        contestants: list[Contestant] = [Pyscale(communicator, kind) for kind in options.buffers]
        contestants += [PEERS[name](communicator) for name in options.against]
        self._contestants = {contestant.name: contestant for contestant in contestants}
        empty: dict[str, Callable[..., Array]] = {"shared": communicator.empty, "ordinary": np.empty}
        self._arrays = {
            kind: (empty[kind](count, dtype=self.dtype), empty[kind](count, dtype=self.dtype))
            for kind in dict.fromkeys(contestant.buffers for contestant in contestants)
        }
        self._left_out: set[str] = set()
        self.results: list[Result] = []

    def _bind(self, size: int, in_place: bool) -> dict[str, Bound]:
        """Prepare the calls of those that take part, each with its source and target."""
        bound = {}
        for name, contestant in self._contestants.items():
            source, target = (
                array[: size // self.dtype.itemsize] for array in self._arrays[contestant.buffers]
            )
            given = target if in_place else source
            call = None if name in self._left_out else contestant.bind(given, target, self._options.op)
            if call is not None:
                bound[name] = (call, given, target)
        return bound

    def _check(self, seed: int, bound: Mapping[str, Bound]) -> dict[str, tuple[int, float]]:
        """Call each once on fresh values: elements wrong over all ranks, and the slowest rank's seconds."""
        communicator = self._communicator
        known = KnownValues(communicator.rank, communicator.size, self.dtype, self._options.op, seed)
        found = {}
        for name, (call, source, target) in bound.items():
            clear(target)
            known.fill(source)
            communicator.barrier()
            start = time.perf_counter()
            call()
            seconds = time.perf_counter() - start
            found[name] = known.count_wrong(target), seconds
        everywhere = communicator.all_gather_object(found)
        return {
            name: (sum(one[name][0] for one in everywhere), max(one[name][1] for one in everywhere))
            for name in bound
        }

    def measure(self, size: int, say: Callable[[str], None]) -> dict[tuple[str, str], Result]:
        """Check and time everybody at one size; results by contestant and placement."""
        communicator, options = self._communicator, self._options
        measured = {}
        for placement in PLACEMENTS[: 1 if options.osu else 2]:
            in_place = placement == "in-place"
            bound = self._bind(size, in_place)
            say(f"checking {placement}")
            before = self._check(size + 1, bound)
            slow = {name for name in options.against if name in before and before[name][1] > options.patience}
            self._left_out |= slow
            bound = {name: what for name, what in bound.items() if name not in slow}
            if in_place:
                # What is reduced in place again and again grows without bound, unless it is zero.
                for _, _, target in bound.values():
                    target[...] = 0
            say(f"timing {placement}")
            timings = interleave(
                communicator,
                {name: call for name, (call, _, _) in bound.items()},
                seconds=options.seconds,
                iterations=options.iterations,
                warmup=options.warmup,
            )
            say(f"checking {placement} again")
            after = self._check(size + 2, bound)
            for name, timing in timings.items():
                measured[name, placement] = Result(
                    contestant=name,
                    placement=placement,
                    ranks=communicator.size,
                    size=size,
                    count=size // self.dtype.itemsize,
                    dtype=options.dtype,
                    op=options.op,
                    seconds=timing.median,
                    batches=timing.seconds,
                    iterations=timing.iterations,
                    wrong=before[name][0] + after[name][0],
                )
        self.results += measured.values()
        return measured


def describe(communicator: Communicator, options: argparse.Namespace) -> dict[str, object]:
    """Collect what the figures depend on."""
    about: dict[str, object] = {
        "command": " ".join(["python", *sys.argv]),
        "ranks": communicator.size,
        "transport": communicator.transport,
        "pyscale": ps.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
    }
    if communicator.mpi is not None:
        from mpi4py import MPI

        # Open MPI's ends with a zero byte.
        about["mpi"] = " ".join(MPI.Get_library_version().split("\n")[0].rstrip("\0").split())
    if "gloo" in options.against:
        about["gloo"] = f"torch {importlib.metadata.version('torch')}"
    return about


def plot(path: Path, results: Sequence[Result], title: str) -> None:
    """Draw the out-of-place figures of one run."""
    from _plot import draw

    lines: dict[str, list[Result]] = {}
    for result in results:
        if result.placement == PLACEMENTS[0]:
            lines.setdefault(result.contestant, []).append(result)
    draw(path, {title: lines})


def main() -> int:
    """Run the benchmark on every rank; rank 0 prints. The exit status is 1 where pyscale was wrong."""
    ps.init()
    communicator = ps.world()
    options = arguments()
    first = communicator.rank == 0
    if options.plot and first:
        import _plot  # noqa: F401  (a missing matplotlib is better known now than after the last size)
    bench = Bench(communicator, options)
    about = describe(communicator, options)
    table = NcclTable(options.against, options.buffers)
    if first and not options.osu:
        print(f"# {communicator.size} ranks, {communicator.transport}, {about.get('mpi', 'no MPI')}")
        print(*table.header(), sep="\n", flush=True)
    progress = Progress(communicator.rank, bench.sizes)
    for index, size in enumerate(bench.sizes):
        measured = bench.measure(size, lambda doing, index=index: progress.show(index, doing))  # type: ignore[misc]
        progress.clear()
        if first and not options.osu:
            print(*table.rows(measured), sep="\n", flush=True)
    if first and options.osu:
        names = [*(f"pyscale-{kind}" for kind in options.buffers), *options.against]
        print(*osu_text(bench.results, names), sep="\n", flush=True)
    if first and options.json:
        save(options.json, bench.results, **about)
    if first and options.plot:
        title = f"{options.dtype} {options.op}, {communicator.size} ranks"
        plot(options.plot, bench.results, title)
    return int(any(result.wrong for result in bench.results if result.contestant.startswith("pyscale")))


if __name__ == "__main__":
    sys.exit(main())
