"""Which files are read as one table: each once, of any format, and none with less than it seems to have."""

from __future__ import annotations

import os
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyscale.data import Column, Loader, ParquetShards, Schema, to_parquet, validate
from pyscale.data.tables import block_files
from pyscale.errors import DataError

pa = pytest.importorskip("pyarrow")
import pyarrow.compute as pc  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402


def rows(shards: ParquetShards, *names: str) -> Any:
    batches = list(Loader(shards, batch_size=1000))
    columns = ([value for batch in batches for value in batch[name].tolist()] for name in names)
    return sorted(zip(*columns, strict=True))


def in_files_order(*arguments: Any, **options: Any) -> ParquetShards:
    return ParquetShards(*arguments, shuffle=False, streams=1, **options)


def write(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def test_filters_that_differ_in_the_middle_of_long_lists(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", x=np.arange(100))
    one, other = list(range(30)), [*range(14), 99, *range(15, 30)]
    for make in (lambda values: [("x", "in", values)], lambda values: pc.field("x").isin(values)):
        state = Loader(ParquetShards(path, filters=make(one)), batch_size=5).state_dict()
        Loader(ParquetShards(path, filters=make(one)), batch_size=5).load_state_dict(state)
        with pytest.raises(ValueError, match="expected a state of identity"):
            Loader(ParquetShards(path, filters=make(other)), batch_size=5).load_state_dict(state)


def test_filters_of_sets_do_not_depend_on_their_order(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", x=[str(i) for i in range(100)])
    names = {str(i) for i in range(40)}
    state = Loader(ParquetShards(path, filters=[("x", "in", names)]), batch_size=5).state_dict()
    in_order = ParquetShards(path, filters=[("x", "in", sorted(names))])
    Loader(in_order, batch_size=5).load_state_dict(state)


def test_filters_that_are_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", x=[1])
    with pytest.raises(TypeError, match=r"filters: expected an Expression, or a list of .*, got 'abc'"):
        ParquetShards(path, filters="abc")
    with pytest.raises(TypeError, match=r"filters: expected an Expression, or a list of"):
        ParquetShards(path, filters={"x": 1})
    with pytest.raises(TypeError, match=r"column 'x': expected a dtype, got 'nonsense'"):
        ParquetShards(path, {"x": "nonsense"})
    with pytest.raises(ValueError, match="filters: expected an Expression, or a list of"):
        ParquetShards(path, filters=[("x", "~", 3)])
    with pytest.raises(ValueError, match=r"filters: expected columns by their names, got \(FieldPath\(0\)"):
        ParquetShards(path, filters=pc.field(0) > 3)


def test_a_file_by_two_spellings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "f.parquet", x=[1])
    (tmp_path / "link.parquet").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    spellings: list[Any] = [
        ["f.parquet", "./f.parquet"],
        ["f.parquet", "link.parquet"],
        [path, "f.parquet"],
        ".",
    ]
    for paths in spellings:
        with pytest.raises(ValueError, match="expected each file once"):
            ParquetShards(paths)


def test_relative_paths_are_those_of_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "f.parquet", x=[1, 2])
    monkeypatch.chdir(tmp_path)
    shards = ParquetShards("f.parquet")
    monkeypatch.chdir("/")
    assert rows(shards, "x") == [(1,), (2,)]


def test_what_is_missing_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: expected a file or folder, got none: it is missing"):
        ParquetShards(tmp_path / "nowhere")


def test_columns_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "twice.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], ["a", "a", "b"]), path)
    for columns in (None, ["a"]):
        with pytest.raises(DataError, match=r"twice\.parquet: expected one column 'a', got 2"):
            ParquetShards(path, columns)
    assert rows(ParquetShards(path, ["b"]), "b") == [(3,)]


def test_filters_beside_columns_of_one_name(tmp_path: Path) -> None:
    data = pa.Table.from_arrays([pa.array([1, 2]), pa.array([3, 4]), pa.array([5, 6])], ["a", "a", "b"])
    with pa.ipc.new_file(tmp_path / "twice.arrow", data.schema) as writer:
        writer.write_table(data)
    assert rows(ParquetShards(tmp_path, ["b"], filters=[("b", "==", 5)]), "b") == [(5,)]


def test_columns_and_paths_that_are_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", a=[1])
    with pytest.raises(ValueError, match="expected each column once, got 'a' again"):
        ParquetShards(path, ["a", "a"])
    for paths in (os.fsencode(path), [path, os.fsencode(path)], 3):
        with pytest.raises(TypeError, match=r"paths: expected .*, got (bytes|b'|int)"):
            ParquetShards(paths)  # type: ignore[arg-type]


def test_columns_in_names_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_to_dataset(
        pa.table({"k": ["a", "a", "b"], "x": [1, 2, 3]}), tmp_path / "d", partition_cols=["k"]
    )
    for paths in (tmp_path / "d", str(tmp_path / "d" / "k=*"), str(tmp_path / "d" / "**" / "*.parquet")):
        with pytest.raises(DataError, match=r"got 'k=.' in a folder's name"):
            ParquetShards(paths)
    with pytest.raises(DataError, match=r"expected a column 'k', .* in a folder's name"):
        ParquetShards(tmp_path / "d", ["k", "x"])
    assert rows(ParquetShards(tmp_path / "d", ["x"]), "x") == [(1,), (2,), (3,)]
    assert rows(ParquetShards(tmp_path / "d" / "k=a"), "x") == [(1,), (2,)]
    write(tmp_path / "whole" / "k=1" / "x.parquet", k=[1], x=[2])
    assert rows(ParquetShards(tmp_path / "whole"), "k", "x") == [(1, 2)]


def test_streams_of_arrow(tmp_path: Path) -> None:
    data = pa.table({"x": np.arange(1000)})
    for name in ("a.arrows", "b.arrow"):  # whatever it is called
        with pa.OSFile(str(tmp_path / name), "wb") as sink, pa.ipc.new_stream(sink, data.schema) as writer:
            writer.write_table(data, max_chunksize=100)
    assert rows(ParquetShards(tmp_path), "x") == [(i,) for i in range(1000) for _ in range(2)]
    assert validate(tmp_path, Schema({"x": Column("int64")})).rows == 2000
    whole = (tmp_path / "a.arrows").read_bytes()
    (tmp_path / "a.arrows").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.arrows: expected a file of \.arrows"):
        ParquetShards(tmp_path)


@pytest.mark.parametrize("ending", ["arrow", "arrows"])
@pytest.mark.parametrize("filters", [None, [("x", "!=", "none")]])
def test_offsets_of_arrow_that_lead_out_of_their_buffer(ending: str, filters: Any, tmp_path: Path) -> None:
    data = pa.table({"x": pa.array(["a", "bb", "ccc"])})
    path = tmp_path / f"a.{ending}"
    with {"arrow": pa.ipc.new_file, "arrows": pa.ipc.new_stream}[ending](path, data.schema) as writer:
        writer.write_table(data)
    good, bad = (np.array(offsets, "<i4").tobytes() for offsets in ([0, 1, 3, 6], [0, 1, 3, 60]))
    assert path.read_bytes().count(good) == 1
    path.write_bytes(path.read_bytes().replace(good, bad))
    with pytest.raises(DataError, match=f"a.{ending}: expected .* Length spanned by binary offsets"):
        rows(ParquetShards(path, filters=filters), "x")
    (failure,) = validate(path, Schema({"x": Column(str)})).failures
    assert (failure.check, failure.file) == ("readable", str(path))


def test_a_state_of_files_of_other_contents(tmp_path: Path) -> None:
    def shards(values: Any) -> ParquetShards:
        return ParquetShards(
            to_parquet({"x": values}, tmp_path / "a.parquet", compression=None)[0], window=100, streams=1
        )

    values = np.random.default_rng(0).permutation(1000)
    loader = Loader(shards(values), batch_size=10)
    size = (tmp_path / "a.parquet").stat().st_size
    list(islice(loader, 3))
    state = loader.state_dict()
    loader.close()
    Loader(shards(values), batch_size=10).load_state_dict(state)
    others = shards(values + 5000)
    assert (tmp_path / "a.parquet").stat().st_size == size
    with pytest.raises(ValueError, match="expected a state of identity"):
        Loader(others, batch_size=10).load_state_dict(state)


def test_a_state_of_another_fill(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", x=pa.array([1, None]))
    state = Loader(ParquetShards(path, fill={"x": 0}), batch_size=1).state_dict()
    with pytest.raises(ValueError, match="expected a state of identity"):
        Loader(ParquetShards(path, fill={"x": 1}), batch_size=1).load_state_dict(state)


def test_a_file_without_rows_has_no_types(tmp_path: Path) -> None:
    write(tmp_path / "0.parquet", x=pa.array([], pa.string()))
    with pq.ParquetWriter(tmp_path / "1.parquet", pa.schema([("x", pa.string())])) as writer:
        writer.write_table(pa.table({"x": pa.array([], pa.string())}))  # a row group of no rows
    write(tmp_path / "2.parquet", x=pa.array([1, 2, 3]))
    assert rows(ParquetShards(tmp_path), "x") == [(1,), (2,), (3,)]
    assert rows(ParquetShards(tmp_path, filters=[("x", ">", 1)]), "x") == [(2,), (3,)]


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", x=np.arange(10))
    shards = ParquetShards(path)
    read = block_files.ParquetFile.read

    def read_and_touched(self: Any, *arguments: Any) -> Any:
        table = read(self, *arguments)
        os.utime(path, ns=(0, 0))
        return table

    monkeypatch.setattr(block_files.ParquetFile, "read", read_and_touched)
    with pytest.raises(DataError, match="got one that was changed"):
        list(Loader(shards, batch_size=3))


def test_csv_files_without_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n")
    with pytest.raises(DataError, match=r"a\.csv: expected values in column 'x', which say its type"):
        ParquetShards(tmp_path)
    assert len(ParquetShards(tmp_path, {"x": "i8", "y": "f8"})) == 0
    (tmp_path / "b.csv").write_text("x,y\n1,a\n")
    (tmp_path / "c.csv").write_text("y,x\n,2\n")
    shards = in_files_order(tmp_path)
    assert shards.dtypes == {"x": (np.dtype(np.int64), ()), "y": (np.dtype(object), ())}
    [batch] = Loader(shards, batch_size=2)
    assert (batch["x"].tolist(), batch["y"].tolist()) == ([1, 2], ["a", None])
    assert len(ParquetShards(tmp_path, filters=[("x", ">", 1)])) == 1
    (tmp_path / "d.csv").write_text("x,z\n1,a\n")
    with pytest.raises(DataError, match=r"d\.csv: expected a column 'y'|d\.csv: expected the columns of"):
        ParquetShards(tmp_path)


def test_csv_cells_of_many_lines_beyond_a_block(tmp_path: Path) -> None:
    count = 30_000  # some megabytes
    lines = (f'{i},"line one of {i}\nline two {"x" * 60}"\n' for i in range(count))
    (tmp_path / "a.csv").write_text("i,text\n" + "".join(lines))
    [batch] = Loader(in_files_order(tmp_path), batch_size=count)
    assert batch["i"].tolist() == list(range(count))
    assert batch["text"][-1].startswith(f"line one of {count - 1}\nline two")
    assert validate(tmp_path, Schema({"i": Column("int64"), "text": Column(str)})).rows == count


def test_csv_columns_as_what_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("zip,a,big\n01234,1,9223372036854775813\n")
    (tmp_path / "b.csv").write_text("zip,a,big\n98765,2.5,7\n")
    with pytest.raises(DataError, match=r"b\.csv: expected the columns of .*a\.csv, a: int64, got a: double"):
        ParquetShards(tmp_path, ["a"])
    shards = ParquetShards(tmp_path, {"zip": str, "a": "f8", "big": "u8"})
    assert rows(shards, "zip", "a", "big") == [("01234", 1.0, (1 << 63) + 5), ("98765", 2.5, 7)]
    assert rows(ParquetShards(tmp_path, {"a": "f4"}), "a") == [(1.0,), (2.5,)]
    assert rows(ParquetShards(tmp_path, {"a": "f2"}), "a") == [(1.0,), (2.5,)]
    with pytest.raises(DataError, match=r"b\.csv: .*int8"):
        ParquetShards(tmp_path, {"a": "i1"})


def test_files_of_types_that_differ_as_what_is_wanted(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", x=[1, 2], name=["a", "b"])
    write(tmp_path / "b.parquet", x=[0.5], name=pa.array(["c"]).dictionary_encode())
    shards = ParquetShards(tmp_path, {"x": "f8", "name": str})
    assert rows(shards, "x", "name") == [(0.5, "c"), (1.0, "a"), (2.0, "b")]
    with pytest.raises(TypeError, match=r"column 'x': expected text for str, got int64 in .*a\.parquet"):
        ParquetShards(tmp_path, {"x": str})


def test_many_files_are_told_apart_quickly(tmp_path: Path) -> None:
    paths = [write(tmp_path / "k=1" / f"{i}.parquet", x=[i]) for i in range(300)]
    began = time.monotonic()
    assert len(ParquetShards(paths)) == 300  # files that are named have no folders that say more
    assert time.monotonic() - began < 10
    assert os.path.isabs(ParquetShards(paths[:1]).files[0])
