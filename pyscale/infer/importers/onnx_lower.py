"""
ONNX's comparisons as those of `Trees`.

``x == v`` is ``x <= v`` and not ``x <= the number below v``: what follows where it does not hold is needed
twice then, below v and above. Nodes that compare one feature with several values in turn become one chain, by
ascending value, so that they need it once more than there are values. What is shared is copied in the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.onnx_table import EQ, GT, GTE, LEAF, LT, MEMBER, NEQ, NodeTable
from pyscale.infer.importers.onnx_unfold import unfold
from pyscale.infer.importers.reading import refuse

__all__ = ["lower"]

# Sets of more members than this, or of others than 0 to this, onnxruntime compares after truncation.
EXACT_MEMBERS = 30


class _Work:
    """The nodes as they are lowered: children may be shared."""

    def __init__(self, table: NodeTable, dtype: type) -> None:
        mode, track = table.mode, table.nan_yes
        self.table = table
        self.dtype = dtype
        swapped = (mode == GTE) | (mode == GT)
        self.feature = np.where(mode == LEAF, -1, table.feature).tolist()
        threshold = np.where((mode == LT) | (mode == GTE), below(table.threshold, dtype), table.threshold)
        self.threshold = np.where(mode == LEAF, 0.0, threshold).tolist()
        self.left = np.where(swapped, table.no, table.yes).tolist()
        self.right = np.where(swapped, table.yes, table.no).tolist()
        self.missing_left = np.where(mode == LEAF, False, track ^ swapped).tolist()
        self.source = list(range(len(mode)))
        self.sets: list[NDArray[np.int64]] = []
        self.set_of: dict[int, int] = {}
        # Nothing is less than -inf: an empty set of categories.
        nothing = ((mode == LT) | (mode == GTE)) & (table.threshold == -np.inf)
        for node in np.flatnonzero(nothing).tolist():
            self.take_set(node, np.zeros(0, np.int64))

    def take_set(self, node: int, members: NDArray[np.int64]) -> None:
        self.set_of[node] = len(self.sets)
        self.sets.append(members)
        self.threshold[node] = 0.0

    def add(self, feature: int, threshold: float, left: int, right: int) -> int:
        self.feature.append(feature)
        self.threshold.append(threshold)
        self.left.append(left)
        self.right.append(right)
        self.missing_left.append(False)
        return len(self.feature) - 1


def below(values: NDArray[Any], dtype: type) -> NDArray[np.float64]:
    """Give the next number below each, in a type."""
    with np.errstate(over="ignore", under="ignore"):
        found: NDArray[Any] = np.nextafter(values.astype(dtype), dtype(-np.inf))
    return found.astype(np.float64)


def lower(table: NodeTable, dtype: type, where: str) -> dict[str, Any]:
    """
    Give `Trees`' arrays of nodes.

    Parameters
    ----------
    table : NodeTable
        The trees as ONNX has them.
    dtype : type
        numpy.float32 or numpy.float64, in which ONNX compares.
    where : str
        What messages call the operator.

    Returns
    -------
    dict
        first, feature, threshold, left, right, missing_left, category_set, set_first and set_values, as in
        `Trees`; a leaf's `left` is its number in the table. Also negative_fractions.

    Raises
    ------
    ValueError
        Comparisons for equality would need far more nodes than the file has.
    """
    work = _Work(table, dtype)
    equal = (table.mode == EQ) | (table.mode == NEQ) | (table.mode == MEMBER)
    truncated = {node for node, values in table.members.items() if not _exact(values)}
    if equal.any():
        _lower_equal(work, equal, truncated, where)
    count = len(work.feature)
    arrays: dict[str, Any] = {
        "feature": np.array(work.feature, np.int32),
        "threshold": np.array(work.threshold, np.float64),
        "left": np.array(work.left, np.int64),
        "right": np.array(work.right, np.int64),
        "missing_left": np.array(work.missing_left, np.bool_),
        "category_set": np.full(count, -1, np.int32),
    }
    arrays["category_set"][list(work.set_of)] = list(work.set_of.values())
    if equal.any():
        arrays, nodes, tree = unfold(arrays, table, where)
    else:
        is_root = np.zeros(count, np.bool_)
        is_root[table.root] = True
        nodes = np.argsort(table.tree * 2 + ~is_root, kind="stable")
        tree = table.tree[nodes]
        position = np.empty(count, np.int64)
        position[nodes] = np.arange(count)
        arrays = {name: array[nodes] for name, array in arrays.items()}
        for side in ("left", "right"):
            arrays[side] = position[arrays[side]]
    return _finish(arrays, nodes, tree, len(table.root), work, bool(truncated))


def _finish(
    arrays: dict[str, Any],
    nodes: NDArray[np.int64],
    tree: NDArray[np.int64],
    trees: int,
    work: _Work,
    truncated: bool,
) -> dict[str, Any]:
    first = np.searchsorted(tree, np.arange(trees + 1)).astype(np.int64)
    leaf = arrays["feature"] < 0
    for side in ("left", "right"):
        arrays[side] = np.where(leaf, 0, arrays[side] - first[tree])
    arrays["left"] = np.where(leaf, nodes, arrays["left"]).astype(np.int32)
    arrays["right"] = arrays["right"].astype(np.int32)
    if not work.sets:
        del arrays["category_set"]
        return {**arrays, "first": first}
    sizes = [len(members) for members in work.sets]
    return {
        **arrays,
        "first": first,
        "set_first": np.append(0, np.cumsum(sizes)).astype(np.int64),
        "set_values": np.concatenate(work.sets).astype(np.int32),
        "negative_fractions": truncated,
    }


def _exact(values: NDArray[np.float64]) -> bool:
    """Whether onnxruntime compares with each member, and does not truncate."""
    return len(values) <= EXACT_MEMBERS and bool(((values >= 0) & (values <= EXACT_MEMBERS)).all())


def _lower_equal(work: _Work, equal: NDArray[np.bool_], truncated: set[int], where: str) -> None:
    table = work.table
    outside = np.where(table.mode == NEQ, table.yes, table.no)
    nodes = np.flatnonzero(equal).tolist()
    # A chain's first node is one that does not follow another of its feature, so parents come first.
    follows = np.zeros(len(equal), np.bool_)
    after = outside[nodes]
    same = equal[after] & (table.feature[after] == table.feature[nodes])
    follows[after[same]] = True
    pending = [node for node in nodes if not follows[node]]
    while pending:
        head = pending.pop()
        if head in truncated:
            rest = int(outside[head])
            _lower_truncated(work, head, where)
        else:
            chain, rest = _chain(work, head, outside, truncated)
            _lower_chain(work, chain, rest)
        if follows[rest]:
            pending.append(rest)


def _chain(work: _Work, head: int, outside: NDArray[np.int64], truncated: set[int]) -> tuple[list[int], int]:
    """Follow nodes that compare one feature with values; also gives what comes after them."""
    table = work.table
    chain, node = [head], int(outside[head])
    while (
        table.mode[node] in (EQ, NEQ, MEMBER)
        and table.feature[node] == table.feature[head]
        and node not in truncated
    ):
        chain.append(node)
        node = int(outside[node])
    return chain, node


def _lower_chain(work: _Work, chain: list[int], rest: int) -> None:
    table = work.table
    highs: list[float] = []
    insides: list[tuple[int, bool]] = []
    missing_taken = False
    for node in chain:
        mode = table.mode[node]
        inside = int(table.no[node] if mode == NEQ else table.yes[node])
        values = np.unique(table.members[node]) if mode == MEMBER else table.threshold[node : node + 1]
        # NaN goes to the first of the nodes that takes it, and is not equal to anything.
        takes = bool(table.nan_yes[node]) and mode != NEQ and not missing_taken
        missing_taken |= takes
        highs += values.tolist()
        insides += [(inside, takes)] * len(values)
    lows = below(np.array(highs), work.dtype).tolist()
    intervals = [(high, low, *inside) for high, low, inside in zip(highs, lows, insides, strict=True)]
    _lower_intervals(work, chain[0], intervals, rest)


def _lower_intervals(
    work: _Work, head: int, intervals: list[tuple[float, float, int, bool]], rest: int
) -> None:
    """Lower a chain of intervals: above the lower end, to the upper one; of equal ones the first counts."""
    feature, node = work.feature[head], head
    intervals.sort(key=lambda interval: interval[0])
    for i, (high, low, inside, missing) in enumerate(intervals):
        last = i == len(intervals) - 1
        following = rest if last else work.add(feature, 0.0, 0, 0)
        left = inside if high == -np.inf else work.add(feature, low, rest, inside)
        work.threshold[node] = high
        work.left[node], work.right[node], work.missing_left[node] = left, following, missing
        node = following


def _lower_truncated(work: _Work, head: int, where: str) -> None:
    """Lower a set that onnxruntime compares truncated values with: in int32, towards zero."""
    table = work.table
    values = table.members[head]
    fits = (values == np.floor(values)) & (np.abs(values) < 2**31)
    if not fits.all():
        refuse(
            f"{where}.membership_values of node {head}",
            f"whole numbers of 32 bits, or at most {EXACT_MEMBERS} numbers from 0 to {EXACT_MEMBERS}",
            float(values[~fits][0]),
        )
    inside, rest = int(table.yes[head]), int(table.no[head])
    negative = np.unique(values[values < 0])
    if len(negative):
        # -3 is what lies above -4, up to -3.
        node = work.add(int(table.feature[head]), 0.0, 0, 0)
        lows = (negative - 1).tolist()
        intervals = [(high, low, inside, False) for high, low in zip(negative.tolist(), lows, strict=True)]
        _lower_intervals(work, node, intervals, rest)
        rest = node
    work.take_set(head, np.unique(values[values >= 0]).astype(np.int64))
    work.left[head], work.right[head] = inside, rest
    work.missing_left[head] = bool(table.nan_yes[head])
