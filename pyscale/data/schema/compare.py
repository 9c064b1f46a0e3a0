"""Values of a column beside bounds and members that Python has, whatever the column's type."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from pyscale.data.schema.casts import castable, has_zone
from pyscale.data.schema.types import Array, Type
from pyscale.data.tables.arrow import arrow

_FUNCTIONS = {
    "eq": "equal",
    "ne": "not_equal",
    "ge": "greater_equal",
    "gt": "greater",
    "le": "less_equal",
    "lt": "less",
}
Number = bool | int | float | Decimal
_NUMBERS = (bool, int, float, Decimal)


def is_bound(bound: Any) -> bool:
    """Return whether a bound is one: not null, nor NaN or NaT, which are neither more nor less than any."""
    if isinstance(bound, arrow().Scalar) and not bound.is_valid:
        return False
    return bound is not None and bool(bound == bound)


def compared(operator: str, values: Array, bound: Any) -> Any:
    """Compare values with a bound that the type need not have: an integer with 0.5, a uint8 with 300."""
    pa = arrow()
    bound = _python(bound)
    if isinstance(bound, _NUMBERS) and pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    kind = values.type
    if isinstance(bound, _NUMBERS) and (pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        return _compared_exactly(operator, values, bound)
    if isinstance(bound, _NUMBERS) and pa.types.is_floating(kind):
        values, scalar = _wide(values), _rounded(bound, kind)
    elif isinstance(bound, str) and pa.types.is_temporal(kind):
        scalar = pa.scalar(bound).cast(kind)
    else:
        scalar = bound if isinstance(bound, pa.Scalar) else pa.scalar(bound)
        if has_zone(kind) and has_zone(scalar.type):  # the same moment in the zone of the values
            scalar = scalar.cast(pa.timestamp(scalar.type.unit, kind.tz))
    return getattr(pa.compute, _FUNCTIONS[operator])(values, scalar)


def _compared_exactly(operator: str, values: Array, bound: Number) -> Any:
    """Compare integers or decimals."""
    kind = values.type
    units, (least, most) = _units(bound, kind), _range(kind)
    if isinstance(units, Fraction):
        if units != math.floor(units) and operator in ("eq", "ne"):
            return operator == "ne"
        units = math.ceil(units) if operator in ("ge", "lt") else math.floor(units)
    if units < least:
        return operator in ("ge", "gt", "ne")
    if units > most:
        return operator in ("le", "lt", "ne")
    return getattr(arrow().compute, _FUNCTIONS[operator])(values, _of_units(int(units), kind))


def _units(number: Number, kind: Type) -> Fraction | int | float:
    """Return how many times the least positive integer or decimal of a type a number is."""
    if abs(number) == math.inf:
        return float(number)
    if arrow().types.is_integer(kind):
        return int(number) if isinstance(number, int) else Fraction(number)
    exact = Fraction(repr(number)) if isinstance(number, float) else Fraction(number)  # 0.1 is meant as 1/10
    scale: int = kind.scale
    return exact * Fraction(10) ** scale


def _of_units(units: int, kind: Type) -> Any:
    pa = arrow()
    if pa.types.is_integer(kind):
        return pa.scalar(units, kind)
    sign, digits, _ = Decimal(units).as_tuple()
    return pa.scalar(Decimal((sign, digits, -kind.scale)), kind)


@cache
def _range(kind: Type) -> tuple[int, int]:
    """Return the least and the greatest integer or decimal of a type, in its units."""
    if arrow().types.is_integer(kind):
        return int(np.iinfo(str(kind)).min), int(np.iinfo(str(kind)).max)
    most: int = 10**kind.precision - 1
    return -most, most


def _rounded(number: Number, kind: Type) -> Any:
    """Return a number as a float of a type, or as float32 for float16, as `_wide` makes of the values."""
    try:
        as_float = float(number)
    except OverflowError:
        as_float = math.inf if number > 0 else -math.inf
    with np.errstate(over="ignore"):
        rounded = np.dtype(f"f{kind.bit_width // 8}").type(as_float)
    return arrow().scalar(float(rounded), arrow().float32() if kind.bit_width == 16 else kind)


def _wide(values: Array) -> Array:
    """Return floats of 16 bits as ones of 32, which pyarrow compares."""
    pa = arrow()
    return values.cast(pa.float32()) if pa.types.is_float16(values.type) else values


class Members:
    """Some values, which become an array of a column's type once that is known."""

    def __init__(self, members: Iterable[Any]) -> None:
        if isinstance(members, (str, bytes)):
            raise TypeError(f"Check: expected several values, got {members!r}")
        self.members = list(map(_python, members))
        try:
            self.members.sort()
        except TypeError:  # what has no order has the same all the same, on every rank
            self.members.sort(key=repr)
        self._arrays: dict[Any, Array] = {}

    def __str__(self) -> str:
        shown = ", ".join(map(repr, self.members[:8]))
        return f"{{{shown}{f', … {len(self.members)} in all' if len(self.members) > 8 else ''}}}"

    def has(self, values: Array) -> Any:
        """Return for each value whether it is in the set: whether it equals one, as `compared` says."""
        pa = arrow()
        kind = values.type
        if kind not in self._arrays:
            if pa.types.is_temporal(kind):
                scalars = list(_times(self.members, kind))
            else:
                scalars = [scalar for one in self.members if (scalar := _scalar(one, kind)) is not None]
            if pa.types.is_floating(kind) and any(scalar.as_py() == 0 for scalar in scalars):
                scalars += [_rounded(0.0, kind), _rounded(-0.0, kind)]  # which pyarrow tells apart
            wide = pa.float32() if pa.types.is_float16(kind) else kind
            self._arrays[kind] = pa.array(scalars, wide)
        return pa.compute.is_in(_wide(values), self._arrays[kind])


