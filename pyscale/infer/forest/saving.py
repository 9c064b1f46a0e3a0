"""A forest's description as a header and arrays, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.forest.trees import LinearLeaves, Link, ModelDescription, Precision, Trees

__all__ = ["pack", "unpack"]

Array = NDArray[Any]

_KINDS = ("regression", "binary", "multiclass", "ranking", "anomaly")
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


def pack(description: ModelDescription) -> tuple[dict[str, Any], dict[str, Array]]:
    """Give what :func:`pyscale.infer.files.write` takes."""
    trees = description.trees
    arrays = {name: getattr(trees, name) for name in _DTYPES if getattr(trees, name) is not None}
    if trees.linear is not None:
        for name in _LINEAR_DTYPES:
            arrays[f"linear.{name}"] = getattr(trees.linear, name)
    for feature, categories in trees.known_categories.items():
        arrays[f"known.{feature}"] = np.asarray(categories, np.int32)
    header: dict[str, Any] = {
        "model": "forest",
        "num_features": trees.num_features,
        "num_outputs": trees.num_outputs,
        "precision": trees.precision,
        "sums": trees.sums,
        "negative_fractions": trees.negative_fractions,
        "whole_categories": trees.whole_categories,
        "link": dataclasses.asdict(description.link),
        "kind": description.kind,
        "source": description.source,
        "feature_names": description.feature_names,
        "trees_per_round": description.trees_per_round,
        "offset": description.offset,
        "decides": description.decides,
    }
    if description.classes is not None:
        if description.classes.dtype.kind in "USO":
            header["classes"] = [str(label) for label in description.classes]
        else:
            arrays["classes"] = description.classes
    return header, arrays


def unpack(where: str, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> ModelDescription:
    """Make a description of what :func:`pyscale.infer.files.read` gave; ValueError where it is none."""
    fields: dict[str, Any] = {}
    for name, dtype in _DTYPES.items():
        if name in arrays:
            fields[name] = _array(where, arrays, name, dtype, 2 if name == "values" else 1)
        elif name not in _OPTIONAL:
            _refuse(where, f"an array {name}", "none")
    for name in ("num_features", "num_outputs", "trees_per_round"):
        fields[name] = _entry(where, header, name, int)
    for name in ("precision", "sums"):
        if header.get(name) not in ("float32", "float64"):
            _refuse(where, f"{name} float32 or float64", repr(header.get(name)))
        fields[name] = cast("Precision", header[name])
    known = {}
    for name in arrays:
        if name.startswith("known."):
            known[int(name.removeprefix("known."))] = _array(where, arrays, name, np.int32, 1)
    linear = None
    if "linear.first" in arrays:
        linear = LinearLeaves(
            **{
                name: _array(where, arrays, f"linear.{name}", dtype, 1)
                for name, dtype in _LINEAR_DTYPES.items()
            }
        )
    per_round = fields.pop("trees_per_round")
    trees = Trees(
        **fields,
        known_categories=known,
        negative_fractions=_entry(where, header, "negative_fractions", bool),
        whole_categories=_entry(where, header, "whole_categories", bool),
        linear=linear,
    )
    kind = header.get("kind")
    if kind not in _KINDS:
        _refuse(where, f"a kind of {', '.join(_KINDS)}", repr(kind))
    link = _entry(where, header, "link", dict)
    if set(link) != {"name", "divisor", "scale"} or not isinstance(link["name"], str):
        _refuse(where, "a link with name, divisor and scale", repr(link))
    if not all(isinstance(link[name], int | float) for name in ("divisor", "scale")):
        _refuse(where, "a link whose divisor and scale are numbers", repr(link))
    names = header.get("feature_names")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        _refuse(where, "feature_names that are text", repr(names))
    classes = arrays.get("classes")
    if classes is None and "classes" in header:
        classes = np.array(_entry(where, header, "classes", list))
    return ModelDescription(
        trees=trees,
        link=Link(**link),
        kind=kind,
        source=str(header.get("source")),
        classes=classes,
        feature_names=None if names is None else tuple(names),
        trees_per_round=per_round,
        offset=_entry(where, header, "offset", float),
        decides=_entry(where, header, "decides", str),
    )


def _array(where: str, arrays: Mapping[str, Array], name: str, dtype: Any, ndim: int) -> Array:
    array = arrays.get(name)
    if array is None or array.dtype != dtype or array.ndim != ndim:
        got = "none" if array is None else f"{array.dtype} of {array.ndim} axes"
        _refuse(where, f"array {name} of {np.dtype(dtype)} and {ndim} axes", got)
    return array


def _entry(where: str, header: Mapping[str, Any], name: str, kind: type) -> Any:
    value = header.get(name)
    if type(value) is not kind:
        _refuse(where, f"{name} of type {kind.__name__}", repr(value))
    return value


def _refuse(where: str, expected: str, got: str) -> NoReturn:
    raise ValueError(f"{where}: expected {expected}, got {got}")
