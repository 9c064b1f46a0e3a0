"""Flights by Grain: its iteration over Parquet, and a source in memory; it makes batches of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from _data_flights import GROUP, Columns
from grain import MapDataset, MultiprocessingOptions, ReadOptions
from grain.experimental import ParquetIterDataset, WindowShuffleIterDataset


class Streamed:
    """Rows of the files in their order, `GROUP` of them mixed."""

    def __init__(self, paths: list[Path], batch: int, workers: int = 0) -> None:
        rows = ParquetIterDataset([str(path) for path in paths])
        self._dataset = WindowShuffleIterDataset(rows, window_size=GROUP, seed=1).batch(batch)

    def __call__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self._dataset)


class _Rows:
    """A source of rows, as Grain wants it."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns["row"])

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {name: column[row] for name, column in self._columns.items()}


class InMemory:
    """Columns in memory, rows in an order of the whole, without the threads, which are slower here."""

    def __init__(self, columns: Columns, batch: int, workers: int) -> None:
        rows = MapDataset.source(_Rows(columns)).shuffle(seed=1).batch(batch)
        self._dataset = rows.to_iter_dataset(ReadOptions(num_threads=0))
        if workers:
            self._dataset = self._dataset.mp_prefetch(MultiprocessingOptions(num_workers=workers))

    def __call__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self._dataset)
