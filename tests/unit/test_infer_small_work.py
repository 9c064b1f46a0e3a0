"""Small batches are computed in the caller's thread: no team of threads is ever started for them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from forest_random import close_rows, random_trees
from pyscale.infer import Activation, Dense, EmbeddingBag, Forest, Linear, Link, ModelDescription, TopK

def threads():
    return len(os.listdir("/proc/self/task"))

trees = random_trees(1, num_trees=20)
forest = Forest(ModelDescription(trees=trees, link=Link(), kind="regression", source="a test"))
rows = close_rows(trees, 16, 1)
dense = Dense([Linear(np.ones((30, 20))), Activation("relu"), Linear(np.ones((3, 30)))])
matrix = np.ones((500, 20), np.float32)
search, bags = TopK(matrix, k=3), EmbeddingBag(matrix, mode="sum")
before = threads()
for count in (1, 2, 7, 16):
    forest.predict(rows[:count], num_threads=8)
    forest.leaf_index(rows[:count], num_threads=8)
    dense.predict(matrix[:count], num_threads=8)
    search.search(matrix[:count], 3, num_threads=8)
    bags.predict(np.zeros((count, 4), np.int64), num_threads=8)
    for model, some in ((forest, rows), (dense, matrix), (search, matrix)):
        model.predict(some[:count])
after = threads()
many = np.ones((200_000, 20), np.float32)
dense.predict(many, num_threads=8)
print(after - before, threads() - after > 0)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core, which has no use for a second thread")
def test_small_batches_start_no_threads() -> None:
    """A large one does, so that what is counted is known to count."""
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "True"]
