"""Trees of XGBoost, read one by one, brought together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.reading import refuse
from pyscale.infer.importers.xgboost_trees import Tree

__all__ = ["joined"]

Array = NDArray[Any]


def joined(trees: list[Tree], groups: Array, weights: Array) -> dict[str, Any]:
    """
    Give the fields of `pyscale.infer.forest.trees.Trees` that hold all trees' nodes, leaves and sets.

    Parameters
    ----------
    trees : list of Tree
        The trees; their numbers of leaves and of sets are changed in place to those in all trees.
    groups : numpy.ndarray
        int32, trees: the output of each tree with one number a leaf.
    weights : numpy.ndarray
        float32, trees: what each tree's leaves are multiplied by, in float32 as XGBoost does it.

    Raises
    ------
    ValueError
        If leaves are not finite then, or trees of several kinds would take far more memory than their file.
    """

    def join(arrays: list[Array], dtype: type) -> Array:
        return np.concatenate([np.zeros(0, dtype), *arrays]).astype(dtype)

    def starts(sizes: list[int]) -> Array:
        return np.cumsum([0, *sizes], dtype=np.int64)

    with np.errstate(over="ignore"):  # what overflows is refused below
        values = [tree.values * weight for tree, weight in zip(trees, weights, strict=True)]
    rows = starts([len(v) for v in values])
    sets = starts([len(tree.set_sizes) for tree in trees])
    for part, (first_row, first_set) in zip(trees, zip(rows, sets, strict=True), strict=False):
        part.left[part.feature < 0] += first_row
        part.category_set[part.category_set >= 0] += first_set
    found: dict[str, Any] = {
        "first": starts([len(tree.feature) for tree in trees]),
        "feature": join([tree.feature for tree in trees], np.int32),
        "threshold": join([tree.threshold for tree in trees], np.float64),
        "left": join([tree.left for tree in trees], np.int32),
        "right": join([tree.right for tree in trees], np.int32),
        "missing_left": join([tree.missing_left for tree in trees], np.bool_),
    }
    found["output"], found["values"] = _values(values, groups, len(found["feature"]))
    if sets[-1]:
        sizes = np.concatenate([tree.set_sizes for tree in trees])
        found["category_set"] = join([tree.category_set for tree in trees], np.int32)
        found["set_first"] = np.concatenate([[0], np.cumsum(sizes)])
        found["set_values"] = join([tree.set_values for tree in trees], np.int32)
    return found


def _values(values: list[Array], groups: Array, nodes: int) -> tuple[Array, Array]:
    """Each tree's first output, and the leaves' values, all of one width."""
    widths = np.array([v.shape[1] for v in values], np.int64)
    width = int(widths.max(initial=1))
    if (widths == width).all():
        joined = np.concatenate([np.zeros((0, width)), *values])
    else:
        # Few models have trees of both kinds; nothing that is far larger than the file is made for one.
        total = sum(v.size for v in values)
        if sum(map(len, values)) * width > 64 * (total + nodes):
            refuse(
                "learner.gradient_booster.trees",
                "trees of one width",
                width,
            )
        joined = np.zeros((sum(map(len, values)), width))
        row = 0
        for v, group in zip(values, groups, strict=True):
            first = int(group) if v.shape[1] < width else 0
            joined[row : row + len(v), first : first + v.shape[1]] = v
            row += len(v)
    if not np.isfinite(joined).all():
        refuse("learner.gradient_booster.weight_drop", "weights that keep leaves finite", "too large ones")
    return (groups if width == 1 else np.zeros(len(values), np.int32)), joined
