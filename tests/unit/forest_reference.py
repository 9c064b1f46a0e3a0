"""Trees walked a row and a node at a time, in plain Python: what engines and importers are compared with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.forest.trees import Link, ModelDescription, Trees

TINY = float(np.float32(1e-35))


def goes_left(trees: Trees, node: int, x: float) -> bool:
    """Whether a value, already of the precision of the comparison, goes left at a node."""
    missing = math.isnan(x)
    if trees.zero_is_missing is not None and trees.zero_is_missing[node]:
        missing = missing or -TINY <= x <= TINY
    if missing:
        return bool(trees.missing_left[node])
    if trees.category_set is None or trees.category_set[node] < 0:
        return bool(x <= trees.threshold[node])
    assert trees.set_first is not None
    assert trees.set_values is not None
    lowest = -1 if trees.negative_fractions else 0
    valid = (x > lowest if trees.negative_fractions else x >= lowest) and x < 2**31
    if trees.whole_categories and not x.is_integer():
        valid = False
    category = int(x) if valid else -1
    known = trees.known_categories.get(int(trees.feature[node]))
    if known is not None and category not in known:
        return bool(trees.missing_left[node])
    number = trees.category_set[node]
    return category in trees.set_values[trees.set_first[number] : trees.set_first[number + 1]]


def leaves(trees: Trees, x: NDArray[Any]) -> NDArray[Any]:
    """The node that each row ends at in each tree, by its number in the tree: int32, rows x trees."""
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
        x = x.astype(trees.precision).astype(np.float64)
    out = np.zeros((len(x), trees.num_trees), np.int32)
    for tree in range(trees.num_trees):
        root = int(trees.first[tree])
        for row in range(len(x)):
            node = 0
            while trees.feature[root + node] >= 0:
                left = goes_left(trees, root + node, float(x[row, trees.feature[root + node]]))
                node = int((trees.left if left else trees.right)[root + node])
            out[row, tree] = node
    return out


def sums(trees: Trees, x: NDArray[Any], num_trees: int | None = None) -> NDArray[Any]:
    """The base and the leaves' values, added up in the order of the trees: rows x outputs."""
    dtype = np.dtype(trees.sums)
    found = leaves(trees, x)
    values = trees.values.astype(dtype)
    width = values.shape[1]
    base = np.tile(trees.base.astype(dtype), (len(x), 1))
    out = np.zeros_like(base) if trees.base_last else base
    for tree in range(trees.num_trees if num_trees is None else num_trees):
        rows = trees.left[trees.first[tree] + found[:, tree]]
        start = int(trees.output[tree])
        added = values[rows]
        if trees.linear is not None:
            added = np.array([[linear(trees, leaf, x[i])] for i, leaf in enumerate(rows)], dtype)
        out[:, start : start + width] += added
    return out + base if trees.base_last else out


def predicted(model: ModelDescription, x: NDArray[Any]) -> Any:
    """Predictions of all the trees: rows x outputs."""
    return linked(model.link, sums(model.trees, x), model.trees.num_trees)


def linear(trees: Trees, leaf: int, row: NDArray[Any]) -> float:
    """What a leaf with a linear function adds."""
    assert trees.linear is not None
    total = float(trees.linear.constant[leaf])
    for term in range(trees.linear.first[leaf], trees.linear.first[leaf + 1]):
        value = float(row[trees.linear.feature[term]])
        if math.isnan(value):
            return float(trees.values[leaf, 0])
        value = 0.0 if -TINY <= value <= TINY else value
        total += float(trees.linear.coefficient[term]) * value
    return total


def linked(link: Link, raw: NDArray[Any], num_rounds: int) -> Any:
    """Predictions of the sums, in float64."""
    x = raw.astype(np.float64) / (link.divisor or num_rounds)
    with np.errstate(over="ignore"):
        match link.name:
            case "identity":
                return x
            case "logistic":
                return 1 / (1 + np.exp(-link.scale * x))
            case "softmax":
                x = np.exp(x - x.max(axis=1, keepdims=True))
                return x / x.sum(axis=1, keepdims=True)
            case "exp":
                return np.exp(x)
            case "log1p_exp":
                return np.log1p(np.exp(x))
            case "signed_square":
                return np.sign(x) * x * x
            case "step":
                return (x > 0).astype(np.float64)
            case "argmax":
                return x.argmax(axis=1).astype(np.float64)[:, None]
            case "isolation":
                return -(2 ** (-x / link.scale))
    raise AssertionError(link.name)
