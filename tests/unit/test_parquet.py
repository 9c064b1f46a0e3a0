"""Parquet files that split well: all rows once, in even parts and in order; or no files at all."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flights_csv import flights_csv
from hypothesis import given
from hypothesis import strategies as st
from little_disk import little_disk

from pyscale.data import Check, Column, Permutation, Schema, SchemaError, to_parquet

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def groups(path: Path) -> list[int]:
    metadata = pq.read_metadata(path)
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def read(paths: list[Path]) -> Any:
    return pa.concat_tables([pq.ParquetFile(path).read() for path in paths])


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# -------------------------------------------------------------------------------------------- splitting


@given(st.integers(0, 200), st.integers(1, 7), st.integers(1, 60), st.integers(1, 50), st.booleans())
def test_files_and_row_groups_are_even(n: int, files: int, most: int, size: int, is_stream: bool) -> None:
    table = pa.table({"x": np.arange(n), "s": [str(i) for i in range(n)]})
    data = table.to_reader(max_chunksize=size) if is_stream else table
    with tempfile.TemporaryDirectory() as name:
        paths = to_parquet(data, Path(name) / "t", files=files, row_group_rows=most)
        assert [path.name for path in paths] == [f"part-{i:05}-of-{files:05}.parquet" for i in range(files)]
        assert sorted((Path(name) / "t").iterdir()) == paths
        rows = [pq.read_metadata(path).num_rows for path in paths]
        assert max(rows) - min(rows) <= 1
        for path, count in zip(paths, rows, strict=True):
            sizes = groups(path)
            assert len(sizes) == math.ceil(count / most)
            assert max(sizes, default=0) - min(sizes, default=0) <= 1
        assert read(paths).equals(table)


def test_one_file(tmp_path: Path) -> None:
    target = tmp_path / "new" / "t.parquet"
    for n in (5, 7):  # which replaces
        assert to_parquet({"x": np.arange(n)}, target) == [target]
        assert read([target])["x"].to_pylist() == list(range(n))
    assert left(tmp_path) == ["new", "new/t.parquet"]
    assert to_parquet({"x": np.arange(3)}, tmp_path / "folder") == [
        tmp_path / "folder" / "part-00000-of-00001.parquet"
    ]


class Frame:
    """What pandas and Polars have."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


TABLE = pa.table({"x": [1, 2, None], "s": ["a", None, "c"]})
KINDS: list[Callable[[], Any]] = [
    lambda: TABLE,
    lambda: TABLE.to_batches()[0],
    lambda: TABLE.to_reader(),
    lambda: iter(TABLE.to_batches(max_chunksize=1)),
    lambda: (Frame(TABLE.slice(i, 1)) for i in range(3)),
    lambda: Frame(TABLE),
    lambda: {"x": TABLE["x"], "s": ["a", None, "c"]},
    lambda: {"x": np.ma.array([1, 2, 3], mask=[False, False, True]), "s": TABLE["s"].chunk(0)},
]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("order", [{}, {"shuffle": 1}, {"sort_by": "x"}])
def test_data_of_any_kind(make: Callable[[], Any], order: dict[str, Any], tmp_path: Path) -> None:
    expected = TABLE.take(Permutation(3, seed=1)[:]) if "shuffle" in order else TABLE
    assert read(to_parquet(make(), tmp_path / "t.parquet", **order)).equals(expected)
    assert left(tmp_path) == ["t.parquet"]


