"""Tables in files: every row once, in the order of the plan, whatever the files, ranks and restarts."""

from __future__ import annotations

import datetime
import os
import threading
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyscale.data import Loader, ParquetShards, ShardedBatchSampler, ShardedSampler, to_parquet
from pyscale.data.loading.buffers import Columns
from pyscale.errors import DataError

pa = pytest.importorskip("pyarrow")
import pyarrow.compute as pc  # noqa: E402
import pyarrow.csv as csv  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

ROWS = 5000


def table(start: int, stop: int) -> Any:
    ids = np.arange(start, stop)
    return pa.table(
        {"id": ids, "half": ids / 2, "small": (ids % 100).astype(np.int16), "name": [f"row {i}" for i in ids]}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shards")
    for number, (start, stop, group) in enumerate(
        [(0, 1300, 200), (1300, 1301, 9), (1301, 4000, 777), (4000, ROWS, 90)]
    ):
        pq.write_table(table(start, stop), path / f"part-{number}.parquet", row_group_size=group)
    return path


def ids(batches: Any) -> list[int]:
    return [int(i) for batch in batches for i in batch["id"]]


def sampler(
    shards: ParquetShards, size: int, ranks: int = 1, rank: int = 0, **options: Any
) -> ShardedBatchSampler:
    return ShardedBatchSampler(shards, size, num_replicas=ranks, rank=rank, **options)


@given(
    window=st.integers(1, 6000),
    streams=st.integers(1, 9),
    size=st.integers(1, 900),
    ranks=st.integers(1, 5),
    threads=st.integers(1, 3),
    shuffle=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_rows_are_those_of_the_plan(
    folder: Path, window: int, streams: int, size: int, ranks: int, threads: int, shuffle: bool
) -> None:
    window = max(window, 20 * streams)
    shards = ParquetShards(folder, ["id"], window=window, streams=streams, shuffle=shuffle)
    assert len(shards) == ROWS
    seen = []
    for rank in range(ranks):
        own = list(sampler(shards, size, ranks, rank))
        loader = Loader(shards, sampler(shards, size, ranks, rank), num_threads=threads)
        delivered = [batch["id"].tolist() for batch in loader]
        assert delivered == own
        seen += ids([{"id": batch} for batch in delivered])
    assert sorted(seen) == list(range(ROWS))


def test_columns(folder: Path) -> None:
    shards = ParquetShards(folder, window=500)
    assert [(name, dtype.str) for name, (dtype, _) in shards.dtypes.items()] == [
        ("id", "<i8"),
        ("half", "<f8"),
        ("small", "<i2"),
        ("name", "|O"),
    ]
    for batch in Loader(shards, batch_size=300):
        assert (batch["half"] == batch["id"] / 2).all()
        assert (batch["small"] == batch["id"] % 100).all()
        assert batch["name"].tolist() == [f"row {i}" for i in batch["id"]]
    converted = ParquetShards(folder, {"half": "f4", "small": "i8"})
    for batch in Loader(converted, batch_size=300):
        assert (batch["half"].dtype, batch["small"].dtype) == (np.float32, np.int64)


def test_restarts_within_files_at_other_world_sizes(folder: Path) -> None:
    def make() -> ParquetShards:
        return ParquetShards(folder, ["id"], window=700, streams=3, seed=5)

    whole = ids(Loader(make(), batch_size=60))
    undisturbed = Loader(make(), batch_size=60)
    first_epoch, second_epoch = ids(undisturbed), ids(undisturbed)
    assert whole == first_epoch != second_epoch
    seen: list[int] = []
    state: dict[str, Any] | None = None
    for ranks, size, steps in ((4, 15, 20), (3, 20, 13), (1, 60, 1), (2, 30, 10**6)):
        loaders = [
            Loader(shards, sampler(shards, size, ranks, rank, seed=5))
            for rank in range(ranks)
            for shards in [make()]
        ]
        iterators = []
        for loader in loaders:
            if state is not None:
                loader.load_state_dict(state)
            iterators.append(islice(iter(loader), steps))
        for together in zip(*iterators, strict=True):
            seen += ids(together)
        states = [loader.state_dict() for loader in loaders]
        assert all(one == states[0] for one in states)
        state = states[0]
        for loader in loaders:
            loader.close()
    assert seen == first_epoch


@given(
    legs=st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 300), st.integers(0, 15)), min_size=1, max_size=3
    ),
    window=st.integers(100, 2000),
    streams=st.integers(1, 5),
    prefetch=st.integers(0, 3),
)
@settings(max_examples=20, deadline=None)
def test_restarts_anywhere_at_any_world_size(
    folder: Path, legs: list[tuple[int, int, int]], window: int, streams: int, prefetch: int
) -> None:
    shards = ParquetShards(folder, ["id"], window=window, streams=streams, seed=7)
    order = shards.plan.order(seed=7, epoch=0)
    state: dict[str, Any] | None = None
    position = 0
    for ranks, size, steps in [*legs, (3, 400, 10**6)]:
        loaders = [
            Loader(shards, sampler(shards, size, ranks, rank), prefetch=prefetch, num_threads=1)
            for rank in range(ranks)
        ]
        shares = []
        for loader in loaders:
            if state is not None:
                loader.load_state_dict(state)
            shares.append([batch["id"].tolist() for batch in islice(iter(loader), steps)])
        states = [loader.state_dict() for loader in loaders]
        assert all(one == states[0] for one in states)
        state = states[0]
        for loader in loaders:
            loader.close()
        # A step has the next positions of the epoch, in whatever order the ranks have shared them.
        for together in zip(*shares, strict=True):
            step = [i for batch in together for i in batch]
            assert sorted(step) == sorted(order[position : position + len(step)].tolist())
            position += len(step)
        assert state["position"] == position
        if position == ROWS:
            break
    assert position == ROWS


