"""What XGBoost's objectives make of the sums, and of the base score that the sums begin with."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.reading import refuse

__all__ = ["OBJECTIVES", "Objective", "base_margins"]


@dataclass(frozen=True, slots=True)
class Objective:
    """
    An objective.

    Attributes
    ----------
    kind : str
        The kind of the model.
    link : str
        What makes predictions of the sums.
    base : str
        ``same``, ``logit`` or ``log``: how the base score, which files have as a prediction, becomes a sum.
    """

    kind: str
    link: str = "identity"
    base: str = "same"


OBJECTIVES = {
    "reg:squarederror": Objective("regression"),
    "reg:linear": Objective("regression"),
    "reg:squaredlogerror": Objective("regression"),
    "reg:pseudohubererror": Objective("regression"),
    "reg:absoluteerror": Objective("regression"),
    "reg:quantileerror": Objective("regression"),
    "reg:expectileerror": Objective("regression"),
    "reg:logistic": Objective("regression", "logistic", "logit"),
    "reg:gamma": Objective("regression", "exp", "log"),
    "reg:tweedie": Objective("regression", "exp", "log"),
    "count:poisson": Objective("regression", "exp", "log"),
    "survival:cox": Objective("regression", "exp", "log"),
    "survival:aft": Objective("regression", "exp", "log"),
    "binary:logistic": Objective("binary", "logistic", "logit"),
    "binary:logitraw": Objective("binary"),
    "binary:hinge": Objective("binary", "step"),
    "multi:softmax": Objective("multiclass", "argmax"),
    "multi:softprob": Objective("multiclass", "softmax"),
    "rank:pairwise": Objective("ranking"),
    "rank:ndcg": Objective("ranking"),
    "rank:map": Objective("ranking"),
}


def base_margins(text: str, objective: Objective, outputs: int, where: str) -> NDArray[np.float32]:
    """
    Give what the sums begin with, of a base score such as ``5E-1``, or ``[5E-1,2E-1]`` since XGBoost 3.1.

    Returns
    -------
    numpy.ndarray
        float32, outputs.
    """
    parts = text.strip().removeprefix("[").removesuffix("]").split(",")
    if len(parts) not in (1, outputs):
        refuse(where, f"1 or {outputs} numbers", f"{len(parts)}")
    try:
        with np.errstate(over="ignore"):
            scores = np.array([float(part) for part in parts]).astype(np.float32)
    except ValueError:
        refuse(where, "numbers", text)
    if not np.isfinite(scores).all():
        refuse(where, "finite numbers", text)
    if objective.base == "logit":
        if ((scores < 0) | (scores > 1)).any():
            refuse(where, "probabilities", text)
        scores = np.array([_logit(score) for score in scores], np.float32)
    elif objective.base == "log":
        if (scores <= 0).any():
            refuse(where, "numbers above 0", text)
        scores = np.array([_logarithm(float(score)) for score in scores], np.float32)
    return np.broadcast_to(scores, outputs).copy()


def _logit(score: Any) -> float:
    one, least = np.float32(1), np.float32(1e-6)
    score = min(max(score, least), one - least)
    return -_logarithm(float(one / score - one))


def _logarithm(x: float) -> float:
    return float(np.float32(_logf()(x)))


@functools.cache
def _logf() -> Callable[[float], float]:
    """Give the C library's logf, which XGBoost calls: its last bit is not that of a rounded double's."""
    for name in (None, "libm.so.6"):
        try:
            function = ctypes.CDLL(name).logf
        except (OSError, AttributeError, TypeError):
            continue
        function.argtypes, function.restype = [ctypes.c_float], ctypes.c_float
        return function
    return math.log
