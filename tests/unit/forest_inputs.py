"""Inputs that find wrong comparisons: values at, just below and just above the thresholds of trees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.forest.trees import Trees

TINY = float(np.float32(1e-35))
FAR = [
    2.0**24,
    2.0**31 - 1,
    2.0**31 - 0.5,
    2.0**31,
    2.0**32,
    2.0**32 + 1,
    2.0**63,
    -(2.0**31),
    -(2.0**32) + 1,
]


def around_thresholds(
    trees: Trees, rows: int, seed: int, *, nan: bool = True, infinite: bool = True
) -> NDArray[Any]:
    """
    Rows that mix thresholds, their neighbours, zeros, tiny and huge values, and values between thresholds.

    float64, rows x features. Where trees compare in float32, some values lie between two of its numbers and
    round to a threshold, or away from it. Columns that sets of categories decide have categories, known and
    unknown, with and without a fraction. With `nan` a tenth is missing; with `infinite` some are infinite,
    also after rounding to float32.
    """
    rng = np.random.default_rng(seed)
    x = np.empty((rows, trees.num_features))
    for column in range(trees.num_features):
        candidates = _candidates(trees, np.flatnonzero(trees.feature == column), column, infinite)
        usual = rng.choice(candidates[np.abs(candidates) < 1e30], rows) + rng.normal(size=rows)
        x[:, column] = np.where(rng.random(rows) < 0.8, rng.choice(candidates, rows), usual)
    if nan:
        x[rng.random(x.shape) < 0.1] = np.nan
    return x


def _candidates(trees: Trees, nodes: NDArray[Any], column: int, infinite: bool) -> NDArray[Any]:
    dtype = np.dtype(trees.precision)
    limits = np.finfo(dtype)
    sets = trees.category_set
    decided = nodes if sets is None else nodes[sets[nodes] < 0]
    thresholds = np.append(trees.threshold[decided], [0.0, -0.0]).astype(dtype)
    with np.errstate(over="ignore"):
        below = np.nextafter(thresholds, dtype.type(-np.inf)).astype(np.float64)
        above = np.nextafter(thresholds, dtype.type(np.inf)).astype(np.float64)
    exact = thresholds.astype(np.float64)
    special = [
        0.0,
        -0.0,
        TINY,
        -TINY,
        np.nextafter(TINY, 1),
        np.nextafter(-TINY, -1),
        float(limits.tiny),
        -float(limits.smallest_subnormal),
        1.0,
        -1.0,
    ]
    special += [float(limits.max), float(limits.min)]
    between = [np.nextafter(exact, np.inf), np.nextafter(exact, -np.inf)]
    with np.errstate(over="ignore", invalid="ignore"):
        between += [exact / 2 + below / 2, exact / 2 + above / 2]
    found = [exact, below, above, *between, np.array(special)]
    if infinite:
        found.append(np.array([np.inf, -np.inf, 1e300]))
    known = trees.known_categories.get(column)
    if sets is not None and (sets[nodes] >= 0).any():
        assert trees.set_values is not None
        categories = np.unique(np.append(trees.set_values, [] if known is None else known)).astype(np.float64)
        found.append(
            np.concatenate([np.tile(categories, 4), categories + 0.5, categories - 1, categories + 256])
        )
        found.append(np.array([-0.5, -1.0, -1e-300, 31, 32, 63.99, 64, *FAR]))
    values = np.concatenate(found)
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.astype(dtype))
    return values[finite] if not infinite else values[~np.isnan(values)]
