"""What the collectives must give, in plain NumPy from every rank's known input; and those inputs.

Nothing here uses pyscale: each rank computes the whole answer by itself.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
INTEGERS = [np.dtype(f"{kind}{bits}") for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
FLOATS = [np.dtype("float16"), BFLOAT16, np.dtype("float32"), np.dtype("float64")]
DTYPES = [np.dtype(bool), *INTEGERS, *FLOATS]
OPS = ("sum", "mean", "min", "max", "prod")

_POOL = 100_003  # a prime, so that a piece that ends up in the place of another shows


def ops_of(dtype: np.dtype[Any]) -> tuple[str, ...]:
    if dtype.kind == "b":
        return ("min", "max")
    return OPS if dtype in FLOATS else ("sum", "min", "max", "prod")


@functools.cache
def _pool(dtype: np.dtype[Any], op: str) -> Array:
    rng = np.random.default_rng(len(dtype.name) * 31 + dtype.itemsize)
    if dtype.kind == "b":
        values: Array = rng.random(_POOL) < (0.9 if op == "min" else 0.1)
    elif dtype in INTEGERS:
        values = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, _POOL, dtype, endpoint=True)
    elif op == "prod":
        values = rng.uniform(0.5, 1.5, _POOL)
    else:  # of many magnitudes, so that each order of summation gives other bits
        values = rng.standard_normal(_POOL) * np.exp2(rng.integers(-6, 7, _POOL))
    values = values.astype(dtype)
    if dtype in FLOATS:
        values[values == 0] = 1  # min and max of zeros of both signs have no order
    return np.concatenate([values, values])


def values(rank: int, shape: tuple[int, ...], dtype: np.dtype[Any], op: str = "sum", salt: int = 0) -> Array:
    """Return the input of a rank: another one for each rank and salt."""
    size = math.prod(shape)
    start = (rank * 7919 + salt * 104_729) % _POOL
    pool = _pool(dtype, op)[start : start + _POOL]
    return (pool[:size].copy() if size <= _POOL else np.resize(pool, size)).reshape(shape)


def reduced(op: str, inputs: Sequence[Array], nodes: Sequence[Sequence[int]] | None = None) -> Array:
    """Return the reduction, to the last bit.

    On one node (`nodes` is None): the left fold in rank order, in float32 for 16-bit floats, else in the
    elements' own type, rounded once; where the sum of a mean overflows, it is that of terms scaled down by a
    power of two. On several: the left fold of each node's ranks, then of the nodes; the partials of a mean
    are summed in float64 and rounded to float32 where that is finite.
    """
    dtype = inputs[0].dtype
    with np.errstate(all="ignore"):
        if nodes is None or len(nodes) == 1:
            return _left_fold(op, inputs).astype(dtype)
        groups = [[inputs[rank] for rank in ranks] for ranks in nodes]
        if op == "mean" and dtype != np.float64:
            wide = [_left_fold("sum", [x.astype(np.float64) for x in group]) for group in groups]
            short = [x.astype(np.float32).astype(np.float64) for x in wide]
            partials = [np.where(np.isfinite(s), s, w) for s, w in zip(short, wide, strict=True)]
            return (_left_fold("sum", partials) / len(inputs)).astype(dtype)
        if op == "mean":
            return _mean(inputs, lambda xs: _by_node(xs, nodes))
        return _left_fold(op, [_left_fold(op, group) for group in groups]).astype(dtype)


def _by_node(terms: Sequence[Array], nodes: Sequence[Sequence[int]]) -> Array:
    return _left_fold("sum", [_left_fold("sum", [terms[rank] for rank in ranks]) for ranks in nodes])


def _left_fold(op: str, inputs: Sequence[Array]) -> Array:
    dtype = inputs[0].dtype
    wide = np.dtype(np.float32) if dtype in (np.dtype("float16"), BFLOAT16) else dtype
    terms = [x.astype(wide, copy=False) for x in inputs]
    if op == "mean":
        return _mean(terms, functools.partial(_left_fold, "sum"))
    combine: Callable[[Array, Array], Array] = {
        "sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum,
    }[op]  # fmt: skip
    total = terms[0]
    for term in terms[1:]:
        total = combine(total, term)
    return total


def _mean(terms: Sequence[Array], add: Callable[[Sequence[Array]], Array]) -> Array:
    kind = terms[0].dtype.type
    total, count = add(terms), len(terms)
    down = kind(2.0 ** -math.ceil(math.log2(count)))
    scaled = add([term * down for term in terms]) / (kind(count) * down)
    mean: Array = np.where(np.isfinite(total), total / kind(count), scaled)
    return mean


def first_difference(a: Array, b: Array) -> str | None:
    """Return how `a` differs from the expected `b`, None: not at all. To the bit, but a NaN is a NaN."""
    if a.dtype != b.dtype:
        return f"dtype {a.dtype}, expected {b.dtype}"
    if a.shape != b.shape:
        return f"shape {a.shape}, expected {b.shape}"
    a, b = np.ascontiguousarray(a).reshape(-1), np.ascontiguousarray(b).reshape(-1)
    if a.view(np.uint8).tobytes() == b.view(np.uint8).tobytes():
        return None
    bits = np.dtype(f"u{a.dtype.itemsize}")
    wrong = a.view(bits) != b.view(bits)
    if a.dtype in FLOATS:
        wrong &= ~(np.isnan(a) & np.isnan(b))
    at = np.flatnonzero(wrong)
    if at.size == 0:
        return None
    i = int(at[0])
    return f"{at.size} of {a.size} elements differ, the first at {i}: {a[i]!r}, expected {b[i]!r}"


# -------------------------------------------------------------------------------- memory layouts

LAYOUTS = ("contiguous", "transposed", "reversed", "every second", "offset")


class Laid:
    """Values in a given memory layout, within a larger buffer whose other elements must stay as they are."""

    def __init__(
        self, content: Array, layout: str = "contiguous", allocate: Callable[..., Array] = np.empty
    ) -> None:
        shape, dtype = content.shape, content.dtype
        backwards: Any = (..., *(slice(None, None, -1),) * len(shape))
        odd: Any = (..., *(slice(1, None, 2),) * len(shape))
        view: Callable[[Array], Array]
        if layout == "contiguous":
            full, view = shape, lambda x: x
        elif layout == "transposed":
            full, view = shape[::-1], lambda x: x.T
        elif layout == "reversed":
            full, view = shape, lambda x: x[backwards]
        elif layout == "every second":
            full, view = (
                tuple(2 * n + 1 for n in shape),
                lambda x: x[odd],
            )
        else:
            full, view = (content.size + 8,), lambda x: x[3 : 3 + content.size].reshape(shape)
        self.buffer = allocate(full, dtype)
        self.buffer.reshape(-1).view(np.uint8)[...] = 1  # a bool of any other byte would be none
        self.array = view(self.buffer)
        self.array[...] = content
        self._before = self.buffer.copy()
        self._view = view

    def rest_untouched(self) -> bool:
        after = self.buffer.copy()
        self._view(after)[...] = self._view(self._before)
        return after.tobytes() == self._before.tobytes()
