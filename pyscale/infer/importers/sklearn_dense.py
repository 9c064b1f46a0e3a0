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
    names = feature_names(first, _features(where, first))
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


def _features(where: str, model: Any) -> int:
    count = _fitted(where, model, "n_features_in_")
    if not isinstance(count, int | np.integer) or not 0 < count < 2**31:
        _refuse(f"{where}.n_features_in_", "a number of columns", repr(count)[:40])
    return int(count)


def _numbers(where: str, model: Any, name: str, *axes: int) -> Array:
    """Give what was fitted as an array of numbers, with as many axes as one may have."""
    return _array(f"{where}.{name}", _fitted(where, model, name), *axes)


def _array(where: str, values: Any, *axes: int) -> Array:
    array = _opened(where, values)
    if array.dtype.kind not in "fiu" or array.ndim not in axes:
        wanted = " or ".join(map(str, axes))
        _refuse(where, f"numbers of {wanted} axes", f"{array.dtype} of {array.ndim}")
    return array


def _opened(where: str, values: Any) -> Array:
    try:
        return np.asarray(values)
    except ValueError:  # lists of other lengths in a list
        _refuse(where, "an array", type(values).__qualname__)


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
    features = _features(where, step)
    mean = _numbers(where, step, "mean_", 1) if step.with_mean else np.zeros(features)
    scale = 1 / _numbers(where, step, "scale_", 1) if step.with_std else np.ones(features)
    if len(mean) != len(scale):
        _refuse(where, f"a mean and a scale of {features} columns", f"{len(mean)} and {len(scale)}")
    return [Affine(scale, -mean * scale)]


def _min_max(where: str, step: Any) -> list[Layer]:
    return [Affine(_numbers(where, step, "scale_", 1), _numbers(where, step, "min_", 1))]


def _max_abs(where: str, step: Any) -> list[Layer]:
    scale = 1 / _numbers(where, step, "scale_", 1).astype(np.float64)
    return [Affine(scale, np.zeros(len(scale)))]


def _robust(where: str, step: Any) -> list[Layer]:
    features = _features(where, step)
    center = _numbers(where, step, "center_", 1) if step.with_centering else np.zeros(features)
    scale = 1 / _numbers(where, step, "scale_", 1) if step.with_scaling else np.ones(features)
    if len(center) != len(scale):
        _refuse(where, f"a center and a scale of {features} columns", f"{len(center)} and {len(scale)}")
    return [Affine(scale, -center * scale)]


def _pca(where: str, step: Any) -> list[Layer]:
    components = _numbers(where, step, "components_", 2).astype(np.float64)
    mean = _numbers(where, step, "mean_", 1)
    if step.whiten:
        variance = _numbers(where, step, "explained_variance_", 1).astype(np.float64)
        if len(variance) != len(components):
            _refuse(f"{where}.explained_variance_", f"{len(components)} numbers", str(len(variance)))
        least = np.finfo(variance.dtype).eps  # as scikit-learn does
        components /= np.maximum(np.sqrt(variance), least)[:, None]
    return [Affine(np.ones(len(mean)), -np.asarray(mean, np.float64)), Linear(components)]


_Read = tuple[list[Layer], str, Array | None, bool]


def _linear(where: str, model: Any) -> _Read:
    coefficients = _numbers(where, model, "coef_", 1, 2).astype(np.float64)
    flat = coefficients.ndim == 1
    weight = np.atleast_2d(coefficients)
    return [Linear(weight, _bias(where, model, weight))], "values", None, flat


def _bias(where: str, model: Any, weight: Array) -> Array:
    bias = _array(f"{where}.intercept_", model.intercept_, 0, 1).astype(np.float64)
    if bias.size not in (1, len(weight)):
        _refuse(f"{where}.intercept_", f"1 or {len(weight)} numbers", str(bias.size))
    return np.broadcast_to(bias, (len(weight),))


def _classes(where: str, model: Any) -> Array:
    classes = _opened(f"{where}.classes_", _fitted(where, model, "classes_"))
    if classes.ndim != 1 or len(classes) < 2 or classes.dtype.kind not in "biufOSU":
        _refuse(f"{where}.classes_", "two labels or more", f"{classes.dtype} of shape {classes.shape}")
    return classes


def _logistic(where: str, model: Any) -> _Read:
    weight = _numbers(where, model, "coef_", 2).astype(np.float64)
    classes = _classes(where, model)
    way = getattr(model, "multi_class", "deprecated")
    if len(classes) > 2 and (way == "ovr" or model.solver == "liblinear"):
        _refuse(where, "one model of all classes", "one class against the rest")
    if len(classes) == 2 and way == "multinomial":
        _refuse(where, "a logistic model of two classes", "a multinomial one")
    linear = Linear(weight, _bias(where, model, weight))
    if len(classes) == 2:
        return [linear, Activation("sigmoid")], "binary", classes, True
    return [linear, Activation("softmax")], "multiclass", classes, False


def _network(where: str, model: Any, last: str) -> list[Layer]:
    layers: list[Layer] = []
    weights, biases = _fitted(where, model, "coefs_"), _fitted(where, model, "intercepts_")
    if not all(isinstance(listed, list | tuple) for listed in (weights, biases)) or len(weights) != len(
        biases
    ):
        _refuse(where, "lists of as many coefs_ and intercepts_", "others")
    if not isinstance(model.activation, str) or model.activation not in _ACTIVATIONS:
        _refuse(f"{where}.activation", f"one of {', '.join(_ACTIVATIONS)}", repr(model.activation))
    for place, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        hidden = place < len(weights) - 1
        weight = _array(f"{where}.coefs_[{place}]", weight, 2)
        layers.append(Linear(weight.T, _array(f"{where}.intercepts_[{place}]", bias, 1)))
        layers.append(Activation(_ACTIVATIONS[model.activation] if hidden else last))
    return layers


def _classifier(where: str, model: Any) -> _Read:
    classes = _classes(where, model)
    last = str(_fitted(where, model, "out_activation_"))
    if last == "softmax":
        return _network(where, model, "softmax"), "multiclass", classes, False
    layers = _network(where, model, "sigmoid")
    if len(classes) != 2 or np.asarray(model.coefs_[-1]).shape[1] != 1:
        _refuse(where, "one label of each row", "several")
    return layers, "binary", classes, True


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
