"""Reports where pyscale and MPI place this rank, and whether collectives over all ranks are right.

With --own-network the rank first leaves the network namespace of its host. MPI, which was told that the ranks
are on one node, goes on believing it.
"""

from __future__ import annotations

import ctypes
import socket
import subprocess
import sys
import warnings

import numpy as np
from launch import report

import pyscale as ps

CLONE_NEWNET = 0x40000000


def leave_network() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def right(c: ps.Communicator) -> bool:
    """Whether all_reduce gives the right sum on every rank, small and large."""
    for size in (1, 1000, 300_000):
        x = c.empty((size,), np.float64)
        x[:] = np.arange(size) + c.rank
        if not np.array_equal(c.all_reduce(x), c.size * np.arange(size) + c.size * (c.size - 1) / 2):
            return False
    return c.all_gather_object(c.rank) == list(range(c.size))


def main() -> None:
    if "--own-network" in sys.argv:
        leave_network()
    from mpi4py import MPI

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ps.init(timeout=30)
    c = ps.world()
    report(
        {
            "host": socket.gethostname(),
            "mpi_neighbours": MPI.COMM_WORLD.Split_type(MPI.COMM_TYPE_SHARED).size,
            "place": [c.rank, c.size, c.local_rank, c.local_size, c.node_rank, c.num_nodes],
            "transport": c.transport,
            "right": right(c),
            "warnings": [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)],
        }
    )


if __name__ == "__main__":
    main()
