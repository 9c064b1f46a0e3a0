"""Flights by `pyscale.data`: streamed from Parquet, and from memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from _data_flights import COLUMNS, GROUP, Columns

data: Any = import_module("pyscale.data")

WINDOW = 4  # row groups that are mixed


class Streamed:
    """The files read anew each epoch, row groups in a random order, the rows of four of them mixed."""

    def __init__(self, paths: list[Path], batch: int, workers: int = 0) -> None:
        self._source = data.ParquetShards(paths, COLUMNS, shuffle="window", window=WINDOW * GROUP, seed=1)
        self._batch = batch

    def __call__(self) -> Iterator[Mapping[str, Any]]:
        with data.Loader(self._source, None, self._batch) as loader:
            yield from loader


class InMemory:
    """All columns in memory, rows in an order of the whole."""

    def __init__(self, columns: Columns, batch: int, workers: int = 0) -> None:
        self._columns, self._batch = columns, batch
        self._sampler = data.ShardedSampler(len(columns["row"]), num_replicas=1, rank=0, seed=1)

    def __call__(self) -> Iterator[Mapping[str, Any]]:
        with data.Loader(self._columns, self._sampler, self._batch) as loader:
            yield from loader
