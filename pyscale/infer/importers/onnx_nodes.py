"""The nodes of ONNX's three operators for tree ensembles, brought to one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.onnx_values import Attributes
from pyscale.infer.importers.reading import refuse

__all__ = [
    "EQ",
    "GT",
    "GTE",
    "LEAF",
    "LEQ",
    "LT",
    "MEMBER",
    "NEQ",
    "NodeTable",
    "read_nodes",
    "read_nodes_v5",
]

LEQ, LT, GTE, GT, EQ, NEQ, MEMBER, LEAF = range(8)
MODES = {
    b"BRANCH_LEQ": LEQ,
    b"BRANCH_LT": LT,
    b"BRANCH_GTE": GTE,
    b"BRANCH_GT": GT,
    b"BRANCH_EQ": EQ,
    b"BRANCH_NEQ": NEQ,
    b"LEAF": LEAF,
}
MOST = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NodeTable:
    """
    Trees as ONNX means them: a node compares, and goes to `yes` where that holds, else to `no`.

    Every node is reached once from the root of its tree.

    Attributes
    ----------
    mode, feature, yes, no, tree : numpy.ndarray
        int64, nodes. Children are numbers in this table.
    threshold : numpy.ndarray
        float64, nodes.
    nan_yes : numpy.ndarray
        bool, nodes: whether NaN goes to `yes` even if the comparison does not hold.
    root : numpy.ndarray
        int64, trees.
    members : dict
        Node -> the values of its set.
    entry_node, entry_target : numpy.ndarray
        int64, weights: the leaf that has it, and the output it is added to.
    entry_weight : numpy.ndarray
        float64, weights.
    """

    mode: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    yes: NDArray[np.int64]
    no: NDArray[np.int64]
    nan_yes: NDArray[np.bool_]
    tree: NDArray[np.int64]
    root: NDArray[np.int64]
    members: dict[int, NDArray[np.float64]]
    entry_node: NDArray[np.int64]
    entry_target: NDArray[np.int64]
    entry_weight: NDArray[np.float64]


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
    _check_inner(attributes, "nodes_featureids", inner, feature < 0, feature, "0 or more")
    name = "nodes_values" if attributes.has("nodes_values") else "nodes_values_as_tensor"
    _check_inner(attributes, name, inner, np.isnan(threshold), threshold, "a number")
    ids = _Ids(attributes, count)
    track = attributes.integers("nodes_missing_value_tracks_true", 0, 1, count, optional=True)
    yes, no = (np.where(inner, ids.child(f"nodes_{side}nodeids", inner), -1) for side in ("true", "false"))
    parents = _parents(attributes, "nodes_truenodeids and nodes_falsenodeids", inner, yes, no)
    # The first node of a tree in the lists is the one where it begins: if that has a parent, it is no root.
    _reached(attributes, "nodes_treeids", parents, ids.root)
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
        nan_yes=track == 1 if len(track) else np.zeros(count, np.bool_),
        tree=ids.tree,
        root=ids.root,
        members={},
        entry_node=entry_node[at_leaf],
        entry_target=target[at_leaf],
        entry_weight=weights[at_leaf],
    )


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
    parents = _parents(attributes, "nodes_truenodeids and nodes_falsenodeids", mode != LEAF, yes, no)
    reached = _reached(attributes, "tree_roots", parents, root)
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
        _check_inner(self.attributes, name, inner, (ids < 0) | (ids > MOST), ids, f"0 to {MOST}")
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


def _check_inner(
    attributes: Attributes,
    name: str,
    inner: NDArray[np.bool_],
    wrong: NDArray[np.bool_],
    values: NDArray[Any],
    expected: str,
) -> None:
    wrong = wrong & inner
    if wrong.any():
        place = int(wrong.argmax())
        refuse(f"{attributes.place(name)}[{place}]", expected, values[place].item())


def _parents(
    attributes: Attributes,
    names: str,
    inner: NDArray[np.bool_],
    yes: NDArray[np.int64],
    no: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Each node's parent, its own number where there is none; refuses a node that has two, or is its own."""
    nodes = np.flatnonzero(inner)
    children = np.concatenate([yes[nodes], no[nodes]])
    own = children == np.concatenate([nodes, nodes])
    if own.any():
        refuse(attributes.place(names), "children of other nodes", f"node {children[own][0]}, its own child")
    shared = np.bincount(children, minlength=len(inner)) > 1
    if shared.any():
        refuse(
            attributes.place(names), "each node a child once", f"node {int(shared.argmax())} twice or more"
        )
    parents = np.arange(len(inner))
    parents[children] = np.concatenate([nodes, nodes])
    return parents


def _reached(
    attributes: Attributes, name: str, parents: NDArray[np.int64], root: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Each node's root; refuses roots that are children, or come twice, and nodes that no root leads to."""
    inside = parents[root] != root
    if inside.any():
        refuse(attributes.place(name), "trees that begin at a root", f"node {int(root[inside][0])}, a child")
    if len(np.unique(root)) != len(root):
        refuse(attributes.place(name), "each tree once", "a root twice")
    # From each node to the parent's parent, and so on twice as far each time; cycles never arrive.
    for _ in range(len(parents).bit_length()):
        parents = parents[parents]
    is_root = np.zeros(len(parents), np.bool_)
    is_root[root] = True
    if not is_root[parents].all():
        place = int((~is_root[parents]).argmax())
        refuse(attributes.place(name), "roots that lead to all nodes", f"node {place} not reached")
    return parents


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
