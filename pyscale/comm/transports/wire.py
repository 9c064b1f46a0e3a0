"""Messages between ranks over mpi4py, with a deadline: the only part of pyscale that sends and receives."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyscale.comm.transports.base import Array
from pyscale.errors import CommError, CommTimeout

_MESSAGE_BYTES = 1 << 29  # MPI libraries before MPI-4 count in a C int
_AWAKE_SECONDS = 200e-6  # as long as a fast network takes; then let other ranks have the core
_NAP_SECONDS = 50e-6
_LONG_NAP_SECONDS = 1e-3
_PEERS_SECONDS = 0.1  # between looks at the node's other ranks, which may have died


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
    """One communicator's messages.

    Parameters
    ----------
    mpi : mpi4py.MPI.Comm
        A communicator of pyscale's own, so that no message of the user's is taken for one of ours.
    timeout : float
        Seconds that a message may take.
    check_node : callable
        Raises CommError where a rank of this node has failed.
    """

    def __init__(self, mpi: Any, timeout: float, check_node: Callable[[], None]) -> None:
        self.mpi = mpi
        self.timeout = timeout
        self._check_node = check_node
        self._broken = ""
        self._under_way: list[Messages] = []  # MPI may write to their buffers: they must stay alive

    @property
    def broken(self) -> bool:
        """Whether a message has failed."""
        return bool(self._broken)

    def post(
        self, sends: Iterable[tuple[int, Array]], receives: Iterable[tuple[int, Array]], call: str
    ) -> Messages:
        """Start sending and receiving C-contiguous arrays; `call` is for the words of an error."""
        from mpi4py import MPI

        if self._broken:
            raise CommError(
                f"{call}: expected a working communicator, got one given up earlier: {self._broken}"
            )
        messages = Messages()
        self._under_way.append(messages)
        for start, ranks_and_arrays in ((self.mpi.Irecv, receives), (self.mpi.Isend, sends)):
            for rank, array in ranks_and_arrays:
                raw = memoryview(array.reshape(-1).view("uint8"))
                for first in range(0, len(raw), _MESSAGE_BYTES):
                    messages.requests.append(start([raw[first : first + _MESSAGE_BYTES], MPI.BYTE], rank))
                    messages.ranks.append(rank)
        return messages

    def exchange(
        self, sends: Sequence[tuple[int, Array]], receives: Sequence[tuple[int, Array]], call: str
    ) -> None:
        """Send and receive, and wait for both."""
        self.wait(self.post(sends, receives, call), call)

    def wait(self, messages: Messages, call: str) -> list[int]:
        """Wait for posted messages; returns their bytes, receives first, as they were posted."""
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
                    self._check_node()
                    next_look = now + _PEERS_SECONDS
                    if waited >= self.timeout:
                        late = messages.open_ranks()
                        raise CommTimeout(
                            f"{call}: expected every rank within {self.timeout:g} s, got no answer from "
                            f"rank{'s' if len(late) > 1 else ''} {', '.join(map(str, late))}"
                        )
                time.sleep(_NAP_SECONDS if waited < 1.0 else _LONG_NAP_SECONDS)
        except MPI.Exception as error:
            self._broken = str(error)
            raise CommError(f"{call}: expected MPI to deliver, got {error}") from error
        except BaseException as error:
            self._broken = str(error) or type(error).__name__
            raise
        self._under_way.remove(messages)
        return [status.Get_count(MPI.BYTE) for status in statuses]
