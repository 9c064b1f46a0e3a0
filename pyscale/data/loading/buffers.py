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

    _KEPT = 64  # of one name: more are in use only if the caller keeps batches, which then are the caller's
    _SPARE = 2  # that nobody uses, beside the one that is taken

    def __init__(self, columns: Mapping[str, Rows]) -> None:
        self._columns = dict(columns)
        self._lock = Lock()
        self._kept: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in columns}
        # Python without its lock counts references in a way that does not tell.
        self._counts = getattr(sys, "_is_gil_enabled", lambda: True)()

    def take(self, name: str, rows: int, size: int) -> npt.NDArray[Any]:
        """Return the first rows of a buffer for `size` rows of a column; their values are not defined."""
        with self._lock:
            kept = self._kept[name]
            free = [i for i in range(len(kept)) if _references(kept, i) == _WHEN_FREE]
            fitting = next((i for i in free if size <= len(kept[i]) <= 2 * size), None)
            if fitting is not None:
                out = kept[fitting][:rows]
                free.remove(fitting)
            else:
                dtype, shape = self._columns[name]
                array = np.empty((size, *shape), dtype)
                out = array[:rows]
                if self._counts and len(kept) < self._KEPT:
                    kept.append(array)
            for i in reversed(free[: -self._SPARE]):
                del kept[i]
            return out

    def clear(self) -> None:
        """Let go of all that is not in use."""
        with self._lock:
            for kept in self._kept.values():
                kept.clear()


def _references(arrays: list[npt.NDArray[Any]], i: int) -> int:
    return sys.getrefcount(arrays[i])


_WHEN_FREE = _references([np.empty(0)], 0)
