"""The order of an epoch as a function: any position of it at once, in constant memory."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, SupportsIndex, overload

import numpy as np
import numpy.typing as npt

from pyscale import _core

VERSION: int = _core.PERMUTATION_VERSION  # of the algorithm: an order of one version never changes

_CHUNK = 1 << 13  # indices that an iteration makes at a time

Indices = npt.NDArray[np.int64]


class Permutation:
    """A random order of ``0`` to ``n - 1`` that nobody has to store.

    The order follows from `n`, `seed`, `epoch` and `stream` alone, and is the same on every machine.
    Different ones give unrelated orders: they are mixed, never added, so that ``seed=0, epoch=1`` is not
    ``seed=1, epoch=0``.

    Up to 65,536 elements it is a Fisher-Yates shuffle, in a table. Beyond, it is a Feistel network of 8
    rounds over mixed radices, in constant memory [1]_.

    Parameters
    ----------
    n : int
        From 0 to 2^63 - 1.
    seed, epoch, stream : int
        From 0 to 2^64 - 1. `stream` tells apart orders that one program needs for different purposes.

    References
    ----------
    .. [1] J. Black and P. Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002, method 3.
    """

    def __init__(self, n: int, *, seed: int = 0, epoch: int = 0, stream: int = 0) -> None:
        self._n = _integer("n", n, 1 << 63)
        self.seed = _integer("seed", seed, 1 << 64)
        self.epoch = _integer("epoch", epoch, 1 << 64)
        self.stream = _integer("stream", stream, 1 << 64)
        self._core = _core.Permutation(self._n, self.seed, self.epoch, self.stream)

    def __len__(self) -> int:
        return self._n

    def __repr__(self) -> str:
        return f"Permutation({self._n}, seed={self.seed}, epoch={self.epoch}, stream={self.stream})"

    @overload
    def __getitem__(self, position: int) -> int: ...
    @overload
    def __getitem__(self, position: slice | npt.ArrayLike) -> Indices: ...
    def __getitem__(self, position: Any) -> int | Indices:
        """Return what stands at a position, or at each of a slice or an array of them.

        As of a sequence: positions below 0 count from the end; beyond, IndexError.
        """
        if isinstance(position, slice):
            positions = range(*position.indices(self._n))
            if not positions:
                return np.empty(0, np.int64)
            if positions.step > 0:
                return self.indices(positions[0], positions[-1] + 1, positions.step)
            return self.indices(positions[-1], positions[0] + 1, -positions.step)[::-1].copy()
        if np.ndim(position) == 0:
            index = operator.index(position)
            if not -self._n <= index < self._n:
                raise IndexError(f"Permutation: expected a position of {self._n}, got {index}")
            return int(self._core.at(np.array([index % self._n], np.int64))[0])
        listed = _integers("positions", position)
        with suppress(IndexError):  # where some count from the end, or are not there at all
            return self._core.at(listed)
        outside = listed[(listed < -self._n) | (listed >= self._n)]
        if outside.size:
            raise IndexError(f"Permutation: expected positions of {self._n}, got {outside.flat[0]}")
        return self._core.at(np.where(listed < 0, listed + self._n, listed))

    def __iter__(self) -> Iterator[int]:
        for start in range(0, self._n, _CHUNK):
            yield from self.indices(start, min(start + _CHUNK, self._n)).tolist()

    def indices(self, start: int, stop: int, step: int = 1) -> Indices:
        """Return what stands at the positions of ``range(start, stop, step)``.

        Any step costs the same: a rank's share, ``indices(rank, n, size)``, is as fast as a piece in one.

        Parameters
        ----------
        start, stop : int
            With ``0 <= start <= stop <= n``; IndexError otherwise.
        step : int
            At least 1.

        Returns
        -------
        numpy.ndarray
            Of int64, of shape ``(len(range(start, stop, step)),)``.
        """
        start, stop, step = operator.index(start), operator.index(stop), operator.index(step)
        if step < 1:
            raise ValueError(f"Permutation.indices: expected step of at least 1, got {step}")
        if not 0 <= start <= stop <= self._n:
            raise IndexError(
                f"Permutation.indices: expected 0 <= start <= stop <= {self._n}, got {start} and {stop}"
            )
        return self._core.indices(start, stop, min(step, max(1, stop - start)))

    @overload
    def inverse(self, x: int) -> int: ...
    @overload
    def inverse(self, x: npt.ArrayLike) -> Indices: ...
    def inverse(self, x: Any) -> int | Indices:
        """Return the position of an element, or of each of an array: ``p[p.inverse(x)] == x``.

        Raises
        ------
        IndexError
            For what is not from 0 to ``n - 1``.
        """
        values = _integers("x", x)
        try:
            found = self._core.inverse(values)
        except IndexError as error:
            raise IndexError(f"Permutation.inverse: {error}") from None
        return int(found) if values.ndim == 0 else found


def _integer(what: str, value: SupportsIndex, end: int) -> int:
    index = operator.index(value)
    if not 0 <= index < end:
        raise ValueError(f"Permutation: expected {what} from 0 to {end - 1}, got {index}")
    return index


def _integers(what: str, values: Any) -> Indices:
    array = np.asarray(values)
    if array.size == 0 and array.dtype == np.float64:  # an empty list
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"Permutation: expected {what} of integers, got {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise IndexError(f"Permutation: expected {what} below 2^63, got {array.max()}")
    return np.ascontiguousarray(array, np.int64).reshape(array.shape)
