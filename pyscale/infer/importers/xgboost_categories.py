"""The categories that XGBoost 3.1 and later keep in a model: those of the data frame it was trained with."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from pyscale.infer.categories import Categories, Values
from pyscale.infer.importers.reading import floats, integers, refuse
from pyscale.infer.importers.xgboost_documents import entry

__all__ = ["read_categories"]

_WHERE = "learner.gradient_booster.model.cats"


def read_categories(model: dict[str, Any], features: int) -> Categories | None:
    """Give the categories of each feature; None of a model that was trained without, or keeps none."""
    if "cats" not in model:
        return None
    columns = entry(entry(model, "cats", "learner.gradient_booster.model", dict), "enc", _WHERE, list)
    if not columns:
        return None
    if len(columns) != features:
        refuse(f"{_WHERE}.enc", f"{features} columns", f"{len(columns)}")
    values = tuple(_column(column, f"{_WHERE}.enc[{place}]") for place, column in enumerate(columns))
    return Categories(values) if any(one is not None for one in values) else None


def _column(column: Any, where: str) -> Values | None:
    if not isinstance(column, dict):
        refuse(where, "an object", type(column).__name__)
    if "offsets" not in column:
        numbers = floats(column.get("values"), f"{where}.values")
        whole = (numbers == np.floor(numbers)) & (np.abs(numbers) < 2**53)
        return tuple(numbers.astype(np.int64).tolist() if whole.all() else numbers.tolist()) or None
    content = integers(column.get("values"), f"{where}.values", low=-128, high=255)
    text = content.astype(np.uint8).tobytes()  # bytes may be written as signed
    ends = integers(column["offsets"], f"{where}.offsets", low=0, high=len(text))
    if not len(ends):
        return None
    if ends[0] != 0 or ends[-1] != len(text) or (np.diff(ends) < 0).any():
        refuse(f"{where}.offsets", f"rising numbers from 0 to {len(text)}", ends)
    # XGBoost 3.2 counts letters where it should count bytes: beyond ASCII, what was what is not certain.
    return tuple(text[begin:end].decode() for begin, end in pairwise(ends)) if text.isascii() else None
