"""Inputs that trees are most likely to send the wrong way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.forest.trees import Trees


def around_thresholds(trees: Trees, rows: int, seed: int, *, infinite: bool = False) -> NDArray[Any]:
    """
    Rows of random values, thresholds, their neighbours, zeros, denormals, categories and NaN.

    Parameters
    ----------
    trees : Trees
        The trees.
    rows : int
        How many.
    seed : int
        Of what is random.
    infinite : bool
        Whether infinities are among the values.

    Returns
    -------
    numpy.ndarray
        Rows x features, of the precision of the trees.
    """
    rng = np.random.default_rng(seed)
    dtype = np.dtype(trees.precision)
    tiny = np.finfo(dtype).smallest_subnormal
    special = [0.0, -0.0, float(tiny), -float(tiny), 1e-35, -1e-35, 1.0]
    special += [float(np.finfo(dtype).max), float(np.finfo(dtype).min)]
    special += [np.inf, -np.inf] * infinite
    sets = trees.category_set if trees.category_set is not None else np.full(trees.num_nodes, -1)
    out = np.empty((rows, trees.num_features), dtype)
    for feature in range(trees.num_features):
        nodes = trees.feature == feature
        thresholds = trees.threshold[nodes & (sets < 0)].astype(dtype)
        thresholds = thresholds[np.isfinite(thresholds)]
        with np.errstate(over="ignore"):
            up, down = (np.nextafter(thresholds, dtype.type(end)) for end in (np.inf, -np.inf))
            above = np.nextafter(up, dtype.type(np.inf))
        near = np.concatenate([thresholds, up, down, above])
        rare = list(special)
        if (nodes & (sets >= 0)).any():
            assert trees.set_values is not None
            listed = trees.set_values.astype(dtype)
            near = np.concatenate([near, *[listed + step for step in (-1, -0.5, 0, 0, 0.5, 1)]])
            rare += [-1, -0.5, 31, 32, 63, 64, 2**24 - 1, 2**24, 2**31, 3e9, -(2**31)]
        wide = np.append(thresholds, 0).astype(np.longdouble)
        spread = rng.normal(float(wide.mean()), float(wide.std()) + 1, rows)
        kind = rng.random(rows)
        column = np.where(kind < 0.2, spread, rng.choice(near[np.isfinite(near)], rows) if len(near) else 0)
        column = np.where(kind > 0.85, rng.choice(rare, rows), column)
        with np.errstate(over="ignore"):  # what is beyond the type is a value as good as another
            column = np.clip(column, np.finfo(dtype).min, np.finfo(dtype).max) if not infinite else column
            out[:, feature] = np.where(rng.random(rows) < 0.1, np.nan, column)
    return out
