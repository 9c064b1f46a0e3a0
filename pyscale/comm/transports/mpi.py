"""Ranks on several nodes, or without shared memory: messages over mpi4py, shared memory inside each node."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from pyscale.comm.transports import agreement, pipeline, rounds
from pyscale.comm.transports.base import Array
from pyscale.comm.transports.calls import Calls, grace
from pyscale.comm.transports.columns import Columns
from pyscale.comm.transports.notices import Notices, Told
from pyscale.comm.transports.opening import MESSAGE_BYTES, PAYLOAD_BYTES, Opening, TrustingOpening
from pyscale.comm.transports.shm import ShmTransport
from pyscale.comm.transports.wire import Wire

_WHOLE_BYTES = 128 << 10  # from one node to all others: so much costs less than a second crossing


class MpiTransport:
    """Ranks that do not all share memory.

    Parameters
    ----------
    mpi : mpi4py.MPI.Comm
        A communicator of pyscale's own.
    nodes : sequence of sequence of int
        The ranks of each node: the order in which results are folded.
    units : sequence of sequence of int
        The ranks of each set that shares memory: the nodes, or every rank alone.
    local : ShmTransport or None
        This rank's unit; None where it is alone.
    check_node : callable
        Raises CommError where a rank of this node has failed.
    timeout : float
        Seconds that a collective waits for a rank.
    checks_calls : bool
        Whether ranks compare what they call.
    """

    def __init__(
        self,
        mpi: Any,
        nodes: Sequence[Sequence[int]],
        units: Sequence[Sequence[int]],
        local: ShmTransport | None,
        check_node: Callable[[], None],
        timeout: float,
        *,
        checks_calls: bool = True,
    ) -> None:
        self.are_alone = max(map(len, units)) == 1  # no rank shares memory with another
        self.name = "mpi" if self.are_alone else "hierarchical"
        self.rank: int = mpi.rank
        self.size: int = mpi.size
        self.nodes = [list(ranks) for ranks in nodes]
        self.units = [list(ranks) for ranks in units]
        self.unit = next(i for i, ranks in enumerate(self.units) if self.rank in ranks)
        self.here = self.units[self.unit]
        self.local_rank = self.here.index(self.rank)
        self.columns = Columns(self.units, self.rank)
        self.local = local
        self.timeout = timeout
        self.opening = Opening if checks_calls else TrustingOpening
        self.grace = 0.0 if self.are_alone else grace(timeout)
        self._notices = Notices(mpi, units)
        self._check_node = check_node
        self.wire = Wire(mpi, timeout, self.grace, check_node, self._notices)
        self._calls = Calls(self._notices, local, self.rank, timeout)
        self.inbox = [np.empty(MESSAGE_BYTES, np.uint8) for _ in self.columns.partners]

    @property
    def broken(self) -> bool:
        return bool(self._calls.given_up) or (self.local is not None and self.local.broken)

    def all_reduce(self, x: Array, op: str, out: Array) -> None:
        with self._opening(agreement.describe("all_reduce", x, op=op), x) as opening:
            pipeline.all_reduce(self, opening, x, op, out)

    def reduce_scatter(self, x: Array, op: str, out: Array) -> None:
        with self._opening(agreement.describe("reduce_scatter", x, op=op)) as opening:
            pipeline.reduce_scatter(self, opening, x, op, out)

    def all_gather(
        self, x: Array, out: Array, call: str = "all_gather", rows_of: Array | None = None
    ) -> None:
        text = agreement.describe(call, x if call == "all_gather" else None)
        if rows_of is not None:
            text = agreement.describe(call, rows_of, rows=True, asks_for_counts=True)
        with self._opening(text) as opening:
            pipeline.all_gather(self, opening, x, out)

    def broadcast(self, x: Array, root: int, call: str = "broadcast") -> None:
        text = agreement.describe(call, x if call == "broadcast" else None, root=root)
        root_unit = next(unit for unit in self.units if root in unit)
        is_small = x.nbytes <= PAYLOAD_BYTES and self.goes_whole(x.nbytes)
        with self._opening(text, x if is_small else None) as opening:
            if is_small and self.here is root_unit:
                row = opening.payloads(x)[root_unit.index(root)] if opening.is_agreed else x
                opening.exchange([row] * len(self.columns.mine))
                x[...] = row
            elif is_small:
                others = [unit for unit in self.units if unit is not self.here]
                received = opening.exchange()[others.index(root_unit)]
                x[...] = received.view(x.dtype).reshape(x.shape)
            else:
                opening.check()
                self._broadcast(x, root, root_unit)

    def all_to_all(self, x: Array, send_counts: list[int], out: Array, receive_counts: list[int]) -> None:
        with self._opening(agreement.describe("all_to_all", x, rows=True)) as opening:
            tables = np.empty((self.size, 2, self.size), np.int64)
            counts = np.array([send_counts, receive_counts], np.int64)
            pipeline.all_gather(self, opening, counts, tables)
            agreement.check_counts(tables)
            self._exchange_rows(x, send_counts, out, receive_counts)

    def exchange(self, rows: Array, destinations: Array, outputs: Sequence[Array], chunk_bytes: int) -> None:
        with self._opening(agreement.describe("exchange", rows, rows=True)) as opening:
            rounds.exchange(self, opening, rows, destinations, outputs, chunk_bytes)

    def barrier(self) -> None:
        with self._opening(agreement.describe("barrier", None)) as opening:
            opening.exchange()

    def check(self) -> None:
        with self._calls.again():
            self._check_node()
            if notice := self._notices.hear():
                raise Told(notice)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        return self.local.empty(shape, dtype) if self.local is not None else np.empty(shape, dtype)

    def close(self) -> None:
        self._calls.is_closed = True
        if self.local is not None:
            self.local.close()

    def goes_whole(self, size: int) -> bool:
        """Return whether so many bytes go to all ranks of the other nodes at once, rather than in parts."""
        return size * max(map(len, self.units)) * (len(self.units) - 1) <= _WHOLE_BYTES

    def _broadcast(self, x: Array, root: int, root_unit: list[int]) -> None:
        """Send `x` to the first of each unit, and from there over shared memory."""
        receivers = [unit[0] for unit in self.units if unit is not root_unit]
        if self.rank == root:
            self.wire.exchange([(rank, x) for rank in receivers], [])
        elif self.rank in receivers:
            self.wire.exchange([], [(root, x)])
        if self.local is not None:
            self.local.broadcast(x, root_unit.index(root) if self.here is root_unit else 0)

    def _exchange_rows(
        self, x: Array, send_counts: Sequence[int], out: Array, receive_counts: Sequence[int]
    ) -> None:
        """Send each rank its rows: over the wire to other units, over shared memory within this one."""
        sent, received = _split_rows(x, send_counts), _split_rows(out, receive_counts)
        here = self.here
        others = [rank for rank in range(self.size) if rank not in here]
        messages = self.wire.post([(r, sent[r]) for r in others], [(r, received[r]) for r in others])
        if self.local is None:
            received[self.rank][...] = sent[self.rank]
        else:
            sends, receives = ([counts[r] for r in here] for counts in (send_counts, receive_counts))
            rows = np.empty((sum(receives), *out.shape[1:]), out.dtype)
            self.local.all_to_all(np.concatenate([sent[r] for r in here]), sends, rows, receives)
            for rank, part in zip(here, _split_rows(rows, receives), strict=True):
                received[rank][...] = part
        self.wire.wait(messages)

    @contextlib.contextmanager
    def _opening(self, call: str, payload: Array | None = None) -> Iterator[Opening]:
        """Begin a call; what fails in it bears its name."""
        small = payload if payload is not None and payload.nbytes <= PAYLOAD_BYTES else None
        with self._calls.named(call):
            yield self.opening(self, call, small)


def _split_rows(x: Array, counts: Sequence[int]) -> list[Array]:
    return np.split(x, np.cumsum(counts)[:-1])
