"""The section on two simulated hosts, from bench/hosts.py."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from _environments import BUILD, ROOT, BenchmarkFailed, run


def two_hosts() -> Iterator[str]:
    """Time 64 MiB on 2 hosts x 2 ranks over 1 Gbit/s; says why where hosts cannot be simulated."""
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, str(ROOT / "bench" / "hosts.py"), "--min", "64M", "--json", str(file)]
        try:
            run(command, timeout=900)
        except BenchmarkFailed as failure:
            yield f"Not measured: {str(failure).splitlines()[-1]}."
            return
        rows = json.loads(file.read_text())["rows"]
    columns = ("MPICH by", "bound, ms", "pyscale, ms", "beyond the bound (bar: 15%)", "flat MPI, ms")
    yield f"| {' | '.join(columns)} | flat MPI / pyscale (bar: 1.5) |"
    yield "|---|--:|--:|--:|--:|--:|"
    for row in rows:
        times = [row[name] for name in ("bound_seconds", "seconds", "mpi_seconds")]
        bound, ours, peer = (f"{seconds * 1e3:.0f}" for seconds in times)
        beyond = f"{times[1] / times[0] - 1:.0%}"
        yield f"| {row['netmod']} | {bound} | {ours} | {beyond} | {peer} | {row['mpi_ratio'] or 0:.2f} |"
