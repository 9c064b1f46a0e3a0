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
    """Arrays that come again once nobody has any part of them any more.

    A part of an array, also a tensor of it, holds a reference to the array that owns the memory: so the
    references tell whether it is in use.
    """

    _KEPT = 64  # of one name and size

    def __init__(self, columns: Mapping[str, Rows]) -> None:
        self._columns = dict(columns)
        self._lock = Lock()
        self._kept: dict[tuple[str, int], list[npt.NDArray[Any]]] = {}  # by their names and sizes
        # Python without its lock counts references in a way that does not tell.
        self._counts = getattr(sys, "_is_gil_enabled", lambda: True)()

    def take(self, name: str, rows: int, size: int) -> npt.NDArray[Any]:
        """Return the first rows of a buffer for `size` rows of a column; their values are not defined."""
        with self._lock:
            kept = self._kept.setdefault((name, size), [])
            for array in kept:
                if sys.getrefcount(array) == _WHEN_FREE:
                    return array[:rows]
            dtype, shape = self._columns[name]
            array = np.empty((size, *shape), dtype)
            if self._counts and len(kept) < self._KEPT:
                kept.append(array)
            return array[:rows]

    def clear(self) -> None:
        """Let go of all that is not in use."""
        with self._lock:
            self._kept.clear()


def _references_of_what_a_list_has() -> int:
    for array in [np.empty(0)]:
        return sys.getrefcount(array)
    raise AssertionError


_WHEN_FREE = _references_of_what_a_list_has()
