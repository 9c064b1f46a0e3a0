"""Validation of files: whatever is wrong with one of them is in the report, and the others are read."""

from __future__ import annotations

import csv
import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flights_csv import flights_csv

from pyscale.data import Check, Column, Failure, Profile, Report, Schema, validate
from pyscale.data.tables.files import look_into_all, spread

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
ipc = pytest.importorskip("pyarrow.ipc")

N = 1000
SCHEMA = Schema(
    {
        "id": Column("int64", unique=True),
        "x": Column("float64", Check.lt(0.99), nullable=True),
        "name": Column(str, Check.isin(["a", "b"])),
    }
)


def table(first: int = 0) -> Any:
    ids = np.arange(first, first + N)
    return pa.table({"id": ids, "x": (ids % 100) / 100, "name": np.where(ids % 400 == 17, "c", "a")})


def write_parquet(data: Any, path: Path) -> None:
    pq.write_table(data, path, row_group_size=300, write_page_checksum=True)


def write_csv(data: Any, path: Path) -> None:
    rows = zip(*(column.to_pylist() for column in data.columns), strict=True)
    lines = [",".join("" if cell is None else str(cell) for cell in row) for row in rows]
    path.write_text("\n".join([",".join(data.column_names), *lines]) + "\n")


def write_ipc(data: Any, path: Path) -> None:
    new = ipc.new_stream if path.suffix == ".arrows" else ipc.new_file
    with pa.OSFile(str(path), "wb") as sink, new(sink, data.schema) as writer:
        writer.write_table(data, max_chunksize=300)


WRITERS: dict[str, Callable[[Any, Path], None]] = {
    "parquet": write_parquet,
    "csv": write_csv,
    "arrow": write_ipc,
    "arrows": write_ipc,
}


def found(report: Report) -> dict[tuple[str, int | None], list[int | None]]:
    """The rows of each check's failures, by row group."""
    return {
        (failure.check, failure.row_group): [example.row for example in failure.examples]
        for failure in report.failures
    }


