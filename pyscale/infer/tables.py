"""Tables of pandas, polars and Arrow as rows x features: at once where their columns are plain numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.categories import Categories, codes_of, is_categorical

__all__ = [
    "check_columns",
    "column_at",
    "columns_of",
    "common_type",
    "memory_of",
    "rows_of_table",
    "values_of",
]

Array = NDArray[Any]
_NUMBERS = frozenset("fiub")  # NumPy's kinds
_FLOATS_OF_ARROW = {"float", "double"}
_FLOATS_OF_POLARS = {"Float32", "Float64"}


def columns_of(table: Any, what: str = "X") -> list[str] | None:
    """Name a table's columns; None of what is no table, TypeError of one that has yet to be computed."""
    if isinstance(table, np.ndarray):
        return None
    if _is_pandas(table):  # asked first, as its frames are slow to say what they do not have
        return _names(table.columns.tolist() if hasattr(table.columns, "tolist") else table.columns)
    if hasattr(table, "__dlpack__"):
        return None
    if type(table).__name__ == "LazyFrame":  # of polars, which would also warn of what follows
        raise TypeError(f"{what}: expected rows, got a LazyFrame: collect() it first")
    names = table.schema.names if _is_arrow(table) else getattr(table, "columns", None)
    return None if names is None or callable(names) else _names(names)


def check_columns(columns: list[str], num_features: int, names: Sequence[str] | None, what: str) -> None:
    """Raise ValueError where a table's columns are not those of a model."""
    if names is not None and columns != list(names):
        for place, (expected, got) in enumerate(zip(names, columns, strict=False)):
            if expected not in (got, got.replace(" ", "_")):  # which LightGBM makes of spaces
                raise ValueError(f"{what}: expected column {place} to be {expected!r}, got {got!r}")
    if len(columns) != num_features:
        raise ValueError(f"{what}: expected {num_features} columns, got {len(columns)}")


def rows_of_table(table: Any, columns: list[str], what: str, categories: Categories | None) -> Array:
    """Give a table's values, in columns: float32 where each of them is one, float64 else."""
    found = _at_once(table)
    if found is None:
        return _by_columns(table, columns, what, categories)
    if categories is not None:
        categories.of((), columns, what)
    return found


def common_type(table: Any, kept: bool) -> np.dtype[Any]:
    """Find a type for a table's columns together, by their types alone: that in which scikit-learn opens it.

    Where it is not `kept`, what is no frame of pandas is float64. So are whole numbers, unless they are of
    pandas and kept: among those of polars and Arrow there may be nulls.
    """
    dtype, kinds = np.dtype(np.float64), "f"
    if _is_pandas(table):
        found = list(table.dtypes)
        if found and all(map(_is_plain, found)):
            dtype, kinds = np.result_type(*found), "fiu" if kept else "f"
    elif kept:
        dtype = np.asarray(table[:0]).dtype
    return dtype if dtype.kind in kinds and dtype.itemsize <= 8 else np.dtype(np.float64)


def memory_of(table: Any) -> Array | None:
    """Give the array that a frame of pandas may lie in, in which it is then taken; None of other tables."""
    kinds = {id(kind): kind for kind in table.dtypes.tolist()} if _is_pandas(table) else {}
    return np.asarray(table.to_numpy()) if len(kinds) == 1 and all(map(_is_plain, kinds.values())) else None


def column_at(table: Any, place: int, name: str) -> Any:
    """Give a column of a table, by its place where names may come twice."""
    if _is_pandas(table):
        return table.iloc[:, place]
    return table.column(place) if _is_arrow(table) else table[name]


def values_of(column: Any) -> Array:
    """Give the values of a column of a table, as its library makes them NumPy's."""
    if not hasattr(column, "to_numpy"):
        return np.asarray(column)
    # A column of one of Arrow's batches copies nothing unless it is told to.
    return np.asarray(
        column.to_numpy(zero_copy_only=False) if hasattr(column, "buffers") else column.to_numpy()
    )


def _is_pandas(table: Any) -> bool:
    return hasattr(table, "iloc") and hasattr(table, "columns")  # a Series has but one of them


def _is_arrow(table: Any) -> bool:
    return hasattr(type(table), "column_names")


def _names(names: Iterable[Any]) -> list[str] | None:
    try:
        return list(map(str, names))
    except TypeError:
        return None


def _at_once(table: Any) -> Array | None:
    """Give a table's values in one call of its library, which copies nothing if it can; None if it has none.

    A library is only asked where its rules are those of :func:`_by_columns`, so not for what has categories,
    dates, text or nulls that are no NaN.
    """
    if _is_pandas(table):
        kinds = {id(kind): kind for kind in table.dtypes.tolist()}.values()
        if not all(map(_is_plain, kinds)):
            return None
        wide = any(map(_is_wide, kinds))
        return np.asarray(table.to_numpy(dtype=np.float64 if wide else np.float32))
    if _is_arrow(table):
        if not {str(kind) for kind in table.schema.types} <= _FLOATS_OF_ARROW:
            return None
        batches = table.to_batches() if hasattr(table, "to_batches") else [table]
        parts = [np.asarray(batch.to_tensor(null_to_nan=True, row_major=False)) for batch in batches]
        return (np.concatenate(parts) if len(parts) > 1 else parts[0]) if parts else None
    named = {str(kind) for kind in getattr(table, "dtypes", ())}
    return np.asarray(table.to_numpy()) if named and named <= _FLOATS_OF_POLARS else None


def _by_columns(table: Any, columns: list[str], what: str, categories: Categories | None) -> Array:
    if _is_pandas(table):
        series = [column for _, column in table.items()]  # faster than each by its place
    else:
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
    wide = any(_is_wide(part.dtype) for part in parts)
    rows = len(parts[0]) if parts else 0
    out = np.empty((rows, len(columns)), np.float64 if wide else np.float32, order="F")
    for place, part in enumerate(parts):
        out[:, place] = part
    return out


def _is_plain(kind: Any) -> bool:
    """Tell whether the type of a column is one of NumPy's, of numbers."""
    return isinstance(kind, np.dtype) and kind.kind in _NUMBERS


def _is_wide(kind: np.dtype[Any]) -> bool:
    """Tell whether numbers need float64; every bool, float16 and small integer is a float32."""
    return kind.itemsize >= 4 and kind != np.float32


def _column(column: Any, what: str) -> Array:
    dtype = getattr(column, "dtype", None)
    if _is_plain(dtype):
        return np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)
    kind = str(getattr(column, "type", "") if dtype is None else dtype)
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
    elif getattr(dtype, "kind", "") not in _NUMBERS:
        # pandas would make numbers of dates, and of text that looks like them.
        raise TypeError(f"{what}: expected numbers, got {kind or type(column).__name__}")
    elif hasattr(column, "to_numpy"):
        array = np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    else:
        array = np.asarray(column)
    if array.dtype.kind not in _NUMBERS or array.ndim != 1:
        raise TypeError(f"{what}: expected numbers, got {kind}")
    return array
