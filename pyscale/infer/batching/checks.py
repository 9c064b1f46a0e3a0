"""Arguments of the batcher, checked before anything is queued."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.arrays import DTYPES, view

__all__ = [
    "callable_of",
    "checked_rows",
    "features_of",
    "models_of",
    "nanoseconds_of",
    "number_of",
    "positive",
    "whole",
]

_KNOWN = frozenset(DTYPES.values())


def models_of(model: Any) -> dict[str, Any]:
    """Return models by their names; "" is the name of a single one."""
    if not isinstance(model, Mapping):
        return {"": model}
    if not model:
        raise ValueError("model: expected a model or a mapping of names to models, got an empty mapping")
    for name in model:
        if not isinstance(name, str):
            raise TypeError(f"model: expected names that are strings, got {name!r}")
    return dict(model)


def callable_of(model: Any, method: str) -> Callable[[Any], Any]:
    """Return what computes: the method of that name, or the model where it is a function."""
    found = getattr(model, method, None)
    if found is None and callable(model):
        found = model
    if not callable(found):
        raise TypeError(
            f"model: expected an object with a method {method!r} or a function, got {type(model)!r}"
        )
    return found  # type: ignore[no-any-return]


def features_of(model: Any) -> int | None:
    """Return how many columns the model says that it wants; None if it does not."""
    for name in ("num_features", "n_features_in_"):
        found = getattr(model, name, None)
        if isinstance(found, (int, np.integer)):
            return int(found)
    return None


def whole(value: Any, what: str) -> int:
    """Return a whole number."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{what}: expected a whole number, got {value!r}")
    return int(value)


def positive(value: Any, what: str) -> int:
    """Return a whole number from 1."""
    number = whole(value, what)
    if number < 1:
        raise ValueError(f"{what}: expected 1 or more, got {value}")
    return number


def number_of(value: Any, what: str) -> float:
    """Return a number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{what}: expected a number, got {value!r}") from None
    if math.isnan(number):
        raise ValueError(f"{what}: expected a number, got NaN")
    return number


def nanoseconds_of(value: float, unit: float, what: str) -> float:
    """Return a duration of more than nothing."""
    number = number_of(value, what)
    if not number > 0:
        raise ValueError(f"{what}: expected more than 0, got {value!r}")
    return number * unit


def checked_rows(rows: Any, num_features: int | None) -> NDArray[Any]:
    """Open the rows of a request: at least two dimensions, numbers, and the model's number of columns."""
    if type(rows) is not np.ndarray:
        rows = view(rows, what="rows").array
    if rows.dtype not in _KNOWN:
        view(rows, what="rows")  # says what is wrong
    shape = rows.shape
    if len(shape) != 2:
        if len(shape) < 2 or num_features is not None:
            wanted = "features" if num_features is None else f"{num_features} features"
            raise ValueError(f"rows: expected rows x {wanted}, got shape {shape}")
        return np.ascontiguousarray(rows)
    if num_features is not None and shape[1] != num_features:
        raise ValueError(f"rows: expected rows x {num_features} features, got shape {shape}")
    return rows  # type: ignore[no-any-return]
