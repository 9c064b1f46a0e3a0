"""The communicator: the public collectives, and the checks in front of them."""

from __future__ import annotations

import operator
import os
import pickle
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyscale import _core
from pyscale.arrays import View, view
from pyscale.comm.transports.base import Array, Transport
from pyscale.comm.work import Work, Worker
from pyscale.errors import CommError

if TYPE_CHECKING:
    from pyscale.comm.bootstrap import Membership
    from pyscale.comm.ledger import Entry
    from pyscale.comm.machine import Machine
    from pyscale.comm.transports.shm import ShmTransport

OPS = ("sum", "mean", "min", "max", "prod")


@dataclass(frozen=True)
class Place:
    """Where a rank is: its node, and who else is there."""

    rank: int
    nodes: tuple[tuple[int, ...], ...]  # the ranks of each node, by their first rank

    @property
    def node_rank(self) -> int:
        """The rank's node, counted in the order of `nodes`."""
        return next(i for i, ranks in enumerate(self.nodes) if self.rank in ranks)

    @property
    def neighbours(self) -> tuple[int, ...]:
        """The ranks of the rank's node, itself included."""
        return self.nodes[self.node_rank]


class Communicator:
    """Ranks that call collectives together.

    Made by `pyscale.init` and `split`, never directly. Every rank of the communicator calls the same methods
    in the same order, with equal ops, dtypes and shapes; where they differ, `CommMismatch` is raised on every
    rank, nothing is changed, and the communicator goes on. A rank that dies, leaves or comes later than
    `timeout` raises `CommError` or `CommTimeout` on all others, and the communicator is of no more use.

    Arrays are NumPy's, or those of any library that shares memory with it on the CPU (torch, JAX, DLPack, the
    buffer protocol); results are of the library of `x`. Any strides will do. `out` is as in NumPy; `out=x`
    works in place.

    One call runs at a time: threads that share a communicator take turns, and all ranks must give them the
    same turns. Threads that call collectives of their own have communicators of their own, by `split`.

    Results are the same bits on every rank, whichever way they were computed: elements are folded in rank
    order within a node, and nodes in the order of their first ranks. 16-bit floats are accumulated in float32
    and rounded once. The mean is divided before that rounding, and does not overflow where it is
    representable.

    Attributes
    ----------
    rank, size : int
        This rank, and the number of ranks.
    local_rank, local_size : int
        The same among the ranks of this node.
    node_rank, num_nodes : int
        This node, and the number of nodes.
    mpi : mpi4py.MPI.Comm or None
        The MPI communicator of the same ranks, for the user's own messages; None without MPI, and when this
        one is closed. What was taken from here stays good as long as it is referred to.
    timeout : float
        Seconds that a collective waits for a rank.
    transport : str
        How data moves: ``"self"`` (one rank), ``"shm"`` (one node), ``"mpi"`` or ``"hierarchical"`` (several
        nodes).
    """

    def __init__(
        self,
        place: Place,
        transport: Transport,
        mpi: Any,
        timeout: float,
        membership: Membership,
        entry: Entry,
        machine: Machine,
    ) -> None:
        self.rank = place.rank
        self.size = sum(map(len, place.nodes))
        self.local_rank = place.neighbours.index(place.rank)
        self.local_size = len(place.neighbours)
        self.node_rank = place.node_rank
        self.num_nodes = len(place.nodes)
        self.mpi = mpi
        self.timeout = timeout
        self._place = place
        self._transport = transport
        self._membership = membership
        self._entry = entry
        self._machine = machine
        self._is_open = True
        self._worker: Worker | None = None
        # While this is a capsule, all_reduce may take the short way: see below the class.
        self._group: object = getattr(transport, "group_capsule", None)

    @property
    def transport(self) -> str:
        """How data moves."""
        return self._transport.name

    @property
    def _memory(self) -> ShmTransport | None:
        """The ranks that share memory with this one, for `pyscale.data.NodeCache`; None where it is alone."""
        return self._transport.local

    def __repr__(self) -> str:
        where = f"rank {self.rank} of {self.size}, {self.num_nodes} node(s), {self.transport}"
        return f"<pyscale.Communicator {where}>"

    def all_reduce(self, x: Any, op: str = "sum", out: Any = None) -> Any:
        """Combine every rank's array element by element, and give the result to all.

        Parameters
        ----------
        x : array
            Of the same shape and dtype on every rank: bool (min, max), integers (all but mean; sums and
            products wrap) or floats of 16, 32 or 64 bits, bfloat16 included.
        op : {"sum", "mean", "min", "max", "prod"}
            How. min and max return NaN where any rank has NaN.
        out : array, optional
            Where the result goes; `x` itself for in place. None makes a new array.

        Returns
        -------
        array
            `out`, or a new array of the library of `x`.

        Raises
        ------
        TypeError, ValueError
            Arguments that no rank could use; nothing was sent.
        CommMismatch
            Ranks called different things; nothing was changed, on all ranks.
        CommError, CommTimeout
            A rank died, left or is late; `out` is undefined.
        """
        self._drain()
        source, target, result = self._reduction_arrays("all_reduce", x, op, out)
        self._run_reduction(self._transport.all_reduce, source, target, op)
        return result if result is not None else source.like(target)

    def all_reduce_async(self, x: Any, op: str = "sum", out: Any = None) -> Work:
        """Start an `all_reduce`, and return its handle.

        Collectives that were started run in the order of the program, in a thread of the communicator's own;
        blocking calls wait for those started before them. Until the handle is done, `x` must not be changed
        and `out` not be read. Where it fails, and the handle was dropped, the next blocking call of the
        communicator raises its error.

        Returns
        -------
        Work
            With ``done() -> bool`` and ``wait(timeout=None) -> array``.
        """
        source, target, result = self._reduction_arrays("all_reduce", x, op, out)

        def body() -> Any:
            self._run_reduction(self._transport.all_reduce, source, target, op)
            return result if result is not None else source.like(target)

        call = f"all_reduce_async(op={op}, {source.dtype}, shape {source.array.shape})"
        if self._worker is None:
            self._worker = Worker(has_thread=self._membership.threads_may_communicate)
            self._group = None  # from now on, calls wait for those started before
        return self._worker.start(call, body)

    def reduce_scatter(self, x: Any, op: str = "sum", out: Any = None) -> Any:
        """Combine every rank's array element by element, and give each rank its share of the rows.

        Parameters
        ----------
        x : array
            Of the same shape and dtype on every rank; the first dimension is divisible by `size`.
        op : {"sum", "mean", "min", "max", "prod"}
            As for `all_reduce`.
        out : array, optional
            Of shape ``(x.shape[0] // size, *x.shape[1:])``.

        Returns
        -------
        array
            Rows ``rank * n`` to ``(rank + 1) * n`` of the reduction, for n rows in all divided by `size`.
        """
        self._drain()
        source, target, result = self._reduction_arrays("reduce_scatter", x, op, out)
        self._run_reduction(self._transport.reduce_scatter, source, target, op)
        return result if result is not None else source.like(target)

    def all_gather(self, x: Any, out: Any = None) -> Any:
        """Concatenate every rank's array along the first axis, in rank order, on every rank.

        Parameters
        ----------
        x : array
            Of the same shape and dtype on every rank.
        out : array, optional
            Of shape ``(size * x.shape[0], *x.shape[1:])``; ``(size,)`` for a 0-d `x`.

        Returns
        -------
        array
            `out`, or a new array of the library of `x`.
        """
        self._drain()
        source = view(x, what="x")
        shape = (
            (self.size,)
            if source.array.ndim == 0
            else (self.size * source.array.shape[0], *source.array.shape[1:])
        )
        target, result = _target("all_gather", out, shape, source)
        sent = _contiguous(source.array, apart_from=target)
        with_target = _Writable(target)
        self._transport.all_gather(sent, with_target.array)
        with_target.write_back()
        return result if result is not None else source.like(target)

    def broadcast(self, x: Any, root: int = 0, out: Any = None) -> Any:
        """Give every rank root's array.

        Parameters
        ----------
        x : array
            Of the same shape and dtype on every rank; its values count on root only.
        root : int
            The rank whose values all get.
        out : array, optional
            Where they go; `x` itself for in place. None makes a new array.

        Returns
        -------
        array
            `out`, or a new array of the library of `x`.
        """
        self._drain()
        self._check_root("broadcast", root)
        source = view(x, what="x")
        target, result = _target("broadcast", out, source.array.shape, source)
        if self.rank == root:
            self._transport.broadcast(_contiguous(source.array, apart_from=None), root)
            if not _same_place(target, source.array):
                target[...] = source.array  # NumPy takes care of overlaps
        else:
            with_target = _Writable(target)
            self._transport.broadcast(with_target.array, root)
            with_target.write_back()
        return result if result is not None else source.like(target)

    def all_to_all(
        self,
        x: Any,
        send_counts: Sequence[int] | None = None,
        recv_counts: Sequence[int] | None = None,
        out: Any = None,
    ) -> Any:
        """Send some rows of `x` to each rank, and return the rows received, in rank order.

        Parameters
        ----------
        x : array
            Rows along the first axis, those for rank 0 first. The dtype and the shape of a row are the same
            on every rank.
        send_counts : sequence of int, optional
            Rows for each rank; their sum is ``x.shape[0]``. None sends equal shares.
        recv_counts : sequence of int, optional
            Rows from each rank, where they are known: on all ranks or on none. None asks the ranks for them.
        out : array, optional
            Of as many rows as are received.

        Returns
        -------
        array
            The rows from rank 0 first; `out`, or a new array of the library of `x`.
        """
        self._drain()
        source = view(x, what="x")
        if source.array.ndim == 0:
            raise ValueError("all_to_all: expected x with at least one dimension, got a 0-d array")
        rows = source.array.shape[0]
        if send_counts is None:
            if rows % self.size:
                raise ValueError(
                    f"all_to_all: expected rows divisible by {self.size} ranks, or send_counts, got {rows}"
                )
            sends = [rows // self.size] * self.size
        else:
            sends = self._counts("send_counts", send_counts)
            if sum(sends) != rows:
                raise ValueError(
                    f"all_to_all: expected send_counts that sum to the {rows} rows of x, got {sum(sends)}"
                )
        if recv_counts is not None:
            receives = self._counts("recv_counts", recv_counts)
        elif send_counts is None:
            receives = sends
        else:
            table = np.empty((self.size, self.size), np.int64)
            no_rows = np.empty((0, *source.array.shape[1:]), source.array.dtype)
            self._transport.all_gather(np.array(sends, np.int64), table, "all_to_all", no_rows)
            receives = table[:, self.rank].tolist()
        shape = (sum(receives), *source.array.shape[1:])
        target, result = _target("all_to_all", out, shape, source)
        sent = _contiguous(source.array, apart_from=target)
        with_target = _Writable(target)
        self._transport.all_to_all(sent, sends, with_target.array, receives)
        with_target.write_back()
        return result if result is not None else source.like(target)

    def _exchange(self, rows: Array, destinations: Array, outputs: Sequence[Array], chunk_bytes: int) -> None:
        """Send each row to the rank that it is for: `pyscale.data.exchange`, which has checked all this."""
        self._drain()
        self._transport.exchange(rows, destinations, outputs, chunk_bytes)

    def barrier(self) -> None:
        """Return once every rank has called it."""
        self._drain()
        self._transport.barrier()

    def broadcast_object(self, obj: Any, root: int = 0) -> Any:
        """Give every rank root's object, by pickle; its value counts on root only."""
        self._drain()
        self._check_root("broadcast_object", root)
        data = (
            np.frombuffer(pickle.dumps(obj, protocol=5), np.uint8)
            if self.rank == root
            else np.empty(0, np.uint8)
        )
        length = np.array([data.size], np.int64)
        self._transport.broadcast(length, root, "broadcast_object")
        message = data.copy() if self.rank == root else np.empty(int(length[0]), np.uint8)
        self._transport.broadcast(message, root, "broadcast_object")
        return obj if self.rank == root else pickle.loads(message.tobytes())

    def all_gather_object(self, obj: Any) -> list[Any]:
        """Return every rank's object, in rank order, on every rank, by pickle."""
        self._drain()
        return self._gather_objects(obj, "all_gather_object")

    def _gather_objects(self, obj: Any, call: str) -> list[Any]:
        data = np.frombuffer(pickle.dumps(obj, protocol=5), np.uint8)
        lengths = np.empty(self.size, np.int64)
        self._transport.all_gather(np.array([data.size], np.int64), lengths, call)
        padded = np.zeros(int(lengths.max()), np.uint8)
        padded[: data.size] = data
        messages = np.empty((self.size, padded.size), np.uint8)
        self._transport.all_gather(padded, messages, call)
        return [
            pickle.loads(message[:length].tobytes())
            for message, length in zip(messages, lengths.tolist(), strict=True)
        ]

    def split(self, color: int | None, key: int = 0) -> Communicator | None:
        """Make a communicator of the ranks that give the same color.

        Collective: every rank calls it. Any number of communicators live side by side.

        Parameters
        ----------
        color : int or None
            Not negative. Ranks of the same color come together; None joins none.
        key : int
            Their order; ranks of equal keys keep theirs.

        Returns
        -------
        Communicator or None
        """
        self._check_process("split")
        self._drain()
        if color is not None and not isinstance(color, (int, np.integer)):
            raise TypeError(f"split: expected color to be an int or None, got {type(color).__name__}")
        if not isinstance(key, (int, np.integer)):
            raise TypeError(f"split: expected key to be an int, got {type(key).__name__}")
        if color is not None and not 0 <= color < 2**31:
            raise ValueError(f"split: expected color to be None or from 0 to 2^31 - 1, got {color}")
        if not -(2**31) <= key < 2**31:
            raise ValueError(f"split: expected key to fit 32 bits, got {key}")
        return self._membership.split(self, None if color is None else int(color), int(key))

    def empty(self, shape: int | Sequence[int], dtype: npt.DTypeLike = np.float32) -> Array:
        """Return an array in shared memory, which collectives use where it is, without a copy.

        Not collective. The memory goes back to the machine with the last array that uses it.

        Parameters
        ----------
        shape : int or sequence of int
        dtype : dtype
            ``ml_dtypes.bfloat16`` for bfloat16.

        Returns
        -------
        numpy.ndarray
            Uninitialised, as `numpy.empty`; an ordinary array where there is no shared memory. What a forked
            child writes to it stays the child's own; what the child reads may be newer than the fork.

        Raises
        ------
        MemoryError
            The machine has not this much.
        CommError
            This process is a forked child of the one that joined the job.
        """
        self._check_process("empty")
        dims = _dims(shape)
        if any(dim < 0 for dim in dims):
            raise ValueError(f"empty: expected no negative dimension, got shape {dims}")
        wanted = np.dtype(dtype)
        view(np.empty(0, wanted), what="dtype")  # refuses what collectives cannot move
        return self._transport.empty(dims, wanted)

    def close(self) -> None:
        """Give back what the communicator holds.

        Not collective; other ranks that still use it get a `CommError`.
        """
        if self._worker is not None:
            if not self._transport.broken and os.getpid() == self._membership.pid:
                with suppress(CommError):  # at exit its thread is no more
                    self._worker.finish()
            for error in self._worker.close():
                warnings.warn(f"pyscale: nobody has waited for {error}", RuntimeWarning, stacklevel=2)
            self._worker = None
        self._group = None
        if self._is_open:
            self._is_open = False
            self._membership.forget(self)
            self.mpi = None
            self._transport.close()

    def __del__(self) -> None:
        if hasattr(self, "_worker"):  # else it was never whole
            self.close()

    def _check_process(self, call: str) -> None:
        if os.getpid() != self._membership.pid:
            raise CommError(f"{call}: expected the process that joined the job, got a forked child of it")

    def _drain(self) -> None:
        if self._worker is not None:
            self._worker.drain()

    def _reduction_arrays(self, call: str, x: Any, op: str, out: Any) -> tuple[View, Array, Any | None]:
        """Check the arguments; returns the source, the array for the result, and `out` where it was given."""
        source = view(x, what="x")
        if op not in OPS:
            raise ValueError(f"{call}: expected op to be one of {', '.join(OPS)}, got {op!r}")
        if not _core.reducible(source.dtype, op):
            hint = "min (all) or max (any)" if source.dtype == "bool" else "sum, then a division of one's own"
            raise TypeError(f"{call}: expected an op that {source.dtype} has, such as {hint}, got {op!r}")
        shape = source.array.shape
        if call == "reduce_scatter":
            if not shape or shape[0] % self.size:
                raise ValueError(
                    f"{call}: expected x with a first dimension divisible by {self.size} ranks, "
                    f"got shape {shape}"
                )
            shape = (shape[0] // self.size, *shape[1:])
        target, result = _target(call, out, shape, source)
        return source, target, result

    def _run_reduction(self, reduce: Any, source: View, target: Array, op: str) -> None:
        in_place = _same_place(target, source.array)
        with_target = _Writable(target, keep=in_place)
        sent = with_target.array if in_place else _contiguous(source.array, apart_from=target)
        reduce(sent, op, with_target.array)
        with_target.write_back()

    def _counts(self, what: str, counts: Sequence[int]) -> list[int]:
        if not all(isinstance(count, (int, np.integer)) for count in counts):
            raise TypeError(f"all_to_all: expected {what} of integers, got {counts!r}")
        values = [int(count) for count in counts]
        if len(values) != self.size or any(count < 0 for count in values):
            raise ValueError(
                f"all_to_all: expected {what} of {self.size} counts, none negative, got {values}"
            )
        return values

    def _check_root(self, call: str, root: int) -> None:
        if not isinstance(root, (int, np.integer)):
            raise TypeError(f"{call}: expected root to be an int, got {type(root).__name__}")
        if not 0 <= root < self.size:
            raise ValueError(f"{call}: expected root to be a rank below {self.size}, got {root}")


# all_reduce of plain NumPy arrays on one node is all C++, which makes its own checks: a small one takes two
# thirds of the time. What is not plain goes on to the method above.
_core.shorten_all_reduce(Communicator)


def _dims(shape: int | Sequence[int]) -> tuple[int, ...]:
    try:
        if isinstance(shape, (int, np.integer)):
            return (operator.index(shape),)
        return tuple(map(operator.index, shape))
    except TypeError:
        raise TypeError(f"empty: expected shape of integers, got {shape!r}") from None


def _same_place(a: Array, b: Array) -> bool:
    return a.ctypes.data == b.ctypes.data and a.shape == b.shape and a.strides == b.strides


def _contiguous(source: Array, *, apart_from: Array | None) -> Array:
    """Return the source as the transports take it: a copy where it has gaps or overlaps the target."""
    overlaps = apart_from is not None and np.may_share_memory(source, apart_from)
    if overlaps or not _is_plain(source):
        return np.array(source, order="C")
    return source


def _is_plain(array: Array) -> bool:
    return bool(array.flags.c_contiguous and array.flags.aligned)


class _Writable:
    """The target as the transports take it: itself, or a contiguous stand-in that is written back."""

    def __init__(self, target: Array, *, keep: bool = False) -> None:
        self._target = target
        self.array = target
        if not _is_plain(target):
            self.array = np.array(target, order="C") if keep else np.empty(target.shape, target.dtype)

    def write_back(self) -> None:
        if self.array is not self._target:
            self._target[...] = self.array


def _target(call: str, out: Any, shape: tuple[int, ...], source: View) -> tuple[Array, Any | None]:
    """Return the array for the result, and `out` where it was given."""
    if out is None:
        return np.empty(shape, source.array.dtype), None
    target = view(out, writable=True, what="out")
    if target.array.shape != shape or target.dtype != source.dtype:
        raise ValueError(
            f"{call}: expected out of shape {shape} and dtype {source.dtype}, "
            f"got shape {target.array.shape} and dtype {target.dtype}"
        )
    return target.array, out
