"""Rows between ranks of which some share no memory: window by window, each in one message a pair of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyscale import _core
from pyscale.comm.transports import pipeline
from pyscale.comm.transports.base import Array
from pyscale.comm.transports.opening import Opening
from pyscale.comm.transports.shm import WINDOWS
from pyscale.comm.transports.wire import Messages
from pyscale.errors import CommError

if TYPE_CHECKING:
    from pyscale.comm.transports.mpi import MpiTransport

_BUFFERS = 2  # one is filled while the other travels


def exchange(
    transport: MpiTransport,
    opening: Opening,
    rows: Array,
    destinations: Array,
    outputs: Sequence[Array],
    chunk_bytes: int,
) -> None:
    """Send each row to the rank that it is for; what comes from rank i fills `outputs[i]`.

    Rows within the node go over shared memory first. Of the others, a rank takes a window at a time, sorts it
    by rank and sends it; what comes goes straight to its place in the outputs.
    """
    size, here = transport.size, transport.here
    window = chunk_bytes // WINDOWS
    rounds = np.empty((size, 1), np.int64)
    own = _core.Partition(rows, destinations, size, window).windows
    pipeline.all_gather(transport, opening, np.array([own], np.int64), rounds)
    if transport.local is not None:
        near = [outputs[rank] for rank in here]
        transport.local.exchange_among(here, size, rows, destinations, near, chunk_bytes)
    partition = _core.Partition(rows, destinations, size, window)
    kept = transport.rank if transport.local is None else None  # whose rows have not gone yet, though here
    far = [rank for rank in range(size) if rank not in here]
    arrivals = [_Arrivals(output) for output in outputs]
    buffers = [np.empty(0, np.uint8) for _ in range(_BUFFERS)]
    under_way: list[Messages] = []
    for k in range(int(rounds.max())):
        sizes = np.array(partition.read(k), np.int64)
        coming = np.zeros(size, np.int64)
        counts = transport.wire.post(
            [(rank, sizes[rank : rank + 1]) for rank in far],
            [(rank, coming[rank : rank + 1]) for rank in far],
        )
        if len(under_way) == _BUFFERS:
            transport.wire.wait(under_way.pop(0))
        total = int(sizes[far].sum())
        if buffers[k % _BUFFERS].size < total:
            buffers[k % _BUFFERS] = np.empty(total, np.uint8)
        places: list[Array | None] = [None] * size
        for rank, end in zip(far, np.cumsum(sizes[far]).tolist(), strict=True):
            places[rank] = buffers[k % _BUFFERS][end - int(sizes[rank]) : end]
        if kept is not None:
            places[kept] = arrivals[kept].take(int(sizes[kept]))
        partition.write(places)
        transport.wire.wait(counts)
        receives = [(rank, arrivals[rank].take(int(coming[rank]))) for rank in far]
        sends = [(rank, place) for rank in far if (place := places[rank]) is not None]
        under_way.append(transport.wire.post(sends, receives))
    for messages in under_way:
        transport.wire.wait(messages)
    if any(arrivals[rank].left for rank in far):
        raise CommError(_CHANGED)


_CHANGED = "expected destinations that stay as they are, got others than were counted"


class _Arrivals:
    """What has come from a rank, and what is still to come."""

    def __init__(self, output: Array) -> None:
        self._bytes = output.reshape(-1).view(np.uint8)
        self._taken = 0

    @property
    def left(self) -> int:
        return self._bytes.size - self._taken

    def take(self, size: int) -> Array:
        """Return where the next bytes go."""
        if size > self.left:
            raise CommError(_CHANGED)
        self._taken += size
        return self._bytes[self._taken - size : self._taken]
