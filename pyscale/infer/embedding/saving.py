"""Bags of embeddings out of the header and the arrays of their file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.embedding.embedding import MODES, TYPES, EmbeddingBag
from pyscale.infer.importers.reading import refuse

__all__ = ["unpack"]

Array = NDArray[Any]


def unpack(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> EmbeddingBag:
    """Make a model of what :func:`pyscale.infer.files.read` gave."""
    table, name, padding = arrays.get("table"), header.get("dtype"), header.get("padding_idx")
    if not isinstance(name, str) or name not in TYPES:
        refuse("dtype", f"one of {', '.join(TYPES)}", name)
    dtype = TYPES[name]
    if table is None or table.dtype != (np.uint16 if name == "bfloat16" else dtype):
        refuse("table", f"an array of {name}", "none" if table is None else str(table.dtype))
    if padding is not None and type(padding) is not int:
        refuse("padding_idx", "a whole number or null", padding)
    mode, last = header.get("mode"), header.get("include_last_offset")
    if mode not in MODES or type(last) is not bool:
        refuse("mode and include_last_offset", f"one of {', '.join(MODES)}, and a boolean", (mode, last))
    return EmbeddingBag(table.view(dtype), mode=mode, padding_idx=padding, include_last_offset=last)
