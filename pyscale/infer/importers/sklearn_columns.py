"""Scalers and imputers of scikit-learn as operations on columns: what comes out is equal to the bit."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.reading import refuse
from pyscale.infer.importers.sklearn_nodes import attribute, class_name, count
from pyscale.infer.pipeline.stages import Columnwise, Imputer, Scaler

__all__ = ["KNOWN", "needed", "read_columnwise"]

Array = NDArray[Any]


def read_columnwise(where: str, step: object) -> Columnwise:
    """
    Describe a fitted scaler or imputer.

    Parameters
    ----------
    where : str
        What messages call it.
    step : object
        One of `KNOWN`.

    Raises
    ------
    ValueError
        It is not fitted, or has what is not supported: an imputer that adds columns that say what was
        missing, or one of what is no number.
    """
    return KNOWN[class_name(step)](where, step)


def needed(step: Any) -> bool:
    """Tell whether a step has to work on columns: it does what no affine layer does."""
    name = class_name(step)
    return name == "SimpleImputer" or (name in KNOWN and bool(getattr(step, "clip", False)))


def _standard(where: str, step: Any) -> Scaler:
    # Version 1.8 is the first to round both to the type of the rows; before, float32 met float64 in place.
    version = str(getattr(sys.modules.get("sklearn"), "__version__", "")).split(".")
    narrow = not all(part.isdecimal() for part in version[:2]) or tuple(map(int, version[:2])) >= (1, 8)
    return _centred(where, step, "mean_" if step.with_mean else "", step.with_std, narrow)


def _min_max(where: str, step: Any) -> Scaler:
    low, high = map(float, step.feature_range)
    return Scaler(
        multiply=_column(where, step, "scale_"),
        add=_column(where, step, "min_"),
        clip=(low, high) if step.clip else None,
    )


def _max_abs(where: str, step: Any) -> Scaler:
    clips = getattr(step, "clip", False)  # since 1.8
    return Scaler(divide=_column(where, step, "scale_"), clip=(-1.0, 1.0) if clips else None)


def _robust(where: str, step: Any) -> Scaler:
    return _centred(where, step, "center_" if step.with_centering else "", step.with_scaling)


def _centred(where: str, step: Any, middle: str, scaled: bool, narrow: bool = False) -> Scaler:
    subtract = _column(where, step, middle) if middle else None
    divide = _column(where, step, "scale_") if scaled else None
    if subtract is divide is None:  # whole numbers become floats nevertheless
        subtract = np.zeros(_features(where, step), np.float16)
    return Scaler(subtract=subtract, divide=divide, narrow=narrow)


def _imputer(where: str, step: Any) -> Imputer:
    features = _features(where, step)
    statistics = attribute(step, "statistics_", where)
    if step.add_indicator:
        refuse(f"{where}.add_indicator", "False", True)
    if not isinstance(statistics, np.ndarray) or statistics.shape != (features,):
        refuse(f"{where}.statistics_", f"{features} numbers", statistics)
    own = np.float64 if statistics.dtype.kind == "O" else statistics.dtype
    seen = np.dtype(getattr(step, "_fill_dtype", own))  # which older versions do not note
    fitted = getattr(step, "_fit_dtype", seen)
    if fitted.kind not in "fiu" or seen.kind not in "fiu":
        refuse(where, "an imputer that was fitted to numbers", str(fitted))
    numbers = statistics.astype(np.float64)
    fill = np.where(np.isnan(numbers), 0, statistics).astype(seen)
    dropped = np.isnan(numbers)
    if getattr(step, "keep_empty_features", False):
        if fill.dtype.kind == "f":
            fill[dropped] = np.nan
        dropped[:] = False
    if dropped.all():
        refuse(f"{where}.statistics_", "a column, or more, of which something was seen", "none")
    # Rows of whole numbers stay such; constants of floats are refused for them, and may be anything.
    whole = step.strategy == "most_frequent" or (step.strategy == "constant" and seen.kind in "iu")
    return Imputer(fill, _missing(where, step), ~dropped if dropped.any() else None, whole)


def _missing(where: str, step: Any) -> float:
    """Read what stands for a missing value."""
    value = step.missing_values
    if type(value).__name__ == "NAType":  # of pandas; in columns of floats that is NaN
        return math.nan
    known = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    plain = value.item() if isinstance(value, np.number) else value
    # NumPy's own numbers are not rounded to the type of the rows when they are compared.
    if not known or (isinstance(value, np.number) and plain == plain and float(np.float32(plain)) != plain):
        refuse(f"{where}.missing_values", "a number of Python's, or NaN", value)
    return plain  # type: ignore[no-any-return]


def _column(where: str, step: Any, name: str) -> Array:
    array, features = attribute(step, name, where), _features(where, step)
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.shape != (features,):
        refuse(f"{where}.{name}", f"{features} floats", array)
    return array


def _features(where: str, step: Any) -> int:
    return count(attribute(step, "n_features_in_", where), f"{where}.n_features_in_")


#: The classes that are known.
KNOWN: dict[str, Callable[[str, Any], Columnwise]] = {
    "StandardScaler": _standard,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "RobustScaler": _robust,
    "SimpleImputer": _imputer,
}
