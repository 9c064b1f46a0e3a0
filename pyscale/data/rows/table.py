"""Rows as a user gives them: one array, or columns of a table; of NumPy or another library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pyscale.arrays import view
from pyscale.data.arguments import without_mask

Array = npt.NDArray[Any]
Like = Callable[[Array], Any]


@dataclass(frozen=True)
class Table:
    """Columns of one length, as NumPy sees them.

    Attributes
    ----------
    names : list of str or None
        Of the columns, as `columns` has them: sorted, so that all ranks have one order. None: a single array.
    columns : list of numpy.ndarray
        Rows along the first axis, without gaps in them.
    """

    names: list[str] | None
    columns: list[Array]
    _likes: list[Like]  # make a column of the user's library
    _order: list[str]  # of the names, as the user gave them

    @classmethod
    def of(cls, rows: Any, call: str) -> Table:
        """Open what the user gave; raises TypeError and ValueError."""
        if not isinstance(rows, Mapping):
            column, like = _open(rows, f"{call}: rows")
            return cls(None, [column], [like], [])
        if not rows or not all(isinstance(name, str) for name in rows):
            raise TypeError(f"{call}: expected columns with names, got {list(rows)}")
        names = sorted(rows)
        opened = [_open(rows[name], f"{call}: column {name!r}") for name in names]
        lengths = {name: len(column) for name, (column, _) in zip(names, opened, strict=True)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{call}: expected columns of one length, got {lengths}")
        return cls(names, [column for column, _ in opened], [like for _, like in opened], list(rows))

    @property
    def length(self) -> int:
        """Rows."""
        return len(self.columns[0])

    @property
    def text(self) -> str:
        """What all ranks must agree on."""
        kinds = [f"{column.dtype} rows of shape {column.shape[1:]}" for column in self.columns]
        if self.names is None:
            return kinds[0]
        return "; ".join(f"{name!r}: {kind}" for name, kind in zip(self.names, kinds, strict=True))

    def room_in(self, out: Any, call: str, *, apart_from: Sequence[Array] = ()) -> list[Array]:
        """Return the user's arrays for rows like these, column by column; raises TypeError and ValueError."""
        if self.names is None:
            given = {f"{call}: out": out}
        elif isinstance(out, Mapping) and set(out) == set(self.names):
            given = {f"{call}: out, column {name!r}": out[name] for name in self.names}
        else:
            raise TypeError(f"{call}: out: expected columns {self.names}, got {type(out).__name__}")
        room: list[Array] = []
        for (what, x), column in zip(given.items(), self.columns, strict=True):
            if isinstance(x, np.ndarray):
                array = without_mask(f"{what}: expected an array", x)
            else:
                array = view(x, writable=True, what=what).array
            if array.dtype != column.dtype or array.ndim == 0 or array.shape[1:] != column.shape[1:]:
                raise ValueError(
                    f"{what}: expected {column.dtype} rows of shape {column.shape[1:]}, "
                    f"got {array.dtype} of shape {array.shape}"
                )
            if not array.flags.c_contiguous or not array.flags.writeable:
                raise ValueError(f"{what}: expected a contiguous array to write to, got another")
            if any(np.may_share_memory(array, other) for other in (*self.columns, *apart_from, *room)):
                raise ValueError(f"{what}: expected memory of its own, got some that is also used otherwise")
            room.append(array)
        return room

    def like(self, columns: Sequence[Array]) -> Any:
        """Return columns in the form in which the user gave these."""
        made = [like(column) for like, column in zip(self._likes, columns, strict=True)]
        if self.names is None:
            return made[0]
        by_name = dict(zip(self.names, made, strict=True))
        return {name: by_name[name] for name in self._order}


def _open(x: Any, what: str) -> tuple[Array, Like]:
    like: Like = _as_it_is
    if isinstance(x, np.ndarray) and not isinstance(x, np.ma.MaskedArray):
        array = np.asarray(x)  # of any dtype, which is more than `view` takes
    else:
        seen = view(x, what=what)
        array, like = seen.array, seen.like
    if array.dtype.hasobject:
        raise TypeError(f"{what}: expected elements without Python objects, got {array.dtype}")
    if array.ndim == 0:
        raise ValueError(f"{what}: expected at least one dimension, got a 0-d array")
    if len(array) and not array[0].flags.c_contiguous:
        array = np.ascontiguousarray(array)
    return array, like


def _as_it_is(array: Array) -> Array:
    return array
