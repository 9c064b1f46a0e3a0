"""Dense models of fewer bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

from pyscale.infer.compress.flow import inputs_of_linears, open_chain
from pyscale.infer.compress.ranges import range_of, steps_of
from pyscale.infer.compress.report import CompressionReport, Score, compare, measure_of
from pyscale.infer.dense.dense import Dense
from pyscale.infer.dense.layers import Layer, Linear
from pyscale.infer.dense.quantized import quantized
from pyscale.infer.inputs import whole_number

__all__ = ["quantize"]


def quantize(
    model: Dense,
    rows: Any,
    *,
    y: Any = None,
    weights: Literal["int8", "bfloat16"] = "int8",
    activations: Literal["dynamic", "static"] = "dynamic",
    percentile: float = 99.9,
    keep: Iterable[int] = (),
    tolerance: float | None = None,
    score: Score | None = None,
) -> tuple[Dense, CompressionReport]:
    """
    Make a model of fewer bits, and measure what that costs and brings.

    Parameters
    ----------
    model : Dense
        Is not changed.
    rows : array
        Rows x features, like those that will come: all is measured on them, and static ranges are learnt from
        them. Some hundreds do.
    y : array, optional
        Their true labels or values; without them the model is compared with itself before.
    weights : {"int8", "bfloat16"}
        int8: a quarter of the size, whole numbers from -127 to 127 with a scale for each output, and inputs
        of linear layers in bytes. bfloat16: half the size; the arithmetic stays that of float32.
    activations : {"dynamic", "static"}
        Of int8. ``dynamic`` looks for the largest number of each row, in front of each layer. ``static``
        learns a range for each layer's inputs from `rows`, and layers hand on bytes: faster, for narrow
        layers most, and less exact. Numbers that are outside the range later count as its ends.
    percentile : float
        Of what was seen and is not 0, how much a static range goes up to, and likewise down to: by default
        all but one number in 1,000 on either side, so that outliers do not take the steps of all others. 100
        takes all.
    keep : iterable of int
        Linear layers that stay as they are, counted from 0, or from the end below 0.
    tolerance : float, optional
        How much lower the score may be. While it is lower than that, the layer that does most harm stays as
        it is.
    score : callable, optional
        ``score(y, predicted)``, of labels for models that classify, else of values; more is better. By
        default accuracy or R2.

    Returns
    -------
    Dense
        The smaller model. Its answers are the same bits whatever the batch, threads and instruction set, too.
    CompressionReport
        Size, speed, error and score, before and after.

    Raises
    ------
    TypeError
        `model` is no :class:`Dense`, or `rows` are no numbers.
    ValueError
        `rows` are none, of another width or not finite, or numbers that layers make of them are not; `model`
        is quantized already, or has a layer, not kept, of more than 65,536 inputs or weights that are not
        finite; an argument is none of the above.
    """
    for name, value, known in (
        ("weights", weights, ("int8", "bfloat16")),
        ("activations", activations, ("dynamic", "static")),
    ):
        if value not in known:
            raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
    x = open_chain(model, rows)
    kept = _places(model, keep)
    if not 50 < percentile <= 100:
        raise ValueError(f"percentile: expected more than 50, at most 100, got {percentile}")
    if tolerance is not None and not tolerance >= 0:
        raise ValueError(f"tolerance: expected 0 or more, got {tolerance}")
    if weights == "bfloat16":
        if kept or tolerance is not None:
            raise ValueError("keep, tolerance: expected none of bfloat16, which all layers get")
        smaller = Dense(model._description, weights="bfloat16")
        return smaller, compare(model, smaller, x, y=y, score=score, notes=("weights of bfloat16",))
    bytewise = _bytewise(model, x, kept, percentile if activations == "static" else None)
    measured = measure_of(model, x, y, score)
    smaller = _with(model, bytewise, kept)
    lowest = None if tolerance is None else measured(model) - tolerance
    # A score that is NaN is no good one.
    if lowest is not None and not measured(smaller) >= lowest:
        harm = {place: _harm(model, bytewise, place, x) for place in bytewise}
        for place in sorted(harm, key=lambda place: -harm[place]):
            kept.add(place)
            smaller = _with(model, bytewise, kept)
            if measured(smaller) >= lowest:
                break
    note = f"{activations} int8"
    if kept:
        numbers = [number for number, place in enumerate(_linear_places(model)) if place in kept]
        note += f"; linear layers {', '.join(map(str, numbers))} stay {model.weights}"
    return smaller, compare(model, smaller, x, y=y, score=score, notes=(note,))


def _linear_places(model: Dense) -> list[int]:
    return [place for place, layer in enumerate(model.layers) if isinstance(layer, Linear)]


def _places(model: Dense, keep: Iterable[int]) -> set[int]:
    linear = _linear_places(model)
    kept = set()
    if not isinstance(keep, Iterable):
        raise TypeError(f"keep: expected numbers of linear layers, got {keep!r}")
    for number in (whole_number(number, "keep") for number in keep):
        if not -len(linear) <= number < len(linear):
            raise ValueError(f"keep: expected numbers of {len(linear)} linear layers, got {number}")
        kept.add(linear[number])
    return kept


def _bytewise(model: Dense, x: Any, kept: set[int], percentile: float | None) -> dict[int, Layer]:
    """Quantize the other linear layers, by place; without a percentile, inputs by each row's range."""
    found: dict[int, Layer] = {}
    for place, inputs in inputs_of_linears(model.layers, x):
        layer = model.layers[place]
        assert isinstance(layer, Linear)
        if place in kept:
            continue
        where = f"layers[{place}]"
        if percentile is None:
            found[place] = quantized(layer, where)
        else:
            found[place] = quantized(layer, where, *steps_of(*range_of(inputs, percentile)))
    return found


def _with(model: Dense, bytewise: dict[int, Layer], kept: set[int]) -> Dense:
    layers = tuple(
        layer if place in kept else bytewise.get(place, layer) for place, layer in enumerate(model.layers)
    )
    return Dense(dataclasses.replace(model._description, layers=layers), weights=model.weights)


def _harm(model: Dense, bytewise: dict[int, Layer], place: int, x: Any) -> float:
    """Say how far the answers move if this layer alone is quantized."""
    others = set(bytewise) - {place}
    return float(abs(_with(model, bytewise, others).raw(x) - model.raw(x)).mean())
