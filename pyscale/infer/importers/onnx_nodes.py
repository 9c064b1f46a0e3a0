"""The nodes of TreeEnsembleRegressor and TreeEnsembleClassifier."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.onnx_table import (
    EQ,
    GT,
    GTE,
    LEAF,
    LEQ,
    LT,
    MOST,
    NEQ,
    NodeTable,
    check_inner,
    find_parents,
    find_roots,
)
from pyscale.infer.importers.onnx_values import Attributes
from pyscale.infer.importers.reading import refuse

__all__ = ["read_nodes"]

MODES = {
    b"BRANCH_LEQ": LEQ,
    b"BRANCH_LT": LT,
    b"BRANCH_GTE": GTE,
    b"BRANCH_GT": GT,
    b"BRANCH_EQ": EQ,
    b"BRANCH_NEQ": NEQ,
    b"LEAF": LEAF,
}


def read_nodes(attributes: Attributes, entries: str, outputs: int, dtype: str) -> NodeTable:
    """Read TreeEnsembleRegressor (`entries` is "target") or TreeEnsembleClassifier ("class")."""
    modes = attributes.texts("nodes_modes")
    count = len(modes)
    if count == 0:
        refuse(attributes.place("nodes_modes"), "a node or more", "none")
    mode = np.array([MODES.get(text, -1) for text in modes], np.int64)
    if (mode < 0).any():
        place = int((mode < 0).argmax())
        refuse(f"{attributes.place('nodes_modes')}[{place}]", "a known mode", modes[place])
    inner = mode != LEAF
    feature = attributes.integers("nodes_featureids", -MOST, MOST, count)
    threshold = attributes.numbers("nodes_values", count, dtype, nan=True)
    check_inner(attributes, "nodes_featureids", inner, feature < 0, feature, "0 or more")
    name = "nodes_values" if attributes.has("nodes_values") else "nodes_values_as_tensor"
    check_inner(attributes, name, inner, np.isnan(threshold), threshold, "a number")
    ids = _Ids(attributes, count)
    track = attributes.integers("nodes_missing_value_tracks_true", 0, 1, count, optional=True)
    yes, no = (np.where(inner, ids.child(f"nodes_{side}nodeids", inner), -1) for side in ("true", "false"))
    # So LightGBM's sets of categories are written. Where NaN goes another way at each of the values,
    # onnxruntime has rules of its own.
    goes_yes = track == 1 if len(track) else np.zeros(count, np.bool_)
    equal = np.where(mode == EQ, feature * 2 + goes_yes, -1)
    parents = find_parents(attributes, "nodes_truenodeids and nodes_falsenodeids", inner, yes, no, equal)
    # The first node of a tree in the lists is the one where it begins: if that has a parent, it is no root.
    find_roots(attributes, "nodes_treeids", parents, ids.root)
    nodes = attributes.integers(f"{entries}_nodeids", 0, MOST)
    weights = attributes.numbers(f"{entries}_weights", len(nodes), dtype)
    entry_node = ids.find(
        attributes.integers(f"{entries}_treeids", -(2**63), 2**63 - 1, len(nodes)),
        nodes,
        f"{entries}_nodeids",
    )
    target = attributes.integers(f"{entries}_ids", 0, outputs - 1, len(nodes))
    at_leaf = ~inner[entry_node]  # onnxruntime has no use for weights of other nodes either
    return NodeTable(
        mode=mode,
        feature=feature,
        threshold=threshold,
        yes=yes,
        no=no,
        nan_yes=goes_yes,
        tree=ids.tree,
        root=ids.root,
        members={},
        entry_node=entry_node[at_leaf],
        entry_target=target[at_leaf],
        entry_weight=weights[at_leaf],
    )


class _Ids:
    """Where a node of a tree is in the lists, by the numbers of both."""

    def __init__(self, attributes: Attributes, count: int) -> None:
        self.attributes = attributes
        trees = attributes.integers("nodes_treeids", -(2**63), 2**63 - 1, count)
        self.names, first, self.tree = np.unique(trees, return_index=True, return_inverse=True)
        runs = np.append(0, np.flatnonzero(trees[1:] != trees[:-1]) + 1)
        if len(runs) != len(first):
            again = int(runs[~np.isin(runs, first)][0])
            refuse(
                f"{attributes.place('nodes_treeids')}[{again}]", "a tree's nodes together", int(trees[again])
            )
        # Trees are numbered, and added up, as they come in the lists.
        number = np.empty(len(first), np.int64)
        number[np.argsort(first)] = np.arange(len(first))
        self.number = number
        self.tree = number[self.tree.reshape(-1)]
        self.root = np.sort(first)
        keys = self.tree * 2**31 + attributes.integers("nodes_nodeids", 0, MOST, count)
        self.order = np.argsort(keys, kind="stable")
        self.keys = keys[self.order]
        same = self.keys[1:] == self.keys[:-1]
        if same.any():
            place = int(self.order[1:][same][0])
            refuse(
                f"{attributes.place('nodes_nodeids')}[{place}]",
                "a number of its own",
                int(keys[place] % 2**31),
            )

    def child(self, name: str, inner: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Find the nodes that a list of children names; those of leaves mean nothing."""
        ids = self.attributes.integers(name, -(2**63), 2**63 - 1, len(inner))
        check_inner(self.attributes, name, inner, (ids < 0) | (ids > MOST), ids, f"0 to {MOST}")
        return self._find(self.tree, np.where(inner, ids, 0), inner, name)

    def find(self, trees: NDArray[np.int64], ids: NDArray[np.int64], name: str) -> NDArray[np.int64]:
        """Find nodes by the file's numbers of trees and of nodes."""
        at = np.minimum(np.searchsorted(self.names, trees), len(self.names) - 1)
        known = self.names[at] == trees
        if not known.all():
            place = int((~known).argmax())
            refuse(f"{self.attributes.place(name)}[{place}]", "a node of a known tree", int(trees[place]))
        return self._find(self.number[at], ids, np.ones(len(ids), np.bool_), name)

    def _find(
        self, trees: NDArray[np.int64], ids: NDArray[np.int64], needed: NDArray[np.bool_], name: str
    ) -> NDArray[np.int64]:
        keys = trees * 2**31 + ids
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        missing = (self.keys[at] != keys) & needed
        if missing.any():
            place = int(missing.argmax())
            refuse(f"{self.attributes.place(name)}[{place}]", "a node of the tree", int(ids[place]))
        return self.order[at]
