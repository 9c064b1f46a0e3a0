"""Trees, forests and boosted trees of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pyscale.infer.forest.trees import ModelDescription
from pyscale.infer.importers.sklearn_boosting import read_boosting
from pyscale.infer.importers.sklearn_forests import read_forest, read_tree
from pyscale.infer.importers.sklearn_hist import read_hist_boosting
from pyscale.infer.importers.sklearn_isolation import read_isolation_forest
from pyscale.infer.importers.sklearn_nodes import class_name

__all__ = ["from_sklearn"]

Reader = Callable[[object], ModelDescription]


def _pairs() -> dict[str, Reader]:
    readers: dict[str, Reader] = {"IsolationForest": read_isolation_forest}
    for kind, classifier in (("Classifier", True), ("Regressor", False)):
        for name, read in (
            ("DecisionTree", read_tree),
            ("ExtraTree", read_tree),
            ("RandomForest", read_forest),
            ("ExtraTrees", read_forest),
            ("GradientBoosting", read_boosting),
            ("HistGradientBoosting", read_hist_boosting),
        ):
            readers[name + kind] = partial(read, classifier=classifier)
    return readers


READERS = _pairs()


def from_sklearn(estimator: object) -> ModelDescription:
    """
    Describe a fitted tree, forest or boosted model of scikit-learn.

    Parameters
    ----------
    estimator : object
        A fitted DecisionTree, ExtraTree, RandomForest, ExtraTrees, GradientBoosting or HistGradientBoosting
        classifier or regressor, or an IsolationForest. Not of a class derived from these, which may predict
        otherwise.

    Returns
    -------
    ModelDescription
        The trees have the nodes' numbers that `apply` gives. The link makes `predict_proba` of classifiers
        (of two classes: of boosted ones the second class's, of forests and trees both), `predict` of
        regressors, and `score_samples` of an IsolationForest, whose `offset` `decision_function` subtracts.

    Raises
    ------
    TypeError
        For what is of another class.
    ValueError
        For estimators that are not fitted, or whose attributes make no sense; and for what
        is not supported: boosting that starts from the answers of a
        model (`init`), categories that are not whole numbers from 0 to 2^31 - 1. It names the attribute.
    """
    name = class_name(estimator)
    if name not in READERS:
        known = ", ".join(sorted(READERS))
        kind = type(estimator)
        raise TypeError(f"estimator: expected one of {known}, got {kind.__module__}.{kind.__qualname__}")
    return READERS[name](estimator)
