"""The text that LightGBM saves its models as, taken apart and checked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.categories import Values
from pyscale.infer.importers.reading import floats, integers, refuse

__all__ = ["Header", "TextTree", "parse"]

Array = NDArray[Any]

MOST_CLASSES = 2**16
LONG_LINE = 2**20
HEADER_KEYS = frozenset(
    (
        "version",
        "num_class",
        "num_tree_per_iteration",
        "max_feature_idx",
        "objective",
        "average_output",
        "feature_names",
        "feature_infos",
        "tree_sizes",
    )
)
TREE_KEYS = frozenset(
    (
        "num_leaves",
        "num_cat",
        "split_feature",
        "threshold",
        "decision_type",
        "left_child",
        "right_child",
        "leaf_value",
        "cat_boundaries",
        "cat_threshold",
        "is_linear",
        "leaf_const",
        "num_features",
        "leaf_features",
        "leaf_coeff",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a model's text says before its trees."""

    version: str
    num_class: int
    trees_per_round: int
    feature_names: tuple[str, ...]
    objective: str | None
    average: bool
    num_trees: int | None
    table: tuple[Values, ...] | None = None  # the categories of a data frame's columns, which come last


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextTree:
    """One tree: arrays of its splits and leaves, as the text has them, looked at one by one."""

    feature: Array
    threshold: Array
    decision: Array
    left: Array
    right: Array
    leaf_value: Array
    boundaries: Array = field(default_factory=lambda: np.zeros(1, np.int64))
    words: Array = field(default_factory=lambda: np.zeros(0, np.uint32))
    constant: Array | None = None
    terms: Array | None = None
    term_feature: Array | None = None
    coefficient: Array | None = None


def parse(text: str) -> tuple[Header, list[TextTree]]:
    """Give the header and the trees of a model's text; a ValueError names what is wrong in it."""
    lines = _lines(text)
    first = next(lines, "")
    if first != "tree":
        refuse("line 1", "'tree', as LightGBM's models begin", first[:100])
    raw, line = _fields(lines, HEADER_KEYS, "")
    header = _header(raw)
    trees: list[TextTree] = []
    while line != "end of trees":
        where = f"trees[{len(trees)}]"
        if line is None:
            refuse(where, "a tree or 'end of trees'", "the end of the file")
        if header.num_trees is not None and len(trees) >= header.num_trees:
            refuse(where, f"'end of trees' after the {header.num_trees} trees of tree_sizes", line)
        raw, line = _fields(lines, TREE_KEYS, f"{where}.")
        trees.append(_tree(raw, where, len(header.feature_names)))
    if header.num_trees is not None and len(trees) != header.num_trees:
        refuse("trees", f"the {header.num_trees} trees of tree_sizes", len(trees))
    if len(trees) % header.trees_per_round:
        refuse("trees", f"a multiple of num_tree_per_iteration, {header.trees_per_round}", len(trees))
    return replace(header, table=_table(lines)), trees


def _lines(text: str) -> Iterator[str]:
    """Lines one at a time: a list of all would be many times larger than a file of short ones."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield text[start:end].removesuffix("\r")
        start = end + 1


def _fields(lines: Iterator[str], keys: frozenset[str], where: str) -> tuple[dict[str, str], str | None]:
    """Lines of ``key=value`` up to the next tree or the trees' end; unknown keys are passed over."""
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith("Tree=") or line == "end of trees":
            return found, line
        key, _, value = line.partition("=")
        if key in keys:
            if key in found:
                refuse(f"{where}{key}", "to be there once", "it twice")
            found[key] = value
    return found, None


def _table(lines: Iterator[str]) -> tuple[Values, ...] | None:
    """Give the categories of each categorical column of a data frame, which come after all else."""
    key = "pandas_categorical:"
    text = next((line.removeprefix(key) for line in lines if line.startswith(key)), "null")
    # Empty lists take thirty times the memory of their text.
    if text.count("[") + text.count("{") > 1000 + len(text) // 8:
        refuse("pandas_categorical", "fewer lists for its size", f"{len(text)} characters")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        refuse("pandas_categorical", "JSON", str(error))
    if not found and (found is None or isinstance(found, list)):
        return None
    if not isinstance(found, list) or not all(isinstance(one, list) for one in found):
        refuse("pandas_categorical", "a list of lists", found)
    for place, one in enumerate(found):
        if not all(isinstance(value, str | int | float) for value in one):
            refuse(f"pandas_categorical[{place}]", "text or numbers", one)
    return tuple(tuple(one) for one in found)


def _get(raw: dict[str, str], key: str, where: str) -> str:
    if key not in raw:
        refuse(f"{where}{key}", "to be there", "nothing")
    return raw[key]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(" ") if word)


def _header(raw: dict[str, str]) -> Header:
    version = _get(raw, "version", "")
    if version not in ("v3", "v4"):
        refuse("version", "v3 or v4", version)
    num_class = _whole_one(raw, "num_class", "", 1, MOST_CLASSES)
    per_round = num_class
    if "num_tree_per_iteration" in raw:
        per_round = _whole_one(raw, "num_tree_per_iteration", "", 1, MOST_CLASSES)
    num_features = _whole_one(raw, "max_feature_idx", "", 0, 2**31 - 2) + 1
    for key in ("feature_names", "feature_infos"):
        count = len(_words(_get(raw, key, "")))
        if count != num_features:
            refuse(key, f"{num_features}, one more than max_feature_idx", count)
    num_trees = None
    if "tree_sizes" in raw:
        num_trees = len(_whole(raw["tree_sizes"], "tree_sizes", None, 1, 2**62))
    return Header(
        version=version,
        num_class=num_class,
        trees_per_round=per_round,
        feature_names=_words(raw["feature_names"]),
        objective=raw.get("objective"),
        average="average_output" in raw,
        num_trees=num_trees,
    )


