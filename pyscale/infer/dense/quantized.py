"""Linear layers of whole numbers: how weights are rounded."""

from __future__ import annotations

import numpy as np

from pyscale.infer.dense.folding import MOST_INPUTS
from pyscale.infer.dense.layers import Linear, QuantizedLinear

__all__ = ["quantized"]


def quantized(
    layer: Linear, where: str, input_scale: float | None = None, input_zero: int = 128
) -> QuantizedLinear:
    """
    Round a layer's weights to whole numbers from -127 to 127, with a scale for each output.

    Parameters
    ----------
    layer : Linear
        Of float32, with a bias.
    where : str
        What errors call it.
    input_scale, input_zero
        As of :class:`QuantizedLinear`.

    Returns
    -------
    QuantizedLinear
        The layer.

    Raises
    ------
    ValueError
        A weight is not finite, or there are more inputs than their sums have room for.
    """
    if layer.weight.shape[1] > MOST_INPUTS:
        raise ValueError(
            f"{where}.weight: expected at most {MOST_INPUTS} inputs for int8, got {layer.weight.shape[1]}"
        )
    if not np.isfinite(layer.weight).all():
        raise ValueError(f"{where}.weight: expected finite weights for int8, got others")
    largest = np.abs(layer.weight).max(axis=1, keepdims=True)
    zero = largest < np.float32(2.0**-100)
    steps = np.where(zero, 0, layer.weight.astype(np.float64) * 127 / np.where(zero, 1, largest))
    assert layer.bias is not None
    return QuantizedLinear(
        np.rint(steps).astype(np.int8),
        np.where(zero, np.float32(0), largest / np.float32(127)).reshape(-1),
        layer.bias,
        input_scale,
        input_zero,
    )
