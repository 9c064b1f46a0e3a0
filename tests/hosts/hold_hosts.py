"""Builds two hosts, starts a program there that ends only by force, and waits to be killed."""

from __future__ import annotations

import sys
from pathlib import Path

from launch import note

sys.path.append(str(Path(__file__).parent))  # prelude.py runs this file from its own folder

from simulated import Hosts


def main() -> None:
    with Hosts(2) as hosts:
        note("up")
        hosts.mpirun(1, ["sleep", "1000"], timeout=1000)


if __name__ == "__main__":
    main()
