"""Flights by torch's DataLoader over pyarrow, the usual way and the fastest that we found; and WebDataset.

Each contestant is called for an epoch, and gives batches: mappings of a column's name to a tensor.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import torch
from _data_flights import COLUMNS, GROUP, Columns, once
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

WINDOW = 4  # row groups that are mixed

Batch = Mapping[str, Tensor]
Packed = list[tuple[list[str], Tensor]]  # columns of one dtype as the rows of a matrix


def loader(dataset: Any, workers: int, **options: Any) -> DataLoader[Any]:
    """DataLoader whose workers stay from epoch to epoch."""
    return DataLoader(dataset, num_workers=workers, persistent_workers=workers > 0, **options)


def unpack(packed: Packed) -> Batch:
    """Name the columns again, without a copy."""
    return {name: matrix[k] for names, matrix in packed for k, name in enumerate(names)}


def pack(columns: Batch) -> Packed:
    """Two matrices for all columns: between processes, each tensor costs about a tenth of a millisecond."""
    packed = []
    for dtype in (torch.int64, torch.float32):
        names = [name for name, column in columns.items() if column.dtype == dtype]
        packed.append((names, torch.stack([columns[name] for name in names])))
    return packed


class _RowGroups(IterableDataset):  # type: ignore[misc]
    """Row groups in a random order, the rows of four at a time mixed, batches of them."""

    def __init__(self, paths: list[Path], batch: int) -> None:
        self._paths, self._batch, self._epoch = paths, batch, 0

    def _groups(self, order: Sequence[int]) -> Iterator[pa.Table]:
        """Yield the row groups of these numbers."""
        files = [pa.parquet.ParquetFile(path, memory_map=True) for path in self._paths]
        groups = [(file, group) for file in files for group in range(file.num_row_groups)]
        for number in order:
            file, group = groups[number]
            yield file.read_row_group(group, columns=list(COLUMNS))

    def __iter__(self) -> Iterator[Any]:
        generator = torch.Generator().manual_seed(self._epoch)
        self._epoch += 1
        count = sum(pa.parquet.read_metadata(path).num_row_groups for path in self._paths)
        order = torch.randperm(count, generator=generator).tolist()
        worker = get_worker_info()
        if worker is not None:
            order = order[worker.id :: worker.num_workers]
        held: list[pa.Table] = []
        for number, group in enumerate(self._groups(order), 1):
            held.append(group)
            if number % WINDOW == 0 or number == len(order):
                table = pa.concat_tables(held)
                held = []
                columns = {name: torch.from_numpy(table[name].to_numpy()) for name in COLUMNS}
                mixed = torch.randperm(len(table), generator=generator)
                yield from self._batches(columns, mixed.split(self._batch), worker is not None)

    def _batches(self, columns: Batch, parts: Iterable[Tensor], packed: bool) -> Iterator[Any]:
        if packed:
            matrices = pack(columns)
            for rows in parts:
                yield [(names, matrix.index_select(1, rows)) for names, matrix in matrices]
        else:
            for rows in parts:
                yield {name: column.index_select(0, rows) for name, column in columns.items()}


class _Scanned(_RowGroups):
    """The same, read ahead by threads of Arrow's own."""

    def _groups(self, order: Sequence[int]) -> Iterator[pa.Table]:
        whole = pa.dataset.dataset(self._paths)
        pieces = [group for file in whole.get_fragments() for group in file.split_by_row_group()]
        shuffled = [pieces[number] for number in order]
        part = pa.dataset.FileSystemDataset(shuffled, whole.schema, whole.format, whole.filesystem)
        for batch in part.to_batches(columns=list(COLUMNS), batch_size=GROUP, batch_readahead=WINDOW):
            if len(batch):
                yield pa.Table.from_batches([batch])


class Streamed:
    """The files read anew each epoch, in batches: an IterableDataset, and `batch_size=None`."""

    dataset: type[_RowGroups] = _RowGroups

    def __init__(self, paths: list[Path], batch: int, workers: int) -> None:
        self._loader = loader(self.dataset(paths, batch), workers, batch_size=None)
        self._packed = workers > 0

    def __call__(self) -> Iterator[Batch]:
        return map(unpack, self._loader) if self._packed else iter(self._loader)


class Scanned(Streamed):
    """The same with Arrow's scanner."""

    dataset = _Scanned


class _Rows(Dataset):  # type: ignore[misc]
    """Rows of a table in memory, one at a time."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns["row"])

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {name: column[row] for name, column in self._columns.items()}


class RowByRow:
    """The usual way: a map-style data set over columns in memory, and torch makes batches of rows."""

    def __init__(self, columns: Columns, batch: int, workers: int) -> None:
        self._loader = loader(_Rows(columns), workers, batch_size=batch, shuffle=True)

    def __call__(self) -> Iterator[Batch]:
        return iter(self._loader)


class _Batches(_Rows):
    """Rows of a table in memory, a batch at a time."""

    def __init__(self, columns: Columns) -> None:
        super().__init__(columns)
        self._tensors = {name: torch.from_numpy(column) for name, column in columns.items()}
        self._matrices = pack(self._tensors)

    def __getitems__(self, rows: list[int]) -> Any:
        """Return a batch, as torch asks for it where this method is there."""
        index = torch.tensor(rows)
        if get_worker_info() is None:
            return {name: column.index_select(0, index) for name, column in self._tensors.items()}
        return [(names, matrix.index_select(1, index)) for names, matrix in self._matrices]


def _same(batch: Any) -> Any:
    return batch


class InMemory:
    """A map-style data set that gives whole batches, by `__getitems__`."""

    def __init__(self, columns: Columns, batch: int, workers: int) -> None:
        self._packed = workers > 0
        self._loader = loader(_Batches(columns), workers, batch_size=batch, shuffle=True, collate_fn=_same)

    def __call__(self) -> Iterator[Batch]:
        return map(unpack, self._loader) if self._packed else iter(self._loader)


class WebDataset:
    """Tar files of one row a sample; shards in a random order, 1,000 rows mixed, as in its documents."""

    def __init__(self, folder: Path, columns: Columns, batch: int, workers: int) -> None:
        import webdataset

        record = np.dtype([(name, column.dtype) for name, column in columns.items()])

        def write(path: Path) -> None:
            rows = np.empty(len(columns["row"]), record)
            for name, column in columns.items():
                rows[name] = column
            with webdataset.ShardWriter(os.fspath(path / "%06d.tar"), maxcount=20_000, verbose=0) as writer:
                for number, row in enumerate(rows):
                    writer.write({"__key__": f"{number:09}", "bin": row.tobytes()})

        def join(samples: list[dict[str, Any]]) -> Batch:
            rows = np.frombuffer(b"".join(sample["bin"] for sample in samples), record)
            return {name: torch.from_numpy(rows[name].copy()) for name in columns}

        shards = sorted(map(os.fspath, once(folder / f"tar-{len(columns['row'])}", write).glob("*.tar")))
        samples = webdataset.WebDataset(shards, shardshuffle=len(shards), seed=1).shuffle(1000)
        batches = samples.batched(batch, collation_fn=join)
        self._packed = workers > 0
        if self._packed:
            batches = batches.map(pack)
        self._loader = loader(batches, workers, batch_size=None)

    def __call__(self) -> Iterator[Batch]:
        return map(unpack, self._loader) if self._packed else iter(self._loader)
