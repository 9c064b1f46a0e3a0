"""What models take as rows: arrays of any library and tables, as rows x features of float32 or float64."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.arrays import view
from pyscale.config import num_threads as default_threads
from pyscale.infer.categories import Categories, codes_of, is_categorical

__all__ = [
    "check_apart",
    "column_at",
    "columns_of",
    "output_of",
    "rows_as_given",
    "rows_of",
    "threads_of",
    "values_of",
    "whole_number",
]

_WITHOUT_A_COPY = ("float32", "float64")
_NUMBERS = frozenset("fiub")  # NumPy's kinds
# Of Arrow and of polars.
_FLOATS_OF_TABLES = {
    "halffloat": np.dtype(np.float16),
    "float": np.dtype(np.float32),
    "Float32": np.dtype(np.float32),
}
_MOST_THREADS = 2**31 - 1  # of C++; it starts no more than the machine has use for


def rows_of(
    X: Any,
    num_features: int,
    names: Sequence[str] | None,
    what: str = "X",
    *,
    whole: type[np.floating[Any]] = np.float64,
    categories: Categories | None = None,
) -> NDArray[Any]:
    """
    Open rows for a model.

    Parameters
    ----------
    X : array or table
        Anything that :func:`pyscale.arrays.view` opens, or a table: pandas, polars or Arrow.
    num_features : int
        Columns that the model wants.
    names : sequence of str, optional
        What the columns are called; compared with a table's.
    what : str
        How messages call `X`.
    whole : type
        What an array's whole numbers of 32 and 64 bits become: float64, or at once float32, as by way of
        float64 they would be rounded twice.
    categories : Categories, optional
        What the model's numbers of categories stand for; without them, a table has to have numbers alone.

    Returns
    -------
    numpy.ndarray
        Rows x features, float32 or float64, in any layout.

    Raises
    ------
    TypeError
        `X` holds no numbers.
    ValueError
        It has another shape, other names, or categories that the model does not know.
    """
    columns = columns_of(X, what)
    if columns is not None:
        return _from_table(X, columns, num_features, names, what, categories)
    return _as_float(_opened(X, num_features, what), whole)


def rows_as_given(X: Any, num_features: int, names: Sequence[str] | None, what: str = "X") -> NDArray[Any]:
    """
    Open rows for what computes in their type: as :func:`rows_of`, but in a type of NumPy's that they have.

    Returns
    -------
    numpy.ndarray
        Rows x features: of an array its own type, bfloat16 as float32; of a table that which NumPy finds for
        columns of such types together, if it is one of floats, else float64.
    """
    columns = columns_of(X, what)
    if columns is None:
        array = _opened(X, num_features, what)
        return array if array.dtype.kind in _NUMBERS else _as_float(array)
    rows = _from_table(X, columns, num_features, names, what, None)
    dtype = _common_type(X)
    return rows.astype(np.float64 if dtype is None else dtype, copy=False)


def output_of(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], x: NDArray[Any]) -> NDArray[Any]:
    """Open what answers to `x` are written to; ValueError unless it is contiguous, and fits."""
    array = view(out, writable=True, what="out").array
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        raise ValueError(
            f"out: expected a contiguous array of {dtype} and shape {shape}, "
            f"got {array.dtype} and {array.shape}"
        )
    check_apart(array, x)
    return array


def check_apart(out: Any, x: Any) -> None:
    """Refuse to write what answers to `x` where `x` itself is."""
    if columns_of(x) is None and np.may_share_memory(view(out, what="out").array, view(x, what="X").array):
        raise ValueError("out: expected memory of its own, got some of X's")


def threads_of(num_threads: int | None) -> int:
    """Count the threads that a call may have: what its caller says, or the default."""
    threads = default_threads() if num_threads is None else whole_number(num_threads, "num_threads")
    if threads < 1:
        raise ValueError(f"num_threads: expected 1 or more, got {threads}")
    return min(threads, _MOST_THREADS)


def whole_number(value: Any, what: str) -> int:
    """Open a count that a caller gives; TypeError unless it is a whole number, and no truth value."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{what}: expected a whole number, got {value!r}") from None


def _opened(X: Any, num_features: int, what: str) -> NDArray[Any]:
    array = view(X, what=what).array
    if array.ndim != 2 or array.shape[1] != num_features:
        raise ValueError(f"{what}: expected rows x {num_features} features, got shape {array.shape}")
    return array


def _as_float(array: NDArray[Any], whole: type[np.floating[Any]] = np.float64) -> NDArray[Any]:
    if array.dtype in _WITHOUT_A_COPY:
        return array
    # Every bool, float16, bfloat16 and small integer is a float32.
    return array.astype(np.float32 if array.dtype.itemsize < 4 else whole)


