"""The rows of a table in another order, some at a time: what is taken is copied, and the table is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyscale.data.orders.permutation import Permutation
from pyscale.data.tables.arrow import Stream, arrow

SortKey = tuple[str, str]  # a column, and "ascending" or "descending"
Order = Callable[[int, int], npt.NDArray[np.int64]]  # the rows that stand at positions start to stop - 1


class Rows:
    """A table in an order.

    Parameters
    ----------
    table : pyarrow.Table
    order : callable, optional
        None leaves the rows where they are.
    """

    def __init__(self, table: Any, order: Order | None = None) -> None:
        self.schema = table.schema
        self._table = table
        self._order = order
        self._batches = table.to_batches()
        self._starts = np.cumsum([0] + [len(batch) for batch in self._batches])

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, positions: slice) -> Any:
        """Return a table of the rows at some positions."""
        start, stop, _ = positions.indices(len(self))
        if self._order is None:
            return self._table.slice(start, stop - start)
        return self._take(self._order(start, stop))

    def _take(self, rows: npt.NDArray[np.int64]) -> Any:
        """Copy rows batch by batch; pyarrow's own take would join all batches first."""
        pa = arrow()
        batch_of = np.searchsorted(self._starts, rows, side="right") - 1
        by_batch = np.argsort(batch_of, kind="stable")
        pieces = []
        for some in np.split(by_batch, np.flatnonzero(np.diff(batch_of[by_batch])) + 1):
            if some.size:
                batch = int(batch_of[some[0]])
                pieces.append(self._batches[batch].take(pa.array(rows[some] - self._starts[batch])))
        gathered = pa.Table.from_batches(pieces, self._table.schema).unify_dictionaries().combine_chunks()
        back = np.empty(len(rows), np.int64)
        back[by_batch] = np.arange(len(rows))
        return gathered.take(pa.array(back))


def shuffled(table: Any, seed: int, stream: int) -> Rows:
    """Return a table in the order of a `Permutation`."""
    return Rows(table, Permutation(len(table), seed=seed, stream=stream).indices)


def sorted_by(table: Any, keys: Sequence[SortKey]) -> Rows:
    """Return a table sorted by columns: stable, NaN after all numbers, and null last."""
    pa = arrow()
    columns = {name: table.column(name) for name, _ in keys}
    for name, column in columns.items():
        if pa.types.is_dictionary(column.type):  # which pyarrow does not sort by
            columns[name] = column.cast(column.type.value_type)
        if pa.types.is_decimal(column.type) and column.type.bit_width <= 64:
            # pyarrow takes them for integers without a sign, where there are several keys
            bits = f"int{column.type.bit_width}"
            columns[name] = pa.chunked_array([chunk.view(bits) for chunk in column.chunks], bits)
    order = pa.compute.sort_indices(pa.table(columns), sort_keys=keys).to_numpy()
    return Rows(table, lambda start, stop: order[start:stop].astype(np.int64))


def spooled(stream: Stream, path: Path, look_at: Callable[[Any], None]) -> Any:
    """Write a stream to a file, and return it as a table whose memory is the file's.

    `look_at` is given each record batch on the way.
    """
    pa = arrow()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, stream.schema) as writer:
        for batch in stream.batches:
            look_at(batch)
            writer.write_batch(batch)
    return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()


def evenly(start: int, stop: int, parts: int) -> Iterable[tuple[int, int]]:
    """Cut a range into parts whose lengths differ by 1 at most."""
    length = stop - start
    borders = [start + length * i // parts for i in range(parts + 1)]
    return pairwise(borders)
