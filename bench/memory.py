"""What pyscale holds of memory on each rank, beyond the user's arrays and MPI.

    mpirun -n 8 python bench/memory.py

prints the proportional set size (PSS: shared pages count by their share) at each stage, the largest of the
ranks. MPI is there and has been used before pyscale is imported, so that the rise from then on is
pyscale's.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from pathlib import Path

import numpy as np

_MIB = 1 << 20


def pss(mapping: str = "") -> int:
    """Bytes of the mappings whose name holds `mapping`."""
    if not mapping:
        text = Path("/proc/self/smaps_rollup").read_text()
        return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))
    total, counted = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        fields = line.split()
        if not fields[0].endswith(":"):
            counted = mapping in line
        elif counted and fields[0] == "Pss:":
            total += int(fields[1]) * 1024
    return total


def main() -> None:
    """Measure on every rank; rank 0 prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, in bytes")
    options = parser.parse_args()

    from mpi4py import MPI

    world = MPI.COMM_WORLD
    mine, theirs = (np.zeros(64 * _MIB // 4, np.float32) for _ in range(2))
    mine[:], theirs[:] = 1, 1
    warm = world.Split_type(MPI.COMM_TYPE_SHARED).Dup()
    warm.allgather(world.rank)
    warm.Allreduce(MPI.IN_PLACE, np.zeros(1024))
    gc.collect()
    world.Barrier()
    start = pss()
    stages: dict[str, int] = {}

    import pyscale as ps

    def stage(name: str, arrays: int = 0) -> None:
        communicator.barrier()
        gc.collect()
        stages[name] = pss() - start - arrays
        communicator.barrier()

    ps.init()
    communicator = ps.world()
    stage("after init")
    for size in (4 << (2 * k) for k in range(13)):
        communicator.all_reduce(mine[: size // 4], out=theirs[: size // 4])
    stage("after all_reduce of ordinary arrays, 4 B to 64 MiB")
    shard = theirs.size // communicator.size
    whole = shard * communicator.size
    communicator.reduce_scatter(mine[:whole], out=theirs[:shard])
    communicator.all_gather(mine[:shard], out=theirs[:whole])
    communicator.all_to_all(mine[:whole], out=theirs[:whole])
    communicator.broadcast(mine, out=mine)
    stage("after the other collectives on 64 MiB")
    shared = communicator.empty(mine.shape, np.float32)
    shared[:] = 1
    communicator.all_reduce(shared, out=shared)
    # A page that n ranks map counts 1/n on each, and all ranks map all arrays: in sum each rank's own array.
    stage("after all_reduce of 64 MiB from empty(), without that array", shared.nbytes)
    stages["of it in shared memory"] = pss("memfd:pyscale") - shared.nbytes

    every = communicator.all_gather_object(stages)
    if communicator.rank == 0:
        most = {name: max(stage[name] for stage in every) for name in stages}
        print(
            f"# {communicator.size} ranks, memory beyond MPI and the arrays given, the rank that holds most"
        )
        for name, value in most.items():
            print(f"{value / _MIB:>8.1f} MiB  {name}")
        if options.json:
            options.json.write_text(json.dumps({"ranks": communicator.size, "bytes": most}) + "\n")


if __name__ == "__main__":
    main()
    sys.exit()
