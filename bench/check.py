"""Times what it costs between hosts to check that all ranks call the same.

    sudo .venv/bin/python bench/check.py

builds hosts from network namespaces (tests/hosts/simulated.py), and times all_reduce on their ranks with the
check and without, turn by turn: median of the slowest rank.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from _sizes import human_size

import pyscale as ps
from pyscale.comm.transports.mpi import MpiTransport
from pyscale.comm.transports.opening import Opening, TrustingOpening

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests" / "hosts"))

from simulated import NETMODS, Hosts, unavailable  # noqa: E402

SIZES = [4, 512, *(1 << k for k in range(10, 27, 2))]


def use(kind: type[Opening]) -> None:
    """Let calls begin this way."""
    transport = ps.world()._transport
    assert isinstance(transport, MpiTransport)
    transport.opening = kind


def measure(seconds: float) -> None:
    """Time every size, as one of the ranks."""
    ps.init(timeout=60)
    c = ps.world()
    for size in SIZES:
        x, y = c.empty((size // 4,), np.float32), c.empty((size // 4,), np.float32)
        x[:] = 1
        c.all_reduce(x, out=y)
        start = time.perf_counter()
        c.all_reduce(x, out=y)
        turns = int(seconds / 2 / (time.perf_counter() - start))
        turns = ps.broadcast_object(min(400, max(5, turns)))
        times: dict[type[Opening], list[float]] = {Opening: [], TrustingOpening: []}
        for _ in range(turns):
            for kind, spent in times.items():
                c.barrier()
                use(kind)
                y[:] = 0
                start = time.perf_counter()
                c.all_reduce(x, out=y)
                spent.append(time.perf_counter() - start)
                use(Opening)
                assert (y == c.size).all()
        medians = ps.all_gather_object([float(np.median(spent)) for spent in times.values()])
        checked, unchecked = np.max(medians, axis=0)
        if c.rank == 0:
            row = f"{human_size(size):>8}{checked * 1e6:13.0f}{unchecked * 1e6:13.0f}"
            print(f"{row}{checked / unchecked - 1:9.1%}", flush=True)


def main() -> None:
    """Build the hosts and run this program on their ranks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--ranks", type=int, default=2, help="a host (2)")
    parser.add_argument("--netmod", choices=NETMODS, default="ofi", help="how MPICH uses TCP (ofi)")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each size (4)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # as one of the ranks
    options = parser.parse_args()
    if options.here:
        measure(options.seconds)
        return
    if reason := unavailable():
        raise SystemExit(reason)
    program = [sys.executable, str(HERE / "check.py"), "--here", "--seconds", str(options.seconds)]
    with Hosts(options.hosts) as hosts:
        done = hosts.mpirun(options.ranks, program, netmod=options.netmod, timeout=600)
    where = f"{options.hosts} hosts x {options.ranks} ranks, 1 Gbit/s a link, MPICH by {options.netmod}"
    print(f"# float32 sum, {where}")
    print(f"#{'size':>7}{'checked (us)':>13}{'not (us)':>13}{'cost':>9}")
    print(done.stdout, end="")
    if done.returncode:
        raise SystemExit(done.stderr)


if __name__ == "__main__":
    main()
