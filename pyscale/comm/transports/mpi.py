"""Ranks on several nodes, or without shared memory: messages over mpi4py, shared memory inside each node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyscale.comm.transports import agreement, pipeline
from pyscale.comm.transports.base import Array
from pyscale.comm.transports.calls import Calls, grace
from pyscale.comm.transports.columns import Columns
from pyscale.comm.transports.folding import fold_ranks
from pyscale.comm.transports.notices import Notices, Told
from pyscale.comm.transports.shm import ShmTransport
from pyscale.comm.transports.wire import Wire


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
    timeout : float
        Seconds that a collective waits for a rank.
    """

    def __init__(
        self,
        mpi: Any,
        nodes: Sequence[Sequence[int]],
        units: Sequence[Sequence[int]],
        local: ShmTransport | None,
        timeout: float,
    ) -> None:
        self.name = "hierarchical" if any(len(unit) > 1 for unit in units) else "mpi"
        self.rank: int = mpi.rank
        self.size: int = mpi.size
        self.nodes = [list(ranks) for ranks in nodes]
        self.units = [list(ranks) for ranks in units]
        self.unit = next(i for i, ranks in enumerate(self.units) if self.rank in ranks)
        self.local_rank = self.units[self.unit].index(self.rank)
        self.columns = Columns(self.units, self.rank)
        self.local = local
        self._timeout = timeout
        self._grace = grace(timeout) if any(len(unit) > 1 for unit in units) else 0.0
        self._notices = Notices(mpi, units)
        self.wire = Wire(mpi, timeout, self._grace, self._check_node, self._notices)
        self._calls = Calls(self._notices, local, self.rank, timeout)
        self._in_rank_order = np.argsort(np.array([rank for ranks in self.units for rank in ranks]))

    @property
    def broken(self) -> bool:
        return bool(self._calls.given_up) or (self.local is not None and self.local.broken)

    def all_reduce(self, x: Array, op: str, out: Array) -> None:
        call = agreement.describe("all_reduce", x, op=op)
        with self._calls.named(call):
            if x.nbytes <= agreement.PAYLOAD_BYTES:
                records = self._agree(call, x)
                fold_ranks(agreement.payloads(records, x), self.nodes, op, out)
            else:
                self._agree(call)
                pipeline.all_reduce(self, x, op, out)

    def reduce_scatter(self, x: Array, op: str, out: Array) -> None:
        call = agreement.describe("reduce_scatter", x, op=op)
        with self._calls.named(call):
            self._agree(call)
            pipeline.reduce_scatter(self, x, op, out)

    def all_gather(self, x: Array, out: Array, call: str = "all_gather") -> None:
        text = agreement.describe(call, x if call == "all_gather" else None)
        with self._calls.named(text):
            if x.nbytes <= agreement.PAYLOAD_BYTES:
                records = self._agree(text, x)
                out.reshape(self.size, *x.shape)[...] = agreement.payloads(records, x)
            else:
                self._agree(text)
                pipeline.all_gather(self, x, out)

    def broadcast(self, x: Array, root: int, call: str = "broadcast") -> None:
        text = agreement.describe(call, x if call == "broadcast" else None, root=root)
        with self._calls.named(text):
            if x.nbytes <= agreement.PAYLOAD_BYTES:
                records = self._agree(text, x)
                if self.rank != root:
                    x[...] = agreement.payloads(records, x)[root]
                return
            self._agree(text)
            root_unit = next(unit for unit in self.units if root in unit)
            receivers = [unit[0] for unit in self.units if unit is not root_unit]
            if self.rank == root:
                self.wire.exchange([(rank, x) for rank in receivers], [])
            elif self.rank in receivers:
                self.wire.exchange([], [(root, x)])
            if self.local is not None:
                self.local.broadcast(x, root_unit.index(root) if self.rank in root_unit else 0)

    def all_to_all(self, x: Array, send_counts: list[int], out: Array, receive_counts: list[int]) -> None:
        call = agreement.describe("all_to_all", x, rows=True)
        with self._calls.named(call):
            self._agree(call)
            tables = np.empty((self.size, 2, self.size), np.int64)
            counts = np.array([send_counts, receive_counts], np.int64)
            pipeline.all_gather(self, counts, tables)
            agreement.check_counts(tables)
            self._exchange_rows(x, send_counts, out, receive_counts)

    def barrier(self) -> None:
        call = agreement.describe("barrier", None)
        with self._calls.named(call):
            self._agree(call)

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

    def _exchange_rows(
        self, x: Array, send_counts: Sequence[int], out: Array, receive_counts: Sequence[int]
    ) -> None:
        """Send each rank its rows: over the wire to other units, over shared memory within this one."""
        sent, received = _split_rows(x, send_counts), _split_rows(out, receive_counts)
        here = self.units[self.unit]
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

    def _agree(self, call: str, payload: Array | None = None) -> Array:
        """Return every rank's record, in rank order; raises CommMismatch where calls differ."""
        record = agreement.pack(call, payload)
        here = record[np.newaxis]
        if self.local is not None:
            here = np.empty((len(self.units[self.unit]), agreement.RECORD_BYTES), np.uint8)
            self.local.group.set_timeout(self._timeout)
            self.local.all_gather(record, here)
            self.local.group.set_timeout(self._timeout + 2 * self._grace)
        records = np.empty((self.size, agreement.RECORD_BYTES), np.uint8)
        if self.local_rank == 0:
            firsts = np.cumsum([0] + [len(unit) for unit in self.units])
            parts = [records[firsts[i] : firsts[i + 1]] for i in range(len(self.units))]
            parts[self.unit][...] = here
            leaders = [(unit[0], parts[i]) for i, unit in enumerate(self.units) if i != self.unit]
            self.wire.exchange([(rank, here) for rank, _ in leaders], leaders)
        if self.local is not None:
            self.local.broadcast(records, 0)
        records = records[self._in_rank_order]
        agreement.check(records, call)
        return records

    def _check_node(self) -> None:
        if self.local is not None:
            self.local.check()


def _split_rows(x: Array, counts: Sequence[int]) -> list[Array]:
    return np.split(x, np.cumsum(counts)[:-1])
