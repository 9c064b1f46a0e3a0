"""Neural networks, linear models, scalers and PCA of scikit-learn, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.dense.layers import Activation, Affine, DenseDescription, Layer, Linear
from pyscale.infer.importers.sklearn_nodes import class_name, feature_names

__all__ = ["KNOWN", "check_transformer", "from_steps"]

Array = NDArray[Any]
_ACTIVATIONS = {"identity": "identity", "relu": "relu", "tanh": "tanh", "logistic": "sigmoid"}


def from_steps(steps: list[tuple[str, Any]]) -> DenseDescription:
    """
    Describe a fitted model of scikit-learn, and what is in front of it.

    Parameters
    ----------
    steps : list of (str, object)
        Where each is, and one of `KNOWN`; transformers, and a model or a transformer last.

    Returns
    -------
    DenseDescription
        Scalers are stages of their own, in float64: folded into a linear layer of float32 they would lose
        digits where a mean is large beside its deviation. The arithmetic of linear layers is that of float32,
        also where scikit-learn's is of float64.

    Raises
    ------
    ValueError
        One is not fitted, or has what is not supported: several labels at once, LogisticRegression of one
        class against the rest.
    """
    layers: list[Layer] = []
    for where, step in steps[:-1]:
        layers += _transformer(where, step)
    where, last = steps[-1]
    name = class_name(last)
    if name in _MODELS:
        own, kind, classes, flat = _MODELS[name](where, last)
    else:
        own, kind, classes, flat = _transformer(where, last), "values", None, False
    where, first = steps[0]
    names = feature_names(first, int(_fitted(where, first, "n_features_in_")))
    return DenseDescription(
        layers=(*layers, *own),
        kind=kind,
        classes=classes,
        flat=flat,
        source="sklearn",
        feature_names=names,
    )


def _fitted(where: str, model: Any, name: str) -> Any:
    value = getattr(model, name, None)
    if value is None:
        raise ValueError(f"{where}: expected a fitted {type(model).__name__}, got one without {name}")
    return value


def _refuse(where: str, expected: str, got: str) -> NoReturn:
    raise ValueError(f"{where}: expected {expected}, got {got}")


def check_transformer(where: str, step: Any) -> None:
    """Refuse what may only be the last step."""
    if class_name(step) not in _TRANSFORMERS:
        _refuse(where, f"one of {', '.join(_TRANSFORMERS)} before the model", type(step).__qualname__)


def _transformer(where: str, step: Any) -> list[Layer]:
    check_transformer(where, step)
    return _TRANSFORMERS[class_name(step)](where, step)


def _standard(where: str, step: Any) -> list[Layer]:
    features = int(_fitted(where, step, "n_features_in_"))
    mean = np.zeros(features) if not step.with_mean else _fitted(where, step, "mean_")
    scale = np.ones(features) if not step.with_std else 1 / np.asarray(_fitted(where, step, "scale_"))
    return [Affine(scale, -mean * scale)]


def _min_max(where: str, step: Any) -> list[Layer]:
    return [Affine(_fitted(where, step, "scale_"), _fitted(where, step, "min_"))]


def _max_abs(where: str, step: Any) -> list[Layer]:
    scale = 1 / np.asarray(_fitted(where, step, "scale_"), np.float64)
    return [Affine(scale, np.zeros(len(scale)))]


def _robust(where: str, step: Any) -> list[Layer]:
    features = int(_fitted(where, step, "n_features_in_"))
    center = np.zeros(features) if not step.with_centering else _fitted(where, step, "center_")
    scale = np.ones(features) if not step.with_scaling else _fitted(where, step, "scale_")
    scale = 1 / np.asarray(scale, np.float64)
    return [Affine(scale, -np.asarray(center, np.float64) * scale)]


def _pca(where: str, step: Any) -> list[Layer]:
    components = np.array(_fitted(where, step, "components_"), np.float64)
    mean = _fitted(where, step, "mean_")
    if step.whiten:
        variance = np.asarray(_fitted(where, step, "explained_variance_"), np.float64)
        least = np.finfo(variance.dtype).eps  # as scikit-learn does
        components /= np.maximum(np.sqrt(variance), least)[:, None]
    return [Affine(np.ones(len(mean)), -np.asarray(mean, np.float64)), Linear(components)]


_Read = tuple[list[Layer], str, Array | None, bool]


def _linear(where: str, model: Any) -> _Read:
    coefficients = np.asarray(_fitted(where, model, "coef_"), np.float64)
    flat = coefficients.ndim == 1
    weight = np.atleast_2d(coefficients)
    bias = np.broadcast_to(np.asarray(model.intercept_, np.float64), (len(weight),))
    return [Linear(weight, bias)], "values", None, flat


def _logistic(where: str, model: Any) -> _Read:
    weight = np.asarray(_fitted(where, model, "coef_"), np.float64)
    classes = np.asarray(_fitted(where, model, "classes_"))
    way = getattr(model, "multi_class", "deprecated")
    if len(classes) > 2 and (way == "ovr" or model.solver == "liblinear"):
        _refuse(where, "one model of all classes", "one class against the rest")
    if len(classes) == 2 and way == "multinomial":
        _refuse(where, "a logistic model of two classes", "a multinomial one")
    bias = np.broadcast_to(np.asarray(model.intercept_, np.float64), (len(weight),))
    linear = Linear(weight, bias)
    if len(classes) == 2:
        return [linear, Activation("sigmoid")], "binary", classes, True
    return [linear, Activation("softmax")], "multiclass", classes, False


def _network(where: str, model: Any, last: str) -> list[Layer]:
    layers: list[Layer] = []
    weights, biases = _fitted(where, model, "coefs_"), _fitted(where, model, "intercepts_")
    if model.activation not in _ACTIVATIONS:
        _refuse(f"{where}.activation", f"one of {', '.join(_ACTIVATIONS)}", repr(model.activation))
    for place, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        hidden = place < len(weights) - 1
        layers.append(Linear(np.asarray(weight).T, bias))
        layers.append(Activation(_ACTIVATIONS[model.activation] if hidden else last))
    return layers


def _classifier(where: str, model: Any) -> _Read:
    classes = np.asarray(_fitted(where, model, "classes_"))
    last = str(_fitted(where, model, "out_activation_"))
    if last == "softmax":
        return _network(where, model, "softmax"), "multiclass", classes, False
    if len(classes) != 2 or np.asarray(model.coefs_[-1]).shape[1] != 1:
        _refuse(where, "one label of each row", "several")
    return _network(where, model, "sigmoid"), "binary", classes, True


def _regressor(where: str, model: Any) -> _Read:
    layers = _network(where, model, "identity")
    if getattr(model, "loss", "squared_error") == "poisson":
        _refuse(f"{where}.loss", "squared_error", "poisson")
    return layers, "values", None, True


_TRANSFORMERS: dict[str, Callable[[str, Any], list[Layer]]] = {
    "StandardScaler": _standard,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "RobustScaler": _robust,
    "PCA": _pca,
}
_MODELS: dict[str, Callable[[str, Any], _Read]] = {
    "MLPClassifier": _classifier,
    "MLPRegressor": _regressor,
    "LogisticRegression": _logistic,
    "LinearRegression": _linear,
    "Ridge": _linear,
    "Lasso": _linear,
    "ElasticNet": _linear,
}
#: The classes that may be last.
KNOWN = (*_TRANSFORMERS, *_MODELS)
