"""The simulated hosts themselves, with plain MPI: apart, joined by the link, and gone afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import launch
import pytest
from simulated import Hosts

CONNECT = "import socket, sys; s = socket.socket(); s.settimeout(0.5); print(s.connect_ex(('10.77.0.2', 9)))"

SEND = """
import json, sys, time
import numpy as np
from mpi4py import MPI
comm = MPI.COMM_WORLD
data = np.ones(16 << 20, np.uint8)
comm.Barrier()
start = time.perf_counter()
if comm.rank == 0:
    comm.Send(data, 1)
    comm.Recv(data[:1], 1)
else:
    comm.Recv(data, 0)
    comm.Send(data[:1], 0)
if comm.rank == 0:
    print(json.dumps([data.nbytes, time.perf_counter() - start]))
"""


def can_connect(hosts: Hosts) -> bool:
    """Whether host 0 gets an answer from host 1: there, that nobody listens (ECONNREFUSED)."""
    return int(hosts.run(0, f'{sys.executable} -c "{CONNECT}"')) == 111


def test_hosts_are_apart() -> None:
    with Hosts(2, names=["left", "right"], shm="5m") as hosts:
        assert [hosts.run(i, "hostname").strip() for i in (0, 1)] == ["left", "right"]
        hosts.run(0, "touch /dev/shm/here; sleep 100 >&- 2>&- &")
        assert hosts.run(1, "ls /dev/shm") == ""
        assert "5.0M" in hosts.run(1, "df -h /dev/shm")
        assert "sleep" in hosts.processes(0)
        assert "sleep" not in hosts.processes(1)
        hosts.kill_all()
        assert "sleep" not in hosts.processes(0)


@pytest.mark.parametrize("netmod", ["ofi", "ucx"])
def test_mpi_goes_through_the_link(netmod: str) -> None:
    with Hosts(2, rate="200mbit") as hosts:
        before = hosts.sent_bytes(0), hosts.received_bytes(1)
        done = hosts.mpirun(1, [sys.executable, "-c", SEND], netmod=netmod)
        assert done.returncode == 0, done.stderr
        size, seconds = json.loads(done.stdout)
        assert size < hosts.sent_bytes(0) - before[0] < 1.2 * size
        assert size < hosts.received_bytes(1) - before[1] < 1.2 * size
        assert seconds > size * 8 / 200e6


def test_links_fail() -> None:
    with Hosts(2) as hosts:
        assert can_connect(hosts)
        hosts.link_down(1)
        assert not can_connect(hosts)
        hosts.link_up(1)
        assert can_connect(hosts)
        hosts.blackhole(1)
        assert not can_connect(hosts)
        assert "sleep" not in hosts.processes(1)  # the control network still works


def test_a_job_that_takes_too_long_is_killed() -> None:
    with Hosts(2) as hosts:
        with pytest.raises(subprocess.TimeoutExpired):
            hosts.mpirun(1, ["sleep", "100"], timeout=1)
        assert all("sleep" not in hosts.processes(i) for i in (0, 1))


def test_nothing_is_left_of_a_killed_run() -> None:
    with launch.start(str(Path(__file__).with_name("hold_hosts.py")), None) as running:
        running.wait_for("up")
        os.kill(running.pid(0), signal.SIGKILL)
        running.process.wait()  # and now the block's end checks
