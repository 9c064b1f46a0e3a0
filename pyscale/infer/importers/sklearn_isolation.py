"""scikit-learn's isolation forests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.forest.trees import Link, ModelDescription, Trees
from pyscale.infer.importers.reading import floats, integers
from pyscale.infer.importers.sklearn_nodes import (
    Nodes,
    attribute,
    count,
    feature_names,
    items,
    join,
    number,
    read_nodes,
    source,
)

__all__ = ["read_isolation_forest"]

Array = NDArray[Any]


def read_isolation_forest(estimator: object) -> ModelDescription:
    """
    Describe a fitted isolation forest; its answers are those of `score_samples`.

    Leaves add their depth and the average length of the paths that their rows would still have made. What
    is added is divided by the number of trees times the length expected of all: one product, divided by
    once, which is why it is the link's scale and the link has no divisor.
    """
    num_features = count(attribute(estimator, "n_features_in_"), "n_features_in_")
    found = items(attribute(estimator, "estimators_"), "estimators_")
    drawn = count(attribute(estimator, "_max_features"), "_max_features", high=num_features)
    columns = items(attribute(estimator, "estimators_features_"), "estimators_features_", len(found))
    depths = items(attribute(estimator, "_decision_path_lengths"), "_decision_path_lengths", len(found))
    lengths = attribute(estimator, "_average_path_length_per_tree")
    lengths = items(lengths, "_average_path_length_per_tree", len(found))
    nodes, values = [], []
    for i, tree in enumerate(found):
        where = f"estimators_[{i}]"
        part = read_nodes(attribute(tree, "tree_", where), f"{where}.tree_", drawn)
        # Where no columns are drawn the trees have them in their own order, whatever was noted.
        if drawn != num_features:
            part = _renumber(part, columns[i], f"estimators_features_[{i}]", drawn, num_features)
        size = len(part.leaf)
        depth = floats(depths[i], f"_decision_path_lengths[{i}]", size=size)
        length = floats(lengths[i], f"_average_path_length_per_tree[{i}]", size=size)
        nodes.append(part)
        values.append((depth + length - 1.0)[part.leaf][:, None])
    samples = count(attribute(estimator, "_max_samples"), "_max_samples")
    scale = len(found) * average_path_length(samples)
    trees = Trees(
        num_features=num_features,
        num_outputs=1,
        precision="float32",
        sums="float64",
        output=np.zeros(len(nodes), np.int32),
        # Trees of one row have no depth; scikit-learn then says 2^-1.
        base=np.full(1, 0.0 if scale else 1.0),
        **join(nodes, values),
    )
    return ModelDescription(
        trees=trees,
        link=Link(name="isolation", scale=scale or 1.0),
        kind="anomaly",
        source=source(),
        feature_names=feature_names(estimator, num_features),
        offset=number(attribute(estimator, "offset_"), "offset_"),
    )


def average_path_length(samples: int) -> float:
    """Give the average length of paths in a tree of so many rows, each in a leaf of its own."""
    if samples <= 2:
        return float(samples - 1)
    rows = np.array([samples], np.float64)
    return float((2.0 * (np.log(rows - 1.0) + np.euler_gamma) - 2.0 * (rows - 1.0) / rows)[0])


def _renumber(nodes: Nodes, columns: object, where: str, size: int, num_features: int) -> Nodes:
    numbers = integers(columns, where, low=0, high=num_features - 1, size=size)
    return replace(nodes, feature=numbers[np.where(nodes.leaf, 0, nodes.feature)])
