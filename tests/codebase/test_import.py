"""``import pyscale`` needs NumPy and ml_dtypes alone, and is quick."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys, time
before = set(sys.modules)
start = time.process_time()
import pyscale
seconds = time.process_time() - start
print(json.dumps([seconds, sorted({name.split(".")[0] for name in set(sys.modules) - before})]))
"""


def import_it() -> tuple[float, set[str]]:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    seconds, names = json.loads(run.stdout)
    return seconds, set(names) - sys.stdlib_module_names


def test_needs_numpy_and_ml_dtypes_alone() -> None:
    _, names = import_it()
    assert names - {"pyscale", "numpy", "ml_dtypes", "_ml_dtypes_ext"} == set()


def test_is_quick() -> None:
    # Of the processor: 0.15 s, NumPy's part included, also on a machine that is seldom idle.
    assert min(import_it()[0] for _ in range(5)) < 0.25