def test_memory_is_bounded_by_the_window(folder: Path) -> None:
    shards = ParquetShards(folder, ["id"], window=400, streams=2)
    loader = Loader(shards, batch_size=10, num_threads=2)
    most_begun = most_blocks = 0
    for _ in loader:
        feed: Any = loader._iteration()._feed  # type: ignore[misc,union-attr]
        most_begun = max(most_begun, len(feed._groups))
        most_blocks = max(most_blocks, len(feed._made._held._blocks))
    assert most_begun <= 1  # beside the one that is delivered
    # A window has parts of at most 200 / 90 + 2 of the smallest row groups.
    assert most_blocks <= 2 * 2 * 4
    assert not feed._made._held._blocks
    rows = [len(array) for array in loader._buffers._kept["id"]]
    assert sum(rows) <= 3 * (400 + 10)
    loader.close()
    assert not any(loader._buffers._kept.values())


def test_blocks_are_read_once_and_files_closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = ParquetShards(folder, ["id"], window=400, streams=2)
    read = Counter[int]()
    original = shards.read

    def counted(number: int) -> Columns:
        read[number] += 1
        return original(number)

    monkeypatch.setattr(shards, "read", counted)
    before = _open_files()
    # Windows and groups of batches end at other rows than row groups do.
    for _ in Loader(shards, batch_size=37, num_threads=2):
        pass
    assert sorted(read) == list(range(len(shards.blocks)))
    # But for those that two streams share, each at another time.
    assert [number for number, times in read.items() if times > 1][1:] == []
    assert _open_files() == before


def _open_files() -> set[str]:
    return {
        target for link in Path("/proc/self/fd").iterdir() if (target := _target(link)).endswith(".parquet")
    }


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:  # of the listing itself
        return ""


@pytest.mark.parametrize("ending", ["arrow", "feather", "csv"])
def test_other_formats(tmp_path: Path, ending: str) -> None:
    for number in range(3):
        part = table(number * 500, (number + 1) * 500)
        path = str(tmp_path / f"part-{number}.{ending}")
        if ending == "csv":
            csv.write_csv(part, path)
        else:
            with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, part.schema) as writer:
                writer.write_table(part, max_chunksize=120)
    shards = ParquetShards(tmp_path, window=300, streams=2)
    assert len(shards.blocks) == (3 if ending == "csv" else 15)
    seen = []
    for batch in Loader(shards, batch_size=70):
        assert (batch["half"] == batch["id"] / 2).all()
        assert batch["name"].tolist() == [f"row {i}" for i in batch["id"]]
        seen += batch["id"].tolist()
    assert sorted(seen) == list(range(1500))
    filtered = ParquetShards(tmp_path, ["id"], filters=[("id", ">=", 700)])
    assert sorted(ids(Loader(filtered, batch_size=70))) == list(range(700, 1500))


