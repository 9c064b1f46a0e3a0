"""scikit-learn's gradient boosting (the one that does not bin its values)."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.forest.trees import Link, ModelDescription, Trees
from pyscale.infer.importers.reading import floats, refuse
from pyscale.infer.importers.sklearn_forests import read_leaves
from pyscale.infer.importers.sklearn_nodes import (
    attribute,
    class_name,
    count,
    feature_names,
    items,
    join,
    labels,
    number,
    read_nodes,
    source,
)

__all__ = ["describe_boosting", "read_boosting"]

Array = NDArray[Any]
LINKS = {
    "IdentityLink": Link(),
    "LogLink": Link(name="exp"),
    "LogitLink": Link(name="logistic"),
    "HalfLogitLink": Link(name="logistic", scale=2.0),
    "MultinomialLogit": Link(name="softmax"),
}


def read_boosting(estimator: object, classifier: bool) -> ModelDescription:
    """
    Describe a fitted model of gradient boosting.

    scikit-learn starts with the answer of `init_`, and adds ``learning_rate * value`` of each tree, both
    steps in float64. Leaves here have the product; a machine on which scikit-learn was compiled to do both
    steps in one, with one rounding, may give other last bits.
    """
    num_features = count(attribute(estimator, "n_features_in_"), "n_features_in_")
    per_round = count(attribute(estimator, "n_trees_per_iteration_"), "n_trees_per_iteration_")
    rate = number(attribute(estimator, "learning_rate"), "learning_rate")
    rounds = items(attribute(estimator, "estimators_"), "estimators_")
    nodes, values = [], []
    for i, row in enumerate(rounds):
        for k, tree in enumerate(items(row, f"estimators_[{i}]", per_round)):
            where = f"estimators_[{i}, {k}]"
            found = attribute(tree, "tree_", where)
            nodes.append(read_nodes(found, f"{where}.tree_", num_features))
            values.append(rate * read_leaves(found, nodes[-1], f"{where}.tree_", 1, 1))
    trees = Trees(
        num_features=num_features,
        num_outputs=per_round,
        precision="float32",
        sums="float64",
        output=np.tile(np.arange(per_round, dtype=np.int32), len(rounds)),
        base=_base(estimator, classifier, per_round),
        **join(nodes, values),
    )
    return describe_boosting(estimator, trees, classifier)


def describe_boosting(estimator: object, trees: Trees, classifier: bool) -> ModelDescription:
    """Describe boosted trees whose loss knows its link."""
    name = class_name(attribute(attribute(estimator, "_loss"), "link", "_loss"))
    if name not in LINKS or (name == "MultinomialLogit") != (trees.num_outputs > 1):
        refuse("_loss.link", f"one of {', '.join(LINKS)}, of {trees.num_outputs} outputs", name)
    return ModelDescription(
        trees=trees,
        link=LINKS[name],
        kind=("multiclass" if trees.num_outputs > 1 else "binary") if classifier else "regression",
        source=source(),
        classes=labels(estimator, max(trees.num_outputs, 2)) if classifier else None,
        feature_names=feature_names(estimator, trees.num_features),
        trees_per_round=trees.num_outputs,
        decides="not_negative" if trees.precision == "float32" else "positive",
    )


def _base(estimator: object, classifier: bool, outputs: int) -> Array:
    """Give what the sums begin with: of estimators that answer the same to all rows, scikit-learn's word."""
    init = attribute(estimator, "init_")
    if isinstance(init, str) and init == "zero":
        return np.zeros(outputs)
    constant = class_name(init) == "DummyRegressor" or (
        class_name(init) == "DummyClassifier"
        and attribute(init, "strategy", "init_") in ("prior", "most_frequent", "constant")
    )
    if not constant:
        raise ValueError(
            f"init_: only estimators that answer the same to all rows are supported (DummyRegressor, "
            f"DummyClassifier with its prior, most frequent or a constant class, 'zero'), got {init!r}"
        )
    loss = attribute(estimator, "_loss")
    ask = attribute(sys.modules[type(estimator).__module__], "_init_raw_predictions")
    try:
        # One row, of any width: it is not looked at.
        start = ask(np.zeros((1, 1), np.float32), init, loss, classifier)
    except Exception as error:  # its own code, on parts that may not fit together
        raise ValueError(f"init_: {type(init).__name__} gave no answer: {error}") from error
    if not isinstance(start, np.ndarray) or start.shape != (1, outputs):
        refuse("init_", f"{outputs} answers a row", getattr(start, "shape", start))
    return floats(start[0], "init_")
