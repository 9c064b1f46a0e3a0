"""Dense layers in plain NumPy, in float64 and beside each number a bound of what float32 may do to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer import Activation, Affine, Dense, LayerNorm, Linear

Array = NDArray[Any]
ULP = 2.0**-24


def _erfc(x: Array) -> Array:
    values: list[float] = [math.erfc(value) for value in x.reshape(-1).tolist()]
    return np.array(values, np.float64).reshape(x.shape)


def function(name: str, parameter: float, x: Array) -> Array:
    """Apply an activation in float64."""
    with np.errstate(over="ignore", under="ignore"):
        e = np.exp(-np.abs(x))
        sigmoid = np.where(x < 0, e / (1 + e), 1 / (1 + e))
        u = 2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        functions: dict[str, Callable[[], Array]] = {
            "identity": lambda: x,
            "relu": lambda: np.where(x < 0, 0, x),
            "leaky_relu": lambda: np.where(x < 0, np.float64(np.float32(parameter)) * x, x),
            "elu": lambda: np.where(x < 0, np.float64(np.float32(parameter)) * np.expm1(np.minimum(x, 0)), x),
            "gelu": lambda: x * _erfc(-x / math.sqrt(2)) / 2,
            "gelu_tanh": lambda: x / (1 + np.exp(-u)),
            "silu": lambda: x * sigmoid,
            "tanh": lambda: np.tanh(x),
            "sigmoid": lambda: sigmoid,
        }
        return functions[name]()


def softmax(x: Array) -> Array:
    """Apply softmax to rows in float64."""
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def predict(model: Dense, x: Array) -> tuple[Array, Array]:
    """Give the outputs in float64, and how far the float32 ones may be from them."""
    y = x.astype(np.float64)
    error = np.zeros_like(y)
    if not isinstance(model.layers[0], Affine):
        error = np.abs(y) * ULP
    for layer in model.layers:
        if isinstance(layer, Linear):
            assert layer.bias is not None
            weight, bias = layer.weight.astype(np.float64), layer.bias.astype(np.float64)
            terms = np.abs(y) @ np.abs(weight.T) + np.abs(bias)
            error = error @ np.abs(weight.T) + terms * (weight.shape[1] + 1) * ULP
            y = y @ weight.T + bias
        elif isinstance(layer, Affine):
            error = error * np.abs(layer.scale)
            y = y * layer.scale + layer.shift
        elif isinstance(layer, LayerNorm):
            off = y - y.mean(axis=1, keepdims=True)
            factor = 1 / np.sqrt((off * off).mean(axis=1, keepdims=True) + layer.epsilon)
            most = np.abs(layer.weight) * factor
            error = most * (error + error.max(axis=1, keepdims=True) * (1 + np.abs(off * factor)))
            y = off * factor * layer.weight + layer.bias
        elif not isinstance(layer, Activation):
            raise AssertionError("batch norms are folded")
        elif layer.name == "softmax":
            y = softmax(y)
            error = 2 * error.max(axis=1, keepdims=True) * y + y * ULP
        else:
            y = function(layer.name, layer.parameter, y)
            error = error * max(1.13, abs(layer.parameter))  # the steepest of them: gelu
        error = error + np.abs(y) * ULP + 1e-45
    return y, error
