"""A forest's description as a header and arrays, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.categories import pack_categories, unpack_categories
from pyscale.infer.forest.checking import check
from pyscale.infer.forest.targets import pack_targets, unpack_targets
from pyscale.infer.forest.trees import LinearLeaves, Link, ModelDescription, Trees
from pyscale.infer.importers.reading import refuse
from pyscale.infer.labels import pack_labels, unpack_labels

__all__ = ["pack", "unpack"]

Array = NDArray[Any]

_OPTIONAL = ("zero_is_missing", "category_set", "set_first", "set_values")
_DTYPES = {
    "first": np.int64,
    "output": np.int32,
    "feature": np.int32,
    "threshold": np.float64,
    "left": np.int32,
    "right": np.int32,
    "missing_left": np.bool_,
    "values": np.float64,
    "base": np.float64,
    "zero_is_missing": np.bool_,
    "category_set": np.int32,
    "set_first": np.int64,
    "set_values": np.int32,
}
_LINEAR_DTYPES = {"constant": np.float64, "first": np.int64, "feature": np.int32, "coefficient": np.float64}
_ENTRIES = {
    "num_features": int,
    "num_outputs": int,
    "precision": str,
    "sums": str,
    "negative_fractions": bool,
    "whole_categories": bool,
    "base_last": bool,
    "kind": str,
    "source": str,
    "trees_per_round": int,
    "offset": float,
    "decides": str,
}
_IN_TREES = (
    "num_features", "num_outputs", "precision", "sums", "negative_fractions", "whole_categories", "base_last",
)  # fmt: skip
# What files of this version may lack, as they were written before there was any.
_DEFAULTS = {"base_last": False}
_LINK = {"name": str, "divisor": float, "scale": float}


def pack(description: ModelDescription) -> tuple[dict[str, Any], dict[str, Array]]:
    """Give what :func:`pyscale.infer.files.write` takes; ValueError if the labels cannot be written."""
    trees, link = description.trees, description.link
    arrays = {name: getattr(trees, name) for name in _DTYPES if getattr(trees, name) is not None}
    if trees.linear is not None:
        for name in _LINEAR_DTYPES:
            arrays[f"linear.{name}"] = getattr(trees.linear, name)
    for feature, categories in trees.known_categories.items():
        arrays[f"known.{feature}"] = np.asarray(categories, np.int32)
    header: dict[str, Any] = {"model": "forest"}
    for name, kind in _ENTRIES.items():
        header[name] = kind(getattr(trees if name in _IN_TREES else description, name))
    header["link"] = {name: kind(getattr(link, name)) for name, kind in _LINK.items()}
    if description.missing is not None:
        header["missing"] = float(description.missing)
    if description.categories is not None:
        header["categories"] = pack_categories(description.categories)
    names = description.feature_names
    header["feature_names"] = None if names is None else list(names)
    if isinstance(description.classes, tuple):
        pack_targets(description.classes, header, arrays)
    else:
        pack_labels(description.classes, header, arrays)
    return header, arrays


def unpack(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> ModelDescription:
    """Make a description of what :func:`pyscale.infer.files.read` gave; ValueError where it is none."""
    fields: dict[str, Any] = {}
    for name, dtype in _DTYPES.items():
        if name in arrays:
            fields[name] = _array(arrays, name, dtype, 2 if name == "values" else 1)
        elif name not in _OPTIONAL:
            refuse(name, "an array", "none")
    known = {}
    for name in arrays:
        if name.startswith("known."):
            if not re.fullmatch(r"known\.[0-9]{1,10}", name):
                refuse("arrays", "known. and the number of a feature", name)
            known[int(name.removeprefix("known."))] = _array(arrays, name, np.int32, 1)
    linear = None
    if "linear.first" in arrays:
        parts = {name: _array(arrays, f"linear.{name}", kind, 1) for name, kind in _LINEAR_DTYPES.items()}
        linear = LinearLeaves(**parts)
    header = {**_DEFAULTS, **header}
    entries = {name: _entry(header, name, name, kind) for name, kind in _ENTRIES.items()}
    in_trees = {name: entries.pop(name) for name in _IN_TREES}
    link = _entry(header, "link", "link", dict)
    names = header.get("feature_names")
    if names is not None and not isinstance(names, list):
        refuse("feature_names", "a list", names)
    description = ModelDescription(
        trees=Trees(**fields, **in_trees, known_categories=known, linear=linear),
        link=Link(**{name: _entry(link, name, f"link.{name}", kind) for name, kind in _LINK.items()}),
        feature_names=None if names is None else tuple(names),
        classes=unpack_targets(header, arrays) if "targets" in header else unpack_labels(header, arrays),
        categories=unpack_categories(header.get("categories")),
        missing=_entry(header, "missing", "missing", float) if "missing" in header else None,
        **entries,
    )
    check(description)
    return description


def _array(arrays: Mapping[str, Array], name: str, dtype: Any, ndim: int) -> Array:
    array = arrays.get(name)
    if array is None or array.dtype != dtype or array.ndim != ndim:
        got = "none" if array is None else f"{array.dtype} of {array.ndim} axes"
        refuse(name, f"an array of {np.dtype(dtype)} and {ndim} axes", got)
    if dtype is np.bool_ and (array.view(np.uint8) > 1).any():
        refuse(name, "0 or 1", int(array.view(np.uint8).max()))
    return array


def _entry(parent: Mapping[str, Any], name: str, where: str, kind: type) -> Any:
    value = parent.get(name)
    if type(value) is not kind:
        refuse(where, f"a value of type {kind.__name__}", value)
    return value
