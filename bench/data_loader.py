"""Times `pyscale.data.Loader` on the flights beside other loaders: whole epochs of shuffled batches.

    python bench/data_loader.py {torch,mosaic,grain,webdataset} --data build/bench/data/files [--quick]

Everybody delivers the same 14 columns, int64 and float32, in batches of the same size, and nothing is done
with them. Those that handle a row at a time in Python are given the flights once (336,776), those that do
not twelve times over (4 million); pyscale is measured on both. Before, an epoch of each is looked through:
whether every row came once, and with what belongs to it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import _loaders_pyscale
import numpy as np
from _data_flights import COLUMNS, Columns, flights, parquet
from _data_measure import flaw_of, timed
from _recording import Figure, Note, main

BATCHES = (4096, 256)
MANY = 12  # copies

Epoch = Callable[[], Iterable[Mapping[str, Any]]]


def run(epoch: Epoch) -> None:
    """Take all batches of an epoch."""
    for batch in epoch():
        len(batch["row"])


def look_through(epoch: Epoch, columns: Columns, batch: int) -> tuple[str, float]:
    """Tell what is wrong with the rows of an epoch, and how much of their order in the files is left."""
    came = []
    for given in epoch():
        found = {name: np.asarray(given[name]) for name in COLUMNS}
        rows = found["row"]
        if len(rows) > batch:
            return f"a batch of {len(rows)}", np.nan
        for name, column in columns.items():
            if found[name].dtype != column.dtype:
                return f"{name} of {found[name].dtype}", np.nan
            if not np.array_equal(found[name], column[rows], equal_nan=column.dtype.kind == "f"):
                return f"{name} of another row", np.nan
        came.append(rows)
    order = np.concatenate(came)
    left = float(np.corrcoef(np.arange(len(order)), order)[0, 1])
    return flaw_of(order, len(columns["row"])), left


def contest(
    task: str, contestants: Mapping[str, Epoch], columns: Columns, batch: int, rounds: int
) -> Iterator[Figure | Note]:
    """Look through an epoch of each, then time epochs in turn."""
    n = len(columns["row"])
    task = f"{n:,} rows {task}, batches of {batch}"
    looked = {name: look_through(epoch, columns, batch) for name, epoch in contestants.items()}
    left = ", ".join(f"{name} {value:+.3f}" for name, (_, value) in looked.items())
    yield Note(f"What is left of the order of the files, as a correlation, {task}: {left}.")
    wrong = {name: flaw for name, (flaw, _) in looked.items()}
    calls = {name: partial(run, epoch) for name, epoch in contestants.items()}
    yield from timed(task, calls, rounds=rounds, amount=n, unit="rows", wrong=wrong)


@dataclass(frozen=True)
class Flights:
    """What a contestant is given: the flights so many times over, as files and in memory."""

    folder: Path
    copies: int

    @cached_property
    def columns(self) -> Columns:
        """All columns."""
        return flights(self.copies)

    @cached_property
    def paths(self) -> list[Path]:
        """Parquet files."""
        return parquet(self.folder, self.copies)


def from_files(peer: str, given: Flights, batch: int, workers: int) -> dict[str, Epoch]:
    """Return a peer's ways to read files anew each epoch."""
    how = f"{workers} workers"
    if peer == "torch":
        from _loaders_torch import Scanned, Streamed

        return {
            f"torch, row groups, {how}": Streamed(given.paths, batch, workers),
            f"torch, Arrow's scanner, {how}": Scanned(given.paths, batch, workers),
        }
    if peer == "webdataset":
        from _loaders_torch import WebDataset

        return {f"WebDataset, {how}": WebDataset(given.folder, given.columns, batch, workers)}
    if peer == "mosaic":
        from _loaders_mosaic import Streaming

        return {f"Mosaic streaming, {how}": Streaming(given.folder, given.columns, batch, workers)}
    from _loaders_grain import Streamed as GrainStreamed

    return {} if workers else {"Grain": GrainStreamed(given.paths, batch)}


def in_memory(peer: str, given: Flights, batch: int, workers: int) -> dict[str, Epoch]:
    """Return a peer's ways to gather rows from columns in memory."""
    how = f"{workers} workers"
    if peer == "torch":
        from _loaders_torch import InMemory, RowByRow

        kind, name = (RowByRow, "row by row") if given.copies == 1 else (InMemory, "batches")
        return {f"torch, {name}, {how}": kind(given.columns, batch, workers)}
    from _loaders_grain import InMemory as GrainInMemory

    return {f"Grain, {how}": GrainInMemory(given.columns, batch, workers)}


def measure(options: argparse.Namespace) -> Iterator[Figure | Note]:
    """All that is measured beside one peer."""
    peer, quick = options.peer, options.quick
    rounds = 2 if quick else 5 if peer == "torch" else 3
    few = Flights(options.data, 1)
    many = Flights(options.data, 2 if quick else MANY) if peer == "torch" else few
    for batch in BATCHES[:1] if quick or peer == "grain" else BATCHES:
        streams: dict[str, Epoch] = {"pyscale": partial(iter, _loaders_pyscale.streamed(many.paths, batch))}
        for workers in (0, 2):
            streams |= from_files(peer, many, batch, workers)
        yield from contest("from files", streams, many.columns, batch, rounds=rounds)
        for given in (few, many) if peer == "torch" else (few,) if peer == "grain" else ():
            memory: dict[str, Epoch] = {
                "pyscale": partial(iter, _loaders_pyscale.in_memory(given.columns, batch))
            }
            for workers in (0, 2):
                memory |= in_memory(peer, given, batch, workers)
            yield from contest("in memory", memory, given.columns, batch, rounds=rounds)


if __name__ == "__main__":
    main(__doc__, measure, ("torch", "mosaic", "grain", "webdataset"))
