"""From a process to a communicator: who is there, who shares memory, and what happens at the end."""

from __future__ import annotations

import atexit
import os
import sys
import warnings
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyscale.comm import failure
from pyscale.comm.communicator import Communicator, Place
from pyscale.comm.node import Node, find_nodes
from pyscale.comm.transports.base import Transport
from pyscale.comm.transports.local import LocalTransport
from pyscale.comm.transports.mpi import MpiTransport
from pyscale.comm.transports.shm import ShmTransport, forced_algorithm
from pyscale.errors import PyscaleError

TRANSPORTS = ("auto", "shm", "mpi")

# What launchers tell their processes: MPICH, Intel MPI and Slurm's PMI; Open MPI; PMIx; Slurm.
_LAUNCHER_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS")
_LAUNCHER_RANKS = {
    "PMI_SIZE": "PMI_RANK",
    "OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_RANK",
    "SLURM_NTASKS": "SLURM_PROCID",
}


class Membership:
    """What the communicators of this process share: the MPI library, and the node's memory."""

    def __init__(self, node: Node | None, threads_may_communicate: bool) -> None:
        self.node = node
        self.threads_may_communicate = threads_may_communicate
        self.pid = os.getpid()
        self._transports: weakref.WeakSet[Transport] = weakref.WeakSet()

    @property
    def broken(self) -> bool:
        """Whether any communicator has lost a rank."""
        return any(transport.broken for transport in self._transports)

    def split(self, parent: Communicator, color: int | None, key: int) -> Communicator | None:
        """Make the communicator of the ranks with this rank's color. Collective over the parent."""
        wishes = np.empty((parent.size, 3), np.int64)
        parent._transport.all_gather(np.array([color is not None, color or 0, key], np.int64), wishes)
        chosen = [
            rank
            for rank in sorted(range(parent.size), key=lambda rank: (wishes[rank, 2], rank))
            if color is not None and wishes[rank, 0] and wishes[rank, 1] == color
        ]
        mpi = None
        if parent.mpi is not None:
            from mpi4py import MPI

            mpi = parent.mpi.Split(MPI.UNDEFINED if color is None else color, key)
        # One exchange over the parent serves all children: each rank's index in its node, and its mailbox.
        node_index, mailbox = -1, -1
        if self.node is not None:
            node_index = self.node.index
            if color is not None:
                mailbox = self.node.open_mailbox()
        table = np.empty((parent.size, 2), np.int64)
        parent._transport.all_gather(np.array([node_index, mailbox], np.int64), table)
        if self.node is not None:
            self.node.free_retired(frozenset(table[list(parent._place.neighbours), 0].tolist()))
        if color is None:
            return None
        place = Place(chosen.index(parent.rank), _nodes_of(chosen, parent._place.nodes))
        return self._build(place, mpi, table[chosen], parent.timeout)

    def world(self, mpi: Any, nodes: Sequence[Sequence[int]], timeout: float) -> Communicator:
        """Make the communicator of all ranks. Collective over `mpi`."""
        place = Place(mpi.rank, tuple(tuple(ranks) for ranks in nodes))
        entry = (-1, -1) if self.node is None else (self.node.index, self.node.open_mailbox())
        return self._build(place, mpi, np.array(mpi.allgather(entry), np.int64), timeout)

    def _build(self, place: Place, mpi: Any, table: Any, timeout: float) -> Communicator:
        """Make a communicator; `table` has each rank's index in its node (-1: none) and its mailbox."""
        size = len(table)
        local = None
        shares = bool((table[list(place.neighbours), 0] >= 0).all()) and len(place.neighbours) > 1
        if self.node is not None and shares:
            members = table[list(place.neighbours)]
            local = ShmTransport(
                self.node, members[:, 0].tolist(), members[:, 1].tolist(), list(place.neighbours), timeout
            )
        transport: Transport
        if size == 1:
            transport = LocalTransport()
        elif local is not None and len(place.nodes) == 1:
            transport = local
        else:
            # Ranks that share memory are one unit; without it, each is its own, folded in the nodes' order
            # all the same.
            units: list[list[int]] = []
            for ranks in place.nodes:
                shared = len(ranks) > 1 and bool((table[list(ranks), 0] >= 0).all())
                units += [list(ranks)] if shared else [[rank] for rank in ranks]
            transport = MpiTransport(mpi.Dup(), place.nodes, sorted(units), local, timeout)
        self._transports.add(transport)
        return Communicator(place, transport, mpi, timeout, self)