@pytest.mark.parametrize("as_list", [True, False])
def test_filters(folder: Path, as_list: bool) -> None:
    filters: Any = (
        [("small", "<", 10), ("id", ">", 1000)]
        if as_list
        else (pc.field("small") < 10) & (pc.field("id") > 1000)
    )
    shards = ParquetShards(folder, ["id"], filters=filters, window=100)
    expected = [i for i in range(1001, ROWS) if i % 100 < 10]
    assert len(shards) == len(expected)
    assert sorted(ids(Loader(shards, batch_size=33))) == expected
    nothing = ParquetShards(folder, ["id"], filters=[("id", "<", 0)])
    assert list(Loader(nothing, batch_size=3)) == []


def test_row_groups_that_filters_exclude_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = ParquetShards(folder, ["id"], filters=[("id", ">=", 4500)])
    assert {Path(block.file).name for block in shards.blocks} == {"part-3.parquet"}
    assert len(shards.blocks) < 12


@pytest.mark.parametrize(
    "where",
    [
        ~(pc.field("x") <= 3),
        pc.field("x") != 5,
        pc.field("x") == 5,
        pc.is_nan(pc.field("x")),
        (pc.field("id") >= 0) & ~(pc.field(("s", "y")) < 9),
    ],
    ids=str,
)
@pytest.mark.parametrize("rows", [1, 3, 8])
def test_filters_of_floats_are_not_decided_by_statistics(where: Any, rows: int, tmp_path: Path) -> None:
    """These leave NaN out, of which a comparison is false, and so is its opposite."""
    x = pa.array([5, 5, np.nan, 1, 2, 3, np.nan, np.nan], pa.float32())
    table = pa.table({"id": np.arange(8), "x": x, "s": pa.StructArray.from_arrays([x], ["y"])})
    pq.write_table(table, tmp_path / "nan.parquet", row_group_size=rows)
    shards = ParquetShards(tmp_path, ["id"], shuffle=False, filters=where)
    assert sorted(ids(Loader(shards, batch_size=3))) == table.filter(where)["id"].to_pylist()


def test_nulls(tmp_path: Path) -> None:
    path = tmp_path / "nulls.parquet"
    date = datetime.date(2013, 1, 1)
    pq.write_table(
        pa.table(
            {
                "integer": pa.array([1, None, 3]),
                "real": pa.array([1.5, None, 3.5]),
                "date": pa.array([date, None, date]),
                "text": pa.array(["a", None, "c"]),
                "category": pa.array(["x", "y", "x"]).dictionary_encode(),
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6.0)), 2),
            }
        ),
        path,
    )
    with pytest.raises(
        DataError, match=r"nulls.parquet, block 0: column 'integer': expected no nulls .* got 1"
    ):
        list(Loader(ParquetShards(path, ["integer"]), batch_size=3))
    (batch,) = Loader(ParquetShards(path, fill={"integer": -1}, shuffle=False, streams=1), batch_size=3)
    assert batch["integer"].tolist() == [1, -1, 3]
    assert batch["integer"].dtype == np.int64
    assert np.isnan(batch["real"]).tolist() == [False, True, False]
    assert np.isnat(batch["date"]).tolist() == [False, True, False]
    assert batch["text"].tolist() == ["a", None, "c"]
    assert batch["category"].tolist() == ["x", "y", "x"]
    assert batch["vector"].tolist() == [[0, 1], [2, 3], [4, 5]]


def test_files_that_are_not_what_they_should_be(folder: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.parquet"
    cut.write_bytes((folder / "part-2.parquet").read_bytes()[:-100])
    with pytest.raises(DataError, match=r"cut.parquet: expected a file of .parquet"):
        ParquetShards([folder / "part-0.parquet", cut])
    with pytest.raises(DataError, match=r"none.parquet: expected a file"):
        ParquetShards(tmp_path / "none.parquet")
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"id": pa.array([1.5])}), other)
    with pytest.raises(
        DataError, match=r"other.parquet: expected the columns of .*id: int64.*, got id: double"
    ):
        ParquetShards([folder / "part-0.parquet", other], ["id"])
    with pytest.raises(DataError, match="expected a column 'half'"):
        ParquetShards([folder / "part-0.parquet", other], ["half"])
    (tmp_path / "data.txt").touch()
    with pytest.raises(ValueError, match="a name that ends with"):
        ParquetShards(tmp_path / "data.txt")
    with pytest.raises(DataError, match=r"\*.arrow: expected a file"):
        ParquetShards(str(tmp_path / "*.arrow"))


