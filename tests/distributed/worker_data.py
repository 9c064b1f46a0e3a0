"""Reading files on several ranks, by name: `mpirun -n 3 python worker_data.py NAME FOLDER`."""

from __future__ import annotations

import hashlib
import sys
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
from launch import note, report

import pyscale as ps
from pyscale.data import Loader, ParquetShards, verify_epoch
from pyscale.data.tables import block_files, shards

GLOBAL_BATCH = 240  # which 1, 2, 3 and 8 divide


def loader(folder: str, *, window: int = 20_000, **options: Any) -> Loader:
    shards = ParquetShards(folder, ["id", "delay"], window=window, seed=3, **options)
    return Loader(shards, batch_size=GLOBAL_BATCH // ps.world_size())


def epoch(folder: str) -> None:
    """Two epochs: how many rows, whether each came once, and a hash of each global batch in turn."""
    reading = loader(folder)
    hashes = []
    for _ in range(2):
        seen, hashed = [], hashlib.sha256()
        for batch in reading:
            ids = np.concatenate(ps.world().all_gather_object(batch["id"]))
            assert (batch["delay"] == batch["id"] * 2).all()
            hashed.update(ids.tobytes())
            seen.append(ids)
        everything = np.concatenate(seen)
        assert len(np.unique(everything)) == len(everything)
        hashes.append([len(everything), hashed.hexdigest()])
    report(hashes)


def flights(folder: str) -> None:
    """One epoch of real rows: which came, and that each has the values of all its columns."""
    expected = dict(np.load(Path(folder).with_suffix(".npz")))
    shards = ParquetShards(folder, window=30_000, seed=13)
    reading = Loader(shards, batch_size=GLOBAL_BATCH * 10 // ps.world_size())
    seen, hashed = [], hashlib.sha256()
    for batch in reading:
        assert batch.keys() == expected.keys()
        for name, column in batch.items():
            # Bits, so that NaN is NaN and no value is nearly the same.
            assert column.dtype == expected[name].dtype
            assert column.tobytes() == expected[name][batch["row"]].tobytes(), name
        hashed.update(np.concatenate(ps.world().all_gather_object(batch["row"])).tobytes())
        seen.append(batch["row"].copy())
    verify_epoch(ps.world(), np.concatenate(seen), len(expected["row"]))
    report([len(reading), sum(map(len, seen)), hashed.hexdigest()])


def filtered(folder: str) -> None:
    """How many rows are left of a filter, on all ranks together."""
    reading = loader(folder, filters=[("id", "<", 12_345)])
    ids = np.concatenate([batch["id"] for batch in reading] or [np.empty(0, np.int64)])
    everything = np.sort(np.concatenate(ps.world().all_gather_object(ids)))
    report([len(reading), everything.tolist() == list(range(12_345))])


def unreadable_on_one_rank(folder: str) -> None:
    """What each rank raises where one of them cannot read a file."""
    original = block_files.open_file

    def broken(path: str, types: Any = None) -> Any:
        if ps.rank() == 1:
            raise ps.DataError(f"{path}: a disk of rank 1 has failed")
        return original(path, types)

    shards.open_file = broken  # type: ignore[attr-defined]
    try:
        loader(folder)
    except ps.DataError as error:
        report([str(error), getattr(error, "__notes__", [])])
    ps.barrier()


def other_files_on_one_rank(folder: str) -> None:
    files = sorted(str(path) for path in Path(folder).iterdir())
    try:
        ParquetShards(files[: 2 if ps.rank() == 0 else 3])
    except ValueError as error:
        report(str(error))
    ps.barrier()


def other_filters_on_one_rank(folder: str) -> None:
    """Filters of long lists that differ in the middle of them."""
    try:
        ParquetShards(folder, ["id"], filters=[("id", "in", [*range(14), ps.rank(), *range(15, 30)])])
    except ValueError as error:
        report(str(error))
    ps.barrier()


def vanishing_file(folder: str) -> None:
    """Train, and lose the files within the epoch: every rank ends with an error."""
    reading = loader(folder, window=2000)  # so that most is not read yet
    steps = 0
    try:
        for batch in reading:
            ps.all_reduce(np.array([batch["delay"].sum()]))
            steps += 1
            if steps == 5 and ps.rank() == 0:
                for path in Path(folder).iterdir():
                    path.unlink()
    except ps.PyscaleError as error:
        report([type(error).__name__, str(error)])
        raise


def killed(folder: str) -> None:
    """Read, one epoch after another, until a rank is killed."""
    reading = loader(folder)
    for step, batch in enumerate(chain.from_iterable(repeat(reading))):
        if step == 3:
            note(f"reading.{ps.rank()}")
        try:
            ps.all_reduce(np.array([float(len(batch["id"]))]))
        except ps.CommError as error:
            report(str(error))
            raise


def state(folder: str) -> None:
    """The state after some steps, which is the same on all ranks."""
    reading = loader(folder)
    list(islice(reading, 7))
    report(reading.state_dict())
    reading.close()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
