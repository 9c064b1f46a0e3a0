"""The trees of LightGBM's text, brought to the one form."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.forest.trees import LinearLeaves, Trees, empty_nodes
from pyscale.infer.importers.lightgbm_text import TextTree
from pyscale.infer.importers.reading import refuse

__all__ = ["assemble"]

Array = NDArray[Any]

CATEGORICAL, DEFAULT_LEFT = 1, 2
ZERO_MISSING = 1
BLOCK = 2**16
ZERO = float(np.float32(1e-35))


def assemble(trees: list[TextTree], num_features: int, per_round: int) -> Trees:
    """Give the trees of a model, that many to a round: splits under their own numbers, then the leaves."""
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
    category_set = set_first = set_values = None
    if categorical.any():
        category_set = np.full(int(first[-1]), -1, np.int32)
        sets_before = _starts(np.array([len(tree.boundaries) - 1 for tree in trees]))[:-1]
        within_tree = threshold[categorical].astype(np.int64)
        category_set[at_split[categorical]] = sets_before[number_of_tree[categorical]] + within_tree
        set_first, set_values = _sets(trees)
    zero_is_missing = np.zeros(int(first[-1]), np.bool_)
    zero_is_missing[at_split] = (missing == ZERO_MISSING) & ~categorical
    return Trees(
        num_features=num_features,
        num_outputs=per_round,
        precision="float64",
        sums="float64",
        first=first,
        output=(np.arange(len(trees)) % per_round).astype(np.int32),
        feature=nodes["feature"],
        threshold=nodes["threshold"],
        left=nodes["left"],
        right=nodes["right"],
        missing_left=nodes["missing_left"],
        values=_joined([tree.leaf_value for tree in trees], np.float64)[:, None],
        base=np.zeros(per_round),
        zero_is_missing=zero_is_missing if zero_is_missing.any() else None,
        negative_fractions=True,
        category_set=category_set,
        set_first=set_first,
        set_values=set_values,
        linear=_linear(trees),
    )


def _without_tiny(threshold: Array) -> Array:
    """
    Move thresholds so that all of -1e-35f to 1e-35f goes where 0 does.

    LightGBM takes such values of a dense row for 0 before it compares them.
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
    wanted = np.ones(len(parent), np.int64)
    wanted[first[:-1]] = 0
    if (shared != wanted).any():
        node = int((shared != wanted).argmax())
        _refuse_node(node, splits, first, f"{wanted[node]} splits that lead to it", int(shared[node]))
    # Each node has one parent: all that are not below their root are in circles.
    for _ in range(int(splits.max(initial=0)).bit_length()):
        parent = parent[parent]
    lost = parent != np.repeat(first[:-1], np.diff(first))
    if lost.any():
        _refuse_node(int(lost.argmax()), splits, first, "a way from the root", "a circle")


def _refuse_node(node: int, splits: Array, first: Array, expected: str, got: object) -> None:
    tree = int(np.searchsorted(first, node, "right")) - 1
    number = node - int(first[tree])
    what = f"split {number}" if number < splits[tree] else f"leaf {number - int(splits[tree])}"
    refuse(f"trees[{tree}] {what}", expected, got)


def _sets(trees: list[TextTree]) -> tuple[Array, Array]:
    """Where each set of categories begins, and the categories of all."""
    words = _joined([tree.words for tree in trees], np.uint32)
    lengths = _joined([np.diff(tree.boundaries) for tree in trees])
    # Bit b of a set's word w is category 32 w + b. A bit becomes a byte, so it goes block by block.
    word_in_set = _within(lengths)
    counts = np.zeros(len(words), np.int64)
    categories = [np.zeros(0, np.int32)]
    for start in range(0, len(words), BLOCK):
        block = slice(start, start + BLOCK)
        bytes_ = words[block].astype("<u4").view(np.uint8).reshape(-1, 4)
        word, bit = np.nonzero(np.unpackbits(bytes_, axis=1, bitorder="little"))
        counts[block] = np.bincount(word, minlength=len(bytes_))
        categories.append((32 * word_in_set[block][word] + bit).astype(np.int32))
    return _starts(counts)[_starts(lengths)], np.concatenate(categories)


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
    starts = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    return starts


def _within(sizes: Array) -> Array:
    """0, 1, … anew for each size."""
    within: Array = np.arange(int(sizes.sum())) - np.repeat(_starts(sizes)[:-1], sizes)
    return within


def _joined(arrays: list[Array], dtype: type = np.int64) -> Array:
    return np.concatenate(arrays).astype(dtype) if arrays else np.zeros(0, dtype)
