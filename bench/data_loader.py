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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _data_flights import COLUMNS, FLIGHTS, Columns, flights, parquet
from _data_measure import Figure, Note, flaw_of, main, timed
from _loaders_pyscale import in_memory, streamed

BATCHES = (4096, 256)
MANY = 12  # copies

Epoch = Callable[[], Iterable[Mapping[str, Any]]]
Peers = Callable[[argparse.Namespace, list[Path], Columns, int, int], dict[str, Epoch]]


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
    contestants: Mapping[str, Epoch], columns: Columns, batch: int, rounds: int
) -> Iterator[Figure | Note]:
    """Look through an epoch of each, then time epochs in turn."""
    n = len(columns["row"])
    wrong = {}
    for name, epoch in contestants.items():
        wrong[name], left = look_through(epoch, columns, batch)
        yield Note(
            f"{name}, batches of {batch}, n = {n:,}: correlation with the order of the files {left:+.4f}."
        )
    calls = {name: partial(run, epoch) for name, epoch in contestants.items()}
    yield from timed(
        f"{n:,} rows in batches of {batch}", calls, rounds=rounds, amount=n, unit="rows", wrong=wrong
    )


def ours(paths: list[Path], columns: Columns, batch: int) -> dict[str, Epoch]:
    """Return what pyscale has."""
    return {
        "pyscale, from Parquet": partial(iter, streamed(paths, batch)),
        "pyscale, in memory": partial(iter, in_memory(columns, batch)),
    }


def many_rows(
    options: argparse.Namespace, paths: list[Path], columns: Columns, batch: int, workers: int
) -> dict[str, Epoch]:
    """Return the peers that handle many rows at a time."""
    from _loaders_torch import InMemory, Scanned, Streamed

    how = f"{workers} workers"
    return {
        f"torch, row groups, {how}": Streamed(paths, batch, workers),
        f"torch, Arrow's scanner, {how}": Scanned(paths, batch, workers),
        f"torch, in memory, {how}": InMemory(columns, batch, workers),
    }


def single_rows(
    options: argparse.Namespace, paths: list[Path], columns: Columns, batch: int, workers: int
) -> dict[str, Epoch]:
    """Return the peers that handle a row at a time."""
    peer, folder, how = options.peer, options.data, f"{workers} workers"
    if peer == "torch":
        from _loaders_torch import RowByRow

        return {f"torch, row by row in memory, {how}": RowByRow(columns, batch, workers)}
    if peer == "webdataset":
        from _loaders_torch import WebDataset

        return {f"WebDataset, {how}": WebDataset(folder, columns, batch, workers)}
    if peer == "mosaic":
        from _loaders_mosaic import Streaming

        return {f"Mosaic streaming, {how}": Streaming(folder, columns, batch, workers)}
    from _loaders_grain import InMemory, Streamed

    streamed: dict[str, Epoch] = {} if workers else {"Grain, from Parquet": Streamed(paths, batch)}
    return {**streamed, f"Grain, in memory, {how}": InMemory(columns, batch, workers)}


def measure(options: argparse.Namespace) -> Iterator[Figure | Note]:
    """All that is measured beside one peer."""
    rounds = 2 if options.quick else 5
    batches = BATCHES[:1] if options.quick or options.peer == "grain" else BATCHES
    sizes: list[tuple[int, Peers]] = [(1, single_rows)]
    if options.peer == "torch":
        sizes.append((2 if options.quick else MANY, many_rows))
    for copies, peers in sizes:
        paths = parquet(options.data, copies)
        once = flights()
        columns = {name: np.tile(column, copies) for name, column in once.items()}
        columns["row"] = np.arange(copies * FLIGHTS)
        for batch in batches:
            contestants = ours(paths, columns, batch)
            for workers in (0, 2):
                contestants |= peers(options, paths, columns, batch, workers)
            yield from contest(contestants, columns, batch, rounds)


if __name__ == "__main__":
    main(__doc__, measure, ("torch", "mosaic", "grain", "webdataset"))
