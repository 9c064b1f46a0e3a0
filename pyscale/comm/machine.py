"""Whether the job's other processes on this machine live: the kernel knows, also without shared memory."""

from __future__ import annotations

import os
import select
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from pyscale import _core
from pyscale.comm.transports.agreement import name_ranks
from pyscale.errors import CommError

# What tells where a process is: the boot of the machine and the namespace of process numbers; its number.
Whereabouts: TypeAlias = tuple[str, int]


def whereabouts() -> Whereabouts:
    """Return where this process is; of no machine where the kernel does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}", os.getpid()
    except OSError:
        return "", os.getpid()


class _Process:
    """A descriptor of a process, which is readable once it has ended."""

    def __init__(self, pid: int) -> None:
        self.fd = _core.pidfd_open(pid)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)


class Machine:
    """Those of a communicator's processes that run on this machine.

    Parameters
    ----------
    processes : mapping of int to _Process
        By rank.
    """

    def __init__(self, processes: Mapping[int, _Process | None]) -> None:
        self._processes = processes
        self._gone = [rank for rank, process in processes.items() if process is None]
        self._poll = select.poll()
        self._ranks = {}
        for rank, process in processes.items():
            if process is not None:
                self._ranks[process.fd] = rank
                self._poll.register(process.fd, select.POLLIN)

    @classmethod
    def of(cls, told: Sequence[Whereabouts]) -> Machine:
        """Find the processes; `told` is what each rank says of itself."""
        place, pid = whereabouts()
        processes: dict[int, _Process | None] = {}
        for rank, (where, other) in enumerate(told):
            if where != place or not place or other == pid:
                continue
            try:
                processes[rank] = _Process(other)
            except ProcessLookupError:
                processes[rank] = None  # it has ended already
            except OSError:  # a kernel before 5.3
                break
        return cls(processes)

    def subset(self, ranks: Sequence[int]) -> Machine:
        """Return the same for the communicator of these ranks, in this order."""
        return Machine({new: self._processes[old] for new, old in enumerate(ranks) if old in self._processes})

    def among(self, ranks: Sequence[int]) -> Machine:
        """Return the same without the ranks that are not among these."""
        return Machine({rank: process for rank, process in self._processes.items() if rank in ranks})

    def ended(self) -> list[int]:
        """Return the ranks whose processes have ended, however they did."""
        return sorted(self._gone + [self._ranks[fd] for fd, _ in self._poll.poll(0)])

    def check(self, call: str) -> None:
        """Raise CommError where a process has ended, while this one waits in `call`."""
        if ended := self.ended():
            ranks = name_ranks(ended)
            raise CommError(f"{call}: expected every rank to live, got no answer from {ranks}; {ranks} died")