def _common_type(table: Any) -> np.dtype[Any] | None:
    """Find the type of floats for a table's columns together; None if they have none without a loss."""
    if hasattr(table, "iloc"):  # pandas, whose own types beside NumPy's become float64
        found = list(table.dtypes)
    else:
        kinds = table.dtypes if hasattr(table, "dtypes") else table.schema.types  # polars, Arrow
        found = [_FLOATS_OF_TABLES.get(str(kind)) for kind in kinds]
    if not found or not all(isinstance(one, np.dtype) and one.kind in "fiu" for one in found):
        return None
    dtype = np.result_type(*found)
    return dtype if dtype.kind == "f" and dtype.itemsize <= 8 else None


def columns_of(table: Any, what: str = "X") -> list[str] | None:
    """Name a table's columns; None of what is no table, TypeError of one that has yet to be computed."""
    if isinstance(table, np.ndarray) or hasattr(table, "__dlpack__"):
        return None
    if type(table).__name__ == "LazyFrame":  # of polars, which would also warn of what follows
        raise TypeError(f"{what}: expected rows, got a LazyFrame: collect() it first")
    names = getattr(table, "column_names", None)  # Arrow
    if names is None:
        names = getattr(table, "columns", None)  # pandas, polars
    if names is None or callable(names):
        return None
    try:
        return [str(name) for name in names]
    except TypeError:
        return None


def _from_table(
    table: Any,
    columns: list[str],
    num_features: int,
    names: Sequence[str] | None,
    what: str,
    categories: Categories | None,
) -> NDArray[Any]:
    if names is not None and columns != list(names):
        for place, (expected, got) in enumerate(zip(names, columns, strict=False)):
            if expected != got:
                raise ValueError(f"{what}: expected column {place} to be {expected!r}, got {got!r}")
    if len(columns) != num_features:
        raise ValueError(f"{what}: expected {num_features} columns, got {len(columns)}")
    series = [column_at(table, place, name) for place, name in enumerate(columns)]
    known = {}
    if categories is not None:
        known = categories.of([k for k, one in enumerate(series) if is_categorical(one)], columns, what)
    parts = []
    for place, (name, column) in enumerate(zip(columns, series, strict=True)):
        where = f"{what}[{name!r}]"
        if categories is not None and place in known:
            parts.append(codes_of(column, known[place], categories.unknown, where))
        else:
            parts.append(_column(column, where))
    wide = any(part.dtype == np.float64 for part in parts)
    rows = len(parts[0]) if parts else 0
    out = np.empty((rows, num_features), np.float64 if wide else np.float32, order="F")
    for place, part in enumerate(parts):
        out[:, place] = part
    return out


def column_at(table: Any, place: int, name: str) -> Any:
    """Give a column of a table, by its place where names may come twice."""
    if hasattr(table, "iloc"):
        return table.iloc[:, place]
    return table.column(place) if hasattr(table, "column_names") else table[name]


def values_of(column: Any) -> NDArray[Any]:
    """Give the values of a column of a table, as its library makes them NumPy's."""
    if not hasattr(column, "to_numpy"):
        return np.asarray(column)
    # A column of one of Arrow's batches copies nothing unless it is told to.
    return np.asarray(
        column.to_numpy(zero_copy_only=False) if hasattr(column, "buffers") else column.to_numpy()
    )


def _column(column: Any, what: str) -> NDArray[Any]:
    kind = str(getattr(column, "type", getattr(column, "dtype", "")))
    if is_categorical(column):
        # Which number stands for which category, the model does not say.
        raise TypeError(
            f"{what}: expected numbers, got {kind.split('<')[0]}: give the numbers it was trained with"
        )
    if hasattr(column, "null_count") and hasattr(column, "to_numpy"):  # Arrow, polars: nulls become NaN
        if kind in ("Int128", "UInt128"):  # which polars does not hand over
            raise TypeError(f"{what}: expected numbers of at most 64 bits, got {kind}")
        array = values_of(column)
        if array.dtype == object and kind in ("bool", "Boolean", "null"):
            array = np.array([np.nan if item is None else item for item in array], np.float32)
    elif getattr(getattr(column, "dtype", None), "kind", "") not in _NUMBERS:
        # pandas would make numbers of dates, and of text that looks like them.
        raise TypeError(f"{what}: expected numbers, got {kind or type(column).__name__}")
    elif hasattr(column, "to_numpy"):
        array = np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    else:
        array = np.asarray(column)
    if array.dtype.kind not in _NUMBERS or array.ndim != 1:
        raise TypeError(f"{what}: expected numbers, got {kind}")
    return _as_float(array)
