"""Which processes of a job run here, and whether they live."""

import os
import subprocess
import sys
import time

import pytest

from pyscale.comm.machine import Machine, whereabouts
from pyscale.errors import CommError


def test_a_process_that_ends_is_seen_at_once() -> None:
    place, pid = whereabouts()
    assert pid == os.getpid()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        told = [(place, pid), ("another machine", child.pid), (place, child.pid)]
        machine = Machine.of(told)
        assert machine.ended() == []
        machine.check("barrier")
        assert child.stdin is not None
        child.stdin.close()
        deadline = time.monotonic() + 10
        while not machine.ended() and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(CommError, match=r"^barrier: .* got no answer from rank 2; rank 2 died$"):
            machine.check("barrier")
        assert machine.subset([2, 0]).ended() == [0]
        assert machine.among([0, 1]).ended() == []
    assert Machine.of(told).ended() == [2]  # it was gone before anybody looked


def test_nothing_is_known_of_a_place_without_a_name() -> None:
    assert Machine.of([("", 1), ("", os.getpid())]).ended() == []
