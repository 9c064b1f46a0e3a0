"""Rows that go where trees could go wrong: at, just below and just above what they compare with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.forest.trees import Trees

TINY = float(np.float32(1e-35))
SPECIAL = [0.0, -0.0, 5e-324, -5e-324, 1e-40, TINY, -TINY, np.nextafter(TINY, 1), np.nextafter(-TINY, -1)]
CATEGORIES = [-1.0, -0.5, -1e-300, 0.5, 1.5, 31.0, 32.0, 63.99, 64.0, 1e9, 2.0**31 - 0.5, 2.0**31]
FAR = [2.0**32, 2.0**32 + 1, 2.0**63, 2.0**64, 1e300, -(2.0**31), -(2.0**31) - 1, -(2.0**32) + 1]


def around_thresholds(
    trees: Trees, rows: int, seed: int, *, nan: bool = True, infinite: bool = True
) -> NDArray[Any]:
    """
    Rows of the precision of the comparison, a feature at a time from random and awkward values.

    Of each feature: its thresholds and their neighbours, its categories and what is close to one, zeros,
    denormals, and NaN and infinities if these are asked for.
    """
    rng = np.random.default_rng(seed)
    dtype = np.dtype(trees.precision)
    out = np.empty((rows, trees.num_features), dtype)
    for feature in range(trees.num_features):
        nodes = trees.feature == feature
        at = trees.threshold[nodes].astype(dtype)
        low, high = dtype.type(-np.inf), dtype.type(np.inf)
        with np.errstate(over="ignore", under="ignore"):
            values = [at, np.nextafter(at, low), np.nextafter(at, high)]
        values.append(
            rng.normal(scale=1 + np.abs(at[np.abs(at) < 1e30]).max(initial=0), size=20).astype(dtype)
        )
        if trees.category_set is not None and (trees.category_set[nodes] >= 0).any():
            values.append(np.arange(40.0).astype(dtype))
            with np.errstate(over="ignore"):
                values.append(np.array(CATEGORIES + FAR, np.float64).astype(dtype))
        with np.errstate(under="ignore"):
            values.append(np.array(SPECIAL).astype(dtype))
        values.append(np.array([np.nan] * 3 * nan + [np.inf, -np.inf] * infinite).astype(dtype))
        # Each kind of value comes as often as each other, however many thresholds there are.
        kinds = [kind for kind in values if len(kind)]
        picked = rng.integers(len(kinds), size=rows)
        out[:, feature] = [rng.choice(kinds[kind]) for kind in picked]
    return out
