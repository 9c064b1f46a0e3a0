"""What is read in the same way from all of scikit-learn's estimators: attributes, labels, nodes."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.reading import floats, integers, refuse

__all__ = [
    "Nodes",
    "attribute",
    "class_name",
    "count",
    "feature_names",
    "items",
    "join",
    "labels",
    "labels_of",
    "number",
    "read_nodes",
    "round_down",
    "source",
]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """
    One tree's nodes, their children looked at: a tree with its root first and each child after its parent.

    Attributes
    ----------
    leaf : numpy.ndarray
        bool, nodes.
    feature, left, right : numpy.ndarray
        int64, nodes; of no meaning at leaves.
    threshold : numpy.ndarray
        float64, nodes.
    missing_left : numpy.ndarray
        bool, nodes.
    """

    leaf: Array
    feature: Array
    threshold: Array
    left: Array
    right: Array
    missing_left: Array


def class_name(value: object) -> str:
    """Give the name of a class of scikit-learn's; an empty one for all other objects."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__.partition(".")[0] == "sklearn" else ""


def source() -> str:
    """Name scikit-learn and the version that is loaded: there is an object of it, so it has been imported."""
    return f"scikit-learn {getattr(sys.modules.get('sklearn'), '__version__', '(unknown version)')}"


def attribute(owner: object, name: str, where: str = "") -> Any:
    """Give an attribute; refuses objects that lack it: not fitted, or of another version."""
    try:
        return getattr(owner, name)
    except AttributeError:
        raise ValueError(
            f"{where + '.' if where else ''}{name}: {type(owner).__name__} has no such attribute; it is not "
            f"fitted, or {source()} keeps it elsewhere (1.9 is known to work)"
        ) from None


def count(value: object, where: str, low: int = 1, high: int = 2**31 - 1) -> int:
    """Give one whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        refuse(where, f"a whole number from {low} to {high}", value)
    return int(value)


def number(value: object, where: str) -> float:
    """Give one number that is neither infinite nor NaN."""
    try:
        result = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        refuse(where, "a finite number", value)
    return result


def items(value: object, where: str, size: int | None = None) -> Sequence[Any]:
    """Give a list, tuple or array of objects that has at least one, or `size`, of them."""
    if isinstance(value, np.ndarray):
        value = list(value) if value.ndim else None
    if not isinstance(value, list | tuple) or not value:
        refuse(where, "a list that is not empty", value)
    if size is not None and len(value) != size:
        refuse(where, f"{size} items", len(value))
    return value


def labels(estimator: object, size: int) -> Array:
    """Give the labels of a classifier that has so many classes."""
    return _labels(attribute(estimator, "classes_"), "classes_", size)


def _labels(classes: object, where: str, size: int) -> Array:
    if not isinstance(classes, np.ndarray) or classes.shape != (size,):
        refuse(where, f"an array of {size} labels", classes)
    return classes.copy()


def labels_of(estimator: object, targets: int) -> Array | tuple[Array, ...]:
    """Give the labels of a classifier, of each of its targets where there are several."""
    sizes = attribute(estimator, "n_classes_")
    if targets == 1:
        return labels(estimator, count(sizes, "n_classes_"))
    found = []
    classes = items(attribute(estimator, "classes_"), "classes_", targets)
    for k, (size, own) in enumerate(zip(items(sizes, "n_classes_", targets), classes, strict=True)):
        found.append(_labels(own, f"classes_[{k}]", count(size, f"n_classes_[{k}]")))
    return tuple(found)


def feature_names(estimator: object, num_features: int) -> tuple[str, ...] | None:
    """Give the columns' names, where the estimator was fitted to a table that had them."""
    found = getattr(estimator, "feature_names_in_", None)
    if found is None:
        return None
    names = items(found, "feature_names_in_", num_features)
    if not all(isinstance(name, str) for name in names):
        refuse("feature_names_in_", "strings", found)
    return tuple(str(name) for name in names)


