"""What a forest's description must say, wherever it comes from; the trees themselves are checked in C++."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyscale.infer.categories import check_categories
from pyscale.infer.forest.trees import ModelDescription, Trees
from pyscale.infer.importers.reading import integers, refuse

__all__ = ["DECIDES", "KINDS", "LINKS", "check"]

KINDS = ("regression", "binary", "multiclass", "ranking", "anomaly")
LINKS = (
    "identity",
    "logistic",
    "softmax",
    "exp",
    "log1p_exp",
    "signed_square",
    "step",
    "argmax",
    "isolation",
)
DECIDES = ("probability", "positive", "not_negative")
_MOST = 2**31 - 1


def check(description: ModelDescription) -> None:
    """
    Refuse what no forest can be made of.

    Raises
    ------
    ValueError
        A field holds what it cannot; the message names it.
    """
    trees = description.trees
    _check_trees(trees)
    link = description.link
    _one_of("link.name", link.name, LINKS)
    if not (_is_number(link.divisor) and 0 <= link.divisor < math.inf):
        refuse("link.divisor", "a number, 0 or above", link.divisor)
    if not (_is_number(link.scale) and 0 < link.scale < math.inf):
        refuse("link.scale", "a number above 0", link.scale)
    _one_of("kind", description.kind, KINDS)
    _one_of("decides", description.decides, DECIDES)
    if not isinstance(description.source, str):
        refuse("source", "text", description.source)
    _whole("trees_per_round", description.trees_per_round, 1)
    if not (_is_number(description.offset) and math.isfinite(description.offset)):
        refuse("offset", "a number", description.offset)
    if description.categories is not None:
        check_categories(description.categories, trees.num_features)
    missing = description.missing
    if missing is not None and not (_is_number(missing) and trees.precision == "float32"):
        refuse("missing", "a number, of trees of float32", missing)
    if description.kind == "anomaly" and trees.num_outputs != 1:
        refuse("num_outputs", "1 of an isolation forest", trees.num_outputs)
    names = description.feature_names
    if names is not None:
        if not (isinstance(names, tuple) and all(isinstance(name, str) for name in names)):
            refuse("feature_names", "a tuple of text", names)
        if len(names) != trees.num_features:
            refuse("feature_names", f"{trees.num_features} names", f"{len(names)}")
    if description.classes is not None:
        _check_classes(description)


def _check_trees(trees: Trees) -> None:
    _whole("num_features", trees.num_features, 0)
    _whole("num_outputs", trees.num_outputs, 1)
    _one_of("precision", trees.precision, ("float32", "float64"))
    _one_of("sums", trees.sums, ("float32", "float64"))
    if trees.category_set is not None and (trees.set_first is None or trees.set_values is None):
        refuse("set_first, set_values", "arrays, since there is a category_set", None)
    if trees.values.ndim != 2 or not 1 <= trees.values.shape[1] <= trees.num_outputs:
        refuse("values", f"leaves x width, a width of 1 to {trees.num_outputs}", trees.values.shape)
    for feature, categories in trees.known_categories.items():
        where = f"known_categories[{feature}]"
        if not isinstance(feature, int | np.integer) or not 0 <= feature < trees.num_features:
            refuse(where, f"a feature from 0 to {trees.num_features - 1}", feature)
        found = integers(categories, where, low=0)
        if (np.diff(found) <= 0).any():
            refuse(where, "ascending categories", found)


def _check_classes(description: ModelDescription) -> None:
    classes, outputs = description.classes, description.trees.num_outputs
    if description.kind not in ("binary", "multiclass"):
        refuse("kind", "binary or multiclass, since there are classes", description.kind)
    if isinstance(classes, tuple):
        _check_targets(classes, description)
        return
    if not isinstance(classes, np.ndarray) or classes.ndim != 1:
        refuse("classes", "an array of one axis", classes)
    # One class with an output of its own is what trees may have that saw no other.
    allowed = {outputs} if outputs > 1 else {2} if description.kind == "binary" else {1, 2}
    if len(classes) not in allowed:
        refuse("classes", f"{' or '.join(map(str, sorted(allowed)))} labels", f"{len(classes)}")


def _check_targets(classes: tuple[Any, ...], description: ModelDescription) -> None:
    if description.kind != "multiclass" or description.link.name != "identity":
        refuse("kind, link.name", "multiclass and identity, of several targets", description.kind)
    for k, labels in enumerate(classes):
        if not isinstance(labels, np.ndarray) or labels.ndim != 1 or not len(labels):
            refuse(f"classes[{k}]", "labels of one axis, 1 or more", labels)
    most, outputs = max(map(len, classes), default=0), description.trees.num_outputs
    if len(classes) < 2 or len(classes) * most != outputs:
        refuse("classes", f"2 targets or more, of {outputs} classes if all had the most", len(classes))


def _one_of(where: str, value: object, names: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in names:
        refuse(where, f"one of {', '.join(names)}", value)


def _whole(where: str, value: object, low: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not low <= value <= _MOST:
        refuse(where, f"a whole number from {low} to {_MOST}", value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
