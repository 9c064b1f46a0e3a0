"""Models of scikit-learn predict the same once imported: routing and sums to the bit, links nearly so."""

from __future__ import annotations

from typing import Any

import forest_reference as reference
import numpy as np
import pytest
from forest_inputs import around_thresholds
from forest_reference import predicted
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pyscale.infer.importers.sklearn_nodes import round_down
from pyscale.infer.importers.sklearn_trees import from_sklearn

datasets = pytest.importorskip("sklearn.datasets")
dummy = pytest.importorskip("sklearn.dummy")
ensemble = pytest.importorskip("sklearn.ensemble")
tree = pytest.importorskip("sklearn.tree")

# scikit-learn adds up all inputs to see whether they are finite; the largest ones overflow then.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in (reduce|cast):RuntimeWarning")

ROWS = 120
FORESTS = ("RandomForest", "ExtraTrees")
TREES = ("DecisionTree", "ExtraTree")


def wine(missing: bool = False) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = datasets.load_wine(return_X_y=True)
    if missing:
        x[np.random.default_rng(0).random(x.shape) < 0.1] = np.nan
    return x, y


def grid(seed: int, rows: int, features: int, dtype: str) -> NDArray[Any]:
    """Values a few ulp apart, so that thresholds lie between two neighbours; with zeros and tiny ones."""
    rng = np.random.default_rng(seed)
    ulp = np.finfo(dtype).eps
    x = (1 + rng.integers(-6, 7, (rows, features)) * ulp).astype(dtype)
    tiny = rng.integers(-3, 4, x.shape) * np.finfo(dtype).smallest_subnormal
    huge = np.finfo(dtype).max * rng.uniform(-1, 1, x.shape)
    kind = rng.integers(0, 4, features)
    return np.where(kind == 0, tiny, np.where(kind == 1, huge, x)).astype(dtype)


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("missing", [False, True])
def test_trees(name: str, missing: bool) -> None:
    x, y = wine(missing)
    model = getattr(tree, f"{name}Classifier")(random_state=0).fit(x, np.array(["no", "yes", "maybe"])[y])
    found = from_sklearn(model)
    q = around_thresholds(found.trees, ROWS, 1, nan=missing, infinite=False)
    assert np.array_equal(reference.leaves(found.trees, q)[:, 0], model.apply(q))
    assert np.array_equal(predicted(found, q), model.predict_proba(q))
    assert found.classes is not None
    assert np.array_equal(found.classes[predicted(found, q).argmax(axis=1)], model.predict(q))
    assert (found.kind, found.trees_per_round) == ("multiclass", 1)
    assert found.source.startswith("scikit-learn 1.")
    targets = y if missing else x[:, [3, 4]] * 0.1
    model = getattr(tree, f"{name}Regressor")(random_state=0, max_leaf_nodes=9).fit(x, targets)
    found = from_sklearn(model)
    assert np.array_equal(predicted(found, q).squeeze(), model.predict(q))
    assert (found.kind, found.classes) == ("regression", None)


@pytest.mark.parametrize("name", FORESTS)
@pytest.mark.parametrize("missing", [False, True])
def test_forests_of_classes(name: str, missing: bool) -> None:
    x, y = wine(missing)
    model = getattr(ensemble, f"{name}Classifier")(n_estimators=9, max_depth=7, random_state=0).fit(x, y)
    found = from_sklearn(model)
    q = around_thresholds(found.trees, ROWS, 1, nan=missing, infinite=False)
    assert np.array_equal(reference.leaves(found.trees, q), model.apply(q))
    assert np.array_equal(predicted(found, q), model.predict_proba(q))
    assert found.classes is not None
    assert list(found.classes) == [0, 1, 2]


@pytest.mark.parametrize("name", FORESTS)
@pytest.mark.parametrize("targets", [1, 3])
def test_forests_of_numbers(name: str, targets: int) -> None:
    x, y = datasets.load_diabetes(return_X_y=True)
    y = y if targets == 1 else np.column_stack([y, x[:, 0] / 3, y**2])
    model = getattr(ensemble, f"{name}Regressor")(n_estimators=7, max_depth=5, random_state=0).fit(x, y)
    found = from_sklearn(model)
    q = around_thresholds(found.trees, ROWS, 2, nan=False, infinite=False)
    assert np.array_equal(predicted(found, q), model.predict(q).reshape(ROWS, targets))


def test_two_classes_and_one_class_have_a_column_each() -> None:
    x, y = datasets.load_breast_cancer(return_X_y=True)
    for labels in (y, np.zeros(len(y))):
        model = ensemble.RandomForestClassifier(n_estimators=5, max_depth=3, random_state=0).fit(x, labels)
        found = from_sklearn(model)
        assert np.array_equal(predicted(found, x[:ROWS]), model.predict_proba(x[:ROWS]))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_thresholds_between_neighbouring_inputs(seed: int) -> None:
    x = grid(seed, 60, 4, "float32")
    y = np.random.default_rng(seed).integers(0, 5, len(x))
    model = ensemble.ExtraTreesClassifier(n_estimators=3, random_state=0).fit(x, y)
    found = from_sklearn(model)
    q = around_thresholds(found.trees, ROWS, seed, nan=False, infinite=False)
    q = np.concatenate([q, x.astype(np.float64)])
    assert np.array_equal(reference.leaves(found.trees, q), model.apply(q))
    x = grid(seed, 60, 4, "float64")
    model = ensemble.HistGradientBoostingRegressor(min_samples_leaf=1, max_iter=3).fit(x, y)
    found = from_sklearn(model)
    q = np.concatenate([around_thresholds(found.trees, ROWS, seed), x])
    assert np.array_equal(predicted(found, q)[:, 0], model.predict(q))