def test_arrays_of_two_dimensions_and_of_other_machines(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    arrays = {
        "v": rows.T.copy().T,
        "b": np.arange(4, dtype=">i4"),
        "h": np.zeros(4, np.float16),
    }
    found = read(to_parquet(arrays, tmp_path / "t.parquet", shuffle=3))
    order = Permutation(4, seed=3)[:]
    assert str(found.schema.field("v").type).startswith("fixed_size_list<")
    assert found["v"].to_pylist() == rows[order].tolist()
    assert found["b"].to_pylist() == order.tolist()


@pytest.mark.parametrize("values", [["a\0b", "\0", "", "é\0\0x"], [b"a\0b", b"\0c", b"", b"\0\0d"], ["", ""]])
def test_arrays_of_text_with_zeros_in_it(values: list[Any], tmp_path: Path) -> None:
    """Of which NumPy itself has no zeros at the end."""
    array = np.array(values)
    assert read(to_parquet({"x": array}, tmp_path / "t.parquet"))["x"].to_pylist() == array.tolist()
    assert read(to_parquet({"x": array[:0]}, tmp_path / "t.parquet"))["x"].to_pylist() == []


def test_dictionaries_that_differ_from_batch_to_batch(tmp_path: Path) -> None:
    words = [["b", "a"], ["c", "b"], ["d", "a"]]
    kind = pa.dictionary(pa.int32(), pa.string())
    batches = [pa.record_batch({"s": pa.array(some).dictionary_encode()}) for some in words]
    assert batches[0].schema.field("s").type == kind
    orders: list[dict[str, Any]] = [{}, {"shuffle": 5}]
    for order in orders:
        for data in (pa.Table.from_batches(batches), iter(batches)):
            found = read(to_parquet(data, tmp_path / "t.parquet", **order))
            rows = range(6) if not order else Permutation(6, seed=5)[:].tolist()
            assert found["s"].to_pylist() == [words[row // 2][row % 2] for row in rows]
            assert found.schema.field("s").type == kind


# ----------------------------------------------------------------------------------------------- order


def test_shuffled_as_a_permutation(tmp_path: Path) -> None:
    n = 100_000
    table = pa.Table.from_batches(
        [pa.record_batch({"x": np.arange(start, start + n // 8)}) for start in range(0, n, n // 8)]
    )
    paths = to_parquet(table, tmp_path / "t", shuffle=11, files=3, row_group_rows=7000)
    assert (read(paths)["x"].to_numpy() == Permutation(n, seed=11).indices(0, n)).all()


CELLS = st.none() | st.just(math.nan) | st.integers(-3, 3).map(float)


def sort_key(value: float | None) -> tuple[int, float]:
    return (2, 0) if value is None else (1, 0) if math.isnan(value) else (0, value)


@given(st.lists(st.tuples(CELLS, st.sampled_from(["a", "b"])), max_size=30), st.integers(1, 9))
def test_sorted_stably_with_nan_and_null_last(cells: list[tuple[float | None, str]], size: int) -> None:
    table = pa.table(
        {
            "x": pa.array([x for x, _ in cells], pa.float64()),
            "s": pa.array([s for _, s in cells], pa.string()),
            "row": pa.array(range(len(cells)), pa.int64()),
        }
    )
    with tempfile.TemporaryDirectory() as name:
        data = table.to_reader(max_chunksize=size)
        [path] = to_parquet(data, Path(name) / "t.parquet", sort_by="x", row_group_rows=4)
        by_x = sorted(range(len(cells)), key=lambda i: sort_key(cells[i][0]))
        assert read([path])["row"].to_pylist() == by_x
        [path] = to_parquet(table, path, sort_by=[("s", "descending"), "x"])
        by_s = sorted(range(len(cells)), key=lambda i: (-ord(cells[i][1]), sort_key(cells[i][0])))
        assert read([path])["row"].to_pylist() == by_s


def test_sorted_by_a_dictionary_is_sorted_by_its_values(tmp_path: Path) -> None:
    pieces = [pa.array(values).dictionary_encode() for values in (["b", "c", None], ["c", "a"])]
    [path] = to_parquet(pa.table({"x": pa.chunked_array(pieces)}), tmp_path / "t.parquet", sort_by="x")
    assert read([path])["x"].to_pylist() == ["a", "b", "c", "c", None]


@pytest.mark.parametrize("kind", [pa.decimal32(7, 1), pa.decimal64(7, 1), pa.decimal128(7, 1)])
def test_sorted_by_decimals_of_either_sign(kind: Any, tmp_path: Path) -> None:
    values = [Decimal(text) for text in ("2.5", "-1", "-99.9", "0", "1")]
    table = pa.table(
        {"x": pa.chunked_array([pa.array([None, *values[:2]], kind), pa.array(values[2:], kind)])}
    )
    table = table.append_column("y", pa.array(range(6)))
    for sort_by in ("x", ["x", "y"]):
        [path] = to_parquet(table, tmp_path / "t.parquet", sort_by=sort_by)
        assert read([path])["x"].to_pylist() == [*sorted(values), None]
    [path] = to_parquet(table, path, sort_by=[("x", "descending"), "y"])
    assert read([path])["x"].to_pylist() == [*sorted(values, reverse=True), None]


def test_a_filter_skips_what_is_sorted(tmp_path: Path) -> None:
    """The files say how they are sorted, and a reader finds from their statistics what it needs."""
    csv = pytest.importorskip("pyarrow.csv")
    (tmp_path / "flights.csv").write_bytes(flights_csv())
    flights = csv.read_csv(tmp_path / "flights.csv")

    def needed(paths: list[Path]) -> int:
        statistics = [
            pq.read_metadata(path).row_group(i).column(15).statistics
            for path in paths
            for i in range(len(groups(path)))
        ]
        return sum(found.min <= 2475 <= found.max for found in statistics)

    options: dict[str, Any] = {"files": 4, "row_group_rows": 10_000}
    in_order = to_parquet(flights, tmp_path / "sorted", sort_by=("distance", "descending"), **options)
    anyhow = to_parquet(flights, tmp_path / "shuffled", shuffle=0, **options)
    assert sum(map(len, map(groups, in_order))) == 36
    assert needed(anyhow) == 36
    assert needed(in_order) <= 3
    [sorting] = pq.read_metadata(in_order[0]).row_group(0).sorting_columns
    assert (sorting.column_index, sorting.descending, sorting.nulls_first) == (15, True, False)
    found = pq.read_table(tmp_path / "sorted", filters=[("distance", "=", 2475)])
    assert found.num_rows == 11_262


# ------------------------------------------------------------------------------------ what goes wrong


def failing() -> Iterator[Any]:
    yield pa.record_batch({"x": np.arange(1000)})
    raise RuntimeError("no more")


def other() -> Iterator[Any]:
    yield pa.record_batch({"x": np.arange(1000)})
    yield pa.record_batch({"y": np.arange(1000)})


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        (failing, RuntimeError, "no more"),
        (other, ValueError, "expected record batches of one schema, got .x: int64. and then .y: int64."),
        (lambda: iter([]), ValueError, "expected at least one record batch"),
        (lambda: [1, 2], TypeError, "expected a pyarrow Table"),
        (lambda: {"x": np.arange(3), "y": np.arange(2)}, ValueError, "of equal length"),
        (lambda: {"x": np.ones(3, complex)}, TypeError, "complex128"),
        (lambda: {"x": np.ones((2, 2, 2))}, ValueError, "expected one dimension"),
        (lambda: {"x": np.ones((2, 0))}, ValueError, "some elements"),
        (lambda: {"x": 3}, TypeError, "expected an array, got int"),
    ],
)
@pytest.mark.parametrize("name", ["t.parquet", "folder", "new/folder/t.parquet"])
def test_a_failure_leaves_nothing(
    data: Callable[[], Any], kind: type[Exception], said: str, name: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=said):
        to_parquet(data(), tmp_path / name)
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", ["t.parquet", "folder"])
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_full_disk_leaves_what_was_there(name: str, is_stream: bool, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 1 << 62, 100_000)
    table = pa.table({"x": noise})
    (tmp_path / "t.parquet").write_text("what was there")
    with little_disk(), pytest.raises(OSError, match="File too large"):
        to_parquet(table.to_reader() if is_stream else table, tmp_path / name)
    assert left(tmp_path) == ["t.parquet"]
    assert (tmp_path / "t.parquet").read_text() == "what was there"


def test_a_folder_with_files_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    to_parquet({"x": np.arange(3)}, tmp_path / "t")
    before = left(tmp_path)
    with pytest.raises(FileExistsError, match="new or empty folder"):
        to_parquet({"x": np.arange(3)}, tmp_path / "t")
    assert left(tmp_path) == before


KILLED = """
import os, signal, sys
import numpy as np, pyarrow as pa
from pyscale.data import to_parquet

def batches():
    for i in range(5):
        if i == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        yield pa.record_batch({"x": np.arange(1000)})

to_parquet(batches(), sys.argv[1])
"""


def test_what_the_dead_have_left_goes_away_with_the_next(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "t.parquet")], check=False)
    assert run.returncode == -signal.SIGKILL
    assert len([name for name in left(tmp_path) if name.endswith(".draft")]) == 1
    to_parquet({"x": np.arange(3)}, tmp_path / "u.parquet")
    assert left(tmp_path) == ["u.parquet"]


def test_what_the_living_are_writing_stays(tmp_path: Path) -> None:
    def batches() -> Iterator[Any]:
        for i in range(3):
            to_parquet({"x": np.arange(3)}, tmp_path / f"{i}.parquet")
            yield pa.record_batch({"x": np.arange(10)})

    [path] = to_parquet(batches(), tmp_path / "t.parquet")
    assert len(read([path])) == 30
    assert left(tmp_path) == ["0.parquet", "1.parquet", "2.parquet", "t.parquet"]


def test_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    def refuse(*arguments: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    (tmp_path / ".pyscale-0123.draft").mkdir()
    monkeypatch.setattr(fcntl, "flock", refuse)
    to_parquet({"x": np.arange(3)}, tmp_path / "t.parquet")
    assert left(tmp_path) == [".pyscale-0123.draft", "t.parquet"]


def test_streams_are_not_held_in_memory(tmp_path: Path) -> None:
    def batches() -> Iterator[Any]:
        for i in range(40):
            assert pa.total_allocated_bytes() - before < 20 << 20
            yield pa.record_batch({"x": np.full(1 << 17, i)})

    before = pa.total_allocated_bytes()
    paths = to_parquet(batches(), tmp_path / "t", files=2, row_group_rows=100_000)
    assert pa.total_allocated_bytes() - before < 1 << 20
    assert sum(pq.read_metadata(path).num_rows for path in paths) == 40 << 17


@pytest.mark.parametrize("is_stream", [False, True])
def test_data_that_does_not_satisfy_a_schema_is_not_written(is_stream: bool, tmp_path: Path) -> None:
    table = pa.table({"x": [1, 2, -3, None]})
    schema = Schema({"x": Column("int64", Check.ge(0))})
    with pytest.raises(SchemaError, match=r">= 0 +1 +row 2: -3"):
        to_parquet(table.to_reader() if is_stream else table, tmp_path / "t.parquet", schema=schema)
    assert left(tmp_path) == []
    to_parquet(table.slice(0, 2), tmp_path / "t.parquet", schema=schema)


def test_data_is_cast_to_a_schema_of_pyarrow(tmp_path: Path) -> None:
    schema = pa.schema({"b": pa.float32(), "a": pa.int8()})
    table = pa.table({"a": [1, 2], "b": [0.5, 1.0], "c": [1, 2]})
    assert read(to_parquet(table, tmp_path / "t.parquet", schema=schema)).schema.equals(schema)
    with pytest.raises(
        ValueError, match="column 'a': expected values that can be cast to int8 without loss, got 300"
    ):
        to_parquet({"a": [1, 300, -200], "b": [1.0] * 3}, tmp_path / "u.parquet", schema=schema)
    with pytest.raises(ValueError, match="column 'b': expected values that can be cast to float"):
        to_parquet({"a": [1], "b": [0.1]}, tmp_path / "u.parquet", schema=schema)
    with pytest.raises(ValueError, match="expected a column 'a'"):
        to_parquet({"b": [1.0]}, tmp_path / "u.parquet", schema=schema)
    with pytest.raises(TypeError, match="column 'a': expected a type that can be cast to int8"):
        to_parquet({"a": [[1]], "b": pa.array([1.0])}, tmp_path / "u.parquet", schema=schema)
    assert left(tmp_path) == ["t.parquet"]


def test_decimals_are_cast_to_the_nearest_floats(tmp_path: Path) -> None:
    exact = pa.array([Decimal("1.50000"), Decimal("0.25000")], pa.decimal128(38, 5))
    schema = pa.schema({"x": pa.float64()})
    paths = to_parquet(pa.table({"x": exact}), tmp_path / "t.parquet", schema=schema)
    assert read(paths)["x"].to_pylist() == [1.5, 0.25]


def test_targets_of_any_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"x": [1]}
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ValueError, match="other than the working directory"):
        to_parquet(table, ".")
    name = "part-00000-of-00001.parquet"
    assert to_parquet(table, "new/parent/x/../y/") == [tmp_path / "here/new/parent/y" / name]
    assert to_parquet(table, "../there") == [tmp_path / "there" / name]
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    assert to_parquet(table, tmp_path / "link") == [tmp_path / "folder" / name]
    (tmp_path / "d.parquet").mkdir()
    with pytest.raises(IsADirectoryError, match="expected a file"):
        to_parquet(table, tmp_path / "d.parquet")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="expected a folder"):
        to_parquet(table, tmp_path / "file")
    assert not Path("/" + name).exists()
    assert not [path for path in left(tmp_path) if "draft" in path or path.endswith("/x")]


def test_rows_without_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected columns, got none in 3 rows"):
        to_parquet(pa.table({"x": [1, 2, 3]}).select([]), tmp_path / "t")
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"row_group_rows": 0}, ValueError),
        ({"files": 0}, ValueError),
        ({"files": 2, "path": "t.parquet"}, ValueError),
        ({"sort_by": "x", "shuffle": 1}, ValueError),
        ({"sort_by": [("x", "up")]}, ValueError),
        ({"sort_by": ["y"]}, ValueError),
        ({"shuffle": -1}, ValueError),
        ({"shuffle": False}, TypeError),
        ({"shuffle": np.True_}, TypeError),
        ({"compression": "zip"}, ValueError),
        ({"compression": 3}, ValueError),
        ({"schema": {"x": "int64"}}, TypeError),
    ],
)
def test_bad_arguments(options: dict[str, Any], kind: type[Exception], tmp_path: Path) -> None:
    path = tmp_path / options.pop("path", "t")
    with pytest.raises(kind):
        to_parquet({"x": np.arange(3)}, path, **options)
    assert left(tmp_path) == []


