"""Models of scikit-learn and torch in memory whose attributes or tensors are nonsense: refused by name."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from pyscale.infer import convert

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
    pytest.importorskip("sklearn")
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


LAYERS = ["Linear", "BatchNorm1d", "ELU", "LayerNorm", "Softmax"]


def network() -> Any:
    nn = pytest.importorskip("torch").nn
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ELU(), nn.LayerNorm(3), nn.Softmax(1)).eval()


def test_junk_for_tensors() -> None:
    model = network()
    import torch

    state = dict(model.state_dict())
    convert(state, LAYERS)
    wrong = [
        *JUNK,
        torch.zeros(0),
        torch.zeros(3, 4, 5),
        torch.zeros(2, 2),
        torch.zeros(3, dtype=torch.complex64),
        torch.zeros(3, 4).to_sparse(),
        torch.zeros(3, 4, device="meta"),
        torch.zeros(3, 4, dtype=torch.float8_e4m3fn),
    ]
    for key in (key for key in state if "num_batches" not in key):
        for junk in wrong:
            with pytest.raises(ValueError, match=r"expected .*, got"):
                convert(state | {key: junk}, LAYERS)


def test_junk_for_layers() -> None:
    state = dict(network().state_dict())
    for wrong in (5, "Linear", {"Linear": 1}):
        with pytest.raises(TypeError, match="layers: expected a list of names, got"):
            convert(state, wrong)
    for junk in ([None], [("Linear", 5)], [("Linear", {"x": 1})], LAYERS[:3], ["Conv2d"]):
        with pytest.raises(ValueError, match=r"expected .*, got"):
            convert(state, junk)


def test_weights_that_are_made_of_others() -> None:
    """A module that is pruned, say, has them beside those that are read."""
    state = dict(network().state_dict())
    with pytest.raises(ValueError, match=r"layers\[0\]: expected weight, bias of Linear, got bias_orig"):
        convert({key.replace("0.bias", "0.bias_orig"): value for key, value in state.items()}, LAYERS)
    model = network()
    model.register_forward_pre_hook(lambda module, given: given)
    with pytest.raises(ValueError, match="expected no hooks"):
        convert(model)
