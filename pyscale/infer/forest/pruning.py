"""Smaller forests: leaves that hold nearly the same become one."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.forest.forest import Forest
from pyscale.infer.forest.trees import Trees

__all__ = ["PruneReport", "prune"]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class PruneReport:
    """
    What pruning changed.

    Attributes
    ----------
    nodes_before, nodes_after : int
        Nodes of all trees, leaves included.
    bytes_before, bytes_after : int
        Of the trees' arrays, which is about the size of a saved model.
    seconds_before, seconds_after : float
        Of predicting the rows that were given, the best of three times.
    largest_change, mean_change : float
        Of the answers to them: absolute, over all outputs.
    labels_changed : float
        Share of the rows whose label is another now; 0 for models that do not classify.
    """

    nodes_before: int
    nodes_after: int
    bytes_before: int
    bytes_after: int
    seconds_before: float
    seconds_after: float
    largest_change: float
    mean_change: float
    labels_changed: float


def prune(model: Forest, X: Any, *, tolerance: float) -> tuple[Forest, PruneReport]:
    """
    Merge leaves below one node whose values differ by no more than a tolerance.

    Parameters
    ----------
    model : Forest
        Is not changed.
    X : array
        Rows x features: on which the change of the answers and of the speed is measured.
    tolerance : float
        In the units of the leaves' values: what a tree adds to a row changes by half of it at most, since
        leaves that become one get the middle of the smallest and the largest value.

    Returns
    -------
    Forest
        The smaller model.
    PruneReport
        What it cost and brought.

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
    smaller = Forest(dataclasses.replace(description, trees=_merged(description.trees, tolerance)))
    before, seconds_before = _timed(model, X)
    after, seconds_after = _timed(smaller, X)
    change = np.abs(after.astype(np.float64) - before)
    classifies = description.kind in ("binary", "multiclass") and len(before)
    return smaller, PruneReport(
        nodes_before=description.trees.num_nodes,
        nodes_after=smaller._description.trees.num_nodes,
        bytes_before=_bytes(description.trees),
        bytes_after=_bytes(smaller._description.trees),
        seconds_before=seconds_before,
        seconds_after=seconds_after,
        largest_change=float(change.max(initial=0)),
        mean_change=float(change.mean()) if change.size else 0.0,
        labels_changed=float((before.argmax(1) != after.argmax(1)).mean()) if classifies else 0.0,
    )


def _timed(model: Forest, X: Any) -> tuple[Array, float]:
    classifies = model.kind in ("binary", "multiclass")
    least, answers = np.inf, np.empty(0)
    for _ in range(3):
        start = time.perf_counter()
        answers = model.predict_proba(X) if classifies else model.raw(X)
        least = min(least, time.perf_counter() - start)
    return answers, least


def _bytes(trees: Trees) -> int:
    arrays = (getattr(trees, field.name) for field in dataclasses.fields(trees))
    return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))


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
    optional: dict[str, Any] = {
        name: None if getattr(trees, name) is None else getattr(trees, name)[stays]
        for name in ("zero_is_missing", "category_set")
    }
    if optional["category_set"] is not None:
        optional["category_set"] = np.where(leaf, -1, optional["category_set"]).astype(np.int32)
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
