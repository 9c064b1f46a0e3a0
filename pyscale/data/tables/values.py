"""Columns of Arrow as arrays of NumPy: each as the dtype it has, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pyscale.data.schema.casts import castable
from pyscale.data.schema.types import nearest
from pyscale.errors import DataError

Rows = tuple[np.dtype[Any], tuple[int, ...]]  # the dtype and the shape of each row


def dtype_of(name: str, kind: Any) -> Rows:
    """Return the dtype, and the shape of a row, that a column of an Arrow type has."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return dtype_of(name, kind.value_type)
    if pa.types.is_fixed_size_list(kind):
        dtype, shape = dtype_of(name, kind.value_type)
        if dtype.kind in "iufb" and not shape:
            return dtype, (kind.list_size,)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return np.dtype(kind.to_pandas_dtype()), ()
    elif pa.types.is_temporal(kind) and not (pa.types.is_time(kind) or pa.types.is_interval(kind)):
        return pa.array([], kind).to_numpy(zero_copy_only=False).dtype, ()
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        return np.dtype(object), ()
    raise TypeError(
        f"column {name!r}: expected numbers, booleans, dates, strings or lists of numbers of a fixed size, "
        f"got {kind}"
    )


def check_fill(name: str, kind: Any, fill: Any) -> None:
    """Raise ValueError where a value cannot stand for null in a column of an Arrow type.

    Floats are rounded to the nearest that the type has, but not to infinity; all else is to be exact.
    """
    import pyarrow as pa

    if fill is None:
        return
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    what = f"fill: expected a value of {kind} for column {name!r}, got {fill!r}"
    try:
        value = pa.scalar(fill, kind)
    except (ValueError, TypeError, NotImplementedError, OverflowError) as error:  # pyarrow's own are these
        raise ValueError(f"{what}: {error}") from error
    if pa.types.is_floating(kind) and isinstance(fill, (float, np.floating)):
        is_same = np.isinf(value.as_py()) == np.isinf(fill)
    elif pa.types.is_temporal(kind) and not _is_count(fill):
        is_same = _is_held(fill, kind)
    else:
        is_same = not (pa.types.is_integer(kind) or pa.types.is_floating(kind)) or value.as_py() == fill
    if not is_same:
        raise ValueError(what)


def _is_count(value: Any) -> bool:
    """Return whether a value is a number of a type's units."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64))


def _is_held(time: Any, kind: Any) -> bool:
    """Return whether a type holds a date, time or duration; pyarrow cuts off what it does not hold."""
    import pyarrow as pa

    own = pa.array(np.array([time])) if isinstance(time, np.generic) else pa.array([time])
    try:
        return not castable(own, kind)[1].any()
    except pa.ArrowNotImplementedError:
        return False


def converted(name: str, column: Any, target: Any) -> Any:
    """Return a column as another type; floats are rounded, but no number becomes infinite, or is cut off.

    Raises
    ------
    DataError
        A value has no place in the type.
    """
    import pyarrow as pa

    what = f"column {name!r}: expected values of {target}, got"
    try:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        column = nearest(column, target)
        if pa.types.is_float16(target) and pa.types.is_integer(column.type):
            # All that half precision holds exactly; pyarrow rounds what is beyond.
            limits = pa.compute.min_max(column).as_py()
            for value in limits.values():
                if value is not None and abs(value) > _HALF:
                    raise DataError(f"{what} {value}, beyond {_HALF}")
        is_small = pa.types.is_floating(target) and target.bit_width < 64
        if is_small and not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            column = column.cast(pa.float64())  # of text, whose infinities are known then
        if pa.types.is_timestamp(column.type) and column.type.tz:
            column = column.cast(pa.timestamp(column.type.unit))  # UTC, where the day is that of the zone
        cast = column.cast(target)
        if _is_cut_off(column.type, target):
            differs = pa.compute.not_equal(cast.cast(column.type), column)
            if pa.compute.any(differs).as_py():
                raise DataError(f"{what} {column.filter(differs)[0]}")
    except (ValueError, NotImplementedError) as error:  # pyarrow's own are these
        raise DataError(f"{what} {error}") from error
    if is_small and pa.types.is_floating(column.type):
        infinite = _infinities(cast)
        if infinite.any() and (became := infinite & ~_infinities(column)).any():
            value = column.filter(pa.array(became))[0]
            raise DataError(f"{what} {value}, which would be infinite")
    return cast


_HALF = 2048


def _is_cut_off(kind: Any, target: Any) -> bool:
    """Return whether pyarrow casts what has no place in a type without a word."""
    import pyarrow as pa

    if pa.types.is_boolean(target):
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
    return bool(pa.types.is_date32(target) and pa.types.is_timestamp(kind))


def _infinities(column: Any) -> npt.NDArray[np.bool_]:
    # By NumPy: pyarrow has no such function for half precision. Null is NaN.
    infinite: npt.NDArray[np.bool_] = np.isinf(column.to_numpy())
    return infinite


def as_array(name: str, column: Any, fill: Any = None) -> npt.NDArray[Any]:
    """Return a column as an array; where it can be, without a copy.

    Parameters
    ----------
    name : str
        For errors.
    column : pyarrow.ChunkedArray
    fill : scalar, optional
        What stands for null. Without, that is NaN, NaT or None; integers and booleans have none of these.

    Raises
    ------
    DataError
        There are nulls, and nothing to stand for them.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count and fill is not None:
        try:
            column = column.fill_null(pa.scalar(fill, column.type))
        except (ValueError, TypeError, NotImplementedError) as error:  # pyarrow's own are these
            what = f"column {name!r}: expected a fill of {column.type}, got {fill!r}"
            raise DataError(f"{what}: {error}") from error
    dtype, shape = dtype_of(name, column.type)
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if shape:
        values = array.flatten()
        if nulls := array.null_count + values.null_count:
            raise DataError(f"column {name!r}: expected lists without nulls, got {nulls} nulls")
        flat: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
        return flat.reshape(len(array), *shape)
    if array.null_count and dtype.kind in "iub":
        raise DataError(
            f"column {name!r}: expected no nulls among {column.type}, or a value in fill to stand for them, "
            f"got {array.null_count}"
        )
    result: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return result
