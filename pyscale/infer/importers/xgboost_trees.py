"""One tree of a model of XGBoost, checked and brought to the one form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.reading import floats, integers, refuse
from pyscale.infer.importers.xgboost_documents import entry, whole

__all__ = ["Tree", "read_tree"]

Array = NDArray[Any]
# From this on XGBoost takes a value for no category.
_CATEGORIES = 2**24


@dataclass(frozen=True, slots=True)
class Tree:
    """
    A tree; fields as in `pyscale.infer.forest.trees.Trees`, its leaves' rows and its sets counted from 0.

    Attributes
    ----------
    values : numpy.ndarray
        float32, leaves x 1 or outputs.
    set_sizes : numpy.ndarray
        int64, sets.
    """

    feature: Array
    threshold: Array
    left: Array
    right: Array
    missing_left: Array
    category_set: Array
    set_sizes: Array
    set_values: Array
    values: Array


def read_tree(tree: object, where: str, *, features: int, outputs: int) -> Tree:
    """
    Read a tree of a document.

    Parameters
    ----------
    tree : object
        What the document has there.
    where : str
        What errors call the tree.
    features, outputs : int
        Columns of the model's inputs and of its sums.

    Raises
    ------
    ValueError
        If it is not a tree that XGBoost writes.
    """
    if not isinstance(tree, dict):
        refuse(where, "an object", type(tree).__name__)
    param = entry(tree, "tree_param", where, dict)
    size = whole(param, "num_nodes", f"{where}.tree_param", low=1, high=2**31 - 1)
    left = integers(tree.get("left_children"), f"{where}.left_children", low=-1, size=size)
    right = integers(tree.get("right_children"), f"{where}.right_children", low=-1, size=size)
    keep = _reached(left, right, param, where)
    inner = left >= 0
    feature = integers(
        tree.get("split_indices"), f"{where}.split_indices", low=0, high=2**32 - 1, size=size
    )  # nodes that were pruned have 2^31 - 1
    _check(inner & (feature >= features), f"{where}.split_indices", f"0 to {features - 1}", feature)
    missing_left = integers(tree.get("default_left"), f"{where}.default_left", low=0, high=1, size=size) == 1
    conditions = _single(tree.get("split_conditions"), f"{where}.split_conditions", size)
    category_set, set_sizes, set_values = _categories(tree, inner, where)
    ordered = inner & (category_set < 0)
    _check(ordered & np.isnan(conditions), f"{where}.split_conditions", "a number", conditions)

    leaf = keep & ~inner
    values = _values(tree, param, leaf, conditions, right, where, outputs)
    threshold = np.zeros(size)
    with np.errstate(over="ignore"):  # below the least number is -inf
        threshold[ordered] = np.nextafter(conditions[ordered], np.float32(-np.inf))
    # Nothing is below -inf: all go right, which is the same as all, with the children swapped, going left.
    never = ordered & (conditions == -np.inf)
    threshold[never] = np.inf
    # XGBoost has the listed categories go right, and all others, invalid ones too, left.
    swapped = never | (inner & (category_set >= 0))
    left, right = np.where(swapped, right, left), np.where(swapped, left, right)

    renumbered = np.cumsum(keep) - 1
    # Of a leaf, they may be anything.
    left, right = (np.where(inner, renumbered[np.where(inner, child, 0)], 0) for child in (left, right))
    left[leaf] = np.arange(len(values))
    return Tree(
        feature=np.where(inner, feature, -1)[keep],
        threshold=threshold[keep],
        left=left[keep],
        right=right[keep],
        missing_left=(missing_left ^ swapped)[keep] & inner[keep],
        category_set=category_set[keep],
        set_sizes=set_sizes,
        set_values=set_values,
        values=values,
    )


def _check(wrong: Array, where: str, expected: str, values: Array) -> None:
    if wrong.any():
        place = int(wrong.argmax())
        refuse(f"{where}[{place}]", expected, values[place].item())


def _single(values: object, where: str, size: int | None) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return floats(values, where, size=size, nan=True).astype(np.float32)


def _reached(left: Array, right: Array, param: dict[str, Any], where: str) -> Array:
    """Which nodes the root leads to; refuses what is not a tree with, maybe, pruned leaves beside it."""
    parents = np.flatnonzero(left >= 0)
    child = left[parents]
    # XGBoost takes the node after the left child for the right one, and makes children after their parents.
    wrong = (child <= parents) | (child > len(left) - 2)
    _check_children(wrong, f"{where}.left_children", "a later node, and one after it", parents, child)
    beside = right[parents]
    _check_children(beside != child + 1, f"{where}.right_children", "the left child's + 1", parents, beside)
    times = np.bincount(np.concatenate([child, beside, [0]]), minlength=len(left))
    shared = (times[child] > 1) | (times[beside] > 1)
    _check_children(shared, f"{where}.left_children", "no other's children", parents, child)
    lost: Array = times == 0
    _check(lost & (left >= 0), f"{where}.left_children", "-1 where no node leads to", left)
    deleted = whole(param, "num_deleted", f"{where}.tree_param", low=0, high=2**31 - 1, default=0)
    if lost.sum() != deleted:
        refuse(f"{where}.tree_param.num_deleted", f"{lost.sum()}, as many as no node leads to", deleted)
    return np.logical_not(lost)


def _check_children(wrong: Array, where: str, expected: str, parents: Array, child: Array) -> None:
    if wrong.any():
        place = int(wrong.argmax())
        refuse(f"{where}[{parents[place]}]", expected, child[place].item())


def _categories(tree: dict[str, Any], inner: Array, where: str) -> tuple[Array, Array, Array]:
    """Each node's set of categories or -1, the sets' sizes, and what is in them."""
    category_set = np.full(len(inner), -1)
    empty = np.zeros(0, np.int64)
    if "split_type" not in tree:
        return category_set, empty, empty
    kinds = integers(tree["split_type"], f"{where}.split_type", low=0, high=1, size=len(inner))
    nodes = integers(tree.get("categories_nodes"), f"{where}.categories_nodes")
    if not np.array_equal(nodes, np.flatnonzero(kinds)):
        refuse(f"{where}.categories_nodes", "the nodes whose split_type is 1", nodes)
    if not len(nodes):
        return category_set, empty, empty
    values = integers(tree.get("categories"), f"{where}.categories", low=0, high=_CATEGORIES - 1)
    sizes = integers(
        tree.get("categories_sizes"), f"{where}.categories_sizes", low=1, high=len(values), size=len(nodes)
    )
    starts = integers(tree.get("categories_segments"), f"{where}.categories_segments", size=len(nodes))
    ends = np.cumsum(sizes)
    if not np.array_equal(starts, ends - sizes) or ends[-1] != len(values):
        refuse(f"{where}.categories_segments", "one set after another, all categories in one", starts)
    rising = np.diff(values, prepend=-1) > 0
    rising[starts] = True
    _check(~rising, f"{where}.categories", "ascending categories in a set", values)
    category_set[nodes] = np.arange(len(nodes))
    return np.where(inner, category_set, -1), sizes, values


def _values(
    tree: dict[str, Any],
    param: dict[str, Any],
    leaf: Array,
    conditions: Array,
    right: Array,
    where: str,
    outputs: int,
) -> Array:
    """Give what each leaf adds, float32: a number, or one for each output."""
    width = whole(param, "size_leaf_vector", f"{where}.tree_param", low=0, high=2**31 - 1, default=0)
    if width <= 1:
        _check(leaf & ~np.isfinite(conditions), f"{where}.split_conditions", "a finite number", conditions)
        return conditions[leaf][:, None]
    if width != outputs:
        refuse(f"{where}.tree_param.size_leaf_vector", f"0, 1 or {outputs}", width)
    # Since XGBoost 3.2 leaves are apart, and a leaf's right child is its place there.
    apart = "leaf_weights" in tree
    key = "leaf_weights" if apart else "base_weights"
    weights = _single(tree.get(key), f"{where}.{key}", None if apart else len(leaf) * width)
    if len(weights) % width:
        refuse(f"{where}.{key}", f"rows of {width} numbers", f"{len(weights)}")
    rows = right[leaf] if apart else np.flatnonzero(leaf)
    missing = leaf & ((right < 0) | (right >= len(weights) // width)) & apart
    _check(missing, f"{where}.right_children", f"a leaf's row, 0 to {len(weights) // width - 1}", right)
    values = weights.reshape(-1, width)[rows]
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values).all(1))[0])
        refuse(f"{where}.{key}[{rows[place] * width}]", f"{width} finite numbers", values[place])
    return values
