"""Groups of ranks, each of which loses one rank to `kill -9` at a random instant of a random collective.

`mpirun -n 8 python worker_kills.py SEED 3 3 2`: the first three ranks are a group, and so on. Every survivor
reports what it got and when; the killer, a child of the victim, notes when it struck.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from launch import FOLDER, report
from prelude import rank_in_environment

import pyscale as ps

TIMEOUT = float(os.environ.get("PYSCALE_TEST_TIMEOUT", "30"))  # seconds; the victim is dead long before


def start_killer(group: int, delay: float) -> int:
    """Fork, before MPI starts, a child that kills this process when told to; returns where to tell it."""
    to_read, to_write = os.pipe()
    victim = os.getpid()
    if os.fork() != 0:
        os.close(to_read)
        return to_write
    os.close(to_write)
    if os.read(to_read, 1):
        time.sleep(delay)
        (Path(os.environ[FOLDER]) / f"note.kill.{group}").write_text(str(time.monotonic()))
        os.kill(victim, signal.SIGKILL)
    os._exit(0)


class Calls:
    """Random collectives, the same on every rank of a group."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.world = ps.world()
        part = self.world.split(self.world.rank % 2)
        assert part is not None
        self.part = part
        self.works: list[Any] = []
        self.now = self.world  # the communicator of the call under way

    def array(self, shape: tuple[int, ...]) -> Any:
        dtype = self.rng.choice([np.float32, np.float16, np.int64])
        return self.now.empty(shape, dtype) if self.rng.random() < 0.5 else np.ones(shape, dtype)

    def one(self) -> None:
        rng = self.rng
        c = self.now = rng.choice([self.world, self.world, self.part])
        n = rng.choice([1, 10, 1000, 20_000, 300_000])
        kind = rng.randrange(12)
        x = self.array((n,))
        if kind <= 2:
            c.all_reduce(x, rng.choice(["sum", "max"]), out=rng.choice([x, None]))
        elif kind == 3:
            c.reduce_scatter(np.ones((c.size, n), np.float32))
        elif kind == 4:
            c.all_gather(x)
        elif kind == 5:
            c.broadcast(x, n % c.size, out=x)
        elif kind == 6:
            c.all_to_all(np.ones((c.size, n), np.float32))
        elif kind == 7:
            c.barrier()
        elif kind == 8:
            c.all_gather_object({"n": n})
        elif kind == 9:
            c.broadcast_object("x" * n, n % c.size)
        elif kind == 10:
            c.split(n % 3)
        else:
            self.works.append((c, c.all_reduce_async(np.ones(n, np.float32))))
            if len(self.works) > 3:
                self.now, work = self.works.pop(0)
                work.wait()


def main() -> None:
    seed, sizes = int(sys.argv[1]), [int(size) for size in sys.argv[2:]]
    rank = rank_in_environment()
    group = next(g for g in range(len(sizes)) if rank < sum(sizes[: g + 1]))
    rng = random.Random(seed * 1000 + group)
    victim = rng.randrange(sizes[group])
    delay = 10 ** rng.uniform(-4, -1)
    is_victim = rank - sum(sizes[:group]) == victim
    killer = start_killer(group, delay) if is_victim else -1

    from mpi4py import MPI

    ps.init(MPI.COMM_WORLD.Split(group, rank), timeout=TIMEOUT)
    calls = Calls(rng)
    ps.barrier()
    if is_victim:
        os.write(killer, b"!")
    count, end = 0, time.monotonic() + TIMEOUT
    error: BaseException | None = None
    while error is None and time.monotonic() < end:
        try:
            calls.one()
            count += 1
        except ps.CommError as caught:
            error = caught
    # In a part of the group ranks have other numbers; one without the victim fails by a survivor that left.
    expected = None
    if calls.now is calls.world:
        expected = victim
    elif calls.world.rank % 2 == victim % 2:
        expected = victim // 2
    report(
        {
            "group": group,
            "at": time.monotonic(),
            "error": type(error).__name__,
            "message": str(error),
            "expected": expected,
            "calls": count,
            "delay": delay,
        }
    )


if __name__ == "__main__":
    main()
