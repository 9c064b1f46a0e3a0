"""Flights by Mosaic's streaming: the rows as MDS, read by a StreamingDataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from _data_flights import Columns, once
from _data_mosaic import MDSWriter, StreamingDataLoader, StreamingDataset


class Streaming:
    """Rows from MDS files on this disk, shuffled by the default algorithm; torch makes batches of them."""

    def __init__(self, folder: Path, columns: Columns, batch: int, workers: int) -> None:
        types = {name: str(column.dtype) for name, column in columns.items()}

        def write(path: Path) -> None:
            with MDSWriter(out=str(path / "mds"), columns=types) as writer:
                for row in zip(*columns.values(), strict=True):
                    writer.write(dict(zip(columns, row, strict=True)))

        local = once(folder / f"mds-{len(columns['row'])}", write) / "mds"
        dataset = StreamingDataset(local=str(local), shuffle=True, shuffle_seed=1, batch_size=batch)
        self._loader = StreamingDataLoader(
            dataset, batch_size=batch, num_workers=workers, persistent_workers=workers > 0
        )

    def __call__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self._loader)
