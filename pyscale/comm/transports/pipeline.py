"""Collectives over several nodes, so that each byte crosses a link once, and the link never idles.

An array goes through in pieces of one row a rank. Reducing: the ranks of a node fold the rows over shared
memory, each those of the ranks that it deals with (see `Columns`), and send each row to its rank, which folds
it over the nodes. Gathering: a rank sends its row to its partner in every node, and the ranks of a node
gather over shared memory what has come. An all-reduce is the one and then the other. The bytes over a node's
link are (h - 1) / h of the array in each direction for each of the two, which is the least possible.

The first piece rides with the check that all ranks call the same (see `Opening`). While a piece crosses, the
node works on others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyscale.comm.transports.base import Array
from pyscale.comm.transports.folding import (
    Partial,
    combine,
    fold_ranks,
    mean_scale,
    narrow,
    overflows,
    partial_dtype,
    partial_op,
)
from pyscale.comm.transports.opening import PAYLOAD_BYTES, Opening
from pyscale.comm.transports.wire import Messages

if TYPE_CHECKING:
    from pyscale.comm.transports.mpi import MpiTransport

_BLOCK_BYTES = 256 << 10  # of a rank's rows of a piece: large enough for the link, small enough for the cache
_ALONE_BYTES = 1 << 20  # the same without shared memory, where less is to be done meanwhile
_LEAST_ROW_BYTES = 4 << 10  # where a rank deals with very many
_LAG = 2  # pieces between the stages


@dataclass
class _Partials:
    """The nodes' folds of this rank's row; where there are messages, on their way."""

    own: Array
    others: list[Array]  # as bytes
    messages: Messages | None = None


@dataclass
class _Rows:
    """Results; where there are messages, on their way."""

    mine: Array  # of the ranks that this one deals with
    all: Array  # a row for each slot of the node
    messages: Messages | None = None


class _Stages:
    """What is done with the rows of a piece. Slots are those of `Columns`: one row each."""

    def __init__(self, transport: MpiTransport, dtype: np.dtype[Any], op: str = "") -> None:
        self.transport, self.op, self.dtype = transport, op, dtype
        self.local, self.wire, self.columns = transport.local, transport.wire, transport.columns
        self.alone = transport.are_alone
        self.partial = dtype if self.alone else partial_dtype(dtype, op)
        self.own = self.columns.mine.index(transport.rank)
        block_bytes = _ALONE_BYTES if self.alone else _BLOCK_BYTES
        row_bytes = max(_LEAST_ROW_BYTES, block_bytes // self.columns.depth)
        self.row = row_bytes // dtype.itemsize  # elements of a row of a whole piece

    def open_scatter(self, opening: Opening, slots: Array) -> _Partials:
        """Scatter the first piece, which rides with the check."""
        if not opening.is_agreed:
            opening.exchange()
        rows = self._fold_node(slots)
        return _Partials(rows[self.own], opening.exchange(rows))

    def open_whole(self, opening: Opening, x: Array) -> _Partials:
        """Scatter `x` as a single row that is every rank's."""
        if not opening.is_agreed:
            opening.exchange()
        row = self._fold_whole(opening, x)
        return _Partials(row, opening.exchange([row] * len(self.columns.mine)))

    def scatter(self, slots: Array) -> _Partials:
        """Fold the rows within the node, and send them to their ranks."""
        rows = self._fold_node(slots)
        # A mean's partial may come in float64, or with its twin: there is room, and the length tells.
        room = self.partial.itemsize * (2 if self.op == "mean" and self.dtype == np.float64 else 1)
        others = [np.empty(slots.shape[-1] * room, np.uint8) for _ in self.columns.partners]
        receives = list(zip(self.columns.partners, others, strict=True))
        return _Partials(rows[self.own], others, self.wire.post(self.columns.with_others(rows), receives))

    def fold(self, partials: _Partials, row: Array) -> None:
        """Fold this rank's row over the nodes."""
        others = partials.others
        if partials.messages is not None:
            lengths = self.wire.wait(partials.messages)
            others = [raw[:length] for raw, length in zip(others, lengths, strict=False)]
        own = partials.own.reshape(-1).view(np.uint8)
        parts = [*others[: self.transport.unit], own, *others[self.transport.unit :]]
        if self.alone:
            fold_ranks([raw.view(self.dtype) for raw in parts], self.transport.nodes, self.op, row)
        else:
            combine([self._as_partial(raw, row.size) for raw in parts], self.op, row, self.transport.size)

    def rows(self, slots: Array) -> Array:
        """Return a place for the rows that this rank deals with; `slots` is where all rows will be."""
        return slots if self.local is None else self._room(slots, slots.dtype)

    def open_spread(self, opening: Opening, rows: Array, slots: Array) -> _Rows:
        """Spread the first rows; they ride with the check where partners are each other's."""
        if not self.columns.are_mutual:
            opening.check()
            return self.spread(rows, slots)
        received = opening.exchange([rows[self.own]] * len(self.columns.mine))
        for i, raw in enumerate(received):
            rows[i + (i >= self.own)] = raw.view(rows.dtype)
        return _Rows(rows, slots)

    def spread(self, rows: Array, slots: Array) -> _Rows:
        """Send this rank's row to its partners, and receive the others'."""
        sends = [(rank, rows[self.own]) for rank in self.columns.partners]
        receives = self.columns.with_others(list(rows[: len(self.columns.mine)]))  # the rest is padding
        return _Rows(rows, slots, self.wire.post(sends, receives))

    def gather(self, rows: _Rows) -> Array:
        """Return all rows, on every rank of the node."""
        if rows.messages is not None:
            self.wire.wait(rows.messages)
        if self.local is not None:
            self.local.all_gather(rows.mine, rows.all)
        return rows.all

    def _room(self, slots: Array, dtype: np.dtype[Any]) -> Array:
        """Return room for one rank's share of so many slots."""
        return np.empty((len(slots) // len(self.transport.here), slots.shape[1]), dtype)

    def _fold_node(self, slots: Array) -> list[Array]:
        """Return the rows that this rank deals with, folded over the node."""
        if self.alone:
            return list(slots)

        def fold(slots: Array) -> Array:
            rows = self._room(slots, self.partial)
            if self.local is None:
                fold_ranks([slots], [[0]], partial_op(self.op), rows)
            else:
                self.local.reduce_scatter(slots, partial_op(self.op), rows)
            return rows

        folded = self._to_send(fold, slots)
        return [np.ascontiguousarray(folded[..., i, :]) for i in range(len(self.columns.mine))]

    def _fold_whole(self, opening: Opening, x: Array) -> Array:
        """Return `x`, folded over the node, on each of its ranks."""
        if self.alone:
            return x
        blocks = np.stack(opening.payloads(x)) if x.nbytes <= PAYLOAD_BYTES else x[np.newaxis]

        def fold(blocks: Array) -> Array:
            folded = np.empty(x.shape, self.partial)
            if self.local is None or len(blocks) > 1:
                fold_ranks(list(blocks), [range(len(blocks))], partial_op(self.op), folded)
            else:
                folded[...] = blocks[0]
                self.local.all_reduce(folded, partial_op(self.op), folded)
            return folded

        return self._to_send(fold, blocks)

    def _to_send(self, fold: Callable[[Array], Array], x: Array) -> Array:
        """Return a fold within the node as it travels; for a float64 mean that overflows, with its twin."""
        folded = fold(x)
        if self.op == "mean" and self.dtype == np.float64:
            overflowed = np.array([overflows(folded, self.dtype, self.op)], np.uint8)
            anywhere = overflowed
            if self.local is not None:  # one for all, all for one
                anywhere = np.empty(len(self.transport.here), np.uint8)
                self.local.all_gather(overflowed, anywhere)
            if anywhere.any():
                return np.stack([folded, fold(x * mean_scale(self.transport.size))])
        return narrow(folded, self.dtype, self.op)

    def _as_partial(self, raw: Array, elements: int) -> Partial:
        """Return a message as what it is, by its length."""
        if elements and raw.size == 2 * elements * self.partial.itemsize:
            plain, scaled = raw.view(self.partial).reshape(2, elements)
            return plain, scaled
        whole = raw.size == elements * self.partial.itemsize
        return raw.view(self.partial if whole else np.float32)


def _in_turns(first: Any, count: int, *stages: Callable[[int, Any], Any]) -> None:
    """Take so many pieces through stages that are some pieces apart; each gets what the one before made.

    `first` is what the first stage has made of the first piece.
    """
    made: dict[int, Any] = {0: first}
    for turn in range(count + _LAG * (len(stages) - 1)):
        for i, stage in enumerate(stages):
            k = turn - i * _LAG
            if 0 <= k < count and turn > 0:
                made[k] = stage(k, made.pop(k, None))


def all_reduce(transport: MpiTransport, opening: Opening, x: Array, op: str, out: Array) -> None:
    """Reduce contiguous `x` over all ranks into `out`, which may be `x`."""
    stages, columns, size = _Stages(transport, x.dtype, op), transport.columns, transport.size
    whole, result = x.reshape(-1), out.reshape(-1)
    if transport.goes_whole(x.size * stages.partial.itemsize):
        stages.fold(stages.open_whole(opening, whole), result)
        return

    def part(k: int) -> slice:
        return slice(k * size * stages.row, (k + 1) * size * stages.row)

    def slots_of(k: int) -> Array:
        piece = whole[part(k)]
        if short := -piece.size % size:
            piece = np.concatenate([piece, np.zeros(short, x.dtype)])
        rows = piece.reshape(size, -1)
        return rows if columns.are_even else rows[columns.slots]

    def scatter(k: int, _: None) -> _Partials:
        return stages.scatter(slots_of(k))

    def turn_round(k: int, partials: _Partials) -> _Rows:
        piece = result[part(k)]
        length = math.ceil(piece.size / size)
        fits = columns.are_even and piece.size == size * length
        slots = piece.reshape(size, -1) if fits else np.empty((len(columns.slots), length), x.dtype)
        rows = stages.rows(slots)
        stages.fold(partials, rows[stages.own])
        return stages.spread(rows, slots)

    def gather(k: int, rows: _Rows) -> None:
        slots, piece = stages.gather(rows), result[part(k)]
        if not np.may_share_memory(slots, piece):
            in_order = np.empty((size, slots.shape[1]), x.dtype)
            in_order[columns.slots[columns.filled]] = slots[columns.filled]
            piece[...] = in_order.reshape(-1)[: piece.size]

    first = stages.open_scatter(opening, slots_of(0))
    _in_turns(first, math.ceil(whole.size / (size * stages.row)), scatter, turn_round, gather)


def reduce_scatter(transport: MpiTransport, opening: Opening, x: Array, op: str, out: Array) -> None:
    """Reduce block r of contiguous `x` over all ranks into the `out` of rank r."""
    stages, columns = _Stages(transport, x.dtype, op), transport.columns
    blocks, result = x.reshape(transport.size, -1), out.reshape(-1)

    def part(k: int) -> slice:
        return slice(k * stages.row, (k + 1) * stages.row)

    def slots_of(k: int) -> Array:
        rows = blocks[:, part(k)]
        return rows if stages.alone else rows[columns.order[columns.slots]]

    def scatter(k: int, _: None) -> _Partials:
        return stages.scatter(slots_of(k))

    def fold(k: int, partials: _Partials) -> None:
        stages.fold(partials, result[part(k)])

    first = stages.open_scatter(opening, slots_of(0))
    _in_turns(first, math.ceil(result.size / stages.row), scatter, fold)


def all_gather(transport: MpiTransport, opening: Opening, x: Array, out: Array) -> None:
    """Put every rank's contiguous `x` into `out`, in rank order."""
    stages, columns = _Stages(transport, x.dtype), transport.columns
    row, blocks = x.reshape(-1), out.reshape(transport.size, -1)
    # Without shared memory there is nothing to be done meanwhile, and all but the first goes in one piece.
    count = min(2, math.ceil(row.size / stages.row)) if stages.alone else math.ceil(row.size / stages.row)

    def part(k: int) -> slice:
        return slice(k * stages.row, None if k + 1 == count else (k + 1) * stages.row)

    def place(k: int) -> tuple[Array, Array]:
        piece, places = row[part(k)], blocks[:, part(k)]
        slots = places if stages.alone else np.empty((len(columns.slots), piece.size), x.dtype)
        rows = stages.rows(slots)
        rows[stages.own] = piece
        return rows, slots

    def spread(k: int, _: None) -> _Rows:
        return stages.spread(*place(k))

    def gather(k: int, rows: _Rows) -> None:
        slots = stages.gather(rows)
        if not stages.alone:
            blocks[columns.order[columns.slots[columns.filled]], part(k)] = slots[columns.filled]

    _in_turns(stages.open_spread(opening, *place(0)), count, spread, gather)
