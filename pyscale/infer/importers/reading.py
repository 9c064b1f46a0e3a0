"""What importers take out of files that may hold anything."""

from __future__ import annotations

import reprlib
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

__all__ = ["floats", "integers", "refuse"]

# What is nested too deeply for repr, or is large, may come too.
_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 80


def refuse(where: str, expected: str, got: object) -> NoReturn:
    """Raise the ValueError that names the place in the file, what was expected there, and what came."""
    text = _short.repr(got.item() if isinstance(got, np.generic) else got)
    raise ValueError(
        f"{where}: expected {expected}, got {text if len(text) <= 80 else text[:77] + '...'}"
    ) from None


def integers(
    values: object, where: str, *, low: int = -(2**31), high: int = 2**31 - 1, size: int | None = None
) -> NDArray[np.int64]:
    """Give a list of whole numbers from `low` to `high` as int64; refuses all else."""
    array = _numbers(values, where, size)
    if array.dtype.kind not in "iub" and (array != np.floor(array)).any():
        refuse(where, "whole numbers", array[array != np.floor(array)][0])
    wrong = ~((array >= low) & (array <= high))
    if wrong.any():
        place = int(wrong.argmax())
        refuse(f"{where}[{place}]", f"{low} to {high}", array[place])
    return array.astype(np.int64)


def floats(values: object, where: str, *, size: int | None = None, nan: bool = False) -> NDArray[np.float64]:
    """Give a list of numbers as float64; refuses NaN unless it is allowed."""
    array = _numbers(values, where, size).astype(np.float64)
    if not nan and np.isnan(array).any():
        refuse(f"{where}[{int(np.isnan(array).argmax())}]", "a number", float("nan"))
    return array


def _numbers(values: object, where: str, size: int | None) -> NDArray[Any]:
    if not isinstance(values, list | tuple | np.ndarray):
        refuse(where, "a list of numbers", values)
    try:
        array = np.asarray(values)
    except ValueError:
        refuse(where, "a list of numbers", values)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iubf":
        refuse(where, "a list of numbers", values)
    if size is not None and len(array) != size:
        refuse(where, f"{size} numbers", f"{len(array)}")
    return array
