"""Times all_reduce between simulated hosts beside MPI's own, and against what the link can carry.

    sudo .venv/bin/python bench/hosts.py

builds hosts from network namespaces (tests/hosts/simulated.py), runs bench/allreduce.py on their ranks once
for each way in which MPICH uses TCP, and compares the times out of place with the bound: each host must send
and receive 2(h-1)/h times the bytes of one rank, so no all-reduce among h hosts is faster than that over the
link's bandwidth. Headers are a part of what the link carries: TCP's own bound is 4.5% above.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from _results import Result, load, ratio
from _sizes import human_size

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests" / "hosts"))

from simulated import NETMODS, Hosts, unavailable  # noqa: E402


@dataclass(frozen=True)
class Row:
    """One size, by one of MPICH's ways."""

    netmod: str
    size: int  # bytes a rank
    seconds: float  # pyscale
    mpi_seconds: float
    mpi_ratio: float | None  # how many times as long MPI took; None where it was wrong
    bound_seconds: float
    wrong: int

    @property
    def over_bound(self) -> float:
        """Pyscale's time as a multiple of the bound."""
        return self.seconds / self.bound_seconds


def measure(hosts: Hosts, netmod: str, options: argparse.Namespace) -> list[Row]:
    """Run the benchmark on the hosts."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "results.json")
        sizes = ["--min", options.min, "--max", options.max, "--step-factor", "4"]
        program = [
            sys.executable,
            str(HERE / "allreduce.py"),
            *sizes,
            "--patience",
            "60",
            "--json",
            str(file),
        ]
        done = hosts.mpirun(options.ranks, program, netmod=netmod, timeout=1800)
        if not file.exists():
            raise SystemExit(f"bench/allreduce.py: exit status {done.returncode}\n{done.stderr}{done.stdout}")
        results = [result for result in load(file) if result.placement == "out-of-place"]
    ours, peer = (
        {result.size: result for result in results if result.contestant == name}
        for name in ("pyscale-shared", "mpi")
    )
    return [row(netmod, options, ours[size], peer[size]) for size in sorted(ours)]


def row(netmod: str, options: argparse.Namespace, ours: Result, peer: Result) -> Row:
    """Compare one size."""
    sent = 2 * (options.hosts - 1) / options.hosts * ours.size
    bound = sent * 8 / (options.mbit * 1e6)
    return Row(netmod, ours.size, ours.seconds, peer.seconds, ratio(peer, ours), bound, ours.wrong)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--ranks", type=int, default=2, help="a host (2)")
    parser.add_argument("--mbit", type=int, default=1000, help="of each link, each way, a second (1000)")
    parser.add_argument("--burst", default="128kb", help="of tbf (128kb)")
    parser.add_argument("--netmod", choices=[*NETMODS, "both"], default="both")
    parser.add_argument("--min", default="64K", metavar="SIZE", help="smallest size a rank (64K)")
    parser.add_argument("--max", default="64M", metavar="SIZE", help="largest size (64M)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    return parser.parse_args(argv)


def main() -> int:
    """Build the hosts, measure, print the table. The exit status is 1 where pyscale was wrong."""
    options = arguments()
    if reason := unavailable():
        raise SystemExit(reason)
    print(f"# float32 sum, {options.hosts} hosts x {options.ranks} ranks, {options.mbit} Mbit/s a link")
    print(f"#{'MPICH by':>9}{'size':>7}{'pyscale':>11}{'MPI':>11}{'MPI /':>9}{'bound':>11}{'pyscale /':>11}")
    print(
        f"#{'':>16}{'(ms)':>11}{'(ms)':>11}{'pyscale':>9}{'(ms)':>11}{'bound':>11}{'#wrong':>8}", flush=True
    )
    rows: list[Row] = []
    for netmod in NETMODS if options.netmod == "both" else [options.netmod]:
        with Hosts(options.hosts, rate=f"{options.mbit}mbit", burst=options.burst) as hosts:
            rows += (measured := measure(hosts, netmod, options))
        for r in measured:
            times = "WRONG" if r.mpi_ratio is None else f"{r.mpi_ratio:.2f}"
            line = f"{r.netmod:>10}{human_size(r.size):>7}{r.seconds * 1e3:11.2f}{r.mpi_seconds * 1e3:11.2f}"
            line += f"{times:>9}{r.bound_seconds * 1e3:11.2f}{r.over_bound:11.2f}{r.wrong:8}"
            print(line, flush=True)
    if options.json:
        about = {name: value for name, value in vars(options).items() if name != "json"}
        options.json.write_text(json.dumps({**about, "rows": [asdict(r) for r in rows]}, indent=1) + "\n")
    return int(any(r.wrong for r in rows))


if __name__ == "__main__":
    sys.exit(main())
