"""What changes columns in front of a model: scalers and imputers, described by their numbers alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pyscale.infer.dense.layers import DenseDescription
from pyscale.infer.forest.trees import ModelDescription

__all__ = ["Columnwise", "Imputer", "PipelineDescription", "Scaler"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Scaler:
    """
    ``(x - subtract) / divide * multiply + add``, of each column, and then ``clip``; of these what there is.

    Rows stay of their type, and each operation is rounded to it; what is no float becomes float64 before.
    So does scikit-learn, whose scalers are such: what comes out is equal to the bit.

    Attributes
    ----------
    subtract, divide, multiply, add : numpy.ndarray or None
        Of each column, floats. An operation on float32 rows and numbers of float64 is one of float64.
    clip : tuple of float, or None
        The least and the greatest number that comes out.
    narrow : bool
        Whether the numbers are rounded to the type of the rows first, as those of ``StandardScaler`` are
        from scikit-learn 1.8 on.

    Examples
    --------
    >>> import numpy as np
    >>> Pipeline([Scaler(subtract=np.array([1.0, 2.0]), divide=np.array([2.0, 4.0]))]).predict(np.eye(2))
    array([[ 0.  , -0.5 ],
           [-0.5 , -0.25]])
    """

    subtract: Array | None = None
    divide: Array | None = None
    multiply: Array | None = None
    add: Array | None = None
    clip: tuple[float, float] | None = None
    narrow: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Imputer:
    """
    A number of each column in the place of what is missing.

    Attributes
    ----------
    fill : numpy.ndarray
        Of each column that comes in; NaN leaves missing values as they are.
    missing : float
        What stands for a missing value: NaN, or a number, which is rounded to the type of the rows.
    kept : numpy.ndarray or None
        bool: which of the columns go on; all, if there is none.
    whole : bool
        Whether rows of whole numbers stay such; else they become float64.

    Examples
    --------
    >>> import numpy as np
    >>> Pipeline([Imputer(np.array([5.0, 6.0]))]).predict(np.array([[1.0, np.nan]]))
    array([[1., 6.]])
    """

    fill: Array
    missing: float = math.nan
    kept: Array | None = None
    whole: bool = False


Columnwise = Scaler | Imputer


@dataclass(frozen=True, eq=False, slots=True)
class PipelineDescription:
    """
    What an importer found: stages, and the columns' names, where the first of them has names.

    Attributes
    ----------
    stages : tuple
        In order.
    feature_names : tuple of str or None
        Of the rows that come in.
    """

    stages: tuple[Columnwise | DenseDescription | ModelDescription, ...]
    feature_names: tuple[str, ...] | None = None
