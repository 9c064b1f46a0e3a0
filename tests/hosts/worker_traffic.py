"""Calls one collective with rows of 4 MiB: `worker_traffic.py NAME`."""

from __future__ import annotations

import sys

import numpy as np
from launch import report

import pyscale as ps

ROW = 4 << 20  # bytes


def main() -> None:
    ps.init(timeout=60)
    size = ps.world_size()
    row = np.full(ROW // 4, ps.rank() + 1, np.float32)
    total = size * (size + 1) / 2
    if sys.argv[1] == "all_gather":
        right = (ps.all_gather(row).reshape(size, -1) == np.arange(1, size + 1)[:, np.newaxis]).all()
    else:
        right = (getattr(ps, sys.argv[1])(np.tile(row, size)) == total).all()
    report(bool(right))


if __name__ == "__main__":
    main()
