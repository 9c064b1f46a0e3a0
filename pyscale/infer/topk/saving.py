"""A search out of the header and the arrays of its file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.reading import refuse
from pyscale.infer.topk.topk import METRICS, TopK

__all__ = ["unpack"]

Array = NDArray[Any]


def unpack(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> TopK:
    """Make a model of what :func:`pyscale.infer.files.read` gave."""
    matrix, ids, metric, k = arrays.get("matrix"), arrays.get("ids"), header.get("metric"), header.get("k")
    if matrix is None or matrix.dtype != np.float32:
        refuse("matrix", "an array of float32", "none" if matrix is None else str(matrix.dtype))
    if k is not None and type(k) is not int:
        refuse("k", "a whole number or null", k)
    if ids is not None and ids.dtype != np.int64:
        refuse("ids", "int64", str(ids.dtype))
    if not isinstance(metric, str):
        refuse("metric", f"one of {', '.join(METRICS)}", metric)
    return TopK._of_kept(matrix, metric, ids, k)
