"""Checks of what callers give, by one wording."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def integer(what: str, value: Any, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`; `what` is "Permutation: expected n"."""
    try:
        index = operator.index(value)
    except TypeError:
        raise TypeError(f"{what} as a whole number, got {value!r}") from None
    if not low <= index <= high:
        raise ValueError(f"{what} from {low} to {high}, got {index}")
    return index


def without_mask(what: str, values: Any) -> npt.NDArray[Any]:
    """Return an array of values, none of which is masked: NumPy would take what is under the mask."""
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{what} without a mask, got {type(values).__name__}")
    return np.asarray(values)


def integers(what: str, values: Any) -> Indices:
    """Return whole numbers as a contiguous array of int64, of the same shape."""
    array = without_mask(what, values)
    if array.size == 0 and array.dtype == np.float64:  # an empty list
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{what} of integers, got {array.dtype}")
    if array.dtype.newbyteorder("=") == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise IndexError(f"{what} below 2^63, got {array.max()}")
    return np.ascontiguousarray(array, np.int64).reshape(array.shape)
