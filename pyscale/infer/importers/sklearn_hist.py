"""scikit-learn's gradient boosting of histograms."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.forest.trees import ModelDescription, Trees
from pyscale.infer.importers.reading import floats, integers, refuse
from pyscale.infer.importers.sklearn_boosting import describe_boosting
from pyscale.infer.importers.sklearn_categories import Categories, read_categories
from pyscale.infer.importers.sklearn_nodes import (
    Nodes,
    attribute,
    check_children,
    check_features,
    count,
    items,
    join,
)

__all__ = ["read_hist_boosting"]

Array = NDArray[Any]
FIELDS = (
    "value",
    "feature_idx",
    "num_threshold",
    "missing_go_to_left",
    "left",
    "right",
    "is_leaf",
    "is_categorical",
    "bitset_idx",
)


def read_hist_boosting(estimator: object, classifier: bool) -> ModelDescription:
    """
    Describe a fitted model of histogram gradient boosting.

    Values are compared, and leaves' values (which include the learning rate) added, in float64, from
    `_baseline_prediction` on. Columns are in the order of the input: the encoder of categories, which puts
    theirs first, is undone.
    """
    num_features = count(attribute(estimator, "n_features_in_"), "n_features_in_")
    per_round = count(attribute(estimator, "n_trees_per_iteration_"), "n_trees_per_iteration_")
    baseline = attribute(estimator, "_baseline_prediction")
    if not isinstance(baseline, np.ndarray) or baseline.shape != (1, per_round) or baseline.dtype != "f8":
        refuse("_baseline_prediction", f"a float64 array of shape (1, {per_round})", baseline)
    categories = read_categories(estimator, num_features)
    rounds = items(attribute(estimator, "_predictors"), "_predictors")
    nodes, values, bits, sets = [], [], [], 0
    category_set = []
    for i, row in enumerate(rounds):
        for k, predictor in enumerate(items(row, f"_predictors[{i}]", per_round)):
            where = f"_predictors[{i}][{k}]"
            table = _table(predictor, where)
            part, decide = _read_nodes(table, where, categories, num_features)
            nodes.append(part)
            values.append(floats(table["value"][part.leaf], f"{where}.nodes.value (of leaves)")[:, None])
            category_set.append(np.full(len(table), -1, np.int32))
            category_set[-1][decide] = np.arange(sets, sets + len(decide))
            sets += len(decide)
            if len(decide):
                rows = attribute(predictor, "raw_left_cat_bitsets", where)
                bits.append(categories.left(rows, table["bitset_idx"][decide], part.feature[decide], where))
    trees = Trees(
        num_features=num_features,
        num_outputs=per_round,
        precision="float64",
        sums="float64",
        output=np.tile(np.arange(per_round, dtype=np.int32), len(rounds)),
        base=floats(baseline[0], "_baseline_prediction"),
        category_set=np.concatenate(category_set) if sets else None,
        set_first=np.cumsum([0, *np.concatenate([n for n, _ in bits])], dtype=np.int64) if sets else None,
        set_values=np.concatenate([v for _, v in bits]) if sets else None,
        known_categories=categories.known,
        whole_categories=bool(categories.known),
        **join(nodes, values),
    )
    return describe_boosting(estimator, trees, classifier)


def _table(predictor: object, where: str) -> Array:
    nodes = attribute(predictor, "nodes", where)
    if not isinstance(nodes, np.ndarray) or nodes.ndim != 1 or not 0 < len(nodes) < 2**31:
        refuse(f"{where}.nodes", "an array of nodes", nodes)
    lacking = [name for name in FIELDS if name not in (nodes.dtype.names or ())]
    if lacking:
        refuse(f"{where}.nodes", f"fields named {', '.join(lacking)}", nodes.dtype)
    return nodes


def _read_nodes(table: Array, place: str, categories: Categories, num_features: int) -> tuple[Nodes, Array]:
    """Read a tree's nodes, and the numbers of those that sets decide: all that compare such a column."""
    where = f"{place}.nodes"
    leaf, missing_left, sets = (
        integers(table[name], f"{where}.{name}", low=0, high=1) > 0
        for name in ("is_leaf", "missing_go_to_left", "is_categorical")
    )
    left, right = (
        integers(table[name], f"{where}.{name}", low=0, high=len(table) - 1) for name in ("left", "right")
    )
    check_children(left, right, leaf, where, ("left", "right"))
    feature = integers(table["feature_idx"], f"{where}.feature_idx")
    check_features(feature, leaf, f"{where}.feature_idx", num_features)
    feature, expected = categories.inputs(np.where(leaf, 0, feature))
    wrong = ~leaf & (sets != expected)
    if wrong.any():
        node = int(wrong.argmax())
        refuse(f"{where}.is_categorical[{node}]", f"{int(expected[node])}, as of its column", int(sets[node]))
    # Leaves and nodes of categories may have anything for a threshold.
    threshold = np.where(leaf | sets, 0.0, table["num_threshold"])
    nodes = Nodes(
        leaf=leaf,
        feature=feature,
        threshold=floats(threshold, f"{where}.num_threshold"),
        left=left,
        right=right,
        missing_left=missing_left,
    )
    return nodes, np.flatnonzero(sets & ~leaf)
