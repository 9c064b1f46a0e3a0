"""The one table that ONNX's operators for tree ensembles are brought to."""

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
    "MOST",
    "NEQ",
    "NodeTable",
    "check_inner",
    "find_parents",
    "find_roots",
]

LEQ, LT, GTE, GT, EQ, NEQ, MEMBER, LEAF = range(8)
MOST = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NodeTable:
    """
    Trees as ONNX means them: a node compares, and goes to `yes` where that holds, else to `no`.

    Every node is reached once from the root of its tree, but for what follows where one of several values is
    the feature's: nodes that compare it with each in turn share that.

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


def check_inner(
    attributes: Attributes,
    name: str,
    inner: NDArray[np.bool_],
    wrong: NDArray[np.bool_],
    values: NDArray[Any],
    expected: str,
) -> None:
    """Refuse the first of the wrong values that a node which compares has."""
    wrong = wrong & inner
    if wrong.any():
        place = int(wrong.argmax())
        refuse(f"{attributes.place(name)}[{place}]", expected, values[place].item())


def find_parents(
    attributes: Attributes,
    names: str,
    inner: NDArray[np.bool_],
    yes: NDArray[np.int64],
    no: NDArray[np.int64],
    equal: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """
    Each node's parent, its own number where there is none; refuses a node that has two, or is its own.

    But nodes that compare one feature with a value each, in turn, may lead to the same node: the first of
    them is its parent. `equal` is a number that is the same for those that may, and -1 of nodes that do not
    compare for equality.
    """
    nodes = np.flatnonzero(inner)
    children = np.concatenate([yes[nodes], no[nodes]])
    own = children == np.concatenate([nodes, nodes])
    if own.any():
        refuse(attributes.place(names), "children of other nodes", f"node {children[own][0]}, its own child")
    parents = np.arange(len(inner))
    parents[children] = np.concatenate([nodes, nodes])
    count = np.bincount(children, minlength=len(inner))
    if (count > 1).any():
        # Those that follow, where the value was another, one that leads to the same are not counted.
        before = np.full(len(inner), -1)
        before[no[nodes]] = nodes
        before = before[nodes]
        follows = np.zeros(len(nodes), np.bool_)
        if equal is not None:
            follows = (before >= 0) & (equal[nodes] >= 0) & (equal[before] == equal[nodes])
            follows &= (yes[before] == yes[nodes]) & (count[nodes] == 1)
        count -= np.bincount(yes[nodes[follows]], minlength=len(inner))
        if (count > 1).any():
            place = int((count > 1).argmax())
            refuse(attributes.place(names), "each node a child once", f"node {place} twice or more")
        parents[yes[nodes[~follows]]] = nodes[~follows]
    return parents


def find_roots(
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
