"""Rows of arrays, taken from or put where indices say."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale import _core
from pyscale.arrays import view
from pyscale.config import num_threads as default_threads

Array = NDArray[Any]
Like = Callable[[Array], Any]

_TAKEN = (np.dtype(np.int64), np.dtype(np.int32))  # the indices that C++ takes
_BLOCK_BYTES = 1 << 20  # what the slower path moves at a time
_MOST_THREADS = 1024  # the system may refuse to make more


def gather_rows(array: Any, indices: Any, out: Any = None, *, num_threads: int | None = None) -> Any:
    """Take rows by their indices: ``out[i] = array[indices[i]]``.

    Rows may be of any size, and `array` larger than memory (`numpy.memmap`). Where each row is contiguous,
    threads move them without Python's lock, whatever the stride from row to row: slices, reversed arrays and
    fields of structured arrays are as fast as any. Other rows, such as those of ``x.T`` or ``x[:, ::2]``, are
    moved by NumPy in blocks, which is several times slower; the same goes for such rows of `out`.

    Parameters
    ----------
    array : array, shape (n, ...)
        A NumPy array of any dtype without Python objects, or an array of another library that shares memory
        with NumPy on the CPU (torch, JAX, DLPack, the buffer protocol). Any strides.
    indices : array of integers, shape (m,)
        From 0 to n - 1, also repeated; -1 is not the last row. int64 and int32 are used where they are, other
        types copied. Nobody may write to them meanwhile.
    out : array, shape (m, ...), optional
        Where the rows go: of the dtype of `array`, in other memory. None makes a new array.
    num_threads : int, optional
        Threads at most. By default ``OMP_NUM_THREADS``, or this process's share of the cores.

    Returns
    -------
    array
        `out`, or a new array of the library of `array`.

    Raises
    ------
    IndexError
        An index is negative, or there is no such row; nothing was written.
    TypeError, ValueError
        Other arguments that cannot be right; nothing was written.

    Examples
    --------
    >>> gather_rows(np.array([[1, 2], [3, 4], [5, 6]]), [2, 0])
    array([[5, 6],
           [1, 2]])
    """
    outs = None if out is None else {"out": out}
    return _gather({"array": array}, indices, outs, num_threads)[0]


def gather_columns(
    arrays: Sequence[Any],
    indices: Any,
    outs: Sequence[Any] | None = None,
    *,
    num_threads: int | None = None,
) -> list[Any]:
    """Take the same rows of several arrays, the columns of one table: `gather_rows` of each in one call.

    All is checked before anything is written, and threads share the work of all columns.

    Parameters
    ----------
    arrays : sequence of arrays, each of shape (n, ...)
        Each as for `gather_rows`, all with as many rows.
    indices : array of integers, shape (m,)
        As for `gather_rows`.
    outs : sequence of arrays, each of shape (m, ...), optional
        One for each of `arrays`. None makes new ones.
    num_threads : int, optional
        As for `gather_rows`.

    Returns
    -------
    list of arrays
        `outs`, or new arrays, each of the library of its source.

    Raises
    ------
    IndexError, TypeError, ValueError
        As for `gather_rows`; nothing was written, in no column.
    """
    if outs is not None and len(outs) != len(arrays):
        raise ValueError(f"outs: expected {len(arrays)}, one for each array, got {len(outs)}")
    sources = {f"arrays[{i}]": array for i, array in enumerate(arrays)}
    targets = None if outs is None else {f"outs[{i}]": out for i, out in enumerate(outs)}
    return _gather(sources, indices, targets, num_threads)


def scatter_rows(rows: Any, indices: Any, out: Any, *, num_threads: int | None = None) -> Any:
    """Put rows where indices say: ``out[indices[i]] = rows[i]``.

    Of several rows with the same index the last one stays, with any number of threads: each row of `out`
    belongs to one thread, which goes through the indices in their order. Rows of `out` without an index stay
    as they are.

    Parameters
    ----------
    rows : array, shape (m, ...)
        As the `array` of `gather_rows`, which also says which rows are fast.
    indices : array of integers, shape (m,)
        From 0 to n - 1, as for `gather_rows`.
    out : array, shape (n, ...)
        Where the rows go: of the dtype of `rows`, in other memory.
    num_threads : int, optional
        As for `gather_rows`.

    Returns
    -------
    array
        `out`.

    Raises
    ------
    IndexError
        An index is negative, or there is no such row; nothing was written.
    TypeError, ValueError
        Other arguments that cannot be right; nothing was written.

    Examples
    --------
    >>> scatter_rows(np.array([7, 8, 9]), [2, 0, 2], np.zeros(4, int))
    array([8, 0, 9, 0])
    """
    threads = _threads(num_threads)
    positions = _indices(indices)
    source, _ = _open(rows, "rows")
    target, _ = _open(out, "out", writable=True)
    _check_like("rows", source, (len(positions), *target.shape[1:]), target.dtype)
    _check_apart([target], [source], positions)
    if _has_plain_rows(source) and _has_plain_rows(target):
        _core.scatter_rows(source, positions, target, threads)
    else:
        _core.check_indices(positions, len(target), threads)
        for block in _blocks(source):
            target[positions[block]] = source[block]
    return out


def _gather(
    arrays: dict[str, Any], indices: Any, outs: dict[str, Any] | None, num_threads: int | None
) -> list[Any]:
    """Check all, and gather; arrays and outs have the names that messages call them by."""
    threads = _threads(num_threads)
    positions = _indices(indices)
    opened = [_open(array, name) for name, array in arrays.items()]
    sources = [array for array, _ in opened]
    if len({len(source) for source in sources}) > 1:
        raise ValueError(f"arrays: expected as many rows in each, got {[len(source) for source in sources]}")
    shapes = [(len(positions), *source.shape[1:]) for source in sources]
    if outs is None:
        targets = [np.empty(shape, source.dtype) for shape, source in zip(shapes, sources, strict=True)]
    else:
        targets = [_open(out, name, writable=True)[0] for name, out in outs.items()]
        for name, target, source, shape in zip(outs, targets, sources, shapes, strict=True):
            _check_like(name, target, shape, source.dtype)
        _check_apart(targets, sources, positions)
    _move(sources, positions, targets, threads)
    if outs is not None:
        return list(outs.values())
    return [like(target) for (_, like), target in zip(opened, targets, strict=True)]


def _move(sources: list[Array], positions: Array, targets: list[Array], threads: int) -> None:
    plain: tuple[list[Array], list[Array]] = ([], [])
    others = []
    for source, target in zip(sources, targets, strict=True):
        if _has_plain_rows(source) and _has_plain_rows(target):
            plain[0].append(source)
            plain[1].append(target)
        else:
            others.append((source, target))
    if others:  # before anything is written
        _core.check_indices(positions, len(sources[0]), threads)
    _core.gather_columns(plain[0], positions, plain[1], threads)
    for source, target in others:
        for block in _blocks(target):
            target[block] = source[positions[block]]


def _has_plain_rows(array: Array) -> bool:
    """Whether each row is contiguous."""
    return array[:1].flags.c_contiguous


def _blocks(array: Array) -> Iterator[slice]:
    """Split rows into some that can be copied without much memory."""
    step = max(1, _BLOCK_BYTES * len(array) // max(array.nbytes, 1))
    return (slice(start, start + step) for start in range(0, len(array), step))


def _open(x: Any, what: str, *, writable: bool = False) -> tuple[Array, Like]:
    """Open an array as NumPy's, and say how to make another of its library."""
    like: Like
    if isinstance(x, np.ndarray) and not isinstance(x, np.ma.MaskedArray):
        array, like = np.asarray(x), _as_it_is
        if array.dtype.hasobject:
            raise TypeError(f"{what}: expected elements without Python objects, got {array.dtype}")
        if writable:  # as bytes: those of any dtype will do
            view(array[..., np.newaxis].view(np.uint8), writable=True, what=what)
    else:
        opened = view(x, writable=writable, what=what)
        array, like = opened.array, opened.like
    if array.ndim == 0:
        raise ValueError(f"{what}: expected an array of rows, got a 0-d one")
    return array, like


