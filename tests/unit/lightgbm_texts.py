"""LightGBM models as text, written at random: what training rarely makes."""

from __future__ import annotations

from typing import Any

import numpy as np
from forest_inputs import TINY

AWKWARD = [0.0, -0.0, TINY, -TINY, 1e-40, -1e-40, 5e-324, -5e-324, np.inf, -np.inf, 1e300, 0.1, -0.1, 1.0]


def model(rng: np.random.Generator, num_trees: int = 3, num_features: int = 4, linear: bool = False) -> str:
    """Give the text of a model with a tree of each size up to 8 leaves or so."""
    names = " ".join(f"x{i}" for i in range(num_features))
    head = [
        *("tree", "version=v4", "num_class=1", "num_tree_per_iteration=1", "label_index=0"),
        f"max_feature_idx={num_features - 1}",
        *("objective=regression", f"feature_names={names}", f"feature_infos={names}"),
    ]
    trees = [f"Tree={i}\n{tree(rng, num_features, linear)}\n\n" for i in range(num_trees)]
    head.append(f"tree_sizes={joined([len(t) for t in trees])}")
    return "\n".join(head) + "\n\n" + "".join(trees) + "end of trees\n"


def tree(rng: np.random.Generator, num_features: int, linear: bool) -> str:
    """Give a tree grown leaf by leaf, as LightGBM numbers its nodes."""
    leaves = int(rng.integers(1, 9))
    left, right = [0] * (leaves - 1), [0] * (leaves - 1)
    parent: list[tuple[list[int], int] | None] = [None]
    for split in range(leaves - 1):
        leaf = int(rng.integers(len(parent)))
        where = parent[leaf]
        if where is not None:
            where[0][where[1]] = split
        left[split], right[split] = ~leaf, ~len(parent)
        parent[leaf] = (left, split)
        parent.append((right, split))
    decision, threshold, boundaries, words = [], [], [0], list[int]()
    for _ in range(leaves - 1):
        if rng.random() < 0.3:
            decision.append(1 | int(rng.choice([0, 4, 8])))
            threshold.append(float(len(boundaries) - 1))
            words += [int(word) for word in rng.integers(0, 2**32, rng.integers(0, 4))]
            boundaries.append(len(words))
        else:
            decision.append(int(rng.choice([0, 2])) | int(rng.choice([0, 4, 8])))
            threshold.append(float(rng.choice(AWKWARD) if rng.random() < 0.5 else rng.normal()))
    lines = {
        "num_leaves": leaves,
        "num_cat": len(boundaries) - 1,
        "split_feature": joined(rng.integers(num_features, size=leaves - 1)),
        "threshold": joined(threshold),
        "decision_type": joined(decision),
        "left_child": joined(left),
        "right_child": joined(right),
        "leaf_value": joined(rng.normal(size=leaves)),
        "cat_boundaries": joined(boundaries),
        "cat_threshold": joined(words),
        "is_linear": int(linear),
    }
    if linear:
        terms = rng.integers(0, num_features + 1, leaves)
        lines |= {
            "leaf_const": joined(rng.choice([0.0, 1.0, -0.3], leaves)),
            "num_features": joined(terms),
            "leaf_features": joined(rng.integers(num_features, size=terms.sum())),
            "leaf_coeff": joined(rng.normal(size=terms.sum()) * rng.choice([1, 1e30], terms.sum())),
        }
    if len(boundaries) == 1:
        del lines["cat_boundaries"], lines["cat_threshold"]
    return "\n".join(f"{key}={value}" for key, value in lines.items()) + "\nshrinkage=1\n"


def joined(values: Any) -> str:
    """Give a line's numbers, with all the digits that tell them apart."""
    return " ".join(f"{value:.17g}" if isinstance(value, float) else str(value) for value in values)
