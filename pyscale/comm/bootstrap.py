"""From a process to a communicator: who is there, who shares memory, and what happens at the end."""

from __future__ import annotations

import atexit
import os
import sys
import warnings
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from pyscale.comm import failure
from pyscale.comm.communicator import Communicator, Place
from pyscale.comm.deadline import within
from pyscale.comm.launcher import job
from pyscale.comm.ledger import Entry, Ledger, Told
from pyscale.comm.machine import Machine, whereabouts
from pyscale.comm.node import Node, find_nodes
from pyscale.comm.settings import Settings, agree
from pyscale.comm.transports.base import Transport
from pyscale.comm.transports.local import LocalTransport
from pyscale.comm.transports.mpi import MpiTransport
from pyscale.comm.transports.patience import duplicate
from pyscale.comm.transports.shm import ShmTransport
from pyscale.errors import CommError, CommMismatch, PyscaleError


class Membership:
    """What the communicators of this process share: the MPI library, and the node's memory."""

    def __init__(self, node: Node | None, threads_may_communicate: bool, checks_calls: bool = True) -> None:
        self.node = node
        self.checks_calls = checks_calls
        self.threads_may_communicate = threads_may_communicate
        self.pid = os.getpid()
        self._transports: weakref.WeakSet[Transport] = weakref.WeakSet()
        self._was_broken = False

    @property
    def broken(self) -> bool:
        """Whether any communicator has lost a rank."""
        return self._was_broken or any(transport.broken for transport in self._transports)

    def forget(self, communicator: Communicator) -> None:
        """Note that a communicator was closed."""
        if communicator._transport.broken:
            self._was_broken = True
        else:
            entry, mpi = communicator._entry, communicator.mpi
            _ledger.let_go(entry, after=mpi if mpi in entry.handles else None)  # which the user may hold

    def split(self, parent: Communicator, color: int | None, key: int) -> Communicator | None:
        """Make the communicator of the ranks with this rank's color. Collective over the parent."""
        mailbox = -1 if self.node is None or color is None else self.node.open_mailbox()
        index, retired = (-1, []) if self.node is None else (self.node.index, self.node.retired)
        # One exchange over the parent serves all children, and what is to be given back of earlier ones.
        try:
            told = parent._gather_objects((color, key, index, mailbox, retired, _ledger.tell()), "split")
        except CommMismatch:
            if self.node is not None and mailbox >= 0:
                self.node.core.free_mailbox(mailbox)
            raise
        colors, keys, indices, mailboxes, groups, lettings = zip(*told, strict=True)
        if self.node is not None:
            self.node.free_retired({indices[rank]: groups[rank] for rank in parent._place.neighbours})
        chosen = [
            rank
            for rank in sorted(range(parent.size), key=lambda rank: (keys[rank], rank))
            if color is not None and colors[rank] == color
        ]
        entry = Entry(parent._entry.next_name(), tuple(lettings[rank][0] for rank in chosen))
        mpi = None
        if parent.mpi is not None:
            split = partial(_split, parent.mpi, color, key, lettings)
            mpi = self._make(split, "split", parent.timeout, parent._transport.check)
        if color is None:
            return None
        if mpi is not None:
            entry.handles.append(type(mpi)(mpi))  # freed when `mpi` itself, which the user may hold, is gone
        place = Place(chosen.index(parent.rank), _nodes_of(chosen, parent._place.nodes))
        table = np.array([indices, mailboxes], np.int64).T[chosen]
        return self._build(place, mpi, table, parent.timeout, entry, parent._machine.subset(chosen))

    def _make(self, body: Callable[[], Any], what: str, timeout: float, check: Callable[[], None]) -> Any:
        """Make an MPI communicator, within the time-out."""
        try:
            return within(timeout, what, body, check)
        except CommError:
            self._was_broken = True
            raise

    def world(
        self, mpi: Any, nodes: Sequence[Sequence[int]], timeout: float, entry: Entry, machine: Machine
    ) -> Communicator:
        """Make the communicator of all ranks. Collective over `mpi`."""
        place = Place(mpi.rank, tuple(tuple(ranks) for ranks in nodes))
        own = (-1, -1) if self.node is None else (self.node.index, self.node.open_mailbox())
        return self._build(place, mpi, np.array(mpi.allgather(own), np.int64), timeout, entry, machine)

    def _build(
        self, place: Place, mpi: Any, table: Any, timeout: float, entry: Entry, machine: Machine
    ) -> Communicator:
        """Make a communicator; `table` has each rank's index in its node (-1: none) and its mailbox."""
        size = len(table)
        local = None
        shares = bool((table[list(place.neighbours), 0] >= 0).all()) and len(place.neighbours) > 1
        if self.node is not None and shares:
            members = table[list(place.neighbours)]
            local = ShmTransport(
                self.node, members[:, 0].tolist(), members[:, 1].tolist(), list(place.neighbours), timeout
            )
        elif self.node is not None:
            self.node.core.free_mailbox(
                int(table[place.rank, 1])
            )  # no group of its own here: nobody knows it
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
            check = partial(machine.among(place.neighbours).check, "split") if local is None else local.check
            own = self._make(partial(duplicate, mpi), "split", timeout, check)
            entry.handles.append(own)
            transport = MpiTransport(
                own, place.nodes, sorted(units), local, check, timeout, checks_calls=self.checks_calls
            )
        self._transports.add(transport)
        return Communicator(place, transport, mpi, timeout, self, entry, machine)