def round_down(thresholds: Array) -> Array:
    """
    Round thresholds to the greatest float32 that is not above them, kept as float64.

    A float32 is at most a float64 threshold exactly where it is at most that float32.
    """
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
    above = nearest > thresholds
    nearest[above] = np.nextafter(nearest[above], np.float32(-np.inf))
    return nearest.astype(np.float64)


def read_nodes(tree: object, where: str, num_features: int) -> Nodes:
    """Read a `sklearn.tree._tree.Tree`, whose values are compared in float32."""
    size = count(attribute(tree, "node_count", where), f"{where}.node_count")
    columns = count(attribute(tree, "n_features", where), f"{where}.n_features")
    if columns != num_features:
        refuse(f"{where}.n_features", f"{num_features}", columns)
    left, right = (
        integers(attribute(tree, name, where), f"{where}.{name}", low=-1, high=size - 1, size=size)
        for name in ("children_left", "children_right")
    )
    leaf = left < 0
    feature = integers(attribute(tree, "feature", where), f"{where}.feature", size=size)
    threshold = floats(attribute(tree, "threshold", where), f"{where}.threshold", size=size)
    missing = attribute(tree, "missing_go_to_left", where)
    missing_left = integers(missing, f"{where}.missing_go_to_left", low=0, high=1, size=size) > 0
    check_children(left, right, leaf, where, ("children_left", "children_right"))
    check_features(feature, leaf, f"{where}.feature", num_features)
    return Nodes(
        leaf=leaf,
        feature=feature,
        threshold=round_down(threshold),
        left=left,
        right=right,
        missing_left=missing_left,
    )


def check_features(feature: Array, leaf: Array, where: str, num_features: int) -> None:
    """Refuse nodes that compare a column that is not there."""
    wrong = ~leaf & ((feature < 0) | (feature >= num_features))
    if wrong.any():
        place = int(wrong.argmax())
        refuse(f"{where}[{place}]", f"0 to {num_features - 1}", int(feature[place]))


def check_children(left: Array, right: Array, leaf: Array, where: str, names: tuple[str, str]) -> None:
    """Refuse what is no tree: children follow their parents, as they always do, and have one each."""
    inner = np.flatnonzero(~leaf)
    for name, children in zip(names, (left[inner], right[inner]), strict=True):
        wrong = (children <= inner) | (children >= len(leaf))
        if wrong.any():
            place = int(inner[wrong.argmax()])
            got = int(children[wrong.argmax()])
            refuse(f"{where}.{name}[{place}]", f"{place + 1} to {len(leaf) - 1}", got)
    parents = np.bincount(np.concatenate([left[inner], right[inner]]), minlength=len(leaf))
    parents[0] += 1
    if (parents != 1).any():
        place = int((parents != 1).argmax())
        refuse(f"{where}: node {place}", "one parent", f"{int(parents[place])}")


def join(trees: Sequence[Nodes], values: Sequence[Array]) -> dict[str, Any]:
    """Lay trees one after another: `first`, nodes and `values` of `Trees`, of each tree's leaves' values."""
    leaf = np.concatenate([tree.leaf for tree in trees])
    if len(leaf) >= 2**31:
        raise ValueError(f"trees: models of up to 2^31 - 1 nodes are supported, got {len(leaf)}")
    left = np.concatenate([tree.left for tree in trees])
    left[leaf] = np.arange(leaf.sum())
    return {
        "first": np.cumsum([0, *(len(tree.leaf) for tree in trees)], dtype=np.int64),
        "feature": _inner(trees, "feature", leaf, -1).astype(np.int32),
        "threshold": _inner(trees, "threshold", leaf, 0),
        "left": left.astype(np.int32),
        "right": _inner(trees, "right", leaf, 0).astype(np.int32),
        "missing_left": _inner(trees, "missing_left", leaf, False),
        "values": np.concatenate(values),
    }


def _inner(trees: Sequence[Nodes], name: str, leaf: Array, at_leaves: float) -> Array:
    return np.where(leaf, at_leaves, np.concatenate([getattr(tree, name) for tree in trees]))