@given(st.floats(allow_nan=False), st.floats(width=32, allow_nan=False))
def test_thresholds_rounded_down_decide_the_same(threshold: float, x: float) -> None:
    rounded = round_down(np.array([threshold]))
    assert rounded[0] == np.float32(rounded[0])
    with np.errstate(over="ignore"):
        near = np.float32(threshold)
    for value in (x, near, np.nextafter(near, np.float32(9)), np.nextafter(near, np.float32(-9))):
        assert (float(value) <= threshold) == (float(value) <= rounded[0])


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
@pytest.mark.parametrize("init", [None, "zero", "median"])
def test_gradient_boosting_of_numbers(loss: str, init: str | None) -> None:
    x, y = datasets.load_diabetes(return_X_y=True)
    start = dummy.DummyRegressor(strategy="median") if init == "median" else init
    model = ensemble.GradientBoostingRegressor(
        loss=loss, init=start, n_estimators=8, learning_rate=0.3, random_state=0
    ).fit(x, y)
    found = from_sklearn(model)
    q = around_thresholds(found.trees, ROWS, 3, nan=False, infinite=False)
    assert np.array_equal(reference.leaves(found.trees, q), model.apply(q))
    assert np.array_equal(predicted(found, q)[:, 0], model.predict(q))
    assert (found.kind, found.trees_per_round) == ("regression", 1)


@pytest.mark.parametrize("loss", ["log_loss", "exponential"])
@pytest.mark.parametrize("init", [None, "zero", "prior", "most_frequent"])
def test_gradient_boosting_of_two_classes(loss: str, init: str | None) -> None:
    x, y = datasets.load_breast_cancer(return_X_y=True)
    start = init if init in (None, "zero") else dummy.DummyClassifier(strategy=init)
    model = ensemble.GradientBoostingClassifier(loss=loss, init=start, n_estimators=8, random_state=0)
    model.fit(x, np.array(["benign", "malignant"])[y])
    found = from_sklearn(model)
    q = around_thresholds(found.trees, ROWS, 4, nan=False, infinite=False)
    assert np.array_equal(reference.sums(found.trees, q)[:, 0], model.decision_function(q))
    assert predicted(found, q)[:, 0] == pytest.approx(model.predict_proba(q)[:, 1], rel=1e-14)
    assert found.kind == "binary"
    assert found.classes is not None
    assert list(found.classes) == ["benign", "malignant"]


@pytest.mark.parametrize("init", [None, "zero"])
def test_gradient_boosting_of_three_classes(init: str | None) -> None:
    x, y = wine()
    model = ensemble.GradientBoostingClassifier(init=init, n_estimators=5, subsample=0.7, random_state=0)
    model.fit(x, y)
    found = from_sklearn(model)
    q = around_thresholds(found.trees, ROWS, 5, nan=False, infinite=False)
    assert np.array_equal(reference.sums(found.trees, q), model.decision_function(q))
    assert predicted(found, q) == pytest.approx(model.predict_proba(q), rel=1e-14)
    assert (found.kind, found.trees_per_round) == ("multiclass", 3)
    # A part of the rounds is what the model said after them.
    staged = list(model.staged_decision_function(q))
    assert np.array_equal(reference.sums(found.trees, q, 6), staged[1])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_features": 0.5, "bootstrap": True},
        {"max_samples": 2},
        {"max_samples": 1},
        {"contamination": 0.2, "max_samples": 50},
    ],
    ids=str,
)
def test_isolation_forests(options: dict[str, Any]) -> None:
    x, _ = wine(missing=True)
    model = ensemble.IsolationForest(n_estimators=8, random_state=0, **options).fit(x)
    found = from_sklearn(model)
    q = np.concatenate([around_thresholds(found.trees, ROWS, 8), x])
    scores = predicted(found, q)[:, 0]
    assert np.array_equal(scores, model.score_samples(q))
    assert np.array_equal(scores - found.offset, model.decision_function(q))
    assert np.array_equal(np.where(scores < found.offset, -1, 1), model.predict(q))
    assert found.kind == "anomaly"


def test_pruned_and_constrained_trees() -> None:
    x, y = datasets.load_diabetes(return_X_y=True)
    up = [1, 0, -1, 0, 0, 0, 0, 0, 0, 0]
    for model in (
        tree.DecisionTreeRegressor(ccp_alpha=30.0, random_state=0),
        tree.DecisionTreeRegressor(monotonic_cst=up, max_leaf_nodes=20, criterion="absolute_error"),
        ensemble.HistGradientBoostingRegressor(monotonic_cst=up, max_iter=4, interaction_cst="pairwise"),
    ):
        model.fit(x, y)
        found = from_sklearn(model)
        q = around_thresholds(found.trees, ROWS, 9, nan=False, infinite=False)
        assert np.array_equal(predicted(found, q)[:, 0], model.predict(q))


def test_names_of_columns() -> None:
    x, y = datasets.load_iris(return_X_y=True)
    model = tree.DecisionTreeClassifier(max_depth=2).fit(x, y)
    assert from_sklearn(model).feature_names is None
    names = np.array(["sepal", "width", "petal", "breadth"], object)
    model.feature_names_in_ = names
    assert from_sklearn(model).feature_names == tuple(names)


def test_a_big_forest_is_read_fast() -> None:
    x, y = datasets.load_digits(return_X_y=True)
    model = ensemble.RandomForestClassifier(n_estimators=200, max_leaf_nodes=32, random_state=0)
    model.fit(x[:500], y[:500])
    found = from_sklearn(model)
    assert found.trees.num_trees == 200
    q = x[500:520]
    assert np.array_equal(predicted(found, q), model.predict_proba(q))
