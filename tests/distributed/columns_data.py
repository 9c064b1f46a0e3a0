"""What the tests of columns over ranks are about: tables in which this and that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pyscale.data import Check, Column, Profile, Schema

N = 12_000


def table() -> Any:
    """Return rows of which some repeat, in other files and row groups too."""
    rng = np.random.default_rng(3)
    ids = np.arange(N)
    ids[rng.integers(0, N, 40)] = 77
    names = np.array([f"name-{i % 5000}-{'x' * (i % 40)}" for i in range(N)], object)
    names[rng.integers(0, N, 100)] = None
    x = rng.normal(size=N)
    x[rng.integers(0, N, 20)] = np.nan
    x[5100:5110] = x[100:110]  # of the same names
    return pa.table({"id": ids, "x": x, "name": pa.array(names, pa.string())})


SCHEMA = Schema(
    {
        "id": Column("int64", Check.ge(0), unique=True),
        "x": Column(
            "float64",
            Check.lt(3),
            Check.like(Profile.of({"x": np.random.default_rng(4).normal(0.6, size=N)})["x"]),
            nan=True,
        ),
        "name": Column(str, Check.str_matches("name-[0-9]"), unique=True),
    },
    unique=[("x", "name")],
)


def part_of(rank: int, size: int) -> Any:
    """Return a rank's part of the table; the first of several has none."""
    start, stop = ((N * max(0, place - (size > 1)) // max(1, size - 1)) for place in (rank, rank + 1))
    return table().slice(start, min(stop, N) - start)


def write_files(folder: Path) -> None:
    """Write the table as files, and beside them some that are wrong."""
    (folder / "good").mkdir()
    (folder / "bad").mkdir()
    whole = table()
    for i, start in enumerate(range(0, N, 2500)):
        pq.write_table(
            whole.slice(start, 2500), folder / "good" / f"{i}.parquet", row_group_size=400 + 100 * i
        )
    pq.write_table(whole.slice(0, 1000), folder / "bad" / "cut.parquet", row_group_size=100)
    data = (folder / "bad" / "cut.parquet").read_bytes()
    (folder / "bad" / "cut.parquet").write_bytes(data[: len(data) // 2])
    (folder / "bad" / "empty.arrow").touch()
    pq.write_table(pa.table({"id": ["a"], "name": ["b"]}), folder / "bad" / "other.parquet")
    (folder / "bad" / "text.csv").write_text("id,x,name\n1,2,name-1\nb,2,c\n3\n")
