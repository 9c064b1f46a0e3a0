"""Models without what does little."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, TypeVar

import numpy as np

from pyscale.infer.compress import units as chains
from pyscale.infer.compress.flow import open_chain
from pyscale.infer.compress.leaves import merge_leaves
from pyscale.infer.compress.report import CompressionReport, Score, compare
from pyscale.infer.dense.dense import Dense
from pyscale.infer.dense.layers import Linear
from pyscale.infer.forest.forest import Forest

__all__ = ["prune"]

Model = TypeVar("Model", Forest, Dense)


def prune(
    model: Model,
    rows: Any,
    *,
    y: Any = None,
    tolerance: float | None = None,
    sparsity: float | None = None,
    units: float | None = None,
    per_layer: bool = False,
    score: Score | None = None,
) -> tuple[Model, CompressionReport]:
    """
    Take out of a model what does little, and measure what that costs and brings.

    Parameters
    ----------
    model : Forest or Dense
        Is not changed.
    rows : array
        Rows x features, like those that will come: all is measured on them.
    y : array, optional
        Their true labels or values; without them the model is compared with itself before.
    tolerance : float
        Of a forest, and needed: leaves below one node whose values differ by no more than this are merged.
        What a tree adds to a row changes by half of it at most.
    sparsity : float, optional
        Of layers: the share of weights, the smallest, that become 0. Zeros alone take as long and as much
        space as other weights; units that only have such are removed.
    units : float, optional
        Of layers: the share of each hidden layer's units that is removed, which makes the model smaller and
        faster. Those go that matter least to the next layer on `rows`, and its weights are fitted so that
        those that stay do what they did. Units before a softmax or a layer norm stay.
    per_layer : bool
        Whether `sparsity` is the share of each layer's weights, rather than of all.
    score : callable, optional
        ``score(y, predicted)``, of labels for models that classify, else of values; more is better. By
        default accuracy or R2.

    Returns
    -------
    Forest or Dense
        The smaller model. From layers, units that do nothing, or always the same, are gone in any case, which
        changes answers to finite rows by how sums are rounded at most: ``sparsity=0`` does that alone.
    CompressionReport
        Size, speed, error and score, before and after.

    Raises
    ------
    TypeError
        `model` is none of these, or `rows` are no numbers.
    ValueError
        An argument of the other kind of model, or out of range; leaves that hold linear functions; layers
        that are quantized already; `rows` that are none, of another width, or, for layers, not finite, or
        that make numbers between layers that are not.
    """
    smaller: Forest | Dense
    notes: tuple[str, ...]
    if isinstance(model, Forest):
        if tolerance is None or sparsity is not None or units is not None:
            raise ValueError("tolerance: expected one, and no sparsity and no units, for a forest")
        smaller, notes = merge_leaves(model, tolerance)
        return smaller, compare(model, smaller, rows, y=y, score=score, notes=notes)
    rows = open_chain(model, rows)
    if tolerance is not None or (sparsity is None and units is None):
        raise ValueError("sparsity, units: expected one or both, and no tolerance, for a Dense")
    for name, share in (("sparsity", sparsity), ("units", units)):
        if share is not None and not 0 <= share < 1:
            raise ValueError(f"{name}: expected a share from 0 to below 1, got {share}")
    layers = list(model.layers)
    if sparsity:
        layers = chains.without_small_weights(layers, sparsity, per_layer)
    if units:
        layers = chains.without_weak_units(layers, units, rows)
    layers = chains.without_dead_units(layers)
    smaller = Dense(dataclasses.replace(model._description, layers=tuple(layers)), weights=model.weights)
    notes = (f"{_widths(model)} became {_widths(smaller)}",)
    zeros, all_weights = _zeros(smaller)
    if sparsity and zeros:
        share = zeros / all_weights
        notes += (f"{share:.0%} of the weights that are left are 0, which saves neither time nor space",)
    return smaller, compare(model, smaller, rows, y=y, score=score, notes=notes)


def _widths(model: Dense) -> str:
    linear = [layer.weight.shape for layer in model.layers if isinstance(layer, Linear)]
    return "-".join(map(str, itertools.chain([model.num_features], (outputs for outputs, _ in linear))))


def _zeros(model: Dense) -> tuple[int, int]:
    weights = [layer.weight for layer in model.layers if isinstance(layer, Linear)]
    return sum(int(np.sum(weight == 0)) for weight in weights), sum(weight.size for weight in weights)
