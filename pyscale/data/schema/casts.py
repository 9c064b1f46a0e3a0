"""Casts of columns that lose nothing: what comes back, cast back, as it was."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from pyscale.data.schema.types import Array, Type, is_text, logical, nearest, plain, shown
from pyscale.data.tables.arrow import arrow

Mask = npt.NDArray[np.bool_]

_DIGITS = {32: 9, 64: 18, 128: 38, 256: 76}  # that all decimals of so many bits have room for


def castable(array: Array, kind: Type) -> tuple[Array, Mask]:
    """Return an array as another type, with null where a value cannot be, and a mask of these values.

    Nothing is cut off, rounded or wrapped: a value is cast only if it is the same when cast back, NaN too.
    Text is parsed instead, and floats in it are rounded to the nearest that the type has, but to no infinity.

    Raises
    ------
    pyarrow.ArrowNotImplementedError
        There is no cast between these types, or one that loses the date or the time zone of all values.
    """
    pa = arrow()
    if pa.types.is_float16(array.type):
        array = array.cast(pa.float32())  # for which there are more functions
    cast, failed = _cast(nearest(array, kind), kind)
    lost = _lost(array, cast)
    if lost.any():
        cast = cast.take(pa.array(np.arange(len(cast)), mask=lost))
    return cast, failed | lost


def check_castable(table: Any, schema: Any) -> None:
    """Check that a table's columns can be cast to those of a pyarrow schema, each value without loss.

    Raises
    ------
    ValueError
        A value cannot.
    TypeError
        There is no such cast for a column.
    """
    pa = arrow()
    for field in schema:
        column = table.column(field.name)
        if logical(column.type) == logical(field.type):
            continue
        for chunk in column.chunks:
            try:
                failed = castable(plain(chunk), logical(field.type))[1]
            except pa.ArrowNotImplementedError as error:
                raise TypeError(
                    f"column {field.name!r}: expected a type that can be cast to {field.type} without loss, "
                    f"got {column.type}"
                ) from error
            if failed.any():
                [value] = shown(chunk, np.flatnonzero(failed)[:1].tolist())
                raise ValueError(
                    f"column {field.name!r}: expected values that can be cast to {field.type} without loss, "
                    f"got {value!r}"
                )


def _cast(array: Array, kind: Type) -> tuple[Array, Mask]:
    """Cast as pyarrow does it safely, but value by value."""
    pa = arrow()
    try:
        return array.cast(kind), np.zeros(len(array), bool)
    except pa.ArrowInvalid:
        # Often few values are at fault, many times: look at each once.
        coded = array.dictionary_encode()
        values = coded.dictionary
        hopeless = pa.array(_hopeless(values, kind))
        values = pa.compute.if_else(hopeless, pa.scalar(None, values.type), values)
        cast = pa.concat_arrays(_pieces(values, kind))
        bad, present = _mask(cast.is_null()), _mask(coded.indices.is_valid())
        codes = coded.indices.fill_null(0).to_numpy() if len(bad) else np.zeros(len(array), np.int32)
        return cast.take(coded.indices), present & (bad[codes] if len(bad) else False)


def _hopeless(values: Array, kind: Type) -> Mask:
    """Return values that cannot be cast, not all of them: those that are left take a cast each."""
    pa = arrow()
    if is_text(values.type):
        hopeful = pa.compute.match_substring_regex(values, _spelling(kind))
        return _mask(pa.compute.invert(hopeful))
    numbers = (pa.types.is_floating, pa.types.is_integer)
    if any(is_one(values.type) for is_one in numbers) and any(is_one(kind) for is_one in numbers):
        unsafe = values.cast(kind, safe=False).cast(values.type, safe=False)
        return _mask(pa.compute.not_equal(values, unsafe))
    return np.zeros(len(values), bool)


def _spelling(kind: Type) -> str:
    """Return a pattern of all texts, and some others, that can be parsed as values of a type."""
    types = arrow().types
    if types.is_integer(kind):
        return r"^[+-]?(\d+|0[xX][0-9a-fA-F]+)$"
    if types.is_floating(kind) or types.is_decimal(kind):
        return r"^[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|(?i:nan|inf).*)$"
    if types.is_temporal(kind):
        return r"^[+-]?\d+[-:]\d"
    return ""


def _pieces(values: Array, kind: Type) -> list[Array]:
    """Cast values by halves, until only those that cannot be are left alone, as nulls."""
    pa = arrow()
    try:
        return [values.cast(kind)]
    except pa.ArrowInvalid:
        if len(values) == 1:
            return [pa.nulls(1, kind)]
        half = len(values) // 2
        return _pieces(values[:half], kind) + _pieces(values[half:], kind)


def _lost(array: Array, cast: Array) -> Mask:
    """Return which values of an array, of those that have been cast, are not what they were."""
    types = arrow().types
    array, cast = plain(array), plain(cast)
    if is_text(array.type) and types.is_floating(cast.type):
        return _too_large(array, cast)
    if is_text(array.type) and types.is_decimal(cast.type):
        return _wrapped(array, cast)
    if array.type == cast.type or any(map(_is_spelled, (array.type, cast.type))):
        return np.zeros(len(array), bool)
    if types.is_decimal(array.type) and types.is_integer(cast.type):
        return np.zeros(len(array), bool)  # pyarrow's own cast loses nothing, and there may be none back
    if types.is_nested(array.type) or types.is_nested(cast.type):
        return _lost_within(array, cast)
    if has_zone(array.type) and types.is_temporal(cast.type) and not has_zone(cast.type):
        raise _no_cast(array.type, cast.type)
    back = _back(cast, array.type)
    same = _mask(arrow().compute.equal(array, back))
    if types.is_floating(array.type):
        is_nan = arrow().compute.is_nan
        same |= _mask(arrow().compute.and_(is_nan(array), is_nan(back)))
    return _mask(cast.is_valid()) & ~same


def _back(cast: Array, kind: Type) -> Array:
    """Cast back; unsafely, since what is not the same then is seen, and integers are refused as floats."""
    try:
        return cast.cast(kind, safe=False)
    except arrow().ArrowInvalid:
        return _cast(cast, kind)[0]


def _mask(booleans: Array) -> Mask:
    """Return which are true, and not null."""
    mask: Mask = booleans.fill_null(False).to_numpy(zero_copy_only=False)
    return mask


def _too_large(text: Array, floats: Array) -> Mask:
    """Return which texts are no infinity but have become one."""
    pc = arrow().compute
    named = pc.match_substring_regex(text, "(?i:inf)")
    return _mask(pc.and_not(pc.is_inf(floats), named))


def _wrapped(text: Array, decimals: Array) -> Mask:
    """Return which texts have become other decimals: pyarrow drops the bits that a type has not."""
    doubtful = arrow().compute.match_substring_regex(
        text, f"[eE]|.{{{_DIGITS[decimals.type.bit_width] + 1}}}"
    )
    lost = np.zeros(len(text), bool)
    for row in np.flatnonzero(_mask(doubtful) & _mask(decimals.is_valid())):
        lost[row] = Decimal(text[row].as_py()) != decimals[row].as_py()
    return lost


def _lost_within(array: Array, cast: Array) -> Mask:
    """Return which lists and structs have lost something within."""
    types = arrow().types
    lost = np.zeros(len(array), bool)
    array, cast = _without_maps(array), _without_maps(cast)
    if _is_list(array.type) and _is_list(cast.type):
        parents = arrow().compute.list_parent_indices(array).to_numpy()
        lost[parents[_lost(array.flatten(), cast.flatten())]] = True
        return lost
    if types.is_struct(array.type) and types.is_struct(cast.type) and _names(array) == _names(cast):
        for before, after in zip(array.flatten(), cast.flatten(), strict=True):
            lost |= _lost(before, after)
        return lost
    raise _no_cast(array.type, cast.type)


def _no_cast(kind: Type, other: Type) -> Exception:
    error: Exception = arrow().ArrowNotImplementedError(f"no cast from {kind} to {other} without loss")
    return error


def _names(structs: Array) -> list[str]:
    return [field.name for field in structs.type]


def _without_maps(array: Array) -> Array:
    """Return maps as lists of structs."""
    pa, kind = arrow(), array.type
    if not pa.types.is_map(kind):
        return array
    fields = [pa.field("key", kind.key_type, nullable=False), pa.field("value", kind.item_type)]
    return array.cast(pa.list_(pa.struct(fields)))


def _is_list(kind: Type) -> bool:
    types = arrow().types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_spelled(kind: Type) -> bool:
    """Return whether values of a type are text or bytes, which are parsed, or all null."""
    types, kind = arrow().types, logical(kind)
    return bool(
        types.is_string(kind)
        or types.is_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_null(kind)
    )


def has_zone(kind: Type) -> bool:
    """Return whether values of a type are times of a zone."""
    return bool(arrow().types.is_timestamp(kind) and kind.tz is not None)
