"""What an order is: a function from the positions of an epoch to samples; and a plan, which makes them."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from pyscale.data.arguments import Indices, integer, integers

_CHUNK = 1 << 13  # indices that an iteration makes at a time


class Order(ABC):
    """The samples of an epoch, one after the other, none of which has to be stored.

    As a sequence of int: ``len(order)``, ``order[position]``, iteration; and by the array, with a slice or an
    array of positions.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _at(self, positions: Indices) -> Indices:
        """Return what stands at positions, an array of which each is from 0 to ``len(self) - 1``."""

    def _range(self, start: int, stop: int, step: int) -> Indices:
        """Return what stands at a range of positions, with a step of 1 or more."""
        return self._at(np.arange(start, stop, step, dtype=np.int64))

    def _part(self, begin: int, end: int, first: int, last: int) -> Indices:
        """Return number `first` to ``last - 1`` of the samples at positions `begin` to ``end - 1``.

        They may be numbered in another way than by their positions: one that is good for ranks of which each
        has a part of them.
        """
        return self._range(begin + first, begin + last, 1)

    @overload
    def __getitem__(self, position: int) -> int: ...
    @overload
    def __getitem__(self, position: slice | npt.ArrayLike) -> Indices: ...
    def __getitem__(self, position: Any) -> int | Indices:
        """Return what stands at a position, or at each of a slice or an array of them.

        As of a sequence: positions below 0 count from the end; beyond, IndexError.
        """
        name, n = type(self).__name__, len(self)
        if isinstance(position, slice):
            chosen = range(*position.indices(n))
            if not chosen:
                return np.empty(0, np.int64)
            if chosen.step > 0:
                return self._range(chosen[0], chosen[-1] + 1, chosen.step)
            return self._range(chosen[-1], chosen[0] + 1, -chosen.step)[::-1].copy()
        if np.ndim(position) == 0:
            index = operator.index(position)
            if not -n <= index < n:
                raise IndexError(f"{name}: expected a position of {n}, got {index}")
            return int(self._at(np.array([index % n], np.int64))[0])
        positions = integers(f"{name}: expected positions", position)
        outside = positions[(positions < -n) | (positions >= n)]
        if outside.size:
            raise IndexError(f"{name}: expected positions of {n}, got {outside.flat[0]}")
        return self._at(np.where(positions < 0, positions + n, positions))

    def __iter__(self) -> Iterator[int]:
        for start in range(0, len(self), _CHUNK):
            yield from self._range(start, min(start + _CHUNK, len(self)), 1).tolist()

    def indices(self, start: int, stop: int, step: int = 1) -> Indices:
        """Return what stands at the positions of ``range(start, stop, step)``.

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
            raise ValueError(f"{type(self).__name__}.indices: expected step of at least 1, got {step}")
        if not 0 <= start <= stop <= len(self):
            raise IndexError(
                f"{type(self).__name__}.indices: expected 0 <= start <= stop <= {len(self)}, "
                f"got {start} and {stop}"
            )
        return self._range(start, stop, step)


class Plan(ABC):
    """What an epoch consists of; with a seed, it gives the order of each epoch."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of positions of an epoch."""

    @property
    def num_samples(self) -> int:
        """The size of the data set: samples are numbers from 0 up to this. By default, as positions."""
        return len(self)

    @abstractmethod
    def order(self, *, seed: int, epoch: int) -> Order:
        """Return the order of an epoch."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what tells this plan from others, in values that JSON has."""


class Sequential(Order, Plan):
    """The samples as they stand: 0, 1, and so on. It is its own plan.

    Parameters
    ----------
    n : int
        The number of samples.
    """

    def __init__(self, n: int) -> None:
        self._n = integer("Sequential: expected n", n, 0, (1 << 63) - 1)

    def __len__(self) -> int:
        return self._n

    def _at(self, positions: Indices) -> Indices:
        return positions

    def inverse(self, x: Any) -> Any:
        """Return the position of a sample, or of each of an array.

        Raises
        ------
        IndexError
            For what is not from 0 to ``n - 1``.
        """
        values = integers("Sequential.inverse: expected x", x)
        outside = values[(values < 0) | (values >= self._n)]
        if outside.size:
            raise IndexError(f"Sequential.inverse: expected x from 0 to {self._n - 1}, got {outside.flat[0]}")
        return int(values) if values.ndim == 0 else values

    def order(self, *, seed: int, epoch: int) -> Sequential:
        """Return the order of an epoch: they are all the same."""
        return self

    def describe(self) -> dict[str, Any]:
        """Return what tells this plan from others, in values that JSON has."""
        return {"kind": "sequential", "n": self._n}
