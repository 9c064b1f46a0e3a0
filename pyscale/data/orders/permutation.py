"""The order of an epoch as a function: any position of it at once, in constant memory."""

from __future__ import annotations

from typing import Any, overload

import numpy.typing as npt

from pyscale import _core
from pyscale.data.arguments import Indices, integer, integers
from pyscale.data.orders.order import Order, Plan

VERSION: int = _core.PERMUTATION_VERSION  # of the algorithm: an order of one version never changes


class Permutation(Order):
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
        self._n = integer("Permutation: expected n", n, 0, (1 << 63) - 1)
        self.seed = integer("Permutation: expected seed", seed, 0, (1 << 64) - 1)
        self.epoch = integer("Permutation: expected epoch", epoch, 0, (1 << 64) - 1)
        self.stream = integer("Permutation: expected stream", stream, 0, (1 << 64) - 1)
        self._core = _core.Permutation(self._n, self.seed, self.epoch, self.stream)

    def __len__(self) -> int:
        return self._n

    def __repr__(self) -> str:
        return f"Permutation({self._n}, seed={self.seed}, epoch={self.epoch}, stream={self.stream})"

    def _at(self, positions: Indices) -> Indices:
        return self._core.at(positions)

    def _range(self, start: int, stop: int, step: int) -> Indices:
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
        values = integers("Permutation.inverse: expected x", x)
        try:
            found = self._core.inverse(values)
        except IndexError as error:
            raise IndexError(f"Permutation.inverse: {error}") from None
        return int(found) if values.ndim == 0 else found


class Shuffled(Plan):
    """All samples in a random order.

    Parameters
    ----------
    n : int
        The number of samples.
    """

    def __init__(self, n: int) -> None:
        self._n = integer("Shuffled: expected n", n, 0, (1 << 63) - 1)

    def __len__(self) -> int:
        return self._n

    def order(self, *, seed: int, epoch: int) -> Permutation:
        """Return the order of an epoch."""
        return Permutation(self._n, seed=seed, epoch=epoch)

    def describe(self) -> dict[str, Any]:
        """Return what tells this plan from others, in values that JSON has."""
        return {"kind": "shuffled", "n": self._n, "permutation": VERSION}