@pytest.mark.parametrize("change", ["vanishes", "is cut off", "is another"])
def test_a_file_that_changes_within_an_epoch(folder: Path, tmp_path: Path, change: str) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    shards = ParquetShards(tmp_path, ["id"], window=100, streams=1, shuffle=False)
    before = threading.active_count()
    loader = Loader(shards, batch_size=50, num_threads=2)
    victim = tmp_path / "part-2.parquet"
    iterator = iter(loader)
    list(islice(iterator, 3))
    if change == "vanishes":
        victim.unlink()
    elif change == "is cut off":
        victim.write_bytes(victim.read_bytes()[:-10])
    else:
        pq.write_table(table(0, 2699), victim, row_group_size=777)
    with pytest.raises(DataError, match=r"part-2.parquet: expected (the|a) file"):
        list(iterator)
    assert threading.active_count() == before


def test_values_that_do_not_fit(folder: Path) -> None:
    with pytest.raises(DataError, match=r"column 'id': expected values of int8"):
        list(Loader(ParquetShards(folder, {"id": "int8"}), batch_size=100))
    path = folder.parent / "times.parquet"
    pq.write_table(pa.table({"times": pa.array([[1], [2, 3]])}), path)
    with pytest.raises(TypeError, match="column 'times'"):
        ParquetShards(path)


def test_what_is_refused(folder: Path) -> None:
    shards = ParquetShards(folder, ["id"])
    with pytest.raises(ValueError, match="a sampler of the shards"):
        Loader(shards, ShardedBatchSampler(ROWS, 10))
    with pytest.raises(TypeError, match="expected a ShardedBatchSampler for files"):
        Loader(shards, ShardedSampler(shards), batch_size=10)
    with pytest.raises(ValueError, match="expected fill of"):
        ParquetShards(folder, ["id"], fill={"half": 0})
    with pytest.raises(ValueError, match="each file once"):
        ParquetShards([folder, folder / "part-0.parquet"])
    for dtype in (">i8", "U5", object):
        with pytest.raises(TypeError, match="a dtype of numbers or dates"):
            ParquetShards(folder, {"id": dtype})
    with pytest.raises(ValueError, match="shuffle 'window' or False"):
        ParquetShards(folder, shuffle="full")


def test_a_page_that_is_damaged(tmp_path: Path) -> None:
    path = to_parquet({"id": np.arange(4000)}, tmp_path / "ids.parquet", compression=None)[0]
    damaged = bytearray(path.read_bytes())
    damaged[2000] ^= 1
    path.write_bytes(damaged)
    for filters in (None, [("id", ">=", 0)]):
        with pytest.raises(DataError, match=r"ids\.parquet"):
            list(Loader(ParquetShards(path, filters=filters), batch_size=100))


def test_a_state_of_other_files(tmp_path: Path) -> None:
    for name in "ab":
        to_parquet(
            {"id": np.arange(1000), "x": np.arange(1000)}, tmp_path / f"{name}.parquet", row_group_rows=100
        )
    first = Loader(ParquetShards(tmp_path / "a.parquet", ["id"]), batch_size=100)
    list(islice(first, 3))
    state = first.state_dict()
    for paths, names in (([tmp_path / "b.parquet"], ["id"]), ([tmp_path / "a.parquet"], ["x"])):
        with pytest.raises(ValueError, match="expected a state of identity"):
            Loader(ParquetShards(paths, names), batch_size=100).load_state_dict(state)
    Loader(ParquetShards(tmp_path / "a.parquet", ["id"]), batch_size=50).load_state_dict(state)


def test_a_block_that_all_streams_need_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to_parquet({"id": np.arange(10_000)}, tmp_path / "one.parquet", row_group_rows=10_000)
    shards = ParquetShards(tmp_path, window=2000, streams=4)
    read: list[int] = []
    original = shards.read

    def noted(number: int) -> Any:
        read.append(number)
        return original(number)

    monkeypatch.setattr(shards, "read", noted)
    assert sorted(ids(Loader(shards, batch_size=100, num_threads=2))) == list(range(10_000))
    assert len(read) == 1


def test_loaders_of_files_refuse_padding_at_once(folder: Path) -> None:
    shards = ParquetShards(folder, ["id"])
    with pytest.raises(ValueError, match="remainder 'exact' or 'drop' for files, got 'pad'"):
        Loader(shards, ShardedBatchSampler(shards, 10, remainder="pad"))


