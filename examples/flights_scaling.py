"""Run examples/flights.py on 1, 2, 4 and 8 ranks and compare speed and loss with the one-rank run.

    python examples/flights_scaling.py

The loss must be the same to a relative 1e-5, or the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TOLERANCE = 1e-5


def run(ranks: int, epochs: int) -> dict[str, Any]:
    """Train on so many ranks and return the result."""
    mpirun = shutil.which("mpirun", path=str(Path(sys.executable).parent)) or "mpirun"
    print(f"\n» mpirun -n {ranks} python examples/flights.py", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        program = [sys.executable, str(Path(__file__).with_name("flights.py"))]
        options = ["--epochs", str(epochs), "--json", str(result)]
        subprocess.run([mpirun, "-n", str(ranks), *program, *options], check=True, stdin=subprocess.DEVNULL)
        loaded: dict[str, Any] = json.loads(result.read_text())
        return loaded


def main() -> int:
    """Read the command line, train at every number of ranks, print the table."""
    parser = argparse.ArgumentParser(description="Train on 1, 2, 4 and 8 ranks and compare.")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 8], help="beside 1")
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    alone, *others = results = [run(ranks, options.epochs) for ranks in [1, *options.ranks]]

    print(f"\n{len(os.sched_getaffinity(0))} cores")
    print(f"{'ranks':>5} {'samples/s':>11} {'speed-up':>9} {'loss':>14} {'off the one-rank loss':>22}")
    for result in results:
        faster = result["samples_per_second"] / alone["samples_per_second"]
        off = abs(result["loss"] / alone["loss"] - 1.0)
        speed, loss = result["samples_per_second"], result["loss"]
        print(f"{result['ranks']:5} {speed:11,.0f} {faster:9.2f} {loss:14.10f} {off:22.1e}")
    differs = [r["ranks"] for r in others if not abs(r["loss"] / alone["loss"] - 1.0) <= TOLERANCE]
    if differs:
        print(f"loss: expected the one-rank loss to a relative {TOLERANCE:g}, got another on {differs} ranks")
    return int(bool(differs))


if __name__ == "__main__":
    sys.exit(main())
