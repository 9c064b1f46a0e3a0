"""What a chain of layers is before it computes: checked, and batch norms folded into linear layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.dense.layers import (
    ACTIVATIONS,
    Activation,
    Affine,
    BatchNorm,
    Layer,
    LayerNorm,
    Linear,
    QuantizedLinear,
)

__all__ = ["MOST_INPUTS", "SCALES", "folded"]

Array = NDArray[Any]

#: The smallest and the largest step of a quantized layer's inputs.
SCALES = (2.0**-100, 2.0**100)
#: Of a quantized layer, whose sums then fit 32 bits.
MOST_INPUTS = 65536


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
        Linear layers of float32, quantized ones, activations, affine layers and layer norms of float64.

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
        if isinstance(layer, QuantizedLinear):
            out.append(_quantized(layer, where, width))
            before_cast, width = None, len(layer.weight)
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


def _quantized(layer: QuantizedLinear, where: str, width: int | None) -> QuantizedLinear:
    weight = np.ascontiguousarray(layer.weight)
    if weight.dtype != np.int8 or weight.ndim != 2:
        raise ValueError(f"{where}.weight: expected int8, 2 axes, got {weight.dtype}, shape {weight.shape}")
    outputs, inputs = weight.shape
    if not outputs or not 0 < inputs <= MOST_INPUTS or (width is not None and inputs != width):
        wanted = f"{width} inputs" if width not in (None, inputs) else f"1 to {MOST_INPUTS} inputs of int8"
        raise ValueError(f"{where}.weight: expected outputs x {wanted}, got shape {weight.shape}")
    scale, bias = (np.ascontiguousarray(array) for array in (layer.scale, layer.bias))
    for name, array in (("scale", scale), ("bias", bias)):
        if array.dtype != np.float32 or array.shape != (outputs,):
            raise ValueError(
                f"{where}.{name}: expected {outputs} of float32, got {array.dtype}, shape {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{where}.{name}: expected finite numbers for int8, got others")
    step, zero = layer.input_scale, layer.input_zero
    if step is not None and not (
        isinstance(step, int | float | np.floating) and SCALES[0] <= step <= SCALES[1]
    ):
        raise ValueError(f"{where}.input_scale: expected 2^-100 to 2^100, got {step!r:.80}")
    if not isinstance(zero, int | np.integer) or not 0 <= zero <= 255:
        raise ValueError(f"{where}.input_zero: expected a whole number from 0 to 255, got {zero}")
    # Plain numbers, which can be saved.
    return QuantizedLinear(weight, scale, bias, None if step is None else float(step), int(zero))


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