@pytest.mark.parametrize("change", ["values", "types", "names", "grown"])
def test_a_file_that_was_changed_before_it_is_read(tmp_path: Path, change: str) -> None:
    def write(table: Any) -> None:
        pq.write_table(
            table, tmp_path / "a.parquet", compression="none", use_dictionary=False, row_group_size=100
        )

    x = np.arange(300)
    write(pa.table({"x": x}))
    shards = ParquetShards(tmp_path / "a.parquet", window=200, streams=1)
    changed = {
        "values": {"x": x[::-1]},
        "types": {"x": x * 1.0},
        "names": {"y": x},
        "grown": {"x": x, "y": x},
    }
    write(pa.table(changed[change]))
    with pytest.raises(DataError, match="expected the file that was there at first"):
        list(Loader(shards, batch_size=100))


def test_files_are_closed_where_one_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": np.arange(3000)}), path, row_group_size=100, write_page_checksum=True)
    raw = bytearray(path.read_bytes())
    raw[8 : len(raw) // 2] = bytes(len(raw) // 2 - 8)
    path.write_bytes(raw)
    shards = ParquetShards(path, window=200, streams=2)
    for _ in range(5):
        loader = Loader(shards, batch_size=10)
        with pytest.raises(DataError, match=r"a\.parquet: expected to read block"):
            list(loader)
        loader.close()
    assert not {name for name in _open_files() if name == str(path)}


def test_what_pyarrow_cannot_do_is_said_with_the_file_or_column(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    text = pa.StringArray.from_buffers(
        2, pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe")
    )
    pq.write_table(pa.table({"b": [True, False], "s": text, "l": [[1.0], [2.0]]}), path)
    for columns in ({"b": "M8[us]"}, {"l": "f4"}):
        with pytest.raises(TypeError, match=r"column '.': expected what can be cast to"):
            ParquetShards(path, columns)
    with pytest.raises(DataError, match=r"a\.parquet, block 0: column 's'"):
        list(Loader(ParquetShards(path, ["s"]), batch_size=1))
    with pytest.raises(DataError, match=r"a\.parquet: expected to filter block 0"):
        ParquetShards(path, ["b"], filters=[("l", ">", 3)])


def test_columns_that_are_none(folder: Path) -> None:
    with pytest.raises(ValueError, match="expected columns, got none"):
        ParquetShards(folder, [])
    with pytest.raises(TypeError, match="expected a sequence of columns, got the text 'id'"):
        ParquetShards(folder, "id")


def test_batches_larger_than_all_rows(folder: Path) -> None:
    [batch] = Loader(ParquetShards(folder, ["id"]), batch_size=1 << 33)
    assert sorted(batch["id"]) == list(range(ROWS))


def test_very_many_streams(folder: Path) -> None:
    shards = ParquetShards(folder, ["id"], window=2048, streams=2048)
    began = time.monotonic()
    assert sorted(ids(Loader(shards, batch_size=500))) == list(range(ROWS))
    assert time.monotonic() - began < 30  # it has been minutes


def test_folders_links_and_patterns(tmp_path: Path) -> None:
    def write(name: str, start: int) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"id": [start]}), path)
        return str(path)

    a, b, c = write("data/a.parquet", 0), write("data/y=1/b.parquet", 1), write("data/y=1/deep/c.parquet", 2)
    write("data/_hidden/h.parquet", 9)
    write("data/.hidden.parquet", 9)
    elsewhere = write("elsewhere/d.parquet", 3)
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    d = str(tmp_path / "data" / "link" / "d.parquet")
    everything = sorted([a, b, c, d], key=Path)
    assert ParquetShards(tmp_path / "data", ["id"]).files == everything
    with pytest.raises(ValueError, match=r"each file once, got .*, which are the same"):  # by the loop
        ParquetShards(tmp_path / "data" / "**" / "*.parquet", ["id"])
    (tmp_path / "data" / "loop").unlink()
    assert set(ParquetShards(tmp_path / "data" / "**" / "*.parquet", ["id"]).files) >= {a, b, c, d}
    assert ParquetShards(str(tmp_path / "data" / "y=*"), ["id"]).files == sorted([b, c], key=Path)
    (tmp_path / "data" / "gone.parquet").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"gone\.parquet"):
        ParquetShards(tmp_path / "data")
    assert elsewhere not in everything
