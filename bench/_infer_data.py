"""Real data that models are trained on, and rows that they were not trained on; float32."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from _environments import ROOT
from numpy.typing import NDArray

Array = NDArray[Any]

ROWS = 1 << 16  # for measuring


def _flights() -> tuple[Array, Array]:
    sys.path.insert(0, str(ROOT / "examples"))
    import flights_data

    found = flights_data.load()
    x = np.concatenate([found.categories.astype(np.float32), found.numbers], axis=1)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order], (found.delay > 15).astype(np.int32)[order]


def flights(rows: int) -> tuple[Array, Array]:
    """Return what is known of flights as they leave, and whether they arrived over 15 minutes late."""
    x, y = _flights()
    return x[:rows], y[:rows]


def flights_rows() -> Array:
    """Return other flights."""
    return np.ascontiguousarray(_flights()[0][-ROWS:])


def digits() -> tuple[Array, Array]:
    """Return scikit-learn's digits."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x.astype(np.float32), y


def digits_rows() -> Array:
    """Mix two digits, each pixel from one of them."""
    x, _ = digits()
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, len(x), (2, ROWS))
    mixed: Array = np.where(rng.random((ROWS, x.shape[1])) < 0.8, x[a], x[b])
    return mixed


def cancer() -> tuple[Array, Array]:
    """Return scikit-learn's measurements of tumours."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    return x.astype(np.float32), y


def cancer_rows() -> Array:
    """Mix two tumours."""
    x, _ = cancer()
    a, b = np.random.default_rng(1).integers(0, len(x), (2, ROWS))
    mixed: Array = (x[a] * 0.7 + x[b] * 0.3).astype(np.float32)
    return mixed