def _nodes_of(chosen: list[int], nodes: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Return the nodes of a subset of ranks, in the subset's own ranks."""
    place_of = {rank: node for node, ranks in enumerate(nodes) for rank in ranks}
    grouped: dict[int, list[int]] = {}
    for new, old in enumerate(chosen):
        grouped.setdefault(place_of[old], []).append(new)
    return tuple(sorted(tuple(ranks) for ranks in grouped.values()))


_world: Communicator | None = None


def init(comm: Any = None, *, timeout: float = 300.0) -> None:
    """Join the other processes of this job. Collective; a second call does nothing.

    Under ``mpirun`` or ``srun`` the ranks are those of ``MPI.COMM_WORLD``, or of `comm`. Otherwise this
    process is alone, and MPI is not needed. Call it before threads are started that use MPI.

    From here on, an exception that ends this process ends the job on all ranks, and its traceback is shown
    once.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
        The ranks, where they are not all of the job's.
    timeout : float
        Seconds that a collective waits for a rank that is alive but does not come.

    Raises
    ------
    ImportError
        Started by a launcher, and mpi4py is missing.
    ValueError
        A setting in the environment is none.
    """
    global _world
    if _world is not None:
        return
    if not timeout > 0:
        raise ValueError(f"init: expected timeout to be a positive number of seconds, got {timeout!r}")
    wanted = os.environ.get("PYSCALE_TRANSPORT", "auto")
    if wanted not in TRANSPORTS:
        raise ValueError(f"PYSCALE_TRANSPORT: expected one of {', '.join(TRANSPORTS)}, got {wanted!r}")
    forced_algorithm()
    mpi = comm if comm is not None else _job()
    if mpi is None or mpi.size == 1:
        place = Place(0, ((0,),))
        _world = Communicator(place, LocalTransport(), mpi, timeout, Membership(None, True))
        return
    from mpi4py import MPI

    failure.watch(mpi.rank, mpi.size)  # already here: a rank that fails alone would leave the others waiting
    nodes, node, problems = find_nodes(mpi, wanted != "mpi")
    if problems and wanted == "shm":
        raise PyscaleError(
            f"PYSCALE_TRANSPORT=shm: expected shared memory between neighbours, got {'; '.join(problems)}"
        )
    if problems and mpi.rank == 0:
        warnings.warn(
            f"pyscale uses MPI inside the node: {'; '.join(problems)}", RuntimeWarning, stacklevel=2
        )
    membership = Membership(node, MPI.Query_thread() == MPI.THREAD_MULTIPLE)
    _world = membership.world(mpi, nodes, float(timeout))
    if node is not None:
        failure.watch(mpi.rank, mpi.size, node.core.claim_failure)
    atexit.register(shutdown)


def _job() -> Any:
    """Return the communicator of this process's job, None where it was started alone."""
    mpi4py = sys.modules.get("mpi4py.MPI")
    if mpi4py is not None and mpi4py.Is_initialized() and not mpi4py.Is_finalized():
        return mpi4py.COMM_WORLD
    sizes = [
        os.environ[name]
        for name in _LAUNCHER_SIZES
        if _LAUNCHER_RANKS[name] in os.environ and name in os.environ
    ]
    if not any(size.isdigit() and int(size) > 1 for size in sizes):
        return None
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError(
            "init: expected mpi4py under an MPI launcher, got none: pip install 'pyscale-ml[mpi]'"
        ) from error
    return MPI.COMM_WORLD


def shutdown() -> None:
    """Leave the job. Ranks that still wait for this one get a CommError. `init` may be called again."""
    global _world
    if _world is None:
        return
    world, _world = _world, None
    if os.getpid() != world._membership.pid:
        return  # a forked child speaks for nobody
    failure.unwatch()
    membership = world._membership
    if membership.node is not None:
        membership.node.core.depart()
    if membership.broken:
        failure.skip_finalize()  # MPI would wait there for the ranks that are gone
    world.close()


def is_initialized() -> bool:
    """Return whether `init` was called, and `shutdown` not since."""
    return _world is not None


def world() -> Communicator:
    """Return the communicator of all ranks; calls `init` where that was not done."""
    if _world is None:
        init()
    assert _world is not None
    return _world
