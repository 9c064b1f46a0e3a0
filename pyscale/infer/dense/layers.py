"""What a dense model is made of: every importer gives a chain of these layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

__all__ = [
    "ACTIVATIONS",
    "KINDS",
    "Activation",
    "Affine",
    "BatchNorm",
    "DenseDescription",
    "Layer",
    "LayerNorm",
    "Linear",
    "QuantizedLinear",
]

Array = NDArray[Any]

#: The functions that :class:`Activation` knows; ``leaky_relu`` and ``elu`` have a parameter.
ACTIVATIONS = (
    "identity", "relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid", "softmax",
)  # fmt: skip

#: What the outputs of a :class:`DenseDescription` may be.
KINDS = ("values", "binary", "multiclass", "scores")


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
class QuantizedLinear:
    """
    A :class:`Linear` whose weights, and inputs, are rounded to whole numbers; their sums are exact.

    Input `x` becomes ``q = clip(round(x * (1 / input_scale)) + input_zero, 0, 255)``, in float32 (the
    nearest, ties to even), and ``sum((q - input_zero) * weight) * (scale * input_scale) + bias`` comes out:
    numbers beyond the range count as its ends, infinities too. A row with NaN gives NaN.

    Without `input_scale` each row has a scale of its own, by which its largest number is 127, and
    `input_zero` counts for nothing. Then a row with an infinity gives NaN, too.

    Attributes
    ----------
    weight : numpy.ndarray
        Outputs x inputs, int8; at most 65,536 inputs.
    scale : numpy.ndarray
        Of each output, float32.
    bias : numpy.ndarray
        Of each output, float32.
    input_scale : float or None
        What a step of the inputs is, 2^-100 to 2^100.
    input_zero : int
        The step that means 0, 0 to 255.
    """

    weight: Array
    scale: Array
    bias: Array
    input_scale: float | None = None
    input_zero: int = 128


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


Layer = Linear | QuantizedLinear | Activation | Affine | BatchNorm | LayerNorm


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class DenseDescription:
    """
    Layers, and what their outputs mean.

    Attributes
    ----------
    layers : tuple of Layer
        In order.
    kind : str
        ``values`` (predict gives the outputs), ``binary`` (one output: the probability of the second class),
        ``multiclass`` (the outputs are the classes' probabilities) or ``scores`` (they are not, but the
        largest is the label's; of one output, the second class has what is above 0).
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
