"""In which order ranks on several nodes are folded, so that every way of moving the data gives the same bits.

The ranks of a node are folded in rank order, which gives the node's partial; the partials are folded in the
order of the nodes. Partials of 16-bit floats are float32, so that a result is rounded once. The partials of a
mean are summed in float64 and rounded to float32 where that is finite, and kept in float64 where it is not: a
mean that is representable does not overflow on the way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np

from pyscale import _core
from pyscale.comm.transports.base import Array

# A node's fold of its ranks; of a float64 mean whose sum overflows, also that of the terms scaled down.
Partial: TypeAlias = Array | tuple[Array, Array]

_SMALL_FLOATS = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
_NARROW_FLOATS = (*_SMALL_FLOATS, np.dtype(np.float32))


def partial_dtype(dtype: np.dtype[Any], op: str) -> np.dtype[Any]:
    """Return the dtype in which a node folds its ranks."""
    if op == "mean" and dtype in _NARROW_FLOATS:
        return np.dtype(np.float64)
    return np.dtype(np.float32) if dtype in _SMALL_FLOATS else dtype


def partial_op(op: str) -> str:
    """Return the op within a node: a mean is divided once, at the end."""
    return "sum" if op == "mean" else op


def overflows(partial: Array, dtype: np.dtype[Any], op: str) -> bool:
    """Return whether the partial of a float64 mean needs its scaled twin."""
    return op == "mean" and dtype == np.float64 and not _core.all_finite(partial)


def narrow(partial: Array, dtype: np.dtype[Any], op: str) -> Array:
    """Return a partial as it travels between nodes: in float32 for a mean that does not overflow it."""
    if op != "mean" or dtype not in _NARROW_FLOATS:
        return partial
    with np.errstate(over="ignore", invalid="ignore"):
        short = partial.astype(np.float32)
    if _core.all_finite(short):
        return short
    finite = np.isfinite(short)
    return np.where(finite, short.astype(np.float64), partial)


def mean_scale(ranks: int) -> float:
    """Return the power of two by which terms are scaled whose float64 sum overflows."""
    return 2.0 ** -math.ceil(math.log2(ranks))


def combine(partials: Sequence[Partial], op: str, out: Array, ranks: int) -> None:
    """Fold the nodes' partials, in the order of the nodes, into `out`."""
    plain = [partial[0] if isinstance(partial, tuple) else partial for partial in partials]
    if op == "mean" and out.dtype in _NARROW_FLOATS:
        plain = [partial.astype(np.float64) for partial in plain]
    _core.fold(op, plain, out, ranks if op == "mean" else 1)
    if any(isinstance(partial, tuple) for partial in partials):
        scale = mean_scale(ranks)
        scaled = [partial[1] if isinstance(partial, tuple) else partial * scale for partial in partials]
        total = np.empty_like(out)
        _core.fold("sum", scaled, total)
        np.copyto(out, total / (ranks * scale), where=~np.isfinite(out))


def fold_ranks(blocks: Sequence[Array], nodes: Sequence[Sequence[int]], op: str, out: Array) -> None:
    """Fold every rank's block into `out`, as the nodes would."""
    if len(nodes) == 1:
        _core.fold(op, list(blocks), out, len(blocks))
        return
    partials: list[Partial] = []
    for ranks in nodes:
        partial = np.empty(out.shape, partial_dtype(out.dtype, op))
        _core.fold(partial_op(op), [blocks[rank] for rank in ranks], partial)
        if overflows(partial, out.dtype, op):
            scaled = np.empty_like(partial)
            _core.fold("sum", [blocks[rank] * mean_scale(len(blocks)) for rank in ranks], scaled)
            partials.append((partial, scaled))
        else:
            partials.append(narrow(partial, out.dtype, op))
    combine(partials, op, out, len(blocks))
