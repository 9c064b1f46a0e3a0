"""The nodes of TreeEnsemble, of version 5 of ai.onnx.ml."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.onnx_table import LEAF, MEMBER, MOST, NodeTable, find_parents, find_roots
from pyscale.infer.importers.onnx_values import Attributes
from pyscale.infer.importers.reading import refuse

__all__ = ["read_nodes_v5"]


def read_nodes_v5(attributes: Attributes, outputs: int, dtype: str) -> NodeTable:
    """Read TreeEnsemble, where nodes and leaves are lists of their own."""
    codes = attributes.tensor("nodes_modes", ["uint8"])
    inner = len(codes)
    if inner == 0:
        refuse(attributes.place("nodes_modes"), "a node or more", "none")
    if (codes > MEMBER).any():
        place = int((codes > MEMBER).argmax())
        refuse(f"{attributes.place('nodes_modes')}[{place}]", "0 to 6", int(codes[place]))
    threshold = attributes.no_nan("nodes_splits", attributes.tensor("nodes_splits", [dtype], inner))
    feature = attributes.integers("nodes_featureids", 0, MOST, inner)
    track = attributes.integers("nodes_missing_value_tracks_true", 0, 1, inner, optional=True)
    target = attributes.integers("leaf_targetids", 0, outputs - 1)
    weight = attributes.no_nan("leaf_weights", attributes.tensor("leaf_weights", [dtype], len(target)))
    sides, leaves = [], [np.zeros(0, np.int64)]
    total = inner
    for side in ("true", "false"):
        name = f"nodes_{side}nodeids"
        child = attributes.integers(name, 0, MOST, inner)
        is_leaf = attributes.integers(f"nodes_{side}leafs", 0, 1, inner) == 1
        wrong = child >= np.where(is_leaf, len(target), inner)
        if wrong.any():
            place = int(wrong.argmax())
            kind = f"{len(target)} leaves" if is_leaf[place] else f"{inner} nodes"
            refuse(f"{attributes.place(name)}[{place}]", f"one of {kind}", int(child[place]))
        # Each way to a leaf gets a leaf of its own: in the file, nodes may share them.
        leaves.append(child[is_leaf])
        child = child.copy()
        child[is_leaf] = total + np.arange(int(is_leaf.sum()))
        total += int(is_leaf.sum())
        sides.append(child)
    leaf = np.concatenate(leaves)
    root = attributes.integers("tree_roots", 0, inner - 1)
    if len(root) == 0:
        refuse(attributes.place("tree_roots"), "a tree or more", "none")
    extra = total - inner
    yes, no = (np.append(side, np.full(extra, -1)) for side in sides)
    mode = np.append(codes.astype(np.int64), np.full(extra, LEAF))
    parents = find_parents(attributes, "nodes_truenodeids and nodes_falsenodeids", mode != LEAF, yes, no)
    reached = find_roots(attributes, "tree_roots", parents, root)
    tree_of = np.zeros(total, np.int64)
    tree_of[root] = np.arange(len(root))
    return NodeTable(
        mode=mode,
        feature=np.append(feature, np.zeros(extra, np.int64)),
        threshold=np.append(threshold, np.zeros(extra)),
        yes=yes,
        no=no,
        nan_yes=np.append(track == 1 if len(track) else np.zeros(inner, np.bool_), np.zeros(extra, np.bool_)),
        tree=tree_of[reached],
        root=root,
        members=_members(attributes, codes, dtype),
        entry_node=inner + np.arange(extra),
        entry_target=target[leaf],
        entry_weight=weight[leaf],
    )


def _members(attributes: Attributes, codes: NDArray[Any], dtype: str) -> dict[int, NDArray[np.float64]]:
    """Give the set of each node that has one; in the file, a NaN ends each."""
    nodes = np.flatnonzero(codes == MEMBER)
    if len(nodes) == 0:
        return {}
    values = attributes.tensor("membership_values", [dtype]).astype(np.float64)
    ends = np.flatnonzero(np.isnan(values))
    place = attributes.place("membership_values")
    if len(ends) == len(nodes) - 1:  # the last one may go without
        ends = np.append(ends, len(values))
    if len(ends) != len(nodes):
        refuse(place, f"{len(nodes)} sets", str(len(ends)))
    starts = np.append(0, ends[:-1] + 1)
    if (ends == starts).any():
        refuse(place, "sets that are not empty", f"set {int((ends == starts).argmax())}")
    return {int(node): values[start:end] for node, start, end in zip(nodes, starts, ends, strict=True)}
