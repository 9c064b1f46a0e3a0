"""Times importing pyscale and loading a large model, 5,000 full trees of depth 8, in fresh processes.

python bench/infer_large.py 5000x8 [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _infer_environment import FOLDER
from _recording import Figure, Note, main
from _turns import in_turn

from pyscale.infer import Forest, Link, ModelDescription, Trees

_FEATURES = 50
_ONCE = """
import sys, time
start = time.perf_counter()
import pyscale as ps
model = ps.infer.load(sys.argv[1])
loaded = time.perf_counter()
import numpy as np
model.predict(np.zeros((1, model.num_features), np.float32))
print(loaded - start, time.perf_counter() - start)
"""


def full_trees(count: int, depth: int) -> ModelDescription:
    """Make trees that are full down to a depth, of random comparisons."""
    rng = np.random.default_rng(0)
    inner, leaves = (1 << depth) - 1, 1 << depth
    nodes = inner + leaves
    number = np.arange(nodes)
    is_leaf = np.tile(number >= inner, count)
    left, right = (np.tile(np.where(number < inner, 2 * number + k, 0), count) for k in (1, 2))
    left[is_leaf] = np.arange(count * leaves)
    feature = rng.integers(0, _FEATURES, count * nodes)
    threshold = rng.standard_normal(count * nodes).astype(np.float32).astype(np.float64)
    trees = Trees(
        num_features=_FEATURES,
        num_outputs=1,
        precision="float32",
        sums="float32",
        first=np.arange(count + 1, dtype=np.int64) * nodes,
        output=np.zeros(count, np.int32),
        feature=np.where(is_leaf, -1, feature).astype(np.int32),
        threshold=np.where(is_leaf, 0.0, threshold),
        left=left.astype(np.int32),
        right=right.astype(np.int32),
        missing_left=rng.random(count * nodes) < 0.5,
        values=rng.standard_normal((count * leaves, 1)).astype(np.float32).astype(np.float64),
        base=np.zeros(1),
    )
    return ModelDescription(trees=trees, link=Link(), kind="regression", source="random")


def _once(file: Path) -> list[float]:
    command = [sys.executable, "-c", _ONCE, str(file)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(word) for word in found.stdout.split()]


def measure(options: argparse.Namespace) -> Iterator[Figure | Note]:
    """Make the model once, and load it."""
    count, depth = map(int, options.trees.split("x"))
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / f"full-{options.trees}.pyscale"
    if not file.exists():
        Forest(full_trees(count, depth)).save(file)
    _once(file)
    found = in_turn({"pyscale": lambda: _once(file)}, 2 if options.quick else 7)["pyscale"]
    task = f"{count:,} trees of depth {depth}"
    yield Figure(f"{task}, import and load", "pyscale", "seconds", [loaded for loaded, _ in found])
    yield Figure(
        f"{task}, import, load and first answer", "pyscale", "seconds", [first for _, first in found]
    )
    yield Note(f"The file of {task} has {file.stat().st_size / 1e6:,.0f} MB.")


if __name__ == "__main__":
    main(__doc__, measure, ("5000x8",), "trees")
