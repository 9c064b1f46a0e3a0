"""What a dense model is made of: every importer gives a chain of these layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Affine",
    "BatchNorm",
    "DenseDescription",
    "Layer",
    "LayerNorm",
    "Linear",
    "folded",
]

Array = NDArray[Any]

#: The functions that :class:`Activation` knows; ``leaky_relu`` and ``elu`` have a parameter.
ACTIVATIONS = (
    "identity", "relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid", "softmax",
)  # fmt: skip


@dataclass(frozen=True, eq=False, slots=True)
class Linear:
    """
    ``x @ weight.T + bias``.

    Attributes
    ----------
    weight : numpy.ndarray
        Outputs x inputs.
    bias : numpy.ndarray or None
        Of each output.
    """

    weight: Array
    bias: Array | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Activation:
    """
    A function of each number, or ``softmax`` of each row.

    Attributes
    ----------
    name : str
        One of :data:`ACTIVATIONS`; ``gelu`` is the exact one, ``gelu_tanh`` its approximation.
    parameter : float
        The slope of ``leaky_relu``, the alpha of ``elu``.
    """

    name: str
    parameter: float = 0.0


@dataclass(frozen=True, eq=False, slots=True)
class Affine:
    """
    ``x * scale + shift``, of each column, in float64, and rounded once.

    As the first layer it takes float64 inputs as they are.

    Attributes
    ----------
    scale, shift : numpy.ndarray
        Of each column.
    """

    scale: Array
    shift: Array


@dataclass(frozen=True, eq=False, slots=True)
class BatchNorm:
    """
    ``(x - mean) / sqrt(variance + epsilon) * weight + bias``, of each column.

    It becomes part of a linear layer before it, computed in float64; else an :class:`Affine`.

    Attributes
    ----------
    mean, variance : numpy.ndarray
        What was seen in training.
    weight, bias : numpy.ndarray or None
        1 and 0 where there are none.
    epsilon : float
        What is added to the variance.
    """

    mean: Array
    variance: Array
    weight: Array | None = None
    bias: Array | None = None
    epsilon: float = 1e-5


@dataclass(frozen=True, eq=False, slots=True)
class LayerNorm:
    """
    ``(x - mean) / sqrt(variance + epsilon) * weight + bias``, with the mean and the variance of each row.

    Attributes
    ----------
    weight, bias : numpy.ndarray
        Of each column.
    epsilon : float
        What is added to the variance.
    """

    weight: Array
    bias: Array
    epsilon: float = 1e-5


Layer = Linear | Activation | Affine | BatchNorm | LayerNorm


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class DenseDescription:
    """
    Layers, and what their outputs mean.

    Attributes
    ----------
    layers : tuple of Layer
        In order.
    kind : str
        ``values`` (predict gives the outputs), ``binary`` (one output: the probability of the second class)
        or ``multiclass`` (the outputs are the classes' probabilities).
    classes : numpy.ndarray or None
        The labels that predict gives, unless the kind is ``values``.
    flat : bool
        Whether one output is an axis less.
    source : str
        The library that the model is of.
    feature_names : tuple of str or None
        The columns' names, where the model knows them.
    """

    layers: tuple[Layer, ...]
    kind: str = "values"
    classes: Array | None = None
    flat: bool = False
    source: str = "pyscale"
    feature_names: tuple[str, ...] | None = None


def folded(layers: tuple[Layer, ...] | list[Layer]) -> tuple[Layer, ...]:
    """
    Check layers, and fold batch norms.

    Parameters
    ----------
    layers : sequence of Layer
        In order.

    Returns
    -------
    tuple of Layer
        Linear layers of float32, activations, affine layers and layer norms of float64.

    Raises
    ------
    TypeError
        One is no layer.
    ValueError
        One does not fit that before it, or has numbers that make no sense; the message names it.
    """
    out: list[Layer] = []
    width: int | None = None
    before_cast: tuple[Array, Array] | None = None  # weight and bias of the last layer, in float64
    for place, layer in enumerate(layers):
        where = f"layers[{place}]"
        if isinstance(layer, Linear):
            weight = _floats(layer.weight, f"{where}.weight", 2)
            outputs, inputs = weight.shape
            if not outputs or not inputs or (width is not None and inputs != width):
                wanted = f"{width} inputs" if width is not None else "an input and an output, or more"
                raise ValueError(f"{where}.weight: expected outputs x {wanted}, got shape {weight.shape}")
            bias = np.zeros(outputs) if layer.bias is None else _of(layer.bias, f"{where}.bias", outputs)
            before_cast, width = (weight, bias), outputs
            out.append(_narrow(weight, bias))
            continue
        if isinstance(layer, BatchNorm):
            scale, shift = _as_affine(layer, where, width)
            width = len(scale)
            if before_cast is not None:
                weight, bias = before_cast
                before_cast = (weight * scale[:, None], bias * scale + shift)
                out[-1] = _narrow(*before_cast)
            else:
                out.append(Affine(scale, shift))
            continue
        before_cast = None
        if isinstance(layer, Activation):
            if layer.name not in ACTIVATIONS:
                raise ValueError(f"{where}: expected one of {', '.join(ACTIVATIONS)}, got {layer.name!r}")
            if not np.isfinite(layer.parameter):
                raise ValueError(f"{where}: expected a finite parameter, got {layer.parameter}")
            if width is None:
                raise ValueError(f"{where}: expected a layer that says how many inputs there are first")
            if layer.name != "identity":
                out.append(Activation(layer.name, float(layer.parameter)))
        elif isinstance(layer, Affine):
            scale = _of(layer.scale, f"{where}.scale", width)
            out.append(Affine(scale, _of(layer.shift, f"{where}.shift", len(scale))))
            width = len(scale)
        elif isinstance(layer, LayerNorm):
            scale = _of(layer.weight, f"{where}.weight", width)
            _check_epsilon(layer.epsilon, where)
            out.append(LayerNorm(scale, _of(layer.bias, f"{where}.bias", len(scale)), float(layer.epsilon)))
            width = len(scale)
        else:
            raise TypeError(f"{where}: expected a layer, got {type(layer).__qualname__}")
    if width is None:
        raise ValueError("layers: expected one or more")
    return tuple(out)


def _narrow(weight: Array, bias: Array) -> Linear:
    # What is beyond float32's range becomes infinite, as the library itself would have it.
    with np.errstate(over="ignore"):
        return Linear(
            np.ascontiguousarray(weight, dtype=np.float32), np.ascontiguousarray(bias, dtype=np.float32)
        )


def _as_affine(layer: BatchNorm, where: str, width: int | None) -> tuple[Array, Array]:
    mean = _of(layer.mean, f"{where}.mean", width)
    variance = _of(layer.variance, f"{where}.variance", len(mean))
    weight = np.ones(len(mean)) if layer.weight is None else _of(layer.weight, f"{where}.weight", len(mean))
    bias = np.zeros(len(mean)) if layer.bias is None else _of(layer.bias, f"{where}.bias", len(mean))
    _check_epsilon(layer.epsilon, where)
    if (variance + layer.epsilon <= 0).any():
        raise ValueError(f"{where}.variance: expected numbers of 0 or more, got {variance.min()}")
    scale = weight / np.sqrt(variance + layer.epsilon)
    return scale, bias - mean * scale


def _check_epsilon(epsilon: float, where: str) -> None:
    if not (np.isfinite(epsilon) and epsilon >= 0):
        raise ValueError(f"{where}.epsilon: expected a finite number of 0 or more, got {epsilon}")


def _floats(values: Any, where: str, ndim: int) -> Array:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" and array.dtype.name != "bfloat16":
        raise ValueError(f"{where}: expected numbers, got {array.dtype}")
    if array.ndim != ndim:
        raise ValueError(f"{where}: expected {ndim} axes, got shape {array.shape}")
    return np.ascontiguousarray(array, dtype=np.float64)


def _of(values: Any, where: str, size: int | None) -> Array:
    array = _floats(values, where, 1)
    if not len(array) or (size is not None and len(array) != size):
        raise ValueError(f"{where}: expected {'one or more' if size is None else size}, got {len(array)}")
    return array
