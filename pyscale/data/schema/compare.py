"""Values of a column beside bounds and members that Python has, whatever the column's type."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np

from pyscale.data.schema.types import Array, logical
from pyscale.data.tables.arrow import arrow

_FUNCTIONS = {
    "eq": "equal",
    "ne": "not_equal",
    "ge": "greater_equal",
    "gt": "greater",
    "le": "less_equal",
    "lt": "less",
}


def compared(operator: str, values: Array, bound: Any) -> Any:
    """Compare values with a bound that the type need not have: an integer with 0.5, a uint8 with 300."""
    pa = arrow()
    bound = _python(bound)
    kind = logical(values.type)
    if pa.types.is_integer(kind) and isinstance(bound, (int, float)):
        return _compared_integers(operator, values, bound)
    if pa.types.is_floating(kind) and isinstance(bound, (int, float)):
        with np.errstate(over="ignore"):
            scalar = pa.scalar(np.dtype(f"f{kind.bit_width // 8}").type(bound), values.type)
    elif pa.types.is_temporal(kind) and isinstance(bound, str):
        scalar = pa.scalar(bound).cast(kind)
    else:
        scalar = bound if isinstance(bound, pa.Scalar) else pa.scalar(bound)
    return getattr(pa.compute, _FUNCTIONS[operator])(values, scalar)


def _compared_integers(operator: str, values: Array, bound: float) -> Any:
    pa = arrow()
    if not isinstance(bound, int) and not math.isinf(bound):
        if bound != math.floor(bound) and operator in ("eq", "ne"):
            return operator == "ne"
        bound = math.ceil(bound) if operator in ("ge", "lt") else math.floor(bound)
    info = np.iinfo(str(values.type))
    if bound < info.min:
        return operator in ("ge", "gt", "ne")
    if bound > info.max:
        return operator in ("le", "lt", "ne")
    return getattr(pa.compute, _FUNCTIONS[operator])(values, pa.scalar(bound, values.type))


class Members:
    """Some values, which become an array of a column's type once that is known."""

    def __init__(self, members: Iterable[Any]) -> None:
        if isinstance(members, (str, bytes)):
            raise TypeError(f"Check: expected several values, got {members!r}")
        self.members = list(map(_python, members))
        with suppress(TypeError):  # what has no order stays as it came
            self.members.sort()
        self._arrays: dict[Any, Array] = {}

    def __str__(self) -> str:
        shown = ", ".join(map(repr, self.members[:8]))
        return f"{{{shown}{f', … {len(self.members)} in all' if len(self.members) > 8 else ''}}}"

    def has(self, values: Array) -> Any:
        """Return for each value whether it is in the set."""
        if values.type not in self._arrays:
            scalars = [_scalar(member, values.type) for member in self.members]
            fitting = [scalar.as_py() for scalar in scalars if scalar is not None]
            self._arrays[values.type] = arrow().array(fitting, values.type)
        return arrow().compute.is_in(values, self._arrays[values.type])


def _scalar(value: Any, kind: Any) -> Any:
    """Return a value as one of a type, or None where the type has none that equals it."""
    pa = arrow()
    try:
        if isinstance(value, pa.Scalar):
            return value.cast(kind)
        if pa.types.is_temporal(kind) and isinstance(value, str):
            return pa.scalar(value).cast(kind)
        scalar = pa.scalar(value, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, TypeError, OverflowError):
        return None
    return None if pa.types.is_integer(kind) and scalar.as_py() != value else scalar


def _python(value: Any) -> Any:
    """Return a number or text of NumPy's as Python's, and its dates and times as pyarrow's."""
    if not isinstance(value, np.generic):
        return value
    return arrow().array(np.array([value]))[0] if value.dtype.kind in "mM" else value.item()
