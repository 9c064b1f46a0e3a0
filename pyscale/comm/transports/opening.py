"""How a call begins on several nodes: the check that all ranks call the same rides with the first data.

The ranks of a node compare what they call over shared memory. Then each rank sends to those with whom it
deals (see `Columns`) what its node has called, together with the first data, so that every rank hears from
every node. Where nodes differ, all ranks know, nobody has sent more than this, and they tell each other the
rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyscale.comm.transports import agreement
from pyscale.comm.transports.agreement import HASH_BYTES, RECORD_BYTES
from pyscale.comm.transports.base import Array
from pyscale.errors import CommMismatch

if TYPE_CHECKING:
    from pyscale.comm.transports.mpi import MpiTransport

PAYLOAD_BYTES = (8 << 10) - RECORD_BYTES  # with what ranks of a node tell each other: in one crossing
_HEADER_BYTES = 64  # of a message, as many of a record's: the data keep their alignment
_NO_HEADER = np.zeros(_HEADER_BYTES, np.uint8)
MESSAGE_BYTES = _HEADER_BYTES + (512 << 10)  # at most; calls that differ must have room for each other's


class Opening:
    """One call's beginning, on one rank.

    Parameters
    ----------
    transport : MpiTransport
    call : str
        What the user has called.
    payload : array, optional
        What the ranks of the node are to have of this one: at most `PAYLOAD_BYTES`, as many on all.

    Attributes
    ----------
    is_agreed : bool
        Whether the ranks of this node have called the same.
    """

    def __init__(self, transport: MpiTransport, call: str, payload: Array | None = None) -> None:
        self._transport, self._call = transport, call
        self._record = told = agreement.record(call)
        if payload is not None:
            told = np.concatenate([told, payload.reshape(-1).view(np.uint8)])
        self._told, self.is_agreed = told[np.newaxis], True
        local = transport.local
        if local is not None:
            self._told = np.empty((len(transport.here), told.size), np.uint8)
            local.group.set_timeout(transport.timeout)
            try:
                local.all_gather(told, self._told)
                self.is_agreed = agreement.is_one_call(self._told)
            except CommMismatch:  # of payloads
                self.is_agreed = False
            local.group.set_timeout(transport.timeout + 2 * transport.grace)

    def payloads(self, like: Array) -> list[Array]:
        """Return the payloads of this node's ranks, as arrays like this one."""
        return [raw[RECORD_BYTES:].view(like.dtype).reshape(like.shape) for raw in self._told]

    def exchange(self, rows: Sequence[Array] = ()) -> list[Array]:
        """Send each rank that this one deals with its row; return, as bytes, what each partner has sent.

        Raises
        ------
        CommMismatch
            Calls differ, here or elsewhere.
        """
        header = self._record[:_HEADER_BYTES] if self.is_agreed else np.zeros(_HEADER_BYTES, np.uint8)
        received = self._send(header, rows if self.is_agreed else ())
        own = header[:HASH_BYTES].tobytes()
        inbox = self._transport.inbox
        if not self.is_agreed or any(raw[:HASH_BYTES].tobytes() != own for raw in inbox):
            raise agreement.mismatch(self._records(), self._call)
        return received

    def _send(self, header: Array, rows: Sequence[Array]) -> list[Array]:
        """Send each partner its row behind the header, and return what follows theirs."""
        transport, columns = self._transport, self._transport.columns
        messages = [header] * len(columns.mine)
        if rows:
            messages = [np.concatenate([header, row.reshape(-1).view(np.uint8)]) for row in rows]
        receives = list(zip(columns.partners, transport.inbox, strict=True))
        lengths = transport.wire.wait(transport.wire.post(columns.with_others(messages), receives))
        return [raw[_HEADER_BYTES:length] for raw, length in zip(transport.inbox, lengths, strict=False)]

    def check(self) -> None:
        """Compare the calls now, where no data go with them."""
        self.exchange()

    def _records(self) -> Array:
        """Return every rank's record, in rank order."""
        transport, units = self._transport, self._transport.units
        here = self._record[np.newaxis]
        if transport.local is not None:
            here = np.empty((len(transport.here), RECORD_BYTES), np.uint8)
            transport.local.all_gather(self._record, here)
        records = np.empty((transport.size, RECORD_BYTES), np.uint8)
        if transport.local_rank == 0:
            parts = np.split(records, np.cumsum([len(unit) for unit in units])[:-1])
            parts[transport.unit][...] = here
            leaders = [(unit[0], part) for unit, part in zip(units, parts, strict=True)]
            others = [(rank, part) for rank, part in leaders if rank != transport.rank]
            transport.wire.exchange([(rank, here) for rank, _ in others], others)
        if transport.local is not None:
            transport.local.broadcast(records, 0)
        return records[np.argsort([rank for unit in units for rank in unit])]


class TrustingOpening(Opening):
    """The same without the check: what rides with it travels alone, and calls that differ are not noticed."""

    def __init__(self, transport: MpiTransport, call: str, payload: Array | None = None) -> None:
        self._transport, self._call, self.is_agreed = transport, call, True
        if payload is None:
            return
        raw = payload.reshape(-1).view(np.uint8)
        self._told = raw[np.newaxis]
        if transport.local is not None:
            self._told = np.empty((len(transport.here), raw.size), np.uint8)
            transport.local.all_gather(raw, self._told)

    def payloads(self, like: Array) -> list[Array]:
        """Return the payloads of this node's ranks, as arrays like this one."""
        return [raw.view(like.dtype).reshape(like.shape) for raw in self._told]

    def exchange(self, rows: Sequence[Array] = ()) -> list[Array]:
        """Send each rank that this one deals with its row; return what each partner has sent."""
        return self._send(_NO_HEADER, rows)

    def check(self) -> None:
        """Trust the others."""
