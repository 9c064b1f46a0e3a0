"""Messages between ranks over mpi4py, with a deadline: by these alone data move."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyscale.comm.transports.agreement import name_ranks
from pyscale.comm.transports.base import Array
from pyscale.comm.transports.notices import DATA_TAG, Notices, Told
from pyscale.errors import CommError, CommTimeout

_MESSAGE_BYTES = 1 << 29  # MPI libraries before MPI-4 count in a C int
_AWAKE_SECONDS = 200e-6  # as long as a fast network takes; then let other ranks have the core
_NAP_SECONDS = 50e-6
_LONG_NAP_SECONDS = 1e-3
_DYING_SECONDS = 0.5
_PEERS_SECONDS = 0.1  # between looks at the node's other ranks, which may have died


def _unreachable(rank: int) -> CommError:
    return CommError(f"expected every rank, got no answer from rank {rank}; rank {rank} cannot be reached")


@dataclass(eq=False)
class Messages:
    """Messages on their way: MPI's requests, and the rank at the other end of each."""

    requests: list[Any] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)

    def open_ranks(self) -> list[int]:
        """Return the ranks whose messages have not arrived, or not been taken."""
        return sorted(
            {
                rank
                for request, rank in zip(self.requests, self.ranks, strict=True)
                if request and not request.Test()
            }
        )


class Wire:
    """One communicator's messages. Errors do not name the call: the caller does.

    Parameters
    ----------
    mpi : mpi4py.MPI.Comm
        A communicator of pyscale's own, so that no message of the user's is taken for one of ours.
    timeout : float
        Seconds that a rank may be late.
    grace : float
        Seconds more that a message may take, in which its sender may say for whom it waits.
    check_node : callable
        Raises CommError where a rank of this node has failed.
    notices : Notices
        What ranks that have failed tell.
    """

    def __init__(
        self, mpi: Any, timeout: float, grace: float, check_node: Callable[[], None], notices: Notices
    ) -> None:
        self.mpi = mpi
        self._timeout = timeout
        self._grace = grace
        self._check_node = check_node
        self._notices = notices
        self._under_way: list[Messages] = []  # MPI may write to their buffers: they must stay alive

    def post(self, sends: Iterable[tuple[int, Array]], receives: Iterable[tuple[int, Array]]) -> Messages:
        """Start sending and receiving C-contiguous arrays.

        Raises
        ------
        Told
            A rank elsewhere has given up.
        CommError
            MPI cannot send to a rank, or a rank of this node has failed.
        """
        from mpi4py import MPI

        # To the next rank first: not all send to one at once.
        sends = sorted(sends, key=lambda send: (send[0] - self.mpi.rank) % self.mpi.size)
        messages = Messages()
        self._under_way.append(messages)
        for start, ranks_and_arrays in ((self.mpi.Irecv, receives), (self.mpi.Isend, sends)):
            for rank, array in ranks_and_arrays:
                raw = memoryview(array.reshape(-1).view("uint8"))
                for first in range(0, len(raw), _MESSAGE_BYTES):
                    piece = [raw[first : first + _MESSAGE_BYTES], MPI.BYTE]
                    try:
                        messages.requests.append(start(piece, rank, DATA_TAG))
                    except MPI.Exception as error:
                        self._await_reason()
                        raise _unreachable(rank) from error
                    messages.ranks.append(rank)
        return messages

    def exchange(self, sends: Sequence[tuple[int, Array]], receives: Sequence[tuple[int, Array]]) -> None:
        """Send and receive, and wait for both."""
        self.wait(self.post(sends, receives))

    def wait(self, messages: Messages) -> list[int]:
        """Wait for posted messages; returns their bytes, receives first, as they were posted.

        Raises
        ------
        Told
            A rank elsewhere has given up.
        CommError, CommTimeout
            A rank of this node has failed, or a message has; it is late.
        """
        from mpi4py import MPI

        statuses = [MPI.Status() for _ in messages.requests]
        start = time.monotonic()
        next_look = start + _PEERS_SECONDS
        try:
            while not MPI.Request.Testall(messages.requests, statuses):
                now = time.monotonic()
                waited = now - start
                if waited < _AWAKE_SECONDS:
                    os.sched_yield()
                    continue
                if now >= next_look:
                    self._look(messages, waited >= self._timeout + self._grace)
                    next_look = now + _PEERS_SECONDS
                time.sleep(_NAP_SECONDS if waited < 1.0 else _LONG_NAP_SECONDS)
        except MPI.Exception as error:
            self._await_reason()
            raise CommError(f"expected MPI to deliver, got {error}") from error
        self._under_way.remove(messages)
        return [status.Get_count(MPI.BYTE) for status in statuses]

    def _await_reason(self) -> None:
        """Raise what others know of a failure of MPI's own.

        Within a node MPI takes large messages from the sender's memory. A process that is killed loses that a
        moment before it is known to have ended. On another node it cannot be reached from then on, and its
        neighbours look for it every `_PEERS_SECONDS` only.
        """
        end = time.monotonic() + _DYING_SECONDS
        while time.monotonic() < end:
            if notice := self._notices.hear():
                raise Told(notice)
            self._check_node()
            time.sleep(_LONG_NAP_SECONDS)

    def _look(self, messages: Messages, is_late: bool) -> None:
        """Raise where there is no more to wait for."""
        if notice := self._notices.hear():
            raise Told(notice)
        try:
            self._check_node()
        except CommTimeout:  # a neighbour has waited long enough: for this rank, and thus for those below
            is_late = True
        if is_late:
            late = messages.open_ranks()
            raise CommTimeout(
                f"expected every rank within {self._timeout:g} s, got no answer from {name_ranks(late)}"
            )
