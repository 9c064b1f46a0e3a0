"""Columns of Arrow as arrays of NumPy: each as the dtype it has, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pyscale.errors import DataError


def dtype_of(name: str, kind: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
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
        if array.null_count or values.null_count:
            raise DataError(f"column {name!r}: expected lists without nulls, got {array.null_count} nulls")
        flat: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
        return flat.reshape(len(array), *shape)
    if array.null_count and dtype.kind in "iub":
        raise DataError(
            f"column {name!r}: expected no nulls among {column.type}, or a value in fill to stand for them, "
            f"got {array.null_count}"
        )
    result: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return result
