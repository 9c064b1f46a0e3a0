"""Histogram gradient boosting of scikit-learn predicts the same once imported, categories included."""

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

from pyscale.infer.importers.sklearn_trees import from_sklearn

datasets = pytest.importorskip("sklearn.datasets")
ensemble = pytest.importorskip("sklearn.ensemble")

# scikit-learn adds up all inputs to see whether they are finite; the largest ones overflow then.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in (reduce|cast):RuntimeWarning")

ROWS = 120


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "quantile", "poisson", "gamma"])
@pytest.mark.parametrize("missing", [False, True])
def test_histogram_boosting_of_numbers(loss: str, missing: bool) -> None:
    x, y = datasets.load_diabetes(return_X_y=True)
    if missing:
        x[np.random.default_rng(0).random(x.shape) < 0.1] = np.nan
    quantile = 0.3 if loss == "quantile" else None
    model = ensemble.HistGradientBoostingRegressor(loss=loss, quantile=quantile, max_iter=6).fit(x, y)
    found = from_sklearn(model)
    q = around_thresholds(found.trees, ROWS, 6)
    assert np.array_equal(reference.sums(found.trees, q), model._raw_predict(q))
    assert np.array_equal(predicted(found, q)[:, 0], model.predict(q))


def test_histogram_boosting_of_classes() -> None:
    for load, kind in ((datasets.load_breast_cancer, "binary"), (datasets.load_wine, "multiclass")):
        x, y = load(return_X_y=True)
        model = ensemble.HistGradientBoostingClassifier(max_iter=6, early_stopping=True).fit(x, y)
        found = from_sklearn(model)
        q = around_thresholds(found.trees, ROWS, 7)
        assert np.array_equal(reference.sums(found.trees, q).squeeze(), model.decision_function(q))
        probabilities = model.predict_proba(q)[:, 1:] if kind == "binary" else model.predict_proba(q)
        assert predicted(found, q) == pytest.approx(probabilities, rel=1e-14)
        assert found.kind == kind


def with_categories(seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(seed)
    columns = [
        rng.normal(size=400),
        rng.integers(0, 12, 400) * 3,
        rng.integers(0, 40, 400),
        rng.normal(size=400),
        rng.choice([0, 7, 254, 255, 256, 70000, 2**31 - 1], 400),
    ]
    x = np.column_stack(columns)
    x[rng.random(x.shape) < 0.05] = np.nan
    effects = rng.normal(size=(3, 41))
    parts = [effects[i][(np.nan_to_num(x[:, c]) % 41).astype(int)] for i, c in enumerate((1, 2, 4))]
    return x, sum(parts) + np.nan_to_num(x[:, 0] * 0.3)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_histogram_boosting_of_categories(seed: int) -> None:
    x, y = with_categories(seed)
    categorical = [1, 2, 4]
    model = ensemble.HistGradientBoostingRegressor(
        categorical_features=categorical, max_iter=6, min_samples_leaf=3
    ).fit(x, y)
    found = from_sklearn(model)
    assert found.trees.category_set is not None
    assert (found.trees.category_set >= 0).sum() > 5
    assert sorted(found.trees.known_categories) == categorical
    q = around_thresholds(found.trees, ROWS, seed)
    # What scikit-learn refuses in a column of categories.
    q[:, categorical] = np.where(np.isinf(q[:, categorical]), -3.0, q[:, categorical])
    assert np.array_equal(predicted(found, q)[:, 0], model.predict(q))
    assert np.array_equal(predicted(found, x)[:, 0], model.predict(x))


def test_histogram_boosting_of_categories_only() -> None:
    x, y = with_categories(0)
    x = np.column_stack([x[:, 1], x[:, 2]])
    model = ensemble.HistGradientBoostingRegressor(categorical_features=[True, True], max_iter=4).fit(x, y)
    found = from_sklearn(model)
    q = np.array([[0.0, -0.0], [3.0, 5.5], [-1.0, np.nan], [4.0, 39.0], [1e-300, -1e-300]])
    assert np.array_equal(predicted(found, q)[:, 0], model.predict(q))
