"""Flights by `pyscale.data.Loader`, with its defaults: from Parquet, and from memory."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from _data_flights import COLUMNS, Columns

from pyscale.data import Loader, ParquetShards

_DEVICE = "cpu" if find_spec("torch") else None  # tensors, where the peer gives tensors


def streamed(paths: list[Path], batch: int) -> Loader:
    """Read the files anew each epoch: row groups in a random order, 2^18 rows mixed."""
    return Loader(ParquetShards(paths, COLUMNS, seed=1), batch_size=batch, device=_DEVICE)


def in_memory(columns: Columns, batch: int) -> Loader:
    """Gather from all columns in memory, rows in an order of the whole."""
    return Loader(columns, batch_size=batch, device=_DEVICE)
