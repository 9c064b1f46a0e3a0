"""Smaller chains of layers: weights that are nearly nothing become 0, units that do nothing go."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.compress.flow import inputs_of_linears
from pyscale.infer.dense.dense import Dense
from pyscale.infer.dense.layers import Activation, Affine, Layer, Linear

__all__ = ["without_dead_units", "without_small_weights", "without_weak_units"]

Array = NDArray[Any]
Layers = list[Layer]


def without_small_weights(layers: Layers, sparsity: float, per_layer: bool) -> Layers:
    """
    Set the smallest weights to 0.

    Parameters
    ----------
    layers : list of Layer
        A chain.
    sparsity : float
        The share of all weights, or of each layer's.
    per_layer : bool
        Which of the two.

    Returns
    -------
    list of Layer
        The chain. Where several weights are as small as the largest that goes, those that come first go.
    """
    sizes = {place: np.abs(layer.weight) for place, layer in enumerate(layers) if isinstance(layer, Linear)}
    gone = {place: np.zeros(size.size, np.bool_) for place, size in sizes.items()}
    for group in [[place] for place in sizes] if per_layer else [list(sizes)]:
        if not group:
            continue
        together = np.concatenate([sizes[place].reshape(-1) for place in group])
        smallest = np.zeros(len(together), np.bool_)
        smallest[np.argsort(together, kind="stable")[: int(sparsity * len(together))]] = True
        ends = np.cumsum([sizes[place].size for place in group])[:-1]
        gone.update(zip(group, np.split(smallest, ends), strict=True))
    out = list(layers)
    for place, flags in gone.items():
        layer = layers[place]
        assert isinstance(layer, Linear)
        out[place] = Linear(
            np.where(flags.reshape(layer.weight.shape), np.float32(0), layer.weight), layer.bias
        )
    return out


def without_weak_units(layers: Layers, share: float, x: Array) -> Layers:
    """
    Remove the hidden units that matter least, and put their mean in their place.

    What a unit does to the next layer is, but for a constant, what it varies times the weights by which it is
    taken: so units go whose deviation times the norm of these weights is least (mean replacement: Molchanov
    and others, "Pruning convolutional neural networks for resource efficient inference", 2017, compare such
    measures).

    Parameters
    ----------
    layers : list of Layer
        A chain.
    share : float
        Of each hidden layer's units; at least one stays.
    x : numpy.ndarray
        Rows x features, on which units are seen.

    Returns
    -------
    list of Layer
        The chain.
    """
    for first, second in _pairs(layers):
        inputs = next(values for place, values in inputs_of_linears(layers, x) if place == second)
        taken = layers[second]
        assert isinstance(taken, Linear)
        effect = inputs.std(axis=0, dtype=np.float64) * np.linalg.norm(taken.weight, axis=0)
        count = min(int(share * len(effect)), len(effect) - 1)
        gone = np.zeros(len(effect), np.bool_)
        gone[np.argsort(effect, kind="stable")[:count]] = True
        layers = _without(layers, first, second, gone, inputs.mean(axis=0, dtype=np.float64))
    return layers


def without_dead_units(layers: Layers) -> Layers:
    """
    Remove hidden units that do nothing, or always the same.

    Those that the next layer takes by zeros go. Those whose own weights are zeros have one value, which
    becomes part of the next layer's bias: answers to finite rows stay the same but for how a sum is rounded.

    Parameters
    ----------
    layers : list of Layer
        A chain.

    Returns
    -------
    list of Layer
        The chain; of a layer whose units are all dead, one stays.
    """
    while True:
        before = sum(len(layer.weight) for layer in layers if isinstance(layer, Linear))
        for first, second in _pairs(layers):
            made, taken = layers[first], layers[second]
            assert isinstance(made, Linear)
            assert isinstance(taken, Linear)
            values = Dense(layers[first:second]).raw(np.zeros((1, made.weight.shape[1]), np.float32))[0]
            unused = (taken.weight == 0).all(axis=0)
            constant = (made.weight == 0).all(axis=1) & np.isfinite(values)
            gone = unused | constant
            gone[:1] &= not gone.all()
            layers = _without(layers, first, second, gone, np.where(unused, 0, values).astype(np.float64))
        if sum(len(layer.weight) for layer in layers if isinstance(layer, Linear)) == before:
            return layers


def _pairs(layers: Layers) -> list[tuple[int, int]]:
    """Give linear layers that follow each other, with nothing in between that mixes units."""
    pairs = []
    last: int | None = None
    for place, layer in enumerate(layers):
        if isinstance(layer, Linear):
            if last is not None:
                pairs.append((last, place))
            last = place
        elif not (isinstance(layer, Affine) or (isinstance(layer, Activation) and layer.name != "softmax")):
            last = None
    return pairs


def _without(layers: Layers, first: int, second: int, gone: Array, values: Array) -> Layers:
    """Take units out between two linear layers; the second gets their values for its bias."""
    if not gone.any():
        return layers
    stays = ~gone
    out = list(layers)
    for place in range(first, second + 1):
        layer = layers[place]
        if isinstance(layer, Affine):
            out[place] = Affine(layer.scale[stays], layer.shift[stays])
        elif isinstance(layer, Linear):
            assert layer.bias is not None
            if place == first:
                out[place] = Linear(layer.weight[stays], layer.bias[stays])
            else:
                more = layer.weight[:, gone].astype(np.float64) @ values[gone]
                bias = (layer.bias + more).astype(np.float32)
                out[place] = dataclasses.replace(layer, weight=layer.weight[:, stays], bias=bias)
    return out