def _tree(raw: dict[str, str], where: str, num_features: int) -> TextTree:
    at = f"{where}."
    leaves = _whole_one(raw, "num_leaves", at, 1, 2**30)
    num_cat = _whole_one(raw, "num_cat", at, 0, leaves - 1)
    # The leaves' values come first: nothing is made for leaves that are only said to be there.
    value = _real(_get(raw, "leaf_value", at), f"{at}leaf_value", leaves)
    splits = leaves - 1

    def whole(key: str, size: int, low: int, high: int) -> Array:
        return _whole(_get(raw, key, at), at + key, size, low, high)

    decision = whole("decision_type", splits, 0, 11)  # 12 and more would be a fourth type of missing values
    tree: dict[str, Array] = {
        "feature": whole("split_feature", splits, 0, num_features - 1),
        "threshold": _real(_get(raw, "threshold", at), f"{at}threshold", splits),
        "decision": decision,
        "left": whole("left_child", splits, -leaves, splits - 1),
        "right": whole("right_child", splits, -leaves, splits - 1),
        "leaf_value": value,
    }
    if num_cat:
        tree |= _categories(raw, at, num_cat)
    _check_sets(tree["threshold"], (decision & 1).astype(np.bool_), num_cat, at)
    if "is_linear" in raw and _whole_one(raw, "is_linear", at, 0, 1):
        tree |= _linear(raw, at, leaves, num_features)
    return TextTree(**tree)


def _categories(raw: dict[str, str], at: str, num_cat: int) -> dict[str, Array]:
    key = f"{at}cat_boundaries"
    boundaries = _whole(_get(raw, "cat_boundaries", at), key, num_cat + 1, 0, 2**31 - 1)
    if boundaries[0] != 0:
        refuse(f"{key}[0]", "0", int(boundaries[0]))
    # 2^26 words have the bits of all categories that fit in int32.
    wrong = (np.diff(boundaries) < 0) | (np.diff(boundaries) > 2**26)
    if wrong.any():
        place = int(wrong.argmax()) + 1
        refuse(f"{key}[{place}]", f"{boundaries[place - 1]} or a little more", int(boundaries[place]))
    words = _get(raw, "cat_threshold", at)
    size = int(boundaries[-1])
    return {
        "boundaries": boundaries,
        "words": _whole(words, f"{at}cat_threshold", size, 0, 2**32 - 1).astype(np.uint32),
    }


def _check_sets(threshold: Array, categorical: Array, num_cat: int, at: str) -> None:
    number = threshold[categorical]
    wrong = ~((number >= 0) & (number < num_cat) & (number == np.floor(number)))
    if wrong.any():
        place = int(np.flatnonzero(categorical)[wrong.argmax()])
        refuse(f"{at}threshold[{place}]", f"one of {num_cat} sets of categories", float(threshold[place]))


def _linear(raw: dict[str, str], at: str, leaves: int, num_features: int) -> dict[str, Array]:
    terms = _whole(_get(raw, "num_features", at), f"{at}num_features", leaves, 0, num_features)
    count = int(terms.sum())
    feature = _get(raw, "leaf_features", at)
    return {
        "constant": _real(_get(raw, "leaf_const", at), f"{at}leaf_const", leaves),
        "terms": terms,
        "term_feature": _whole(feature, f"{at}leaf_features", count, 0, num_features - 1),
        "coefficient": _real(_get(raw, "leaf_coeff", at), f"{at}leaf_coeff", count),
    }


def _whole_one(raw: dict[str, str], key: str, at: str, low: int, high: int) -> int:
    text = _get(raw, key, at)
    if not text.strip(" ").isdecimal() or not text.isascii() or len(text) > 20:
        refuse(f"{at}{key}", f"a whole number from {low} to {high}", text[:100])
    if not low <= int(text) <= high:
        refuse(f"{at}{key}", f"{low} to {high}", int(text))
    return int(text)


def _whole(text: str, where: str, size: int | None, low: int, high: int) -> Array:
    return integers(_numbers(text, where, size, int, "a whole number"), where, low=low, high=high)


def _real(text: str, where: str, size: int) -> Array:
    return floats(_numbers(text, where, size, float, "a number"), where)


def _numbers(text: str, where: str, size: int | None, kind: type, expected: str) -> Array:
    """Numbers of a line: float() and int() round as they should, and go through a list fast."""
    # Python also reads other scripts' digits, and 1_000.
    if not text.isascii() or "_" in text:
        refuse(where, "numbers", text[:100])
    dtype = np.int64 if kind is int else np.float64
    try:
        numbers = np.fromiter(map(kind, _items(text)), dtype)
    except (ValueError, OverflowError):
        place, item = next((i, item) for i, item in enumerate(_items(text)) if not _fits(item, kind))
        refuse(f"{where}[{place}]", expected, item[:100])
    if size is not None and len(numbers) != size:
        refuse(where, f"{size} numbers", len(numbers))
    return numbers


def _items(text: str) -> Iterable[str]:
    """Give a line's words; of a long line one at a time, as a list of short ones is many times its size."""
    return text.split() if len(text) < LONG_LINE else (found[0] for found in re.finditer(r"\S+", text))


def _fits(item: str, kind: type) -> bool:
    try:
        number = kind(item)
    except ValueError:
        return False
    return kind is float or -(2**63) <= number < 2**63
