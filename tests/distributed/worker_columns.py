"""Columns over ranks, by name: `mpirun -n 3 python worker_columns.py NAME FOLDER`."""

from __future__ import annotations

import contextlib
import os
import pathlib
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from columns_data import SCHEMA, part_of
from launch import note, report

import pyscale as ps
from pyscale.data import Check, Column, ParquetShards, Profile, Schema, cache, to_parquet, validate

folder = Path(sys.argv[2])


def begin(timeout: float = 20.0) -> Any:
    ps.init(timeout=timeout)
    return ps.world()


def said(call: Callable[[], object]) -> str:
    """What a call raises, in words, with its notes."""
    try:
        call()
    except Exception as error:
        return " | ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
    return "nothing"


def works() -> None:
    """Files read, rows that ranks have themselves, in their own batches, and files written."""
    comm = begin()
    table = part_of(comm.rank, comm.size)
    validator = SCHEMA.validator()
    for start in range(0, len(table), 100 + comm.rank):
        batch = table.slice(start, 100 + comm.rank)
        validator.add(batch, file=f"{comm.rank:02}", first_row=start)
    batches = iter(table.to_batches(max_chunksize=77))
    options: dict[str, Any] = {"row_group_rows": 200, "files": 2 * comm.size, "comm": comm}
    data = table if comm.rank % 2 else table.to_reader(max_chunksize=33)
    paths = to_parquet(data, Path(sys.argv[3]) / "t", shuffle=4, **options)
    report(
        {
            "files": repr(validate(folder, SCHEMA, comm=comm)),
            "profile of files": Profile.of(folder / "good", comm=comm).to_json(),
            "rows": repr(validator.finish(comm)),
            "profile of rows": Profile.of(batches, comm=comm).to_json(),
            "written": [str(path) for path in paths],
        }
    )


def validates_other_things() -> None:
    """Ranks that do not agree, and a rank that fails on its own."""
    comm = begin()
    last = comm.rank == comm.size - 1
    own = Schema({"id": Column("int64", unique=last)})
    likeness = Check.like(Profile.of({"x": [1, 2 + last]})["x"])
    other = Schema({"x": Column("int64", likeness)})
    paths = [folder / "good", *([folder / "bad"] if last else [])]

    class Broken(Schema):
        def validator(self, **options: Any) -> Any:
            validator = super().validator(**options)
            if last:
                validator.__dict__["add_as"] = fail
            return validator

    def fail(*arguments: Any, **options: Any) -> None:
        raise MemoryError("no more memory")

    report(
        [
            said(lambda: own.validator().finish(comm)),
            said(lambda: other.validator().finish(comm)),
            said(lambda: validate(paths, SCHEMA, comm=comm)),
            said(lambda: validate(folder / "good", Broken(SCHEMA.columns), comm=comm)),
            said(lambda: Profile.of(folder, comm=comm)),
            said(lambda: Profile.of({"x" if last else "y": [1]}, ["y"], comm=comm)),
            repr(validate(folder / "good", SCHEMA, comm=comm).ok),  # the communicator goes on
        ]
    )


def keeps() -> None:
    """One rank computes, and the others wait longer than their patience with a rank that is late."""
    comm = begin(timeout=0.5)

    def slow(n: int) -> dict[str, Any]:
        with (folder / f"ran-{ps.rank()}").open("a") as file:
            file.write("x")
        time.sleep(1.5)
        return {"x": np.arange(n)}

    found = [cache(slow, 5, directory=folder / "c", comm=comm) for _ in range(2)]
    report([(one.hit, one.rows, str(one.path), one.arrays()["x"].tolist()) for one in found])


