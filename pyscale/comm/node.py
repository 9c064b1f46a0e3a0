"""The processes of one node: found by MPI, proven by shared memory.

That MPI, a host name or a launcher's variable calls two ranks neighbours proves nothing: containers share
names, and namespaces split a machine. Here ranks are on one node if and only if each has read the others'
random numbers from the others' memory.

Each process has one arena, an anonymous file. Its descriptor goes to the peers over a Unix socket in the
abstract namespace: nothing with a name exists that could be left behind, and the descriptor works whatever
/dev/shm holds.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pyscale import _core
from pyscale.comm.transports.base import Array
from pyscale.config import cgroup_quota

_SOCKET_SECONDS = 30.0
_FDS_A_MESSAGE = 128  # the kernel takes 253
_ADDRESS_SPACE = 1 << 44  # bytes; the most that all of a node's arenas take of the 2^47 that a process has


@dataclass(frozen=True)
class _Own:
    """What is this process's own: made once, and kept until it exits."""

    arena: _core.Arena
    pidfd: int
    nonce: int


_own: _Own | None = None


def _own_memory(peers: int) -> _Own:
    """Return this process's arena; raises OSError where there is no shared memory for it."""
    global _own
    if _own is None:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        nonce = secrets.randbits(63) + 1
        arena = _core.Arena(min(memory, _ADDRESS_SPACE // peers), nonce)  # sparse: costs address space only
        _own = _Own(arena, _core.pidfd_open(os.getpid()), nonce)
    return _own


# A group of the node's processes: their indices in the node, and the offsets of their mailboxes.
Group: TypeAlias = tuple[tuple[int, int], ...]


class Node:
    """Processes that share memory, as one of them sees it.

    Attributes
    ----------
    index : int
        This process among them.
    size : int
        How many they are.
    core : _core.Node
        Their arenas, mapped.
    """

    def __init__(self, core: _core.Node, index: int, cores: Sequence[frozenset[int]], quota: float) -> None:
        self.core = core
        self.index = index
        self.size = len(cores)
        self._cores = cores
        self._quota = quota
        self._retired: list[Group] = []

    def cores_of(self, members: Iterable[int]) -> int:
        """Return how many cores the members may run on together; a container's quota counts."""
        union = frozenset[int]().union(*(self._cores[i] for i in members))
        return max(1, math.floor(min(len(union), self._quota)))

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return a zeroed array in this process's arena, which its peers see."""
        assert _own is not None
        array: Array = _own.arena.empty(dtype, list(shape))
        return array

    def lend(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, tuple[Array, Array]]:
        """Return a place in this process's arena, and an array there: one to fill it by, and one to read."""
        assert _own is not None
        place, arrays = _own.arena.lend(dtype, list(shape))
        return place, arrays

    def borrow(
        self, index: int, place: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> tuple[Array, Array]:
        """Return the same two for what the process of this index has lent."""
        arrays: tuple[Array, Array] = self.core.borrow(index, place, dtype, list(shape))
        return arrays

    def open_mailbox(self) -> int:
        """Return the offset of a new mailbox."""
        return self.core.open_mailbox()

    def retire(self, group: Group) -> None:
        """Note that a group is no longer used here; its other members may still use it."""
        self._retired.append(group)

    @property
    def retired(self) -> list[Group]:
        """The groups that this process has retired and not freed."""
        return list(self._retired)

    def free_retired(self, told: dict[int, list[Group]]) -> None:
        """Free the mailboxes of the groups that all members have retired; `told` is what each has."""
        for group in self.retired:
            if all(group in told.get(member, []) for member, _ in group):
                self._retired.remove(group)
                self.core.free_mailbox(dict(group)[self.index])


def find_nodes(mpi: Any, use_shared_memory: bool) -> tuple[list[list[int]], Node | None, list[str]]:
    """Group the ranks of a communicator by node. Collective.

    Parameters
    ----------
    mpi : mpi4py.MPI.Comm
        The ranks.
    use_shared_memory : bool
        Whether to prove it and map the memory. Without, MPI's word is taken: it then only decides in which
        order ranks are folded.

    Returns
    -------
    nodes : list of list of int
        The ranks of each node, ascending; nodes by their first rank.
    node : Node or None
        This rank's node, if it shares memory with others.
    problems : list of str
        Why ranks that MPI calls neighbours do not share memory; the same on every rank, empty when all do.
    """
    from mpi4py import MPI

    neighbours = mpi.Split_type(MPI.COMM_TYPE_SHARED)
    try:
        node, members, problem = None, list(range(neighbours.size)), ""
        if use_shared_memory and neighbours.size > 1:
            node, members, problem = _prove(neighbours)
        world_ranks = neighbours.allgather(mpi.rank)
        mine = tuple(sorted(world_ranks[i] for i in members))
    finally:
        neighbours.Free()
    answers = mpi.allgather((mine, problem))
    nodes = sorted({ranks for ranks, _ in answers})
    problems = sorted({text for _, text in answers if text})
    return [list(ranks) for ranks in nodes], node, problems


def _prove(neighbours: Any) -> tuple[Node | None, list[int], str]:
    """Return the node that this rank shares memory with, its ranks among the neighbours, and what failed."""
    own, problem = None, ""
    try:
        own = _own_memory(neighbours.size)
    except OSError as error:
        problem = f"no shared memory on {socket.gethostname()}: {error}"
    cores = neighbours.allgather(frozenset(os.sched_getaffinity(0)))
    quota = min(neighbours.allgather(cgroup_quota()))
    # Rounds: those who can reach the first rank that is not yet placed form a node with it; the others go on.
    # Every rank takes part in every round's collectives, and counts rounds alike.
    placed: dict[int, list[int]] = {}
    node = None
    unplaced = [rank for rank, able in enumerate(neighbours.allgather(own is not None)) if able]
    while unplaced:
        leader = unplaced[0]
        joined, fds = _exchange_fds(neighbours, leader, unplaced, own)
        found = None
        if fds and own is not None:
            found = _map(neighbours.rank, joined, fds, own)
        nonces = neighbours.allgather(own.nonce if own is not None else 0)
        proven = found is not None and [found.nonce(i) for i in range(len(joined))] == [
            nonces[rank] for rank in joined
        ]
        proofs = neighbours.allgather(proven)
        if not all(proofs[rank] for rank in joined):
            joined = [leader]
        for rank in joined:
            placed[rank] = joined
        if neighbours.rank in joined and len(joined) > 1:
            assert found is not None
            node = Node(found, joined.index(neighbours.rank), [cores[rank] for rank in joined], quota)
        if joined != unplaced and not problem and neighbours.rank == leader:
            problem = (
                f"ranks on {socket.gethostname()} that MPI calls neighbours do not see each other's memory"
            )
        unplaced = [rank for rank in unplaced if rank not in joined]
    return node, placed.get(neighbours.rank, [neighbours.rank]), problem


def _exchange_fds(
    neighbours: Any, leader: int, candidates: list[int], own: _Own | None
) -> tuple[list[int], list[int]]:
    """Collect the descriptors of all candidates that reach the leader's socket, and hand them round.

    Returns the ranks that reached it, and, on those, two descriptors for each: of its arena and of its
    process.
    """
    is_leader = neighbours.rank == leader
    takes_part = neighbours.rank in candidates
    with contextlib.ExitStack() as stack:
        listener = connection = None
        name = ""
        if is_leader:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            name = f"\0pyscale-{secrets.token_hex(16)}"
            listener.bind(name)
            listener.listen(len(candidates))
            listener.settimeout(_SOCKET_SECONDS)
        name = neighbours.bcast(name, leader)
        if takes_part and not is_leader:
            with contextlib.suppress(OSError):
                connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                connection.settimeout(_SOCKET_SECONDS)
                connection.connect(name)  # refused at once where the leader is in another network namespace
        reached = is_leader or (connection is not None and _is_connected(connection))
        joined = [rank for rank, yes in enumerate(neighbours.allgather(reached)) if yes]
        if not reached or own is None:
            return joined, []
        mine = [own.arena.fd, own.pidfd]
        if is_leader:
            assert listener is not None
            return joined, _serve(listener, stack, joined, leader, mine)
        assert connection is not None
        socket.send_fds(connection, [struct.pack("i", neighbours.rank)], mine)
        return joined, _receive_fds(connection, 2 * len(joined))


def _is_connected(connection: socket.socket) -> bool:
    try:
        connection.getpeername()
    except OSError:
        return False
    return True


def _serve(
    listener: socket.socket, stack: contextlib.ExitStack, joined: list[int], leader: int, own: list[int]
) -> list[int]:
    """Take every joined rank's descriptors and send all of them back, in the order of `joined`."""
    fds = {leader: own}
    connections = []
    for _ in range(len(joined) - 1):
        connection, _ = listener.accept()
        stack.enter_context(connection)
        connection.settimeout(_SOCKET_SECONDS)
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", peer)[1] != os.geteuid():
            raise PermissionError("shared memory: expected a rank of this user, got another user's process")
        message, received, _, _ = socket.recv_fds(connection, 4, 2)
        (rank,) = struct.unpack("i", message)
        if rank not in joined or rank in fds or len(received) != 2:
            raise ConnectionError(
                f"shared memory: expected two descriptors of a rank of {joined}, got {rank}'s"
            )
        fds[rank] = received
        connections.append(connection)
    everything = [fd for rank in joined for fd in fds[rank]]
    for connection in connections:
        for start in range(0, len(everything), _FDS_A_MESSAGE):
            socket.send_fds(connection, [b"\0"], everything[start : start + _FDS_A_MESSAGE])
        connection.recv(1)  # the kernel limits how many descriptors are under way at a time
    return everything


def _receive_fds(connection: socket.socket, count: int) -> list[int]:
    fds: list[int] = []
    while len(fds) < count:
        message, received, flags, _ = socket.recv_fds(connection, 1, _FDS_A_MESSAGE)
        if not message or flags & socket.MSG_CTRUNC:
            raise ConnectionError(f"shared memory: expected {count} descriptors of the peers, got {len(fds)}")
        fds += received
    connection.send(b"\0")
    return fds


def _map(rank: int, joined: list[int], fds: list[int], own: _Own) -> _core.Node | None:
    """Map the arenas; None where that fails, which the round then answers by placing the ranks apart."""
    arenas, pidfds = fds[0::2], fds[1::2]
    index = joined.index(rank)
    if pidfds[index] != own.pidfd:
        os.close(pidfds[index])  # the copy that came back
    pidfds[index] = -1
    try:
        sizes = [os.fstat(fd).st_size for fd in arenas]
        node = _core.Node(own.arena, index, arenas, sizes, pidfds)
        node.join()
        return node
    except OSError:
        return None
    finally:
        for fd in arenas:
            if fd != own.arena.fd:
                os.close(fd)  # the mapping keeps the memory