def _split(mpi: Any, color: int | None, key: int, told: Sequence[Told]) -> Any:
    from mpi4py import MPI

    _ledger.free(told)
    return mpi.Split(MPI.UNDEFINED if color is None else color, key)


def _nodes_of(chosen: list[int], nodes: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Return the nodes of a subset of ranks, in the subset's own ranks."""
    place_of = {rank: node for node, ranks in enumerate(nodes) for rank in ranks}
    grouped: dict[int, list[int]] = {}
    for new, old in enumerate(chosen):
        grouped.setdefault(place_of[old], []).append(new)
    return tuple(sorted(tuple(ranks) for ranks in grouped.values()))


_world: Communicator | None = None
_ledger = Ledger()
_was_forked = False  # from a process in which MPI runs: what a child sends corrupts its parent's messages


def _note_fork() -> None:
    global _was_forked
    _was_forked |= "mpi4py.MPI" in sys.modules


os.register_at_fork(after_in_child=_note_fork)


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
        Seconds that a collective waits for a rank that is alive but does not come. Ranks may give different
        ones: the first of a node to give up ends the wait of all of it.

    Raises
    ------
    ImportError
        Started by a launcher, and mpi4py is missing.
    PyscaleError
        The launcher has started several processes, and MPI does not know of them.
    ValueError
        A setting in the environment is none, or not the same on every rank; on all ranks.
    """
    global _world
    if _world is not None:
        return
    if _was_forked:
        raise CommError("init: expected the process that joined the job, got a forked child of it")
    mpi = job(comm)
    if mpi is None or mpi.size == 1:
        agree([Settings.of_this_process(timeout)])
        place = Place(0, ((0,),))
        entry = _ledger.join([_ledger.tell()])
        alone = Membership(None, threads_may_communicate=True)
        _world = Communicator(place, LocalTransport(), mpi, timeout, alone, entry, Machine({}))
        return
    from mpi4py import MPI

    # Already here: a rank that fails alone would leave the others waiting.
    failure.watch(mpi.rank, mpi.size, mpi.rank)
    mine = (Settings.of_this_process(timeout), _ledger.tell(), whereabouts())
    patience = 300.0 if mine[0].wrong else timeout  # what is wrong with it is told to all
    settings, lettings, places = zip(*within(patience, "init", lambda: mpi.allgather(mine)), strict=True)
    agreed = agree(settings)
    wanted = agreed["PYSCALE_TRANSPORT"]
    machine = Machine.of(places)
    # Until here a death is noticed by the launcher, or by the time-out; from here on at once.
    join = partial(within, timeout, "init", check=partial(machine.check, "init"))
    nodes, node, problems = join(lambda: find_nodes(mpi, wanted != "mpi"))
    if problems and wanted == "shm":
        raise PyscaleError(
            f"PYSCALE_TRANSPORT=shm: expected shared memory between neighbours, got {'; '.join(problems)}"
        )
    if problems and mpi.rank == 0:
        warnings.warn(
            f"pyscale uses MPI inside the node: {'; '.join(problems)}", RuntimeWarning, stacklevel=2
        )
    membership = Membership(
        node, MPI.Query_thread() == MPI.THREAD_MULTIPLE, checks_calls=agreed["PYSCALE_CHECK_CALLS"] == "1"
    )
    join(lambda: _ledger.free(lettings))
    entry = _ledger.join(lettings)
    _world = join(lambda: membership.world(mpi, nodes, float(timeout), entry, machine))
    if node is not None:
        # Those who share memory agree on one of them.
        failure.watch(mpi.rank, mpi.size, _world.node_rank, node.core.claim_failure)
        node.core.watch_at_exit()
    atexit.register(shutdown)


def shutdown() -> None:
    """Leave the job. Ranks that still wait for this one get a CommError. `init` may be called again.

    Communicators that `split` has made are closed by themselves, or when nobody refers to them any more.
    """
    global _world
    if _world is None:
        return
    world, _world = _world, None
    if os.getpid() != world._membership.pid:
        return  # a forked child speaks for nobody
    failure.unwatch()
    world.close()
    membership = world._membership
    if membership.node is not None:
        membership.node.core.depart(in_order=not membership.broken)
    if membership.broken:
        failure.skip_finalize()  # MPI would wait there for the ranks that are gone


def is_initialized() -> bool:
    """Return whether `init` was called, and `shutdown` not since."""
    return _world is not None


def world() -> Communicator:
    """Return the communicator of all ranks; calls `init` where that was not done."""
    if _world is None:
        init()
    assert _world is not None
    return _world
