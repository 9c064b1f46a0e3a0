"""Calls collectives until one raises, and reports what it raised and how long after the last one that worked.

`worker_fault.py TIMEOUT [VICTIM]`: the communicator's timeout, and a rank that kills itself after a while.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
from launch import note, report

import pyscale as ps

# One for each way in which all_reduce sends: whole, whole after a fold of its own, in one piece, in many.
SIZES = (1, 4000, 100_000, 2_000_000)


def main() -> None:
    timeout, *victim = map(int, sys.argv[1:])
    ps.init(timeout=timeout)
    c = ps.world()
    end = time.monotonic() + 60
    calls = 0
    last = time.monotonic()
    try:
        while time.monotonic() < end:
            if victim == [c.rank] and calls > 50:
                os.kill(os.getpid(), signal.SIGKILL)
            x = np.full(SIZES[calls % len(SIZES)], 1.0, np.float32)
            assert (c.all_reduce(x) == c.size).all()
            last = time.monotonic()
            calls += 1
            if calls == 30 and c.rank == 0:
                note("running")
    except ps.CommError as error:
        report([type(error).__name__, str(error), time.monotonic() - last])


if __name__ == "__main__":
    main()
