"""Memory that is used again: new pages cost more than what is written to them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

Columns = dict[str, npt.NDArray[Any]]
Rows = tuple[np.dtype[Any], tuple[int, ...]]  # the dtype and the shape of each row


class Buffers:
    """Columns that come again once nobody has any part of them any more.

    A part of an array, also a tensor of it, holds a reference to the array that owns the memory: so the
    references tell whether it is in use.
    """

    _KEPT = 64  # of one size

    def __init__(self, columns: Mapping[str, Rows]) -> None:
        self._columns = dict(columns)
        self._lock = Lock()
        self._kept: dict[int, list[Columns]] = {}  # by their size
        # Python without its lock counts references in a way that does not tell.
        self._counts = getattr(sys, "_is_gil_enabled", lambda: True)()
        self._when_free = 0

    def take(self, rows: int, size: int) -> Columns:
        """Return columns of so many rows, of which the values are not defined: those of buffers of `size`."""
        with self._lock:
            kept = self._kept.setdefault(size, [])
            for columns in kept:
                if _references(columns) == self._when_free:
                    return _first(rows, columns)
            columns = {
                name: np.empty((size, *shape), dtype) for name, (dtype, shape) in self._columns.items()
            }
            if self._counts and len(kept) < self._KEPT:
                kept.append(columns)
                self._when_free = _references(columns)
            return _first(rows, columns)

    def clear(self) -> None:
        """Let go of all that is not in use."""
        with self._lock:
            self._kept.clear()


def _first(rows: int, columns: Columns) -> Columns:
    return {name: array[:rows] for name, array in columns.items()}


def _references(columns: Columns) -> int:
    return sum(map(sys.getrefcount, columns.values()))