@pytest.mark.parametrize("ending", WRITERS)
def test_all_formats_say_the_same(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"data.{ending}"
    WRITERS[ending](table(), path)
    report = validate(path, SCHEMA)
    assert report.rows == N
    groups = (0, 1, 2, 3) if ending == "parquet" else (None,)
    expected: dict[tuple[str, int | None], list[int | None]] = {}
    for check, rows in (("< 0.99", range(99, N, 100)), ("in {'a', 'b'}", range(17, N, 400))):
        for group in groups:
            inside = [row for row in rows if group is None or row // 300 == group]
            if inside:
                expected[check, group] = list(inside[:5])
    assert found(report) == expected
    assert {failure.file for failure in report.failures} == {str(path)}
    # Those of text are shown as they stand there.
    shown = {example.value for failure in report.failures for example in failure.examples}
    assert shown == {"0.99" if ending == "csv" else 0.99, "c"}


@pytest.mark.parametrize("ending", WRITERS)
def test_a_column_without_a_name_is_shown(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{ending}"
    WRITERS[ending](pa.table({"": [1, 2, 1], "b": [0, 0, 0]}), path)
    [failure] = validate(path, Schema({"": Column("int64", unique=True)})).failures
    assert [(row, int(value)) for row, value in failure.examples] == [(0, 1), (2, 1)]


@pytest.mark.parametrize("ending", WRITERS)
def test_values_that_repeat_are_shown(ending: str, tmp_path: Path) -> None:
    for i, first in enumerate((0, N, 2 * N - 2)):
        WRITERS[ending](table(first), tmp_path / f"{i}.{ending}")
    report = validate(tmp_path, SCHEMA.select(["id"]))
    assert [
        (Path(f.file or "").stem, f.count, [(e.row, int(e.value)) for e in f.examples])
        for f in report.failures
    ] == [
        ("1", 2, [(N - 2, 2 * N - 2), (N - 1, 2 * N - 1)]),
        ("2", 2, [(0, 2 * N - 2), (1, 2 * N - 1)]),
    ]


# ------------------------------------------------------------------------------- what is wrong with files


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00\xffPAR1 neither" * 100)


@pytest.mark.parametrize("damage", [cut_off, empty, garbage, os.remove])
@pytest.mark.parametrize("ending", ["parquet", "arrow", "arrows"])
def test_a_file_that_cannot_be_read(ending: str, damage: Callable[[Path], None], tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.{ending}" for i in range(3)]
    for i, path in enumerate(paths):
        WRITERS[ending](table(i * N), path)
    damage(paths[1])
    report = validate(paths, SCHEMA.select(["id"]))
    [failure] = report.failures
    assert (failure.check, failure.file) == ("readable", str(paths[1]))
    assert failure.detail
    assert 2 * N <= report.rows < 3 * N


def test_csv_files_that_cannot_be_read(tmp_path: Path) -> None:
    for name, content in {"a": b"", "b": b"\xff\xfe\x00", "c": b"id\n1\n", "d": b"id\n1\xff\n"}.items():
        (tmp_path / f"{name}.csv").write_bytes(content)
    report = validate(tmp_path, SCHEMA.select(["id"]))
    by_file = {Path(failure.file or "").stem: failure.check for failure in report.failures}
    assert set(by_file) >= {"a", "b", "d"}
    assert by_file["a"] == "readable"
    assert by_file["d"] == "readable"
    assert report.rows == 1


def test_a_page_that_has_changed(tmp_path: Path) -> None:
    write_parquet(table(), tmp_path / "x.parquet")
    place = pq.read_metadata(tmp_path / "x.parquet").row_group(1).column(0)
    data = bytearray((tmp_path / "x.parquet").read_bytes())
    start = place.dictionary_page_offset or place.data_page_offset
    data[start + place.total_compressed_size - 20] ^= 1
    (tmp_path / "x.parquet").write_bytes(data)
    report = validate(tmp_path / "x.parquet", SCHEMA)
    [failure] = [failure for failure in report.failures if failure.check == "readable"]
    assert failure.row_group == 1
    assert report.rows == N - 300


def test_a_name_of_a_column_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    write_ipc(pa.table({"name": ["a"]}), path)
    path.write_bytes(path.read_bytes().replace(b"name", b"nam\xff"))
    (failure,) = validate(path, Schema({"name": Column(str)})).failures
    assert (failure.check, failure.file) == ("readable", str(path))


def test_a_file_that_vanishes_after_it_was_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{i}.parquet" for i in range(2)]
    for i, path in enumerate(paths):
        write_parquet(table(i * N), path)

    def vanishing(*arguments: Any) -> Any:
        contents = look_into_all(*arguments)
        paths[0].unlink()
        return contents

    monkeypatch.setattr("pyscale.data.schema.over_files.look_into_all", vanishing)
    report = validate(paths, SCHEMA.select(["id"]))
    assert [(f.check, f.file, f.row_group) for f in report.failures] == [
        ("readable", str(paths[0]), group) for group in range(4)
    ]
    assert all("FileNotFoundError" in failure.detail for failure in report.failures)
    assert report.rows == N


def test_a_file_of_another_schema(tmp_path: Path) -> None:
    write_parquet(table(), tmp_path / "0.parquet")
    write_parquet(pa.table({"id": ["1", "2"], "y": [1.0, 2.0], "name": ["a", "b"]}), tmp_path / "1.parquet")
    strict = Schema(SCHEMA.columns, strict=True)
    report = validate(tmp_path, strict)
    other = str(tmp_path / "1.parquet")
    assert [failure for failure in report.failures if failure.file == other] == [
        Failure(None, "no other columns", other, None, 0, (), "y"),
        Failure("id", "int64", other, None, 0, (), "got string"),
        Failure("x", "required", other, None, 0, (), "not there"),
    ]
    assert report.rows == N + 2


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert found(validate([], SCHEMA)) == {("readable", None): []}
    assert found(validate(tmp_path, SCHEMA)) == {("readable", None): []}
    (tmp_path / "notes.txt").write_text("x")
    assert validate(tmp_path, SCHEMA).failures[0].detail == "expected files, got none"
    assert "got 'notes.txt'" in validate(tmp_path / "notes.txt", SCHEMA).failures[0].detail


SECONDS = [0, 86_400, 3600]
STORED = [
    ("timestamp[s]", SECONDS),
    ("timestamp[s, tz=UTC]", SECONDS),
    ("time32[s]", [0, 86_399, 3600]),
    ("date64", [0, 86_400_000, 2 * 86_400_000]),
    ("duration[s]", SECONDS),
    ("date32", [0, 1, 2]),
    ("uint32", [0, 1, 2]),
    (pa.large_list(pa.timestamp("s")), [[0], [], [1]]),
    (pa.struct({"a": pa.date64()}), [{"a": 0}, {"a": 86_400_000}, {"a": None}]),
]


@pytest.mark.parametrize(("kind", "values"), STORED)
def test_a_table_satisfies_its_schema_once_it_is_written(kind: Any, values: Any, tmp_path: Path) -> None:
    """Though Parquet has not all of the types."""
    kind = Column(kind).type
    data = pa.table({"x": pa.array(values, kind)})
    checks = [] if pa.types.is_nested(kind) else [Check.like(Profile.of(data)["x"])]
    schema = Schema({"x": Column(kind, *checks, unique=not pa.types.is_nested(kind))})
    validator = schema.validator()
    validator.add(data)
    assert validator.finish().ok
    for ending in ("parquet", "arrow"):
        WRITERS[ending](data, tmp_path / f"x.{ending}")
        assert validate(tmp_path / f"x.{ending}", schema).ok


def test_what_parquet_has_instead_is_cast_without_loss(tmp_path: Path) -> None:
    data = pa.table({"x": pa.array([0, 1001, None], pa.timestamp("ms"))})
    write_parquet(data, tmp_path / "x.parquet")
    report = validate(tmp_path, Schema({"x": Column("timestamp[s]", nullable=True)}))
    assert found(report) == {("castable to timestamp[s]", 0): [1]}
    assert found(validate(tmp_path, Schema({"x": Column("timestamp[us]")}))) == {("timestamp[us]", None): []}
    write_ipc(data, tmp_path / "x.arrow")
    report = validate(tmp_path / "x.arrow", Schema({"x": Column("timestamp[s]")}))
    assert found(report) == {("timestamp[s]", None): []}


# --------------------------------------------------------------------------------------------------- CSV


def test_cells_of_csv_files_fail_one_by_one(tmp_path: Path) -> None:
    text = "id,x,name,note\n1,0.5,a,\n2,,b,NA\n3,half,a,\nfour,NA,NA,\n5\n6,1,,x\n"
    (tmp_path / "x.csv").write_text(text)
    report = validate(tmp_path / "x.csv", SCHEMA)
    assert {(f.column, f.check): [tuple(e) for e in f.examples] for f in report.failures} == {
        (None, "cells of a row"): [],
        ("id", "castable to int64"): [(3, "four")],
        ("x", "castable to double"): [(2, "half")],
        ("x", "< 0.99"): [(4, "1")],
        ("name", "in {'a', 'b'}"): [(3, "NA"), (4, "")],
    }
    assert report.failures[0].count == 1
    assert report.failures[0].detail == "line 6: 1 cells, expected 4"
    assert report.rows == 5
    other = validate(tmp_path / "x.csv", SCHEMA, nulls=["NA", ""])
    assert {(f.column, f.check): [e.row for e in f.examples] for f in other.failures}["name", "not null"] == [
        3,
        4,
    ]


@pytest.mark.parametrize(
    "kind", [str, "large_string", pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_what_stands_for_null_is_text_in_text_of_any_encoding(kind: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("s,n\nNA,NA\n,1\n")
    schema = Schema({"s": Column(kind, Check.isin(["NA", ""])), "n": Column("int8", nullable=True)})
    assert validate(tmp_path / "x.csv", schema).ok


def test_the_format_can_be_said(tmp_path: Path) -> None:
    write_csv(table(), tmp_path / "data.txt")
    assert validate(tmp_path / "data.txt", SCHEMA, format="csv").rows == N
    with pytest.raises(ValueError, match="expected one of csv, ipc, parquet, got 'excel'"):
        validate(tmp_path, SCHEMA, format="excel")


# ----------------------------------------------------------------------------------------- what is read


def test_columns_that_are_not_wanted_are_not_read(tmp_path: Path) -> None:
    data = table().append_column("other", pa.array(["x"] * N))
    write_parquet(data, tmp_path / "x.parquet")
    seen: list[list[str]] = []

    def look(batch: Any) -> bool:
        seen.append(batch.schema.names)
        return True

    assert not validate(tmp_path, SCHEMA, columns=["x"]).ok
    assert validate(tmp_path, SCHEMA, columns=["id"]).ok
    validate(tmp_path, Schema({"id": Column()}, Check(look)))
    assert seen
    assert all(names == ["id", "x", "name", "other"] for names in seen)
    with pytest.raises(ValueError, match="'zz'"):
        validate(tmp_path, SCHEMA, columns=["zz"])


def test_folders(tmp_path: Path) -> None:
    for name in ("b/2.pq", "a/1.parquet", "a/_tmp/x.parquet", ".hidden/x.parquet", "a/.x.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_parquet(table(), tmp_path / name)
    (tmp_path / "a" / "README").write_text("")
    assert validate(tmp_path, Schema({"id": Column()})).rows == 2 * N
    assert validate([tmp_path / "a", tmp_path / "b" / "2.pq"], Schema({"id": Column()})).rows == 2 * N


class Ranks:
    """Two threads in the place of two ranks; one that waits in vain breaks the barrier."""

    size = 2

    def __init__(self, rank: int, barrier: threading.Barrier, box: list[Any]) -> None:
        self.rank, self.barrier, self.box = rank, barrier, box

    def all_gather_object(self, mine: Any) -> list[Any]:
        self.box[self.rank] = mine
        self.barrier.wait(10)
        told = list(self.box)
        self.barrier.wait(10)
        return told

    def broadcast_object(self, mine: Any, root: int = 0) -> Any:
        return self.all_gather_object(mine)[root]

    def all_reduce(self, mine: Any, operation: str) -> Any:
        assert operation == "max"
        return np.max(self.all_gather_object(mine), axis=0)


def on_two_ranks(call: Callable[[Any], Any]) -> list[Any]:
    """What a call with a communicator returns or raises, of either rank."""
    barrier, box = threading.Barrier(2), [None, None]

    def outcome(rank: int) -> Any:
        try:
            return call(Ranks(rank, barrier, box))
        except Exception as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(outcome, range(2)))


BAD: dict[str, dict[str, Any]] = {
    "columns": {"columns": ["zz"]},
    "a plain string": {"columns": "id"},
    "examples": {"examples": -1},
    "format": {"format": "excel"},
    "paths": {"paths": None},
    "schema": {"schema": None},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_bad_arguments_of_a_rank_are_told_on_all(bad: dict[str, Any], tmp_path: Path) -> None:
    write_parquet(table(), tmp_path / "x.parquet")
    good = {"paths": tmp_path, "schema": SCHEMA.select(["name"])}
    raised = on_two_ranks(lambda comm: validate(**{**good, **(bad if comm.rank else {})}, comm=comm))
    assert type(raised[0]) is type(raised[1]) is not Report
    assert "raised on rank 1" in raised[0].__notes__[0]
    raised = on_two_ranks(lambda comm: Profile.of(tmp_path, buckets=2 - comm.rank, comm=comm))
    assert [type(error) for error in raised] == [ValueError, ValueError]


def test_a_schema_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="validate: expected a Schema, got int"):
        validate(tmp_path, 5)  # type: ignore[arg-type]


def test_checks_that_differ_beyond_their_names_are_told() -> None:
    def finished(check: Callable[[int], Check]) -> list[Any]:
        return on_two_ranks(
            lambda comm: Schema({"x": Column("int64", check(comm.rank))}).validator().finish(comm)
        )

    def profile(numbers: Any) -> Any:
        return Profile.of({"x": numbers})["x"]

    differing: list[Callable[[int], Check]] = [
        lambda rank: Check.isin([*range(8), 100 + rank]),
        lambda rank: Check.notin([*range(8), 100 + rank]),
        lambda rank: Check.like(profile([1, 2])) if rank else Check.like(profile([1, 3])),
        lambda rank: Check.like(profile([1, 2]), psi=0.25 + rank * 1e-9),
    ]
    for check in differing:
        raised = finished(check)
        assert [type(error) for error in raised] == [ValueError, ValueError]
        assert "the same schema on every rank" in str(raised[0])
    sets = [{"b", "a", 3}, {3, "a", "b"}]
    same = finished(lambda rank: Check.isin(list(sets[rank])[:: 1 - 2 * rank]))
    assert [report.ok for report in same] == [True, True]


def test_values_of_unlike_types_on_two_ranks_are_not_compared() -> None:
    def finish(comm: Any) -> Report:
        validator = Schema({"x": Column(unique=True)}).validator()
        validator.add({"x": np.array([1], [np.int64, np.float64][comm.rank])})
        return validator.finish(comm)

    expected = Failure("x", "unique", None, None, 0, (), "expected values of one type, got floats; integers")
    assert [report.failures for report in on_two_ranks(finish)] == [(expected,), (expected,)]


def test_work_is_spread_by_size() -> None:
    assert spread([], 2) == [[], []]
    assert spread([5, 1, 1, 1, 1, 1], 2) == [[0], [1, 2, 3, 4, 5]]
    sizes = np.random.default_rng(0).integers(1, 100, 500).tolist()
    shares = spread(sizes, 7)
    assert sorted(i for share in shares for i in share) == list(range(500))
    loads = [sum(sizes[i] for i in share) for share in shares]
    assert max(loads) < 1.01 * sum(sizes) / 7


def test_flights(tmp_path: Path) -> None:
    """Those of a real year, as they come: with NA where a flight was cancelled."""
    (tmp_path / "flights.csv").write_bytes(flights_csv())
    schema = Schema(
        {
            "month": Column("int64", Check.in_range(1, 12)),
            "day": Column("int64", Check.in_range(1, 31)),
            "sched_dep_time": Column("int64", Check.in_range(0, 2359)),
            "carrier": Column(str, Check.str_matches("[0-9A-Z]{2}$")),
            "flight": Column("int32"),
            "tailnum": Column(str, nullable=True),
            "dep_delay": Column("float64", Check.in_range(-60, 1440), nullable=True),
            "air_time": Column("float64", Check.gt(0), nullable=True),
            "time_hour": Column("timestamp[s, tz=UTC]"),
        },
        unique=("month", "day", "carrier", "flight", "sched_dep_time"),
    )
    report = validate(tmp_path / "flights.csv", schema)
    assert report.ok, str(report)
    assert report.rows == 336_776
    late = Schema({"dep_delay": Column("float64", Check.le(900))})
    found = {failure.check: failure for failure in validate(tmp_path, late).failures}
    assert found["not null"].count == 8255
    rows = enumerate(csv.DictReader(io.StringIO(flights_csv().decode())))
    too_late = [(i, row["dep_delay"]) for i, row in rows if row["dep_delay"] not in ("", "NA")]
    too_late = [(i, delay) for i, delay in too_late if int(delay) > 900]
    assert found["<= 900"].count == len(too_late) > 5
    assert [tuple(example) for example in found["<= 900"].examples] == too_late[:5]
