"""The ranks of one node, over shared memory: `csrc/shm`, group by group."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyscale import _core
from pyscale.comm.node import Node
from pyscale.comm.settings import setting
from pyscale.comm.transports.base import Array

# The larger the windows, the less often ranks wait for each other, as long as they stay in the cache: three
# of each of two ranks in 32 MiB. From so many bytes on that a rank gives, memory of their own pays for them.
_LARGEST_WINDOW, _OWN_WINDOW, _LARGE_EXCHANGE = 4 << 20, 1 << 20, 128 << 20
WINDOWS = 4  # that an exchange has of its rows at a time: three are staged, and where they go takes one more


class ShmTransport:
    """Some or all of a node's processes.

    Parameters
    ----------
    node : Node
        The processes that share memory.
    members : sequence of int
        The group's processes as indices into the node, in rank order.
    mailboxes : sequence of int
        The offset of each member's mailbox in its arena.
    labels : sequence of int
        What messages call the members: their ranks in the communicator.
    timeout : float
        Seconds that a collective waits for a rank.
    """

    name = "shm"

    def __init__(
        self,
        node: Node,
        members: Sequence[int],
        mailboxes: Sequence[int],
        labels: Sequence[int],
        timeout: float,
    ) -> None:
        self._node = node
        self._key = tuple(zip(members, mailboxes, strict=True))
        rank = list(members).index(node.index)
        cores = node.cores_of(members)
        self.group = _core.Group(
            node.core,
            list(members),
            rank,
            list(mailboxes),
            list(labels),
            timeout,
            cores,
            setting("PYSCALE_ALLREDUCE_ALGORITHM"),
        )
        self._is_open = True
        self.group_capsule = _core.capsule_of(self.group)

    @property
    def local(self) -> ShmTransport:
        return self

    @property
    def broken(self) -> bool:
        return self.group.broken

    def all_reduce(self, x: Array, op: str, out: Array) -> None:
        if self.group.all_reduce(x, op, out) is None:
            raise ValueError(
                f"all_reduce: expected arrays as the transport takes them, got {x.dtype} with op {op!r}"
            )

    def reduce_scatter(self, x: Array, op: str, out: Array) -> None:
        self.group.reduce_scatter(x, op, out)

    def all_gather(
        self, x: Array, out: Array, call: str = "all_gather", rows_of: Array | None = None
    ) -> None:
        self.group.all_gather(x, out, call, rows_of)

    def broadcast(self, x: Array, root: int, call: str = "broadcast") -> None:
        self.group.broadcast(x, root, call)

    def all_to_all(self, x: Array, send_counts: list[int], out: Array, receive_counts: list[int]) -> None:
        self.group.all_to_all(x, send_counts, out, receive_counts)

    def exchange(self, rows: Array, destinations: Array, outputs: Sequence[Array], chunk_bytes: int) -> None:
        self.exchange_among(range(len(outputs)), len(outputs), rows, destinations, outputs, chunk_bytes)

    def exchange_among(
        self,
        ranks: Sequence[int],
        size: int,
        rows: Array,
        destinations: Array,
        outputs: Sequence[Array],
        chunk_bytes: int,
    ) -> None:
        """Exchange the rows for the members of the group, which are these `ranks` among `size`."""
        window = min(chunk_bytes // WINDOWS, _LARGEST_WINDOW)
        staging = None  # the group's own
        if window > _OWN_WINDOW and rows.nbytes >= _LARGE_EXCHANGE:
            with contextlib.suppress(MemoryError):
                staging = self.empty(((WINDOWS - 1) * window,), np.dtype(np.uint8))
        _core.exchange(self.group, rows, destinations, size, list(ranks), list(outputs), window, staging)

    def barrier(self) -> None:
        self.group.barrier()

    def check(self) -> None:
        self.group.check()

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        return self._node.empty(shape, dtype)

    def lend(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, tuple[Array, Array]]:
        """Return a place in this rank's memory, and an array there: one to fill it by, and one to read.

        The memory goes back to the machine when no array of any member is left there.
        """
        return self._node.lend(shape, dtype)

    def borrow(
        self, member: int, place: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> tuple[Array, Array]:
        """Return the same two for what a member has lent, while that one still has its own."""
        return self._node.borrow(self._key[member][0], place, shape, dtype)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self.group.close()
            self._node.retire(self._key)
