"""Random collectives on random communicators, of random sizes, dtypes, layouts and sleeps, all checked.

`mpirun -n 4 python worker_stress.py SECONDS SEED`
"""

from __future__ import annotations

import random
import sys
import time
from typing import Any

import numpy as np
from conformance import Conformance
from launch import report
from reference import DTYPES, LAYOUTS, ops_of, reduced, values

import pyscale as ps


class Stress(Conformance):
    """The checks of the conformance suite, in an order that nobody chose."""

    def __init__(self, seed: int) -> None:
        super().__init__(self)  # the ranks exchange nothing beside what is tested
        self.common = random.Random(seed)  # draws the same on every rank
        self.own = random.Random(seed * 1000 + ps.rank())  # what may differ between ranks
        self.communicators: list[Any] = [ps.world()]
        self.works: list[tuple[Any, Any, str]] = []

    def gather(self, obj: Any) -> list[Any]:
        return ps.all_gather_object(obj)

    def one(self) -> None:
        """Make one call: the same on every rank, on a communicator of its own color.

        What is drawn in common must not depend on that communicator's size, which may differ.
        """
        common, own = self.common, self.own
        if own.random() < 0.03:
            time.sleep(own.random() * 0.02)
        kind = common.randrange(16)
        if kind == 0:
            self.renew()
            return
        c = common.choice(self.communicators)
        dtype = common.choice(DTYPES)
        op = common.choice(ops_of(dtype))
        n = int(10 ** common.uniform(0, 5.3)) - 1
        shape = common.choice([(n,), (n,), (n, 1), (7, n // 7), (3, n // 12, 4)])
        source = own.choice(LAYOUTS)
        target = own.choice([None, "in place", *LAYOUTS])
        shared = (own.random() < 0.5, own.random() < 0.5)
        if kind <= 7:
            self.all_reduce(c, shape, dtype, op, source=source, target=target, shared=shared)
        elif kind <= 9:
            self.start(c, shape, dtype, op)
        elif kind == 10:
            self._reduce_scatter(c, (n // 8 * c.size, 3), dtype, op, source, None, shared[0])
        elif kind == 11:
            self._all_gather(c, (n // c.size,), dtype, source, None, shared[0])
        elif kind == 12:
            self._broadcast(c, shape, dtype, common.randrange(1000) % c.size, source, target, shared[0])
        elif kind == 13 and c is self.c:
            table = [[common.randrange(1 + n // 50) for _ in range(c.size)] for _ in range(c.size)]
            self._all_to_all(table, (2,), dtype, source, shared=shared[0])
        elif kind == 14:
            c.barrier()
        else:
            expected = [(rank, n) for rank in range(c.size)]
            self.check(c.all_gather_object((c.rank, n)) == expected, "all_gather_object")
        while self.works and (len(self.works) > 6 or common.random() < 0.2):
            work, expected, label = self.works.pop(common.randrange(len(self.works)))
            self.equal(work.wait(), expected, label)

    def start(self, c: ps.Communicator, shape: tuple[int, ...], dtype: np.dtype[Any], op: str) -> None:
        salt = self.salt(c)
        inputs = [values(rank, shape, dtype, op, salt) for rank in range(c.size)]
        work = c.all_reduce_async(inputs[c.rank], op)
        self.works.append((work, reduced(op, inputs, self.nodes(c)), f"async {op} of {dtype} {shape}"))

    def renew(self) -> None:
        """Replace one communicator, or add one."""
        parent = self.common.choice(self.communicators)
        ways = self.common.randrange(1, 4)
        part = parent.split(parent.rank % ways, self.own.randrange(3))
        if len(self.communicators) > 6:
            del self.communicators[self.common.randrange(1, len(self.communicators))]
        self.communicators.append(part)


def main() -> int:
    seconds, seed = float(sys.argv[1]), int(sys.argv[2])
    ps.init(timeout=60.0)
    stress = Stress(seed)
    calls, end = 0, time.monotonic() + seconds
    while ps.broadcast_object(time.monotonic() < end):
        for _ in range(20):
            stress.one()
        calls += 20
    failures = ps.all_gather_object(stress.failures[:5])
    report({"calls": calls, "failures": failures})
    return int(any(failures))


if __name__ == "__main__":
    sys.exit(main())