def test_what_is_wrong_is_said_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="shuffle: expected a seed or None, got False"):
        to_parquet({"x": [3, 1, 2]}, tmp_path / "t", shuffle=False)
    with pytest.raises(ValueError, match=r"expected sort_by of columns \['x'\], got 'nope'"):
        to_parquet({"x": [3, 1, 2]}, tmp_path / "t", sort_by="nope")
    for values in (np.array([1, "a", None], object), np.array([1], "M8[h]"), np.array([[1]], np.longdouble)):
        with pytest.raises(TypeError, match=r"to_parquet\['x'\]: expected values of one type"):
            to_parquet({"x": values}, tmp_path / "t")
    with pytest.raises(ValueError, match=r"expected columns of different names, got \[1, '1'\]"):
        to_parquet({1: [1], "1": [2]}, tmp_path / "t")
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "value"), [("files", 2.0), ("row_group_rows", 1.5), ("row_group_rows", "x"), ("sort_by", 3)]
)
def test_arguments_of_another_type_are_said_by_their_names(name: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=f"to_parquet: expected {name} .*, got {value!r}"):
        to_parquet({"x": [3, 1, 2]}, tmp_path / "t", **{name: value})


def test_where_nothing_can_be_made() -> None:
    with pytest.raises(OSError, match=r"/proc"):
        to_parquet({"x": [1]}, "/proc/x.parquet")
