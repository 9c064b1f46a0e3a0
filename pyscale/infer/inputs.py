"""What models take as rows: arrays of any library and tables, as rows x features of float32 or float64."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.arrays import view
from pyscale.config import num_threads as default_threads
from pyscale.infer.categories import Categories
from pyscale.infer.tables import check_columns, columns_of, common_type, memory_of, rows_of_table

__all__ = ["check_apart", "output_of", "rows_as_given", "rows_of", "threads_of", "whole_number"]

_WITHOUT_A_COPY = ("float32", "float64")
_NUMBERS = frozenset("fiub")  # NumPy's kinds
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
        Anything that :func:`pyscale.arrays.view` opens, or a table: pandas, polars or Arrow. Frames of
        pandas whose columns are of one float type and lie in one array are not copied; other tables once.
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
        check_columns(columns, num_features, names, what)
        return rows_of_table(X, columns, what, categories)
    return _as_float(_opened(X, num_features, what), whole)


def rows_as_given(
    X: Any, num_features: int, names: Sequence[str] | None, what: str = "X", *, kept: bool = False
) -> NDArray[Any]:
    """
    Open rows for what computes in their type: as :func:`rows_of`, but in the type that scikit-learn finds.

    Parameters
    ----------
    X, num_features, names, what
        As of :func:`rows_of`.
    kept : bool
        Whether a table's values keep the type that NumPy has for its columns' together, as some imputers do.

    Returns
    -------
    numpy.ndarray
        Rows x features: of an array its own type, bfloat16 as float32; of a frame of pandas that which NumPy
        has for its columns' together, if it is one of floats, or of whole numbers and kept; else float64.
    """
    columns = columns_of(X, what)
    if columns is None:
        array = _opened(X, num_features, what)
        return array if array.dtype.kind in _NUMBERS else _as_float(array)
    check_columns(columns, num_features, names, what)
    dtype = common_type(X, kept)
    if dtype.kind != "f":
        return np.asarray(X.to_numpy(dtype=dtype))
    return rows_of_table(X, columns, what, None).astype(dtype, copy=False)


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
    array = view(x, what="X").array if columns_of(x) is None else memory_of(x)
    if array is not None and np.may_share_memory(view(out, what="out").array, array):
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
