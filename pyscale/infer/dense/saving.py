"""A dense model's description as a header and arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.dense.layers import (
    KINDS,
    Activation,
    Affine,
    DenseDescription,
    Layer,
    LayerNorm,
    Linear,
    QuantizedLinear,
)
from pyscale.infer.labels import pack_labels, unpack_labels

__all__ = ["bfloat16_bits", "pack", "unpack"]

Array = NDArray[Any]

_MOST_LAYERS = 100_000


def pack(description: DenseDescription, weights: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Give what :func:`pyscale.infer.files.write` takes, of folded layers."""
    listed: list[dict[str, Any]] = []
    arrays: dict[str, Array] = {}
    for place, layer in enumerate(description.layers):
        if isinstance(layer, Linear):
            assert layer.bias is not None
            listed.append({"type": "linear"})
            weight = bfloat16_bits(layer.weight) if weights == "bfloat16" else layer.weight
            arrays[f"{place}.weight"], arrays[f"{place}.bias"] = weight, layer.bias
        elif isinstance(layer, QuantizedLinear):
            listed.append(
                {
                    "type": "quantized_linear",
                    "input_scale": layer.input_scale,
                    "input_zero": layer.input_zero,
                }
            )
            arrays[f"{place}.weight"], arrays[f"{place}.bias"] = layer.weight, layer.bias
            arrays[f"{place}.scale"] = layer.scale
        elif isinstance(layer, Activation):
            listed.append({"type": "activation", "name": layer.name, "parameter": layer.parameter})
        elif isinstance(layer, Affine):
            listed.append({"type": "affine"})
            arrays[f"{place}.scale"], arrays[f"{place}.shift"] = layer.scale, layer.shift
        else:
            assert isinstance(layer, LayerNorm)
            listed.append({"type": "layer_norm", "epsilon": layer.epsilon})
            arrays[f"{place}.weight"], arrays[f"{place}.bias"] = layer.weight, layer.bias
    header: dict[str, Any] = {
        "model": "dense",
        "layers": listed,
        "weights": weights,
        "kind": description.kind,
        "flat": description.flat,
        "source": description.source,
    }
    if description.feature_names is not None:
        header["feature_names"] = list(description.feature_names)
    pack_labels(description.classes, header, arrays)
    return header, arrays


def bfloat16_bits(weight: Array) -> Array:
    """Round float32 to the nearest bfloat16, ties to even: the upper 16 bits of each."""
    word = weight.view(np.uint32)
    rounded = (word + (0x7FFF + (word >> 16 & 1))) >> 16
    return np.where(np.isnan(weight), 0x7FC0, rounded).astype(np.uint16)


def unpack(
    header: Mapping[str, Any], arrays: Mapping[str, Array]
) -> tuple[DenseDescription, Literal["float32", "bfloat16", "int8"]]:
    """Make a description, and the type of weights, of what :func:`pyscale.infer.files.read` gave."""
    listed = header.get("layers")
    if not isinstance(listed, list) or not 0 < len(listed) <= _MOST_LAYERS:
        _refuse("layers", f"a list of 1 to {_MOST_LAYERS} layers", repr(listed)[:80])
    layers = tuple(_layer(place, entry, arrays) for place, entry in enumerate(listed))
    weights, kind, flat = header.get("weights"), header.get("kind"), header.get("flat")
    if weights not in ("float32", "bfloat16", "int8"):
        _refuse("weights", "float32, bfloat16 or int8", repr(weights))
    if not isinstance(kind, str) or kind not in KINDS:
        _refuse("kind", f"one of {', '.join(KINDS)}", repr(kind))
    if not isinstance(flat, bool):
        _refuse("flat", "true or false", repr(flat))
    names = header.get("feature_names")
    if names is not None and not isinstance(names, list):
        _refuse("feature_names", "a list", repr(names)[:80])
    description = DenseDescription(
        layers=layers,
        kind=kind,
        classes=unpack_labels(header, arrays),
        flat=flat,
        source=str(header.get("source")),
        feature_names=None if names is None else tuple(names),
    )
    return description, weights


def _layer(place: int, entry: Any, arrays: Mapping[str, Array]) -> Layer:
    here = f"layers[{place}]"
    kind = entry.get("type") if isinstance(entry, dict) else None
    if kind == "linear":
        weight = arrays.get(f"{place}.weight")
        if weight is not None and weight.dtype == np.uint16:  # bfloat16: the upper half of a float32
            weight = (weight.astype(np.uint32) << 16).view(np.float32)
        else:
            weight = _array(here, arrays, f"{place}.weight", np.float32, 2)
        return Linear(weight, _array(here, arrays, f"{place}.bias", np.float32, 1))
    if kind == "quantized_linear":
        zero = _number(here, entry, "input_zero")
        if zero != int(zero):
            _refuse(here, "input_zero, a whole number", repr(zero))
        return QuantizedLinear(
            _array(here, arrays, f"{place}.weight", np.int8, 2),
            _array(here, arrays, f"{place}.scale", np.float32, 1),
            _array(here, arrays, f"{place}.bias", np.float32, 1),
            None if entry.get("input_scale") is None else _number(here, entry, "input_scale"),
            int(zero),
        )
    if kind == "affine":
        scale = _array(here, arrays, f"{place}.scale", np.float64, 1)
        return Affine(scale, _array(here, arrays, f"{place}.shift", np.float64, 1))
    if kind == "layer_norm":
        weight = _array(here, arrays, f"{place}.weight", np.float64, 1)
        bias = _array(here, arrays, f"{place}.bias", np.float64, 1)
        return LayerNorm(weight, bias, _number(here, entry, "epsilon"))
    if kind == "activation":
        return Activation(str(entry.get("name")), _number(here, entry, "parameter"))
    return _refuse(
        here, "a linear, quantized_linear, affine, layer_norm or activation layer", repr(kind)[:80]
    )


def _array(where: str, arrays: Mapping[str, Array], name: str, dtype: Any, ndim: int) -> Array:
    array = arrays.get(name)
    if array is None or array.dtype != dtype or array.ndim != ndim:
        got = "none" if array is None else f"{array.dtype} of {array.ndim} axes"
        _refuse(where, f"array {name} of {np.dtype(dtype)} and {ndim} axes", got)
    return array


def _number(where: str, entry: Mapping[str, Any], name: str) -> float:
    value = entry.get(name)
    if not isinstance(value, int | float) or not abs(value) < 1e300:
        _refuse(where, f"{name}, a number", repr(value)[:80])
    return float(value)


def _refuse(where: str, expected: str, got: str) -> NoReturn:
    raise ValueError(f"{where}: expected {expected}, got {got}")
