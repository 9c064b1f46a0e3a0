"""All-reduce over several nodes, so that the link between them never idles.

The array goes through in pieces. Of each piece, the ranks of a node reduce-scatter a block each over shared
memory; rank c of every node then exchanges its block with rank c of the other nodes (each node folds its part
of the block, and sends the result to all), and the ranks of a node all-gather. The bytes over a node's link
are 2 (h - 1) / h of the array in each direction, which is the least possible.

While piece k is on the link for the first time, piece k - 2 is for the second, and the node works on others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

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
from pyscale.comm.transports.wire import Messages

if TYPE_CHECKING:
    from pyscale.comm.transports.mpi import MpiTransport

_BLOCK_BYTES = (
    256 << 10
)  # of a rank's block of a piece: large enough for the link, small enough for the cache
_HELD_BYTES = 4 << 20  # of blocks that a rank without shared memory receives for one piece
_LAG = 2  # pieces between the stages


@dataclass
class _Piece:
    """A piece on its way."""

    block: Array  # this rank's, as its node folded it; the whole piece where the rank is alone
    received: dict[int, Array] = field(default_factory=dict)  # by unit
    result: Array | None = None  # the block, folded over all nodes
    messages: Messages = field(default_factory=Messages)


class _Pipeline:
    def __init__(self, transport: MpiTransport, x: Array, op: str, out: Array) -> None:
        self.transport, self.op = transport, op
        self.x, self.out = x.reshape(-1), out.reshape(-1)
        self.local, self.units = transport.local, transport.units
        sizes = [len(unit) for unit in self.units]
        self.channels = min(sizes)  # ranks of each node that use the link
        self.alone = max(sizes) == 1
        self.partial = x.dtype if self.alone else partial_dtype(x.dtype, op)
        # A piece divides evenly among the channels' nodes, and among the ranks of every node.
        granule = math.lcm(self.channels * len(self.units), *sizes)
        block_bytes = min(_BLOCK_BYTES, _HELD_BYTES // len(self.units))
        wanted = max(1, self.channels * block_bytes // x.itemsize // granule) * granule
        self.piece = min(wanted, math.ceil(x.size / granule) * granule)
        self.block = self.piece // self.channels
        self.part = self.block // len(self.units)
        channel = transport.local_rank
        self.peers = {}  # unit -> the rank there that has this rank's channel
        if channel < self.channels:
            self.peers = {u: unit[channel] for u, unit in enumerate(self.units) if u != transport.unit}
        self.pieces: dict[int, _Piece] = {}

    def run(self) -> None:
        count = math.ceil(self.x.size / self.piece)
        for turn in range(count + 2 * _LAG):
            for stage, lag in ((self.scatter, 0), (self.fold, _LAG), (self.gather, 2 * _LAG)):
                if 0 <= turn - lag < count:
                    stage(turn - lag)

    def scatter(self, k: int) -> None:
        """Fold the piece within the node, and send every other node its part of the block."""
        x = self.x[k * self.piece : (k + 1) * self.piece]
        if x.size < self.piece:
            x = np.concatenate([x, np.zeros(self.piece - x.size, x.dtype)])
        piece = self.pieces[k] = _Piece(self._fold_node(x))
        if not self.peers:
            return
        # A mean's partial may come in float64, or with its twin: there is room, and the length tells.
        room = self.partial.itemsize * (2 if self.op == "mean" and self.x.dtype == np.float64 else 1)
        own = self.transport.unit
        piece.received = {u: np.empty(self.part * room, np.uint8) for u in self.peers}
        sends = [(rank, self._part(piece.block, u)) for u, rank in self.peers.items() if u != own]
        receives = [(rank, piece.received[u]) for u, rank in self.peers.items()]
        piece.messages = self.transport.wire.post(sends, receives)

    def fold(self, k: int) -> None:
        """Fold this node's part of the block over the nodes, and send it to all."""
        if not self.peers:
            return
        piece = self.pieces[k]
        lengths = self.transport.wire.wait(piece.messages)
        own = self.transport.unit
        parts = {own: self._as_partial(self._part(piece.block, own).view(np.uint8).reshape(-1))}
        for (u, raw), length in zip(piece.received.items(), lengths, strict=False):
            parts[u] = self._as_partial(raw[:length])
        result = np.empty(self.block, self.x.dtype)
        mine = self._part(result, own)
        if self.alone:
            blocks = [parts[u] for u in range(len(self.units))]
            fold_ranks(cast("list[Array]", blocks), self.transport.nodes, self.op, mine)
        else:
            combine([parts[u] for u in range(len(self.units))], self.op, mine, self.transport.size)
        piece.result = result
        sends = [(rank, mine) for rank in self.peers.values()]
        receives = [(rank, self._part(result, u)) for u, rank in self.peers.items()]
        piece.messages = self.transport.wire.post(sends, receives)

    def gather(self, k: int) -> None:
        """Give the whole piece to every rank of the node."""
        piece = self.pieces.pop(k)
        if self.peers:
            self.transport.wire.wait(piece.messages)
        out = self.out[k * self.piece : (k + 1) * self.piece]
        whole = out if out.size == self.piece else np.empty(self.piece, out.dtype)
        if self.local is None:
            assert piece.result is not None  # alone in its node, it has a channel
            whole[: self.block] = piece.result
        elif len(self.units[self.transport.unit]) == self.channels:
            assert piece.result is not None  # as every rank here
            self.local.all_gather(piece.result, whole)
        else:
            for channel in range(self.channels):
                block = whole[channel * self.block : (channel + 1) * self.block]
                if channel == self.transport.local_rank:
                    block[...] = piece.result
                self.local.broadcast(block, channel)
        if whole is not out:
            out[...] = whole[: out.size]

    def _fold_node(self, x: Array) -> Array:
        """Return this rank's block of a piece, folded over the node's ranks; two rows with its twin."""
        if self.alone:
            return x
        block = self._fold_block(x)
        if self.op == "mean" and x.dtype == np.float64:
            overflowed = np.array([overflows(block, x.dtype, self.op)], np.uint8)
            if self.local is not None:  # one for all, all for one
                self.local.all_reduce(overflowed, "max", overflowed)
            if overflowed[0]:
                return np.stack([block, self._fold_block(x * mean_scale(self.transport.size))])
        return narrow(block, x.dtype, self.op)

    def _fold_block(self, x: Array) -> Array:
        dtype, op = self.partial, partial_op(self.op)
        if self.local is None:  # alone in its node, but others are not
            partial = np.empty(self.piece, dtype)
            fold_ranks([x], [[0]], op, partial)
            return partial
        ranks = len(self.units[self.transport.unit])
        share = np.empty(self.piece // ranks, dtype)
        self.local.reduce_scatter(x, op, share)
        if (
            ranks != self.channels
        ):  # more ranks than channels: everyone gets all of it, the channels' ranks pick their blocks
            whole = np.empty(self.piece, dtype)
            self.local.all_gather(share, whole)
            start = self.transport.local_rank * self.block
            share = whole[start : start + self.block]
        return share

    def _part(self, block: Array, unit: int) -> Array:
        return np.ascontiguousarray(block[..., unit * self.part : (unit + 1) * self.part])

    def _as_partial(self, raw: Array) -> Partial:
        """Return a message as what it is, by its length."""
        if raw.size == 2 * self.part * self.partial.itemsize:
            plain, scaled = raw.view(self.partial).reshape(2, self.part)
            return plain, scaled
        whole = raw.size == self.part * self.partial.itemsize
        return raw.view(self.partial if whole else np.float32)


def all_reduce_pipelined(transport: MpiTransport, x: Array, op: str, out: Array) -> None:
    """Reduce contiguous `x` over all ranks into `out`, which may be `x`."""
    _Pipeline(transport, x, op, out).run()
