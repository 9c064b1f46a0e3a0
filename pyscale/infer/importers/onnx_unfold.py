"""Nodes that several others lead to, copied for each of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.onnx_table import NodeTable
from pyscale.infer.importers.reading import refuse

__all__ = ["unfold"]

# How much copies may add to the nodes that a file has, and how deep trees may be that need any.
COPIES, COPIES_AT_LEAST, DEEPEST = 8, 65536, 2048


def unfold(
    arrays: dict[str, Any], table: NodeTable, where: str
) -> tuple[dict[str, Any], NDArray[np.int64], NDArray[np.int64]]:
    """
    Copy what is shared.

    Parameters
    ----------
    arrays : dict
        Arrays of nodes, by their names in `Trees`; children are numbers in them, and lead to no cycles.
    table : NodeTable
        What they were made of: its roots are theirs.
    where : str
        What messages call the operator.

    Returns
    -------
    tuple
        The arrays, trees together and roots first; each node's number before; and its tree.

    Raises
    ------
    ValueError
        Trees would be too deep, or of far more nodes than the file has.
    """
    most = max(COPIES_AT_LEAST, COPIES * len(table.mode))
    level, trees = table.root, np.arange(len(table.root))
    levels: list[NDArray[np.int64]] = []
    level_trees: list[NDArray[np.int64]] = []
    links: list[NDArray[np.int64]] = []
    total = 0
    while len(level):
        if total + len(level) > most or len(levels) > DEEPEST:
            refuse(
                where,
                "comparisons for equality that few nodes can stand for",
                f"trees that would need more than {most} nodes, or be deeper than {DEEPEST}",
            )
        levels.append(level)
        level_trees.append(trees)
        inner = arrays["feature"][level] >= 0
        parents = level[inner]
        at = np.full((len(level), 2), -1, np.int64)
        at[inner] = total + len(level) + np.arange(2 * len(parents)).reshape(-1, 2)
        links.append(at)
        total += len(level)
        level = np.stack([arrays["left"][parents], arrays["right"][parents]], axis=1).reshape(-1)
        trees = np.repeat(trees[inner], 2)
    nodes, tree, link = np.concatenate(levels), np.concatenate(level_trees), np.concatenate(links)
    order = np.argsort(tree, kind="stable")
    position = np.empty(total, np.int64)
    position[order] = np.arange(total)
    nodes, link = nodes[order], link[order]
    copied = {name: array[nodes] for name, array in arrays.items()}
    copied["left"], copied["right"] = position[link[:, 0]], position[link[:, 1]]
    return copied, nodes, tree[order]