def _as_it_is(array: Array) -> Array:
    return array


def _indices(x: Any) -> Array:
    """Return indices as an array that the C++ side takes."""
    if isinstance(x, (list, tuple, range)):
        x = np.asarray(x) if len(x) else np.empty(0, np.int64)
    array, _ = _open(x, "indices")
    if array.dtype.kind not in "iu":
        raise TypeError(f"indices: expected integers, got {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"indices: expected a 1-d array, got shape {array.shape}")
    flags = array.flags
    if array.dtype in _TAKEN and flags.c_contiguous and flags.aligned:
        return array
    if array.dtype.kind == "u" and array.dtype.itemsize == 8:
        beyond = np.flatnonzero(array > np.iinfo(np.int64).max)
        if beyond.size:
            raise IndexError(
                f"indices: expected less than 2^63, got {array[beyond[0]]} at position {beyond[0]}"
            )
    return np.array(array, np.int64, order="C")


def _threads(num_threads: int | None) -> int:
    if num_threads is None:
        return _default_threads(os.environ.get("OMP_NUM_THREADS", ""), len(os.sched_getaffinity(0)))
    threads = operator.index(num_threads)
    if threads < 1:
        raise ValueError(f"num_threads: expected at least 1, got {threads}")
    return min(threads, _MOST_THREADS)


@cache
def _default_threads(*_: object) -> int:
    """Ask once for each of what it depends on and may change: a tenth of a millisecond is a small batch."""
    return default_threads()


def _check_like(what: str, array: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if array.dtype != dtype:
        raise ValueError(f"{what}: expected dtype {dtype}, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{what}: expected shape {shape}, got {array.shape}")


def _check_apart(outs: list[Array], sources: list[Array], positions: Array) -> None:
    if not _core.bounds_meet(outs, [*sources, positions]):
        return
    for i, out in enumerate(outs):  # they may lie between each other all the same
        others = {"an input": sources, "the array of indices": [positions], "another output": outs[:i]}
        for what, arrays in others.items():
            if any(_may_share(out, array) for array in arrays):
                raise ValueError(f"out: expected memory of its own, got some that {what} has too")


def _may_share(a: Array, b: Array) -> bool:
    """Whether two arrays have a byte in common; True as well if that would take long to find out."""
    return np.may_share_memory(a, b, max_work=1000)  # type: ignore[arg-type]
