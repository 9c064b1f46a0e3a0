"""scikit-learn's decision trees, and forests that average them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.forest.trees import Link, ModelDescription, Trees
from pyscale.infer.importers.reading import floats, refuse
from pyscale.infer.importers.sklearn_nodes import (
    Nodes,
    attribute,
    count,
    feature_names,
    items,
    join,
    labels_of,
    read_nodes,
    source,
)

__all__ = ["read_forest", "read_leaves", "read_tree"]

Array = NDArray[Any]


def read_tree(estimator: object, classifier: bool) -> ModelDescription:
    """Describe a fitted decision tree or extra tree."""
    return _read([attribute(estimator, "tree_")], ["tree_"], estimator, classifier)


def read_forest(estimator: object, classifier: bool) -> ModelDescription:
    """
    Describe a fitted forest: random, or of extra trees.

    scikit-learn adds the trees' answers in float64, from 0 and in their order where it uses one thread, and
    divides by their number in the end.
    """
    trees = items(attribute(estimator, "estimators_"), "estimators_")
    places = [f"estimators_[{i}]" for i in range(len(trees))]
    found = [attribute(tree, "tree_", where) for tree, where in zip(trees, places, strict=True)]
    return _read(found, [f"{where}.tree_" for where in places], estimator, classifier)


def _read(found: list[Any], places: list[str], estimator: object, classifier: bool) -> ModelDescription:
    num_features = count(attribute(estimator, "n_features_in_"), "n_features_in_")
    targets = count(attribute(estimator, "n_outputs_"), "n_outputs_")
    labels = labels_of(estimator, targets) if classifier else None
    # Targets of fewer classes than another have columns of zeros.
    of_each = labels if isinstance(labels, tuple) else () if labels is None else (labels,)
    classes = max(map(len, of_each), default=1)
    nodes, values = [], []
    for tree, where in zip(found, places, strict=True):
        nodes.append(read_nodes(tree, where, num_features))
        values.append(read_leaves(tree, nodes[-1], where, targets, classes))
    width = targets * classes
    trees = Trees(
        num_features=num_features,
        num_outputs=width,
        precision="float32",
        sums="float64",
        output=np.zeros(len(nodes), np.int32),
        base=np.zeros(width),
        **join(nodes, values),
    )
    return ModelDescription(
        trees=trees,
        link=Link(divisor=0.0),
        # Two classes have a column each as well.
        kind="multiclass" if classifier else "regression",
        source=source(),
        classes=labels,
        feature_names=feature_names(estimator, num_features),
    )


def read_leaves(tree: object, nodes: Nodes, where: str, targets: int, classes: int) -> Array:
    """Give the values of a tree's leaves: float64, leaves x (targets x classes)."""
    value = attribute(tree, "value", where)
    shape = (len(nodes.leaf), targets, classes)
    if not isinstance(value, np.ndarray) or value.shape != shape:
        refuse(f"{where}.value", f"an array of shape {shape}", getattr(value, "shape", value))
    leaves = value[nodes.leaf]
    return floats(leaves.reshape(-1), f"{where}.value (of leaves)").reshape(len(leaves), targets * classes)
