"""A batch, and the values of its columns that are left to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyscale.data.schema.checks import Rows
from pyscale.data.schema.tally import Place
from pyscale.data.schema.types import Array
from pyscale.data.tables.arrow import arrow


@dataclass(frozen=True)
class Batch:
    """A record batch, and where its rows are from."""

    data: Any
    place: Place
    first_row: int


@dataclass(frozen=True)
class Values:
    """Some of the values of a column, and the rows of the batch that they are in; None: all its rows."""

    array: Array
    rows: Rows | None = None

    def rows_of(self, which: Rows) -> Rows:
        """Return the rows of some of the values."""
        return which if self.rows is None else self.rows[which]

    def where(self, mask: Array) -> Values:
        """Return the values where a mask of pyarrow's is true."""
        return Values(self.array.filter(mask), self.rows_of(np.flatnonzero(mask)))


def without_nulls(array: Array) -> Values:
    """Return the values of a column that are not null."""
    if not array.null_count:
        return Values(array)
    return Values(array.drop_null(), np.flatnonzero(array.is_valid()))


def in_common(columns: Sequence[Values], length: int) -> list[Values]:
    """Return the values of columns in the rows that all of them have."""
    if all(column.rows is None for column in columns):
        return list(columns)
    every = np.arange(length)
    having = [every if column.rows is None else column.rows for column in columns]
    rows = having[0]
    for others in having[1:]:
        rows = np.intersect1d(rows, others, assume_unique=True)
    places = (arrow().array(np.searchsorted(those, rows)) for those in having)
    return [Values(column.array.take(taken), rows) for column, taken in zip(columns, places, strict=True)]
