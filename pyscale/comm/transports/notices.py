"""What a rank that gives up tells all others: in every error stands the rank that is at fault.

Who waits for a rank does not know whom that rank waits for; its own node knows first. So the first to know
sends a notice, and those who are about to give up look for one. Notices are sent on communicators only that
are of no more use: none is ever taken for one of a later call.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyscale.errors import CommError, CommTimeout

DATA_TAG, _TAG = 0, 1  # of all other messages; of notices
_TEXT_BYTES = 1024
_MISSING = "got no answer from "
_NAP_SECONDS = 1e-3
_LEAVING_SECONDS = 0.05  # for MPI to get notices on their way: this may be its last call in this process


@dataclass(frozen=True)
class Notice:
    """Why a rank has given up.

    Attributes
    ----------
    late : bool
        A time-out; else a death, a departure, an interruption.
    words : str
        What is said of it, but for the name of the call that it ended.
    """

    late: bool
    words: str

    @property
    def accused(self) -> set[int]:
        """The ranks that did not answer."""
        ranks = self.words.partition(_MISSING)[2].partition(";")[0]
        return set(map(int, re.findall(r"\d+", ranks)))

    @staticmethod
    def of(error: CommError, timeout: float) -> Notice:
        """Return what shared memory or the wire says of a failure, without the calls inside the user's."""
        late, text = isinstance(error, CommTimeout), str(error)
        _, waited, rest = text.partition(_MISSING)
        if not waited:
            return Notice(late, text if text.startswith("expected") else text.partition(": ")[2] or text)
        awaited, semicolon, why = rest.partition("; ")
        ranks = awaited.partition(" (rank ")[0]
        if why and not ranks.startswith("rank"):  # "a rank of this node; rank 3 died"
            ranks = " ".join(why.split()[:2])
        return Notice(late, _missing(ranks, timeout) + semicolon + why)

    @staticmethod
    def about(rank: int, why: str, timeout: float) -> Notice:
        """Return what the others are told of a rank that cannot go on, by itself."""
        return Notice(False, f"{_missing(f'rank {rank}', timeout)}; rank {rank} {why}")

    def is_hearsay(self, seconds: float, timeout: float) -> bool:
        """Whether, so many seconds after the call, a neighbour gave up for a reason that it knows alone."""
        if any(word in self.words for word in (" died", " left (")):
            return False
        return seconds < timeout if self.late else "was interrupted" in self.words

    def error(self, call: str) -> CommError:
        """Return the error of a call that this has ended."""
        return (CommTimeout if self.late else CommError)(f"{call}: {self.words}")


def _missing(ranks: str, timeout: float) -> str:
    return f"expected every rank within {timeout:g} s, {_MISSING}{ranks}"


class Told(Exception):
    """Another rank has given up, and has said why."""

    def __init__(self, notice: Notice) -> None:
        super().__init__(notice.words)
        self.notice = notice


class Notices:
    """The notices of one communicator.

    Parameters
    ----------
    mpi : mpi4py.MPI.Comm
        A communicator of pyscale's own.
    units : sequence of sequence of int
        The ranks of each set that shares memory.
    """

    def __init__(self, mpi: Any, units: Sequence[Sequence[int]]) -> None:
        self._mpi = mpi
        self._units = units
        self._sent: list[Any] = []  # requests and what they send: MPI may still read it

    def tell(self, notice: Notice) -> None:
        """Send a notice to all others that can be reached: MPI may try for ever to send to the dead."""
        from mpi4py import MPI

        raw = bytes([notice.late]) + notice.words.encode()[:_TEXT_BYTES]
        silent = set() if notice.late else set(notice.accused)
        for unit in self._units:
            if self._mpi.rank not in unit and notice.accused.intersection(unit):
                silent.update(unit)
        requests = []
        for rank in range(self._mpi.size):
            if rank != self._mpi.rank and rank not in silent:
                with contextlib.suppress(MPI.Exception):
                    requests.append(self._mpi.Isend([raw, MPI.BYTE], rank, _TAG))
        self._sent += [raw, requests]
        end = time.monotonic() + _LEAVING_SECONDS
        with contextlib.suppress(MPI.Exception):
            while not MPI.Request.Testall(requests) and time.monotonic() < end:
                time.sleep(_NAP_SECONDS)

    def hear(self, seconds: float = 0.0) -> Notice | None:
        """Return a notice that has come, or comes within so many seconds."""
        from mpi4py import MPI

        status = MPI.Status()
        end = time.monotonic() + seconds
        with contextlib.suppress(MPI.Exception):
            while not self._mpi.Iprobe(MPI.ANY_SOURCE, _TAG, status):
                if time.monotonic() >= end:
                    return None
                time.sleep(_NAP_SECONDS)
            raw = bytearray(status.Get_count(MPI.BYTE))
            self._mpi.Recv([raw, MPI.BYTE], status.source, _TAG)
            return Notice(bool(raw[0]), raw[1:].decode(errors="replace"))
        return None