class OwnError(Exception):
    """One that cannot be sent: it takes two arguments."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def keeps_nothing() -> None:
    """What goes wrong on rank 0 or elsewhere is raised everywhere, and leaves nothing."""
    comm = begin()

    def fails(how: str) -> Iterator[Any]:
        if how == "later":
            yield pa.record_batch({"x": [1]})
        if how == "own":
            raise OwnError(1, 2)
        raise ZeroDivisionError("as it happens")

    def interrupted(how: str) -> Any:
        raise KeyboardInterrupt

    def keep(fn: Callable[[Any], Any], inputs: Any) -> Callable[[], object]:
        return lambda: cache(fn, inputs, directory=folder / "c", comm=comm)

    results = [said(keep(fails, how)) for how in ("at once", "later", "own")]
    try:
        results.append(said(keep(interrupted, "")))
    except KeyboardInterrupt:
        results.append("KeyboardInterrupt")
    results.append(said(keep(fails, object())))
    exists = pathlib.Path.exists
    if comm.rank == comm.size - 1:
        pathlib.Path.exists = lambda self, **options: False  # type: ignore[method-assign]
    results.append(said(keep(lambda n: {"x": [n]}, 1)))
    pathlib.Path.exists = exists  # type: ignore[method-assign]
    report(results)


def writes_nothing() -> None:
    comm = begin()
    last = comm.rank == comm.size - 1

    def failing() -> Iterator[Any]:
        yield pa.record_batch({"x": [1]})
        if last:
            raise ZeroDivisionError("as it happens")

    def write(data: Any, **options: Any) -> Callable[[], object]:
        return lambda: to_parquet(data, folder / "t", comm=comm, **options)

    results = [
        said(write(failing())),
        said(write({"x" if last else "y": [1]})),
        said(write({"x": [1]}, files=comm.size + 1)),
        said(write({"x": [-1 if last else 1]}, schema=Schema({"x": Column("int64", unique=True)}))),
        said(write({"x": [1]}, schema=Schema({"x": Column("int64", unique=True)}))),
    ]
    if last:  # its disk is full
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    noise = np.random.default_rng(comm.rank).random(100_000)
    results.append(said(write({"x": noise})))
    if last:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (folder / "u").mkdir(exist_ok=True)
    if comm.rank == 0:
        (folder / "u" / "file").touch()
    comm.barrier()
    results.append(said(lambda: to_parquet({"x": [1]}, folder / "u", comm=comm)))
    schema = pa.schema({"x": pa.int64()})
    for own in (
        write({"x": [1]}, files=2 * comm.size if last else comm.size),
        write({"x": [1]}, schema=schema if last else None),
        write({"x": [1]}, shuffle=comm.rank),
        lambda: to_parquet({"x": [1]}, folder / f"t{comm.rank}", comm=comm),
    ):
        results.append(said(own))
    report(results)


def opens_other_shards() -> None:
    """One rank has an argument that cannot be right, and lives on."""
    comm = begin()
    last = comm.rank == comm.size - 1

    def shards(**own: Any) -> Callable[[], object]:
        return lambda: ParquetShards(folder, comm=comm, **(own if last else {}))

    bad: list[dict[str, Any]] = [
        {"seed": -1},
        {"shuffle": "full"},
        {"columns": "id"},
        {"columns": 3},
        {"fill": 1},
        {"filters": "x > 3"},
    ]
    results = [said(shards(**own)) for own in bad]
    results.append(said(lambda: ParquetShards(None if last else folder, comm=comm)))  # type: ignore[arg-type]
    results.append(repr(len(ParquetShards(folder, comm=comm))))
    report(results)


def fills_the_disk() -> None:
    """FOLDER is on a small file system."""
    comm = begin()

    def noise(seed: int) -> Iterator[Any]:
        for _ in range(200):
            yield pa.record_batch({"x": np.random.default_rng(seed).random(10_000)})

    report(
        [
            said(lambda: cache(noise, 1, directory=folder, comm=comm)),
            said(lambda: to_parquet(noise(comm.rank), folder / "t", comm=comm)),
            sorted(path.name for path in folder.iterdir()),
        ]
    )


def dies() -> None:
    """A rank is killed while rank 0 computes or all write; the others hear of it."""
    what, victim = sys.argv[3], int(sys.argv[4])
    comm = begin(timeout=5.0)

    def die() -> None:
        note("dying")
        os.kill(os.getpid(), signal.SIGKILL)

    def step(n: int) -> Iterator[Any]:
        yield pa.record_batch({"x": np.arange(n)})
        if victim == 0:
            die()
        while (folder / "alive").exists():
            time.sleep(0.01)
        yield pa.record_batch({"x": np.arange(n)})

    def batches() -> Iterator[Any]:
        yield pa.record_batch({"x": np.arange(1000)})
        if comm.rank == victim:
            die()

    if what == "cache" and victim == comm.rank != 0:
        (folder / "alive").unlink()
        die()
    if what == "cache":
        result = said(lambda: cache(step, 5, directory=folder / "c", comm=comm))
    else:
        result = said(lambda: to_parquet(batches(), folder / "c" / "t", comm=comm))
    report(result)
    time.sleep(0.5)  # mpirun ends the job at the first rank that fails: let the others report too


if __name__ == "__main__":
    with contextlib.chdir(folder):
        globals()[sys.argv[1]]()
