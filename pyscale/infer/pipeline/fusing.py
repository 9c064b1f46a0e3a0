"""What a pipeline is before it computes: sizes checked, and what is of layers fused into one Dense."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from pyscale.infer.dense.dense import Dense, WeightType
from pyscale.infer.dense.folding import folded
from pyscale.infer.dense.layers import (
    Activation,
    Affine,
    BatchNorm,
    DenseDescription,
    Layer,
    LayerNorm,
    Linear,
    QuantizedLinear,
)
from pyscale.infer.forest.forest import Forest
from pyscale.infer.graph.model import OnnxModel
from pyscale.infer.importers.reading import refuse
from pyscale.infer.pipeline.columns import checked, widths
from pyscale.infer.pipeline.stages import Columnwise

__all__ = ["Stage", "fused"]

Stage = Columnwise | Dense | Forest | OnnxModel


class _Part(NamedTuple):
    """A layer or a chain of them, the columns that go in, and how weights are kept, if it has any."""

    given: Layer | Dense
    width: int
    weights: WeightType | None


def fused(stages: Iterable[tuple[str, Any]]) -> tuple[Stage, ...]:
    """
    Check stages, and fuse layers and dense models that follow each other.

    Parameters
    ----------
    stages : iterable of (str, stage)
        What messages call each, and the stage.

    Returns
    -------
    tuple of Stage
        No two dense models follow each other, unless the weights of one are kept in another type.

    Raises
    ------
    TypeError
        One is no stage.
    ValueError
        One does not fit that before it, or cannot be where it is; the message names it.
    """
    out: list[Stage] = []
    run: list[_Part] = []
    width: int | None = None
    inputs: int | None
    after: str | None = None  # what nothing may follow
    for where, stage in stages:
        if after is not None:
            refuse(where, f"nothing after {after}", type(stage).__qualname__)
        if isinstance(stage, Layer | Dense):
            into, outputs = _checked_part(stage, where, width)
            run.append(_Part(stage, into, _weights(stage)))
            inputs = into
        else:
            out += _dense(run)
            run = []
            if isinstance(stage, Columnwise):
                stage = checked(stage, where)
                inputs, outputs = widths(stage)
            elif isinstance(stage, Forest):
                inputs, outputs = stage.num_features, stage.num_outputs
            elif isinstance(stage, OnnxModel):
                after = f"{where}, an OnnxModel"
                inputs, outputs = stage.num_features if type(stage.num_features) is int else width, 0
            else:
                raise TypeError(
                    f"{where}: expected a Scaler, an Imputer, a layer, a Dense, a Forest, a Pipeline or an "
                    f"OnnxModel, got {type(stage).__qualname__}"
                )
            out.append(stage)
        if width is not None and inputs != width:
            raise ValueError(f"{where}: expected {width} features, got {inputs}")
        width = outputs
    out += _dense(run)
    if not out:
        raise ValueError("stages: expected one or more, got none")
    return tuple(out)


def _checked_part(stage: Layer | Dense, where: str, width: int | None) -> tuple[int, int]:
    """Check a layer by itself; say how many columns go in, and how many come out."""
    if isinstance(stage, Dense):
        return stage.num_features, stage.num_outputs
    bare = isinstance(stage, Activation) and width is not None
    chain: list[Layer] = [_same(width), stage] if bare and width is not None else [stage]
    try:
        first = folded(chain)[0]
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace(f"layers[{len(chain) - 1}]", where, 1)) from None
    if isinstance(first, Linear | QuantizedLinear):
        outputs, inputs = first.weight.shape
        return int(inputs), int(outputs)
    assert isinstance(first, Affine | LayerNorm)
    size = len(first.scale if isinstance(first, Affine) else first.weight)
    return size, size


def _same(width: int) -> Affine:
    """Give a layer that changes nothing: it says how many columns there are, to layers that do not."""
    return Affine(np.ones(width), np.full(width, -0.0))


def _weights(stage: Layer | Dense) -> WeightType | None:
    if isinstance(stage, Linear):
        return "float32"
    if isinstance(stage, Dense) and any(isinstance(layer, Linear) for layer in stage.layers):
        return stage.weights
    return None


def _dense(run: list[_Part]) -> Iterator[Dense]:
    """Make of a run of layers and dense models as few dense models as can be."""
    group: list[_Part] = []
    weights: WeightType | None = None
    for part in run:
        if part.weights is not None and weights is not None and part.weights != weights:
            yield _one(group, weights)
            group, weights = [], None
        group.append(part)
        weights = part.weights or weights
    if group:
        yield _one(group, weights)


def _one(group: list[_Part], weights: WeightType | None) -> Dense:
    first, last = group[0].given, group[-1].given
    if len(group) == 1 and isinstance(first, Dense):
        return first
    layers: list[Layer] = [] if isinstance(first, Dense | _SIZED) else [_same(group[0].width)]
    for part in group:
        layers += part.given.layers if isinstance(part.given, Dense) else [part.given]
    kept: WeightType = next(
        (part.given.weights for part in group if isinstance(part.given, Dense)), "float32"
    )
    description = DenseDescription(
        layers=tuple(layers),
        kind=last.kind if isinstance(last, Dense) else "values",
        classes=last.classes if isinstance(last, Dense) else None,
        flat=last.flat if isinstance(last, Dense) else False,
        source=last.source if isinstance(last, Dense) else "pyscale",
        feature_names=first.feature_names if isinstance(first, Dense) else None,
    )
    return Dense(description, weights=weights or kept)


_SIZED = Linear | QuantizedLinear | Affine | BatchNorm | LayerNorm