def _scalar(value: Any, kind: Type) -> Any:
    """Return a value as one of a type, or None where the type has none that equals it."""
    pa = arrow()
    if value is None:
        return None
    if isinstance(value, _NUMBERS) and pa.types.is_boolean(kind):
        return pa.scalar(bool(value)) if value in (0, 1) else None
    if isinstance(value, _NUMBERS) and pa.types.is_floating(kind):
        return _rounded(value, kind)
    if isinstance(value, _NUMBERS) and (pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        if value != value:
            return None
        units = _units(value, kind)
        least, most = _range(kind)
        fits = least <= units <= most and units == math.floor(units)
        return _of_units(int(units), kind) if fits else None
    try:
        return value.cast(kind) if isinstance(value, pa.Scalar) else pa.scalar(value, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, TypeError, OverflowError):
        return None


def _times(values: Sequence[Any], kind: Type) -> Iterator[Any]:
    """Yield the dates and times among some values that a type has, as its scalars."""
    pa = arrow()
    of_types: dict[Any, list[Any]] = {}
    for value in values:
        with suppress(pa.ArrowException, TypeError, OverflowError):
            scalar = value if isinstance(value, pa.Scalar) else pa.scalar(value)
            if isinstance(value, str):
                scalar = scalar.cast(kind)
            of_types.setdefault(scalar.type, []).append(scalar)
    for found, scalars in of_types.items():
        if pa.types.is_temporal(found) and has_zone(found) == has_zone(kind):
            with suppress(pa.ArrowNotImplementedError):
                yield from castable(pa.array(scalars, found), kind)[0].drop_null()


def _python(value: Any) -> Any:
    """Return a number or text of NumPy's or pyarrow's as Python's, and dates and times as pyarrow's."""
    pa = arrow()
    if isinstance(value, np.generic):
        return pa.array(np.array([value]))[0] if value.dtype.kind in "mM" else value.item()
    if isinstance(value, pa.Scalar) and not (value.is_valid and pa.types.is_temporal(value.type)):
        return value.as_py()
    return value
