"""Models of LightGBM, from their text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.forest.trees import LinearLeaves, ModelDescription, Trees, empty_nodes
from pyscale.infer.importers.lightgbm_objectives import link_and_kind
from pyscale.infer.importers.lightgbm_text import TextTree, parse
from pyscale.infer.importers.reading import refuse

__all__ = ["from_booster", "read_lightgbm"]

Array = NDArray[Any]

CATEGORICAL, DEFAULT_LEFT = 1, 2
ZERO_MISSING, NAN_MISSING = 1, 2
ZERO = float(np.float32(1e-35))


def read_lightgbm(content: bytes | str) -> ModelDescription:
    """
    Read the text of a LightGBM model: what `Booster.save_model` writes or `model_to_string` gives.

    The trees mean what LightGBM 4 makes of such a text, also where it was written by an older version.
    Categories of a pandas DataFrame are their codes.

    Parameters
    ----------
    content : bytes or str
        The text, in format v3 or v4. It has the rounds that were saved: up to `best_iteration`, where
        training stopped early and nothing else was asked for.

    Returns
    -------
    ModelDescription
        Its trees add up in float64, in the model's order. Node `i` of a tree is LightGBM's split `i`;
        after the splits come the leaves.

    Raises
    ------
    ValueError
        If it is no such text, is cut off, or says what cannot be; the message names the place.
    TypeError
        If `content` is neither bytes nor a string.
    """
    header, trees = parse(_decoded(content))
    link, kind = link_and_kind(header)
    per_round = header.trees_per_round
    return ModelDescription(
        trees=_assemble(trees, len(header.feature_names), per_round),
        link=link,
        kind=kind,
        source=f"LightGBM, model format {header.version}",
        feature_names=header.feature_names,
        trees_per_round=per_round,
    )


def from_booster(booster: object) -> ModelDescription:
    """
    Take over a trained LightGBM model: what its own `predict` would use, up to the best iteration.

    Parameters
    ----------
    booster : lightgbm.Booster or lightgbm.LGBMModel
        The model. Of an `LGBMClassifier` with an objective of LightGBM's own, the labels are taken too.

    Returns
    -------
    ModelDescription
        As `read_lightgbm` gives it.

    Raises
    ------
    TypeError
        If it is not a model of LightGBM.
    ValueError
        If it was not fitted, or on one class only.
    """
    # Only who has a model of LightGBM has it loaded; all others need not have it at all.
    if not any(kind.__module__.partition(".")[0] == "lightgbm" for kind in type(booster).__mro__):
        raise TypeError(f"booster must be a lightgbm.Booster or LGBMModel, not {type(booster).__name__}")
    import lightgbm

    classes = None
    if isinstance(booster, lightgbm.LGBMModel):
        model, booster = booster, booster.booster_
        if isinstance(model, lightgbm.LGBMClassifier) and not callable(model.objective_):
            classes = np.asarray(model.classes_)
            if len(classes) < 2:
                refuse("classes_", "2 classes or more", len(classes))
    if not isinstance(booster, lightgbm.Booster):
        raise TypeError(f"booster must be a lightgbm.Booster or LGBMModel, not {type(booster).__name__}")
    found = read_lightgbm(booster.model_to_string())
    kind = found.kind if classes is None else "binary" if len(classes) == 2 else "multiclass"
    source = f"LightGBM {lightgbm.__version__}"
    return replace(found, link=_exact(found, booster), classes=classes, kind=kind, source=source)


def _decoded(content: bytes | str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, bytes | bytearray | memoryview):
        raise TypeError(f"content must be bytes or a string, not {type(content).__name__}")
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError as error:
        refuse(f"byte {error.start}", "UTF-8", bytes(content[error.start : error.end]))


def _exact(found: ModelDescription, booster: Any) -> Any:
    """Give the link with all digits of its sigmoid: the text has 6, which a model read from it then uses."""
    sigmoid = booster.params.get("sigmoid")
    trained_here = getattr(booster, "train_set", None) is not None
    if trained_here and isinstance(sigmoid, float) and float(f"{sigmoid:.6g}") == found.link.scale:
        return replace(found.link, scale=sigmoid)
    return found.link


def _assemble(trees: list[TextTree], num_features: int, per_round: int) -> Trees:
    splits = np.array([len(tree.feature) for tree in trees], np.int64)
    first = _starts(2 * splits + 1)
    first_leaf = _starts(splits + 1)
    number_of_tree = np.repeat(np.arange(len(trees)), splits)
    within = _within(splits)
    at_split = first[:-1][number_of_tree] + within
    nodes = empty_nodes(int(first[-1]))

    decision = _joined([tree.decision for tree in trees])
    categorical = (decision & CATEGORICAL) > 0
    missing = decision >> 2
    default_left = (decision & DEFAULT_LEFT) > 0
    threshold = _joined([tree.threshold for tree in trees], np.float64)

    nodes["feature"][at_split] = _joined([tree.feature for tree in trees])
    # NaN is 0 where it is not said to be missing.
    left = np.where(missing == 0, threshold >= 0, default_left) & ~categorical
    nodes["missing_left"][at_split] = left
    nodes["threshold"][at_split] = np.where(categorical, 0.0, _without_tiny(threshold))
    for side in ("left", "right"):
        child = _joined([getattr(tree, side) for tree in trees])
        # Leaf i is written as ~i; here leaves lie behind the tree's splits.
        nodes[side][at_split] = np.where(child < 0, splits[number_of_tree] + ~child, child)
    _check_shape(nodes["left"][at_split], nodes["right"][at_split], splits, first)

    at_leaf = np.repeat(first[:-1] + splits, splits + 1) + _within(splits + 1)
    nodes["left"][at_leaf] = np.arange(int(first_leaf[-1]))
    zero_is_missing = np.zeros(int(first[-1]), np.bool_)
    zero_is_missing[at_split] = (missing == ZERO_MISSING) & ~categorical
    return Trees(
        num_features=num_features,
        num_outputs=per_round,
        precision="float64",
        sums="float64",
        first=first,
        output=(np.arange(len(trees)) % per_round).astype(np.int32),
        **nodes,
        values=_joined([tree.leaf_value for tree in trees], np.float64)[:, None],
        base=np.zeros(per_round),
        zero_is_missing=zero_is_missing if zero_is_missing.any() else None,
        negative_fractions=True,
        **_sets(trees, threshold, categorical, number_of_tree, at_split, int(first[-1])),
        linear=_linear(trees),
    )


def _without_tiny(threshold: Array) -> Array:
    """
    Move thresholds so that all of -1e-35f to 1e-35f goes where 0 does.

    LightGBM takes such values of a row for 0 before it compares them.
    """
    above = np.where((threshold >= 0) & (threshold <= ZERO), ZERO, threshold)
    return np.where((above < 0) & (above >= -ZERO), np.nextafter(-ZERO, -np.inf), above)


def _check_shape(left: Array, right: Array, splits: Array, first: Array) -> None:
    """Refuse what is not a tree: a node that two splits lead to, or that the root does not lead to."""
    parent = np.full(int(first[-1]), -1, np.int64)
    roots = np.repeat(first[:-1], splits)
    at_split = roots + _within(splits)
    children = np.concatenate((roots + left, roots + right))
    parent[children] = np.concatenate((at_split, at_split))
    parent[first[:-1]] = first[:-1]
    shared = np.bincount(children, minlength=len(parent))
    shared[first[:-1]] += 1
    if (shared != 1).any():
        node = int((shared != 1).argmax())
        _refuse_node(node, splits, first, "1 split that leads to it", f"{shared[node]}, or a root")
    # Each node has one parent: all that are not below their root are in circles.
    for _ in range(int(splits.max(initial=0)).bit_length()):
        parent = parent[parent]
    lost = parent != np.repeat(first[:-1], np.diff(first))
    if lost.any():
        _refuse_node(int(lost.argmax()), splits, first, "a way from the root", "a circle")


def _refuse_node(node: int, splits: Array, first: Array, expected: str, got: str) -> None:
    tree = int(np.searchsorted(first, node, "right")) - 1
    number = node - int(first[tree])
    what = f"split {number}" if number < splits[tree] else f"leaf {number - int(splits[tree])}"
    refuse(f"trees[{tree}] {what}", expected, got)


def _sets(
    trees: list[TextTree],
    threshold: Array,
    categorical: Array,
    number_of_tree: Array,
    at_split: Array,
    num_nodes: int,
) -> dict[str, Array]:
    if not categorical.any():
        return {}
    sizes = np.array([len(tree.boundaries) - 1 for tree in trees], np.int64)
    first_set = _starts(sizes)
    category_set = np.full(num_nodes, -1, np.int32)
    number = first_set[:-1][number_of_tree[categorical]] + threshold[categorical].astype(np.int64)
    category_set[at_split[categorical]] = number
    words = _joined([tree.words for tree in trees], np.uint32)
    lengths = _joined([np.diff(tree.boundaries) for tree in trees])
    # Bit b of a set's word w is category 32 w + b; only words with bits are taken apart.
    some = np.flatnonzero(words)
    bits = np.unpackbits(words[some].astype("<u4").view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")
    row, bit = np.nonzero(bits)
    categories = 32 * _within(lengths)[some][row] + bit
    in_set = np.repeat(np.arange(len(lengths)), lengths)[some][row]
    return {
        "category_set": category_set,
        "set_first": _starts(np.bincount(in_set, minlength=len(lengths))),
        "set_values": categories.astype(np.int32),
    }


def _linear(trees: list[TextTree]) -> LinearLeaves | None:
    if all(tree.constant is None for tree in trees):
        return None
    none = np.zeros(0)
    terms = [np.zeros(len(t.leaf_value), np.int64) if t.terms is None else t.terms for t in trees]
    feature = [none if t.term_feature is None else t.term_feature for t in trees]
    return LinearLeaves(
        constant=np.concatenate([t.leaf_value if t.constant is None else t.constant for t in trees]),
        first=_starts(np.concatenate(terms)),
        feature=np.concatenate(feature).astype(np.int32),
        coefficient=np.concatenate([none if t.coefficient is None else t.coefficient for t in trees]),
    )


def _starts(sizes: Array) -> Array:
    return np.concatenate(([0], np.cumsum(sizes, dtype=np.int64))).astype(np.int64)


def _within(sizes: Array) -> Array:
    """0, 1, … anew for each size."""
    return np.arange(int(sizes.sum())) - np.repeat(_starts(sizes)[:-1], sizes)


def _joined(arrays: list[Array], dtype: type = np.int64) -> Array:
    return np.concatenate(arrays).astype(dtype) if arrays else np.zeros(0, dtype)
