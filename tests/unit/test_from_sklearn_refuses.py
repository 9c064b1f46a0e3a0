"""Estimators that cannot be expressed, are not fitted, or make no sense: a ValueError says where."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pyscale.infer.importers.sklearn_trees import READERS, from_sklearn

datasets = pytest.importorskip("sklearn.datasets")
ensemble = pytest.importorskip("sklearn.ensemble")
linear = pytest.importorskip("sklearn.linear_model")
tree = pytest.importorskip("sklearn.tree")

X, Y = datasets.load_iris(return_X_y=True)
CATEGORIES = np.column_stack([X, Y, np.arange(len(Y)) % 7])
JUNK: list[Any] = [
    None,
    True,
    "x",
    b"",
    2**31 - 1,
    -1,
    0,
    2**31,
    10**400,
    float("nan"),
    float("inf"),
    1j,
    [],
    [[]],
    [None],
    [[], [1]],
    {},
    object(),
    int,
    np.array(3),
    np.array(["a", "b"]),
    np.array([np.nan, 1.0, 2.0, 3.0]),
    np.array([2**63], np.uint64),
    np.zeros((2, 2)),
    np.zeros((1, 1)),
    np.zeros(4, [("value", "f8")]),
    np.array([None, {}], object),
    np.array(["2020-01-01"], "M8[D]"),
]


def fitted(name: str) -> Any:
    """A small model; of histogram boosting, with categories."""
    kind = getattr(tree if name.startswith(("Decision", "ExtraTreeC", "ExtraTreeR")) else ensemble, name)
    options = {"max_iter": 3} if name.startswith("Hist") else {"n_estimators": 3}
    if kind.__module__.startswith("sklearn.tree"):
        return kind(max_depth=4, random_state=0).fit(X, Y)
    if name.startswith("Hist"):
        return kind(categorical_features=[4, 5], random_state=0, **options).fit(CATEGORIES, Y)
    return kind(random_state=0, **options).fit(X, Y)


MODELS = {name: fitted(name) for name in sorted(READERS)}


def opened(found: Any) -> SimpleNamespace:
    """A tree whose arrays may be changed."""
    names = ("children_left", "children_right", "feature", "threshold", "missing_go_to_left", "value")
    arrays = {name: getattr(found, name).copy() for name in names}
    return SimpleNamespace(n_features=found.n_features, node_count=found.node_count, **arrays)


def tampered(change: Callable[[SimpleNamespace], None]) -> Any:
    model = copy.deepcopy(MODELS["RandomForestClassifier"])
    replacement = opened(model.estimators_[1].tree_)
    change(replacement)
    model.estimators_[1] = SimpleNamespace(tree_=replacement)
    return model


def put(name: str, place: int, value: float) -> Callable[[SimpleNamespace], None]:
    def change(found: SimpleNamespace) -> None:
        getattr(found, name)[place] = value

    return change


def test_an_opened_tree_is_as_good_as_its_own() -> None:
    found = from_sklearn(tampered(lambda _: None)).trees
    expected = from_sklearn(MODELS["RandomForestClassifier"]).trees
    assert np.array_equal(found.threshold, expected.threshold)
    assert np.array_equal(found.values, expected.values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("children_left", 0, 0), r"estimators_\[1\].tree_.children_left\[0\]: expected 1 to \d+, got 0"),
        (put("children_left", 0, 2**31), r"tree_.children_left\[0\]: expected -1 to \d+, got"),
        (put("children_right", 0, 1), r"estimators_\[1\].tree_: node \d+: expected one parent, got '[02]'"),
        (put("children_right", 0, -1), r"tree_.children_right\[0\]: expected 1 to \d+, got -1"),
        (put("children_left", 0, -1), r"tree_: node 1: expected one parent, got '0'"),
        (put("feature", 0, 4), r"estimators_\[1\].tree_.feature\[0\]: expected 0 to 3, got 4"),
        (put("feature", 0, -2), r"estimators_\[1\].tree_.feature\[0\]: expected 0 to 3, got -2"),
        (put("threshold", 0, np.nan), r"estimators_\[1\].tree_.threshold\[0\]: expected a number, got nan"),
        (put("missing_go_to_left", 0, 2), r"tree_.missing_go_to_left\[0\]: expected 0 to 1, got"),
        (put("value", -1, np.nan), r"estimators_\[1\].tree_.value \(of leaves\)\[\d+\]: expected a number"),
        (lambda t: setattr(t, "node_count", 2**31 - 1), r"tree_.children_left: expected 2147483647 numbers"),
        (lambda t: setattr(t, "n_features", 9), r"estimators_\[1\].tree_.n_features: expected 4, got 9"),
        (lambda t: setattr(t, "node_count", 0), r"tree_.node_count: expected a whole number from 1"),
        (lambda t: setattr(t, "value", t.value[:, :, :2]), r"tree_.value: expected an array of shape"),
        (lambda t: delattr(t, "missing_go_to_left"), r"tree_.missing_go_to_left: .* no such attribute"),
    ],
)
def test_trees_that_make_no_sense(change: Callable[[SimpleNamespace], None], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_sklearn(tampered(change))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("left", 0, r"_predictors\[1\]\[0\].nodes.left\[0\]: expected 1 to \d+, got 0"),
        ("right", 2**32 - 1, r"_predictors\[1\]\[0\].nodes.right\[0\]: expected 0 to \d+, got"),
        ("right", 1, r"_predictors\[1\]\[0\].nodes: node \d+: expected one parent"),
        ("feature_idx", 6, r"_predictors\[1\]\[0\].nodes.feature_idx\[0\]: expected 0 to 5, got 6"),
        ("is_leaf", 3, r"_predictors\[1\]\[0\].nodes.is_leaf\[0\]: expected 0 to 1"),
        ("is_leaf", 1, r"_predictors\[1\]\[0\].nodes: node 1: expected one parent, got '0'"),
        (
            "is_categorical",
            1,
            r"_predictors\[1\]\[0\].nodes.is_categorical\[0\]: expected 0, as of its column",
        ),
        ("num_threshold", np.nan, r"_predictors\[1\]\[0\].nodes.num_threshold\[0\]: expected a number"),
    ],
)
def test_predictors_that_make_no_sense(field: str, value: float, message: str) -> None:
    model = copy.deepcopy(MODELS["HistGradientBoostingRegressor"])
    nodes = model._predictors[1][0].nodes
    nodes[0]["is_categorical"] = 0
    nodes[0]["feature_idx"] = 3
    from_sklearn(model)
    nodes[0][field] = value
    with pytest.raises(ValueError, match=message):
        from_sklearn(model)


def test_sets_that_make_no_sense() -> None:
    model = copy.deepcopy(MODELS["HistGradientBoostingRegressor"])
    predictor = model._predictors[0][0]
    node = int(np.flatnonzero(predictor.nodes["is_categorical"])[0])
    predictor.nodes["bitset_idx"][node] = 99
    with pytest.raises(ValueError, match=r"\]\.nodes\.bitset_idx \(of categories\)\[0\]: expected 0 to"):
        from_sklearn(model)
    predictor.raw_left_cat_bitsets = np.zeros((3, 9), np.uint32)
    with pytest.raises(ValueError, match=r"raw_left_cat_bitsets: expected a uint32 array of sets x 8"):
        from_sklearn(model)


@pytest.mark.parametrize("name", sorted(READERS))
def test_not_fitted(name: str) -> None:
    with pytest.raises(ValueError, match=r"has no such attribute; it is not fitted, or scikit-learn 1\."):
        from_sklearn(type(MODELS[name])())


# It may predict what it wants.
Derived = type("Derived", (tree.DecisionTreeClassifier,), {"__module__": __name__})


@pytest.mark.parametrize(
    "estimator",
    [
        None,
        3,
        "model.pkl",
        Derived().fit(X, Y),
        linear.LinearRegression(),
        ensemble.AdaBoostClassifier(),
        tree,
    ],
    ids=str,
)
def test_other_objects(estimator: Any) -> None:
    with pytest.raises(TypeError, match=r"estimator: expected one of DecisionTreeClassifier, .*, got \w"):
        from_sklearn(estimator)


@pytest.mark.parametrize("junk", [[3, 2], 3, [3], [3, "2"], [2**40, 3], None])
def test_several_targets_that_make_no_sense(junk: Any) -> None:
    model = tree.ExtraTreeClassifier().fit(X, np.column_stack([Y, Y]))
    model.n_classes_ = junk
    with pytest.raises(ValueError, match=r"(n_)?classes_"):
        from_sklearn(model)
    model.n_classes_, model.classes_ = [3, 3], [np.arange(3), np.arange(2)]
    with pytest.raises(ValueError, match=r"classes_\[1\]: expected an array of 3 labels"):
        from_sklearn(model)


def test_boosting_that_starts_from_a_model() -> None:
    model = ensemble.GradientBoostingRegressor(init=linear.LinearRegression(), n_estimators=2).fit(X, Y)
    with pytest.raises(ValueError, match=r"init_: only estimators that answer the same .*LinearRegression"):
        from_sklearn(model)
    dummy = pytest.importorskip("sklearn.dummy").DummyClassifier(strategy="uniform")
    model = ensemble.GradientBoostingClassifier(init=dummy, n_estimators=2).fit(X, Y)
    with pytest.raises(ValueError, match=r"init_: only estimators that answer the same to all rows"):
        from_sklearn(model)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (Y + 0.5, r"_\[0\]\[1\].categories_\[0\] \(only whole.*expected whole numbers, got"),
        (Y - 1.0, r"_\[0\]\[1\].categories_\[0\] \(only whole.*expected 0 to 2147483647, got"),
        (Y * 2.0**31, r"_\[0\]\[1\].categories_\[0\] \(only whole.*expected 0 to 2147483647, got"),
        (np.array(["a", "b", "c"], object)[Y], r"only categories that are numbers are supported, got object"),
    ],
)
def test_categories_that_cannot_be_expressed(values: Any, message: str) -> None:
    x = np.column_stack([X, values])
    model = ensemble.HistGradientBoostingClassifier(categorical_features=[4], max_iter=2).fit(x, Y)
    with pytest.raises(ValueError, match=message):
        from_sklearn(model)


READ = [
    "n_features_in_",
    "n_outputs_",
    "n_classes_",
    "classes_",
    "estimators_",
    "tree_",
    "learning_rate",
    "init_",
    "_loss",
    "feature_names_in_",
    "n_trees_per_iteration_",
    "_baseline_prediction",
    "_predictors",
    "_preprocessor",
    "is_categorical_",
    "_max_features",
    "_max_samples",
    "estimators_features_",
    "_decision_path_lengths",
    "_average_path_length_per_tree",
    "offset_",
]


@pytest.mark.parametrize("name", sorted(READERS))
def test_junk_for_any_attribute_is_a_value_error_or_harmless(name: str) -> None:
    model = MODELS[name]
    refused = 0
    for attribute in READ:
        if not hasattr(model, attribute) and attribute != "feature_names_in_":
            continue
        kept = model.__dict__.get(attribute)
        for junk in JUNK:
            try:
                model.__dict__[attribute] = junk
                with suppress(ValueError):
                    from_sklearn(model)
                    refused -= 1
                refused += 1
            finally:
                model.__dict__[attribute] = kept
        # Lists of the right length of the wrong things.
        if isinstance(kept, list | tuple):
            for junk in JUNK:
                model.__dict__[attribute] = [junk] * len(kept)
                with suppress(ValueError):
                    from_sklearn(model)
            model.__dict__[attribute] = kept
    assert refused > 50
    from_sklearn(model)


@pytest.mark.parametrize(
    "name", ["RandomForestRegressor", "HistGradientBoostingClassifier", "IsolationForest"]
)
def test_junk_inside(name: str) -> None:
    """The arrays of a tree, of a predictor and of the encoder."""
    for junk in JUNK:
        model = copy.deepcopy(MODELS[name])
        if name.startswith("Hist"):
            predictor = model._predictors[0][0]
            owners = [(predictor, n) for n in ("nodes", "raw_left_cat_bitsets")]
            encoder = model._preprocessor.transformers_[0][1]
            owners += [
                (encoder, "categories_"),
                (model._loss, "link"),
                (model._preprocessor, "transformers_"),
            ]
        else:
            replacement = opened(model.estimators_[0].tree_)
            model.estimators_[0] = SimpleNamespace(tree_=replacement)
            owners = [
                (replacement, n) for n in vars(replacement) if n != "value" or name != "IsolationForest"
            ]
        for owner, attribute in owners:
            kept = getattr(owner, attribute)
            setattr(owner, attribute, junk)
            with pytest.raises(ValueError, match=r"."):
                from_sklearn(model)
            setattr(owner, attribute, kept)
        from_sklearn(model)
