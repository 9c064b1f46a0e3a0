"""Linear models, networks and scalers of scikit-learn whose attributes are nonsense: refused by name."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from pyscale.infer import convert

pytest.importorskip("sklearn")

JUNK: list[Any] = [
    "x",
    [],
    {},
    10**30,
    [[1], [2, 3]],
    object(),
    np.zeros(0),
    np.zeros((0, 0)),
    np.array(["a"]),
    np.array([None]),
    np.ones((2, 2, 2)),
    np.ones(3, np.complex128),
]
# What is read of each, if it is read as numbers.
READ = {
    "LinearRegression": ("coef_", "intercept_"),
    "LogisticRegression": ("coef_", "intercept_", "classes_"),
    "StandardScaler": ("mean_", "scale_"),
    "MinMaxScaler": ("scale_", "min_"),
    "PCA": ("components_", "mean_", "explained_variance_"),
    "MLPClassifier": ("coefs_", "intercepts_", "classes_", "activation"),
    "MLPRegressor": ("coefs_", "intercepts_", "activation"),
}


def models() -> dict[str, Any]:
    from sklearn import datasets, decomposition, linear_model, neural_network, preprocessing

    x, y = datasets.load_wine(return_X_y=True)
    network = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}
    made = (
        linear_model.LinearRegression(),
        linear_model.LogisticRegression(max_iter=20),
        preprocessing.StandardScaler(),
        preprocessing.MinMaxScaler(),
        decomposition.PCA(3, whiten=True),
        neural_network.MLPClassifier(**network),
        neural_network.MLPRegressor(**network),
    )
    return {type(model).__name__: model.fit(x, y) for model in made}


@pytest.fixture(scope="module")
def fitted() -> dict[str, Any]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they have not converged
        return models()


@pytest.mark.parametrize("name", READ)
def test_junk_for_what_was_fitted(name: str, fitted: dict[str, Any]) -> None:
    convert(fitted[name])
    for attribute in (*READ[name], "n_features_in_"):
        for junk in JUNK:
            wrong = copy.copy(fitted[name])
            setattr(wrong, attribute, junk)
            with pytest.raises(ValueError, match=r"expected .*, got"):
                convert(wrong)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_junk_for_a_layer(name: str, fitted: dict[str, Any]) -> None:
    for attribute in ("coefs_", "intercepts_"):
        for junk in JUNK:
            wrong = copy.copy(fitted[name])
            setattr(wrong, attribute, [*getattr(wrong, attribute)[:-1], junk])
            with pytest.raises(ValueError, match=r"expected .*, got"):
                convert(wrong)
