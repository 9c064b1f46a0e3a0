"""Values of files as what they are to be: rounded floats at most, and all else exact or refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyscale.data import Loader, ParquetShards
from pyscale.errors import DataError

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402


def in_files_order(*arguments: Any, **options: Any) -> ParquetShards:
    return ParquetShards(*arguments, shuffle=False, streams=1, **options)


def write(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("column", "kind", "at_fault"),
    [
        (pa.array([1.5, 1e300]), "f4", "1e\\+300, which would be infinite"),
        (pa.array([1.5, None, 1e5]), "f2", "100000.0, which would be infinite"),
        (pa.array(["1e300", "inf"]), "f4", "1e\\+300, which would be infinite"),
        (pa.array([1, 2049]), "f2", "2049, beyond 2048"),
        (pa.array([-2049, None], pa.int16()), "f2", "-2049, beyond 2048"),
        (pa.array([1, (1 << 53) + 1]), "f8", "9007199254740993"),
        (pa.array([1, (1 << 24) + 1]), "f4", "16777217"),
        (pa.array([1, None, 0, 2]), "?", "2"),
        (pa.array([1.0, np.nan]), "?", "nan"),
        (pa.array([0, None, 86_400, 1], pa.timestamp("s")), "M8[D]", "1970-01-01 00:00:01"),
    ],
)
def test_values_that_a_type_does_not_hold(tmp_path: Path, column: Any, kind: str, at_fault: str) -> None:
    path = write(tmp_path / "a.parquet", x=column)
    with pytest.raises(DataError, match=rf"a\.parquet, block 0: column 'x': expected values of .*{at_fault}"):
        list(Loader(ParquetShards(path, {"x": kind}), batch_size=3))


def test_floats_that_are_rounded_and_those_that_are_infinite(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", x=[0.1, np.inf, -np.inf, None, np.nan], i=[2048, -2048, 0, None, 1])
    [batch] = Loader(in_files_order(path, {"x": "f4", "i": "f2"}), batch_size=5)
    assert np.array_equal(batch["x"], np.array([0.1, np.inf, -np.inf, np.nan, np.nan], "f4"), equal_nan=True)
    assert np.array_equal(batch["i"], np.array([2048, -2048, 0, np.nan, 1], "f2"), equal_nan=True)


@pytest.mark.parametrize("scale", [2, 5, 20])
def test_decimals_are_the_nearest_floats(tmp_path: Path, scale: int) -> None:
    hundredths = np.arange(1000)
    exact = [Decimal(int(n)).scaleb(-2) for n in hundredths]
    path = write(tmp_path / "a.parquet", x=pa.array(exact, pa.decimal128(38, scale)))
    [batch] = Loader(in_files_order(path, {"x": "f8"}), batch_size=1000)
    assert np.array_equal(batch["x"], hundredths / 100)


def test_numbers_that_are_true_or_false_and_times_that_are_days(tmp_path: Path) -> None:
    seconds = {
        zone: pa.array([0, 86_400], pa.timestamp("s", zone)) for zone in ("", "UTC", "America/New_York")
    }
    path = write(tmp_path / "a.parquet", x=[0.0, 1.0], i=[1, 0], **seconds)
    [batch] = Loader(
        in_files_order(path, {"x": "?", "i": "?", **dict.fromkeys(seconds, "M8[D]")}), batch_size=2
    )
    assert batch["x"].tolist() == [False, True]
    assert batch["i"].tolist() == [True, False]
    for zone in seconds:
        assert batch[zone].tolist() == [date(1970, 1, 1), date(1970, 1, 2)]


@pytest.mark.parametrize(("lists", "nulls"), [([[1, 2], None], 1), ([[1, None], [None, 2]], 2)])
def test_nulls_in_and_among_lists_are_counted(tmp_path: Path, lists: Any, nulls: int) -> None:
    path = write(tmp_path / "a.parquet", x=pa.array(lists, pa.list_(pa.float32(), 2)))
    with pytest.raises(DataError, match=f"column 'x': expected lists without nulls, got {nulls} nulls"):
        list(Loader(ParquetShards(path), batch_size=2))


def test_a_column_as_no_dtype(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", x=[1])
    for missing in ("M8[h]", "m8", np.longdouble):
        with pytest.raises(TypeError, match="column 'x': expected a dtype that Arrow has, got"):
            ParquetShards(path, {"x": missing})
    with pytest.raises(TypeError, match="column 'x': expected a dtype, got None"):  # not NumPy's float64
        ParquetShards(path, {"x": None})  # type: ignore[dict-item]


def test_a_fill_of_times_is_not_cut_off(tmp_path: Path) -> None:
    day, noon = datetime(2020, 1, 1), datetime(2020, 1, 1, 12)
    times = {"d": pa.date32(), "t": pa.timestamp("ms"), "s": pa.duration("ms")}
    path = write(tmp_path / "a.parquet", **{name: pa.array([None, 1], kind) for name, kind in times.items()})
    exact = {"d": day, "t": noon, "s": timedelta(milliseconds=1)}
    [batch] = Loader(in_files_order(path, fill=exact), batch_size=2)
    assert [batch[name][0].item() for name in "dts"] == [day.date(), noon, exact["s"]]
    cut: list[dict[str, Any]] = [
        {"d": noon},
        {"d": 0.5},
        {"t": noon.replace(microsecond=1)},
        {"t": noon.replace(tzinfo=UTC)},
        {"t": 0.5},
        {"s": timedelta(microseconds=1)},
    ]
    for fill in cut:
        [name] = fill
        with pytest.raises(ValueError, match=f"fill: expected a value of .* for column '{name}', got"):
            ParquetShards(path, fill=fill)


def test_fill_is_checked_at_first(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.parquet",
        i=pa.array([None, 1]),
        x=pa.array([None, 1.0]),
        s=pa.array([None, "a"]),
        d=pa.array([None, "b"]).dictionary_encode(),
    )
    wrong: list[tuple[Any, dict[str, Any]]] = [
        (None, {"i": 1.5}),
        (None, {"i": "0"}),
        (None, {"i": 1 << 63}),
        (None, {"s": 0}),
        (None, {"d": 0}),
        ({"i": "u4"}, {"i": -1}),
        ({"x": "f4"}, {"x": 1e300}),
        ({"x": "f4"}, {"x": (1 << 24) + 1}),
    ]
    for columns, fill in wrong:
        [name] = fill
        with pytest.raises(ValueError, match=f"fill: expected a value of .* for column '{name}', got"):
            ParquetShards(path, columns, fill=fill)
    with pytest.raises(TypeError, match="fill: expected a mapping of columns to values, got 'i'"):
        ParquetShards(path, fill="i")  # type: ignore[arg-type]
    shards = in_files_order(path, fill={"i": np.int8(-1), "x": 0.1, "s": "", "d": "none"})
    [batch] = Loader(shards, batch_size=2)
    assert [batch[name][0] for name in "ixsd"] == [-1, 0.1, "", "none"]
    [batch] = Loader(in_files_order(path, {"x": "f4", "i": "f8"}, fill={"x": 0.1, "i": 2.0}), batch_size=2)
    assert (batch["x"][0], batch["i"][0]) == (np.float32(0.1), 2.0)
