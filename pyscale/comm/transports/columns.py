"""Which ranks deal with each other across nodes: those of the same place in their nodes.

A rank has one partner in every node: the rank of its own place there, counted round where that node has fewer
ranks. So each rank of a node deals with about as many ranks of the others, and each byte crosses once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Columns:
    """The pairs, as one rank sees them.

    Parameters
    ----------
    units : sequence of sequence of int
        The ranks of each set that shares memory.
    rank : int

    Attributes
    ----------
    order : ndarray of int
        All ranks: the first of each unit, then the second of each, and so on. Where units are of one size,
        those that a rank deals with follow each other.
    partners : list of int
        This rank's partners in the other units, in the order of the units.
    mine : list of int
        The ranks whose partner in this unit is this rank, itself included.
    depth : int
        The most ranks that any rank deals with.
    slots : ndarray of int
        For each rank of this unit, the places in `order` of those it deals with, padded to one length.
    filled : ndarray of bool
        Which slots are no padding.
    are_even : bool
        Whether there is no padding, and the slots are in order.
    are_mutual : bool
        Whether all units are of one size, so that `mine` are the partners and this rank.
    """

    def __init__(self, units: Sequence[Sequence[int]], rank: int) -> None:
        unit = next(ranks for ranks in units if rank in ranks)
        place = {member: i for ranks in units for i, member in enumerate(ranks)}
        self.order = np.array(sorted(place, key=lambda member: place[member]))  # stable: units in their order
        self.partners = [ranks[place[rank] % len(ranks)] for ranks in units if ranks is not unit]
        self.depth = max(sum(-(-len(other) // len(ranks)) for other in units) for ranks in units)
        dealt = [[i for i, r in enumerate(self.order) if place[r] % len(unit) == c] for c in range(len(unit))]
        self.mine = [int(self.order[i]) for i in dealt[place[rank]]]
        self.are_mutual = len(set(map(len, units))) == 1
        longest = max(map(len, dealt))
        self.slots = np.array([those + [0] * (longest - len(those)) for those in dealt]).reshape(-1)
        self.filled = np.array([[i < len(those) for i in range(longest)] for those in dealt]).reshape(-1)
        self.are_even = bool(self.filled.all())
        self._rank = rank

    def with_others(self, rows: Sequence[T]) -> list[tuple[int, T]]:
        """Return the ranks of `mine` but this one, each with its row; `rows` has one for each of `mine`."""
        return [(rank, row) for rank, row in zip(self.mine, rows, strict=True) if rank != self._rank]
