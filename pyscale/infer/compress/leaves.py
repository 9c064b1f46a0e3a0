"""Smaller forests: leaves that hold nearly the same become one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.forest.forest import Forest
from pyscale.infer.forest.trees import Trees

__all__ = ["merge_leaves"]

Array = NDArray[Any]


def merge_leaves(model: Forest, tolerance: float) -> tuple[Forest, tuple[str, ...]]:
    """
    Merge leaves below one node whose values differ by no more than a tolerance.

    Parameters
    ----------
    model : Forest
        Is not changed.
    tolerance : float
        In the units of the leaves' values.

    Returns
    -------
    Forest
        The smaller model: leaves that become one get the middle of the smallest and the largest value.
    tuple of str
        What was done.

    Raises
    ------
    ValueError
        A negative tolerance, or leaves that hold linear functions.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance: expected 0 or more, got {tolerance}")
    description = model._description
    if description.trees.linear is not None:
        raise ValueError("model: expected leaves that hold numbers, got linear functions")
    trees = _merged(description.trees, tolerance)
    note = f"{description.trees.num_nodes:,} nodes became {trees.num_nodes:,}"
    return Forest(dataclasses.replace(description, trees=trees)), (note,)


def _merged(trees: Trees, tolerance: float) -> Trees:
    tree_of = np.repeat(np.arange(trees.num_trees), np.diff(trees.first))
    start = trees.first[tree_of]
    is_leaf = trees.feature < 0
    left, right = start + trees.left, start + trees.right
    low = np.zeros((trees.num_nodes, trees.values.shape[1]))
    low[is_leaf] = trees.values[trees.left[is_leaf]]
    high = low.copy()
    gone = np.zeros(trees.num_nodes, np.bool_)
    inner = np.flatnonzero(~is_leaf)
    while True:  # a level of every tree at a time
        inner = inner[~is_leaf[inner]]
        ready = inner[is_leaf[left[inner]] & is_leaf[right[inner]]]
        least = np.minimum(low[left[ready]], low[right[ready]])
        most = np.maximum(high[left[ready]], high[right[ready]])
        with np.errstate(invalid="ignore"):  # infinite leaves stay
            close = (most - least <= tolerance).all(axis=1)
        merged = ready[close]
        if not len(merged):
            break
        low[merged], high[merged] = least[close], most[close]
        is_leaf[merged] = True
        gone[left[merged]] = gone[right[merged]] = True
    # Whatever is below a merged node was merged before it.
    stays = np.flatnonzero(~gone)
    number = np.cumsum(~gone) - 1
    first = np.append(number, len(stays))[trees.first]
    leaf = is_leaf[stays]
    new_left, new_right = np.zeros(len(stays), np.int32), np.zeros(len(stays), np.int32)
    nodes = stays[~leaf]
    within = first[tree_of[nodes]]
    new_left[~leaf] = number[left[nodes]] - within
    new_right[~leaf] = number[right[nodes]] - within
    new_left[leaf] = np.arange(int(leaf.sum()))
    ends = stays[leaf]
    # What was not merged keeps its bits.
    values = np.where(low[ends] == high[ends], low[ends], low[ends] / 2 + high[ends] / 2)
    optional: dict[str, Any] = {}
    if trees.zero_is_missing is not None:
        optional["zero_is_missing"] = trees.zero_is_missing[stays]
    if trees.category_set is not None:
        optional |= _sets(trees, np.where(leaf, -1, trees.category_set[stays]))
    return dataclasses.replace(
        trees,
        first=first.astype(np.int64),
        feature=np.where(leaf, -1, trees.feature[stays]).astype(np.int32),
        threshold=trees.threshold[stays],
        left=new_left,
        right=new_right,
        missing_left=trees.missing_left[stays],
        values=values.astype(trees.sums).astype(np.float64),
        **optional,
    )


def _sets(trees: Trees, category_set: Array) -> dict[str, Array]:
    """Keep the sets of categories that nodes still have."""
    assert trees.set_first is not None
    assert trees.set_values is not None
    sizes = np.diff(trees.set_first)
    used = np.zeros(len(sizes), np.bool_)
    used[category_set[category_set >= 0]] = True
    number = np.append(np.cumsum(used) - 1, -1)  # of no set: -1
    return {
        "category_set": number[category_set].astype(np.int32),
        "set_first": np.append(0, np.cumsum(sizes[used])).astype(np.int64),
        "set_values": trees.set_values[np.repeat(used, sizes)],
    }
