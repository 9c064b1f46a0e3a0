"""Random trees, and rows that come close to their thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.forest.trees import Precision, Trees, empty_nodes


def random_trees(
    seed: int,
    *,
    num_trees: int = 20,
    num_features: int = 6,
    most_leaves: int = 32,
    num_outputs: int = 1,
    width: int = 1,
    precision: Precision = "float32",
    sums: Precision = "float32",
    thresholds: int = 50,
    categories: bool = False,
    zeros: bool = False,
) -> Trees:
    """Make trees of every shape, of 1 to `most_leaves` leaves."""
    rng = np.random.default_rng(seed)
    pool = rng.standard_normal((num_features, thresholds))
    pool[:, :3] = [0.0, -0.0, np.inf]
    pool = pool.astype(precision).astype(np.float64)
    parts: list[dict[str, NDArray[Any]]] = [empty_nodes(0)]
    sizes = []
    for _ in range(num_trees):
        leaves = int(rng.integers(1, most_leaves + 1))
        nodes = empty_nodes(2 * leaves - 1)
        open_nodes, used = [0], 1
        for _ in range(leaves - 1):
            # Now from one end and now from anywhere: trees that are deep, and trees that are not.
            node = open_nodes.pop(int(rng.integers(len(open_nodes))) if rng.random() < 0.7 else -1)
            nodes["feature"][node] = feature = rng.integers(num_features)
            nodes["threshold"][node] = rng.choice(pool[feature])
            nodes["left"][node], nodes["right"][node] = rng.permutation([used, used + 1])
            nodes["missing_left"][node] = rng.random() < 0.5
            open_nodes += [used, used + 1]
            used += 2
        parts.append(nodes)
        sizes.append(used)
    joined: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    is_leaf = joined["feature"] < 0
    num_leaves = int(is_leaf.sum())
    joined["left"][is_leaf] = rng.permutation(num_leaves)
    more: dict[str, Any] = {}
    if categories:
        number = np.where(joined["feature"] % 3 == 0, rng.integers(0, 8, len(is_leaf)), -1)
        number[is_leaf] = -1
        sets = [np.unique(rng.integers(0, 60, rng.integers(0, 20))) for _ in range(8)]
        more = {
            "category_set": number.astype(np.int32),
            "set_first": np.cumsum([0, *map(len, sets)]).astype(np.int64),
            "set_values": np.concatenate(sets).astype(np.int32),
            "negative_fractions": seed % 2 == 0,
            "known_categories": {0: np.arange(0, 70, 2)} if seed % 3 == 0 else {},
        }
    if zeros:
        more["zero_is_missing"] = joined["feature"] % 2 == 0
    return Trees(
        num_features=num_features,
        num_outputs=num_outputs,
        precision=precision,
        sums=sums,
        first=np.cumsum([0, *sizes]).astype(np.int64),
        output=rng.integers(0, num_outputs - width + 1, num_trees).astype(np.int32),
        values=rng.standard_normal((num_leaves, width)).astype(sums).astype(np.float64),
        base=rng.standard_normal(num_outputs).astype(sums).astype(np.float64),
        **joined,
        **more,
    )


def close_rows(trees: Trees, rows: int, seed: int, dtype: str | None = None) -> NDArray[Any]:
    """Rows of thresholds, of what is next to them, and of what is special."""
    rng = np.random.default_rng(seed)
    out = rng.standard_normal((rows, trees.num_features)).astype(trees.precision)
    for feature in range(trees.num_features):
        mine = np.unique(trees.threshold[trees.feature == feature]).astype(trees.precision)
        special = np.array([0, -0.0, np.nan, np.inf, -np.inf, 1e-40, -1e-40, 1e-35, 2e-35], trees.precision)
        with np.errstate(over="ignore", under="ignore"):
            near = [mine, np.nextafter(mine, np.inf), np.nextafter(mine, -np.inf), special]
        pool = np.concatenate(near).astype(trees.precision)
        if trees.category_set is not None and (trees.category_set[trees.feature == feature] >= 0).any():
            pool = np.concatenate([special, np.arange(-2, 80), [-0.5, 0.5, 3.7, 2.0**31, 1e30]])
        chosen = rng.random(rows) < 0.9
        out[chosen, feature] = rng.choice(pool, int(chosen.sum()))
    return out if dtype is None else out.astype(dtype)
