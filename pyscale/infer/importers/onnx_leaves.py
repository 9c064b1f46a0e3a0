"""What the leaves of ONNX trees add."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.forest.trees import Precision, Trees
from pyscale.infer.importers.onnx_graph import Ensemble
from pyscale.infer.importers.onnx_lower import lower
from pyscale.infer.importers.onnx_scaled import pulled_back
from pyscale.infer.importers.onnx_table import LEAF, NodeTable
from pyscale.infer.importers.reading import refuse

__all__ = ["make_trees", "scored"]

# How many numbers leaves may take for each weight in the file, as most of them are 0 then.
FILLED, FILLED_AT_LEAST = 16, 2**18


def make_trees(
    ensemble: Ensemble,
    table: NodeTable,
    outputs: int,
    base: NDArray[np.float64],
    sign: int,
    *,
    complete: bool,
) -> Trees:
    """
    Make `Trees` of a table of nodes.

    Parameters
    ----------
    ensemble : Ensemble
        Where they come from.
    table : NodeTable
        The trees.
    outputs : int
        Columns of the sums.
    base : numpy.ndarray
        float64, outputs: what is added last.
    sign : int
        By which all that is added is multiplied.
    complete : bool
        Whether each leaf must have a weight; else it adds 0 without.
    """
    where = ensemble.operator
    sums: Precision = "float64" if ensemble.type == "double" else "float32"
    precision: Precision = "float32" if ensemble.narrowest == "float" else sums
    used = table.feature[table.mode != LEAF].max(initial=-1)
    if ensemble.width is not None and used >= ensemble.width:
        refuse(where, f"features of {ensemble.width} columns", f"feature {used}")
    values, output = _values(table, outputs, where, complete=complete)
    nodes = lower(table, np.float64 if sums == "float64" else np.float32, where)
    rows = np.cumsum(table.mode == LEAF) - 1
    leaf = nodes["feature"] < 0
    nodes["left"] = np.where(leaf, rows[np.where(leaf, nodes["left"], 0)], nodes["left"]).astype(np.int32)
    nodes["threshold"] = _narrowed(nodes["threshold"], precision)
    if ensemble.steps:
        nodes = pulled_back(nodes, ensemble.steps, ensemble.type, where)
    with np.errstate(over="ignore"):
        values, base = ((sign * array).astype(sums).astype(np.float64) for array in (values, base))
    return Trees(
        num_features=ensemble.width or max(int(used) + 1, 1),
        num_outputs=outputs,
        precision=precision,
        sums=sums,
        output=output.astype(np.int32),
        values=values,
        base=base,
        base_last=bool(base.any()),
        **nodes,
    )


def scored(table: NodeTable, outputs: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say which outputs each row has a weight of, as all leaves of a tree have one, and which any row has."""
    leaves = np.bincount(table.tree[table.mode == LEAF], minlength=len(table.root))
    keys = table.tree[table.entry_node] * outputs + table.entry_target
    found, number = np.unique(keys, return_counts=True)
    always, ever = np.zeros(outputs, np.bool_), np.zeros(outputs, np.bool_)
    ever[found % outputs] = True
    always[found[number == leaves[found // outputs]] % outputs] = True
    return always, ever


def _values(
    table: NodeTable, outputs: int, where: str, *, complete: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Give the rows of `Trees.values`, of each leaf of the table, and the first output of each tree."""
    leaves = table.mode == LEAF
    count, trees = int(leaves.sum()), len(table.root)
    node, target = table.entry_node, table.entry_target
    keys = np.sort(node * outputs + target)
    twice = keys[1:][keys[1:] == keys[:-1]]
    if len(twice):
        refuse(where, "one weight a leaf and target", f"two of node {twice[0] // outputs}")
    if complete:
        without = leaves.copy()
        without[node] = False
        if without.any():
            refuse(where, "a weight for each leaf", f"none for node {int(without.argmax())}")
    low, high = np.full(trees, outputs - 1), np.zeros(trees, np.int64)
    np.minimum.at(low, table.tree[node], target)
    np.maximum.at(high, table.tree[node], target)
    width = max(int((high - low).max()) + 1, 1)
    if count * width > max(FILLED * len(node), FILLED_AT_LEAST):
        refuse(
            where, "weights for a good part of the targets of each tree", f"{count} leaves, {width} targets"
        )
    output = np.minimum(low, outputs - width)
    rows = np.cumsum(leaves) - 1
    values = np.zeros((count, width))
    values[rows[node], target - output[table.tree[node]]] = table.entry_weight
    return values, output


def _narrowed(thresholds: NDArray[np.float64], precision: Precision) -> NDArray[np.float64]:
    """Give the largest numbers of a type that are not above the thresholds: values of it compare the same."""
    if precision == "float64":
        return thresholds
    with np.errstate(over="ignore", under="ignore"):
        near = thresholds.astype(np.float32)
        above = near > thresholds
        near[above] = np.nextafter(near[above], np.float32(-np.inf))
    return near.astype(np.float64)
