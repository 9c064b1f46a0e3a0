"""The types of columns: by pyarrow's, NumPy's, pandas's or Python's names, and apart from their encodings."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from pyscale.data.tables.arrow import arrow

Array = Any  # pyarrow.Array: mypy does not see pyarrow
Type = Any  # pyarrow.DataType

_LENGTH = 80  # of a value that is shown

# "datetime64[ns, UTC]" as pandas says it, "timestamp[us, tz=UTC]" and "decimal128(10, 2)" as pyarrow does
_ZONED = re.compile(r"(?:datetime64|timestamp)\[(s|ms|us|ns),\s*(?:tz=)?([^\]]+)\]")
_DECIMAL = re.compile(r"(decimal(?:128|256))\((\d+),\s*(-?\d+)\)")


def type_of(spec: Any) -> Type:
    """Return the pyarrow type that is meant.

    Parameters
    ----------
    spec : pyarrow.DataType, numpy dtype, type or str
        Such as ``"int32"``, ``np.float64``, ``str``, ``"timestamp[us]"``, ``"datetime64[ns, UTC]"`` or
        ``"decimal128(10, 2)"``. Strings of any encoding are one type.

    Raises
    ------
    TypeError
        What is no type, or means two: ``"float"`` has 32 bits in pyarrow and 64 in NumPy.
    """
    pa = arrow()
    if isinstance(spec, pa.DataType):
        return spec
    simple = {str: pa.string(), bytes: pa.binary(), datetime.date: pa.date32()}
    if isinstance(spec, type) and spec in simple:
        return simple[spec]
    if spec is datetime.datetime:
        return pa.timestamp("us")
    if spec == "float" and isinstance(spec, str):
        raise TypeError("type: expected float32 or float64, got 'float', which means either")
    found = _named(spec) if isinstance(spec, str) else None
    if found is None:
        found = _of_numpy(spec)
    if found is None:
        raise TypeError(f"type: expected a type of pyarrow or NumPy, or the name of one, got {spec!r}")
    return found


def _named(name: str) -> Type | None:
    pa = arrow()
    if zoned := _ZONED.fullmatch(name):
        return pa.timestamp(*zoned.groups())
    if decimal := _DECIMAL.fullmatch(name):
        kind, precision, scale = decimal.groups()
        return getattr(pa, kind)(int(precision), int(scale))
    try:
        return pa.type_for_alias(name)
    except ValueError:
        return None


def _of_numpy(spec: Any) -> Type | None:
    pa = arrow()
    try:
        dtype = np.dtype(spec)
        if spec is not None and dtype.kind in "US":
            return pa.string() if dtype.kind == "U" else pa.binary()
        return None if spec is None or dtype.kind == "O" else pa.from_numpy_dtype(dtype)
    except (TypeError, pa.ArrowNotImplementedError):
        return None


def logical(kind: Type) -> Type:
    """Return a type apart from its encoding: dictionaries, runs, views and 64-bit offsets go away."""
    types, pa = arrow().types, arrow()
    while types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        kind = kind.value_type
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    return kind


@cache
def in_parquet(kind: Type) -> Type:
    """Return the type that a column comes back as from a Parquet file, which has no seconds and no date64."""
    pa = arrow()
    file = pa.BufferOutputStream()
    try:
        pa.parquet.write_table(pa.schema({"x": kind}).empty_table(), file)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return kind  # one that cannot be written
    return pa.parquet.read_schema(pa.BufferReader(file.getvalue())).field("x").type


def plain(array: Array) -> Array:
    """Return an array with its encoding undone, of the types that pyarrow's functions take."""
    pa = arrow()
    types = pa.types
    if types.is_run_end_encoded(array.type):
        array = pa.compute.run_end_decode(array)
    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if types.is_string_view(array.type):
        return array.cast(pa.large_string())
    if types.is_binary_view(array.type):
        return array.cast(pa.large_binary())
    return array


def nearest(array: Array, kind: Type) -> Array:
    """Return an array that pyarrow casts to the nearest values of a type: decimals as text, for floats.

    Of 1.50000 itself it makes 1.5000000000000002: its digits, times a power of ten that is rounded.
    """
    pa = arrow()
    inexact = pa.types.is_decimal(array.type) and pa.types.is_floating(kind)
    return array.cast(pa.string()) if inexact else array


def is_comparable(kind: Type) -> bool:
    """Return whether values of a type can be told apart and counted: not of lists, structs and intervals."""
    types, kind = arrow().types, logical(kind)
    return not (types.is_nested(kind) or types.is_interval(kind))


def check_names(names: Sequence[str], what: str) -> None:
    """Raise ValueError if a name is there more than once."""
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"{what}: expected one column {name!r}, got {count}")


def check_chosen(columns: Any, what: str) -> None:
    """Raise TypeError for a single name where several are expected, which would be taken for its letters."""
    if isinstance(columns, str):
        raise TypeError(f"{what}: expected a sequence of columns, got {columns!r}")


def is_text(kind: Type) -> bool:
    """Return whether a type is one of strings."""
    return bool(arrow().types.is_string(logical(kind)))


def shown(array: Array, rows: Sequence[int]) -> list[Any]:
    """Return some values as Python's: None, numbers and short text; all else as text that may be cut."""
    return [_short(in_python(plain(array.slice(row, 1))[0])) for row in rows]


def in_python(scalar: Any) -> Any:
    """Return a value of pyarrow's as Python's, or as text where Python has none that is the same."""
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):  # nanoseconds, and years that datetime has not
        return scalar.cast(arrow().string()).as_py()


def _short(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= _LENGTH else text[: _LENGTH - 1] + "…"
