"""What flows through a chain: the inputs of each linear layer, for rows that are given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.dense.dense import Dense
from pyscale.infer.dense.layers import Layer, Linear, QuantizedLinear
from pyscale.infer.inputs import rows_of

__all__ = ["inputs_of_linears", "open_chain"]

Array = NDArray[Any]


def open_chain(model: Any, rows: Any) -> Array:
    """
    Check a model that is to be made smaller, and open its rows.

    Parameters
    ----------
    model : Dense
        The model.
    rows : array
        Rows x features.

    Returns
    -------
    numpy.ndarray
        Rows x features of float32 or float64.

    Raises
    ------
    TypeError
        The model is none of layers, or `rows` are no numbers.
    ValueError
        It is quantized already, or `rows` are none, of another width, a table of other columns, or not
        finite.
    """
    if not isinstance(model, Dense):
        raise TypeError(f"model: expected a Dense, got {type(model).__qualname__}")
    if any(isinstance(layer, QuantizedLinear) for layer in model.layers):
        raise ValueError("model: expected linear layers of floats, got a model that is quantized already")
    x = rows_of(rows, model.num_features, model.feature_names, "rows")
    if not len(x):
        raise ValueError("rows: expected one or more, got none")
    if not np.isfinite(x).all():
        raise ValueError("rows: expected finite numbers, got NaN or infinity")
    return x


def inputs_of_linears(layers: Sequence[Layer], x: Array) -> Iterator[tuple[int, Array]]:
    """
    Give the inputs of each linear layer.

    Parameters
    ----------
    layers : sequence of Layer
        A chain whose batch norms are folded.
    x : numpy.ndarray
        Rows x features.

    Yields
    ------
    place : int
        Of the linear layer in `layers`.
    inputs : numpy.ndarray
        Rows x its inputs, as they come to it: float32.

    Raises
    ------
    ValueError
        Some are infinite or NaN: nothing can be learnt from them.
    """
    begin = 0
    for place, layer in enumerate(layers):
        if isinstance(layer, Linear):
            if place > begin:
                x = Dense(layers[begin:place]).raw(x)
            with np.errstate(over="ignore"):
                x = x.astype(np.float32, copy=False)
            if not np.isfinite(x).all():
                raise ValueError(f"rows: expected finite inputs of layers[{place}], got NaN or infinity")
            yield place, x
            begin = place
