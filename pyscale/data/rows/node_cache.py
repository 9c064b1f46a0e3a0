"""One copy of the data on each node, in memory that its ranks share."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from pyscale.comm import Communicator, world
from pyscale.config import free_memory
from pyscale.data.agreement import check_same, on_all_ranks
from pyscale.data.shares import share
from pyscale.errors import PyscaleError

Array = npt.NDArray[Any]
Fill = Callable[[Array, int, int], object]


class NodeCache:
    """Arrays of which each node has one copy, filled by all of its ranks and then read by all.

    The memory has no name, and the size of /dev/shm does not bound it. It is gone when the processes are,
    however they end. Before that, it goes back to the machine once, on every rank of the node, the cache is
    closed and nobody refers to the array any more.

    Parameters
    ----------
    comm : Communicator, optional
        Whose ranks share it; `pyscale.world()` where it is None. `array` and `load` are collective.

    Attributes
    ----------
    nbytes : int
        What the arrays of the cache take on this node.

    Examples
    --------
    >>> def fill(part, start, stop):
    ...     part[...] = np.square(np.arange(start, stop))
    >>> with NodeCache() as cache:
    ...     squares = cache.array(1000, "int64", fill)
    ...     print(squares[31], squares.flags.writeable)
    961 False
    """

    def __init__(self, comm: Communicator | None = None) -> None:
        self._comm = world() if comm is None else comm
        self._arrays: list[Array] | None = []

    def array(self, shape: int | Sequence[int], dtype: npt.DTypeLike, fill: Fill) -> Array:
        """Make an array on every node, and return it once it is full. Collective.

        Parameters
        ----------
        shape : int or sequence of int
            At least one dimension; the same on every rank.
        dtype : dtype
            Without Python objects; the same on every rank.
        fill : callable
            ``fill(part, start, stop)`` writes rows `start` to ``stop - 1`` of the array into `part`, and
            keeps no reference to it. Each rank of a node is asked for its share of the rows, if that has any.
            They come from where all nodes get the same.

        Returns
        -------
        numpy.ndarray
            Read-only. An ordinary array on a rank that is alone on its node.

        Raises
        ------
        TypeError, ValueError
            Bad arguments on a rank; on every rank, naming that one.
        CommMismatch
            Ranks gave other shapes or dtypes.
        MemoryError
            A node has not this much free memory. Looked at beforehand, and on every rank; then all of it is
            asked for at once, so that no page can be missing later.
        PyscaleError
            `fill` has failed on a rank; on every rank, naming that one. Or ranks of a node share no memory.
        CommError, CommTimeout
            A rank died, left or is late: ranks wait the communicator's time-out for the slowest `fill`.
        """

        def look() -> tuple[tuple[int, ...], np.dtype[Any], Fill]:
            if not callable(fill):
                raise TypeError(f"NodeCache.array: expected fill to be callable, got {type(fill).__name__}")
            return _dims(shape), np.dtype(dtype), fill

        return self._make("NodeCache.array", look)

    def load(self, source: str | os.PathLike[str] | Array) -> Array:
        """Make an array on every node that is a copy of another, and return it. Collective.

        Parameters
        ----------
        source : path or numpy.ndarray
            A ``.npy`` file, or an array, such as a memory map: the same on every rank. Each reads its share.

        Returns
        -------
        numpy.ndarray
            Read-only, as that of `array`.

        Raises
        ------
        TypeError, ValueError, CommMismatch, MemoryError, PyscaleError, CommError, CommTimeout
            As `array`. PyscaleError also where a rank cannot read the file.
        """

        def look() -> tuple[tuple[int, ...], np.dtype[Any], Fill]:
            array = _open(source)
            return array.shape, array.dtype, lambda part, start, stop: np.copyto(part, array[start:stop])

        return self._make("NodeCache.load", look)

    @property
    def nbytes(self) -> int:
        """What the arrays of the cache take on this node."""
        return sum(array.nbytes for array in self._arrays or [])

    def close(self) -> None:
        """Let go of the arrays. Not collective; those that somebody still refers to stay good."""
        self._arrays = None

    def __enter__(self) -> NodeCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make(self, call: str, look: Callable[[], tuple[tuple[int, ...], np.dtype[Any], Fill]]) -> Array:
        comm = self._comm

        def look_closely() -> tuple[tuple[int, ...], np.dtype[Any], Fill]:
            shape, dtype, fill = look()
            self._check(call, shape, dtype)
            return shape, dtype, fill

        (shape, dtype, fill), texts = on_all_ranks(
            comm, call, look_closely, lambda seen: f"{seen[1]} of shape {seen[0]}"
        )
        check_same(call, texts)
        to_fill, to_read = self._reserve(call, shape, dtype)
        start, stop = share(shape[0], comm.local_rank, comm.local_size)

        def fill_share() -> None:
            try:
                if start < stop:
                    fill(to_fill[start:stop], start, stop)
            except Exception as error:
                what = f"expected rows {start} to {stop - 1} from fill"
                raise PyscaleError(f"{call}: {what}, got {type(error).__name__}: {error}") from error

        on_all_ranks(comm, call, fill_share, lambda _: None)
        assert self._arrays is not None
        self._arrays.append(to_read)
        return to_read

    def _check(self, call: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Raise where this rank can see already that it will not do."""
        if self._arrays is None:
            raise PyscaleError(f"{call}: expected an open cache, got one that was closed")
        if not shape or any(dim < 0 for dim in shape):
            raise ValueError(f"{call}: expected a shape with a first axis, none negative, got {shape}")
        if max(shape) >= 1 << 63:
            raise ValueError(f"{call}: expected a shape below 2**63, got {shape}")
        if dtype.hasobject:
            raise TypeError(f"{call}: expected elements without Python objects, got {dtype}")
        if self._comm._memory is None and self._comm.local_size > 1:
            raise PyscaleError(
                f"{call}: expected ranks of a node that share memory, "
                f"got {self._comm.local_size} with transport {self._comm.transport!r}"
            )

    def _reserve(self, call: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Return the node's array twice: to fill, and to read. The first rank of the node lends it."""
        comm, memory = self._comm, self._comm._memory

        def lend() -> tuple[int, tuple[Array, Array]] | None:
            if comm.local_rank:
                return None
            needed, free = math.prod(shape) * dtype.itemsize, free_memory()
            wanted = f"{call}: expected {_gib(needed)} of free memory for {dtype} of shape {shape}"
            if needed > free:
                raise MemoryError(f"{wanted}, got {_gib(free)}")
            try:
                if memory is not None:
                    return memory.lend(shape, dtype)
                to_fill = np.empty(shape, dtype)
            except MemoryError as error:
                raise MemoryError(f"{wanted}, got less") from error
            to_read = to_fill.view()
            to_read.flags.writeable = False
            return 0, (to_fill, to_read)

        lent, places = on_all_ranks(
            comm, call, lend, lambda lent: (comm.node_rank, None if lent is None else lent[0])
        )
        if lent is not None:
            return lent[1]
        assert memory is not None
        place = next(place for node, place in places if node == comm.node_rank and place is not None)
        return memory.borrow(0, place, shape, dtype)


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"


def _dims(shape: int | Sequence[int]) -> tuple[int, ...]:
    try:
        if isinstance(shape, (int, np.integer)):
            return (operator.index(shape),)
        return tuple(map(operator.index, shape))
    except TypeError:
        raise TypeError(f"NodeCache.array: expected shape of integers, got {shape!r}") from None


def _open(source: Any) -> Array:
    if isinstance(source, (str, os.PathLike)):
        array = np.load(source, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            array.close()
            raise TypeError(f"NodeCache.load: expected a .npy file, got {os.fspath(source)}")
        return array
    if not isinstance(source, np.ndarray) or isinstance(source, np.ma.MaskedArray):
        raise TypeError(f"NodeCache.load: expected a path or a NumPy array, got {type(source).__name__}")
    return source
