"""Rows and where they go: the kernel that sorts them, and what one process alone sees of `exchange`."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyscale import _core
from pyscale.data import Permutation, exchange, shuffle_in_memory
from pyscale.data.shares import share

INTEGERS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]


@pytest.fixture(params=_core.available_isas())
def isa(request: pytest.FixtureRequest) -> object:
    before = _core.isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)


def sort(rows: np.ndarray, to: np.ndarray, ranks: int, window_bytes: int) -> list[bytes]:
    """All windows, one after the other, by rank."""
    partition = _core.Partition(rows, to, ranks, window_bytes)
    got = [b""] * ranks
    for window in range(partition.windows):
        parts = [np.empty(size, np.uint8) for size in partition.read(window)]
        partition.write(parts)
        got = [before + part.tobytes() for before, part in zip(got, parts, strict=True)]
    return got


@given(
    st.integers(1, 70),
    st.integers(0, 200),
    st.integers(1, 20),
    st.integers(1, 3000),
    st.sampled_from(INTEGERS),
    st.integers(0, 2**32 - 1),
)
def test_rows_are_sorted_by_rank(
    width: int, n: int, ranks: int, window_bytes: int, kind: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (n, width), np.uint8)
    to = rng.integers(0, ranks, n).astype(kind)
    assert sort(rows, to, ranks, window_bytes) == [rows[to == rank].tobytes() for rank in range(ranks)]
    counts, outside = _core.count_destinations(to, ranks)
    assert outside is None
    assert counts.tolist() == np.bincount(to.astype(int), minlength=ranks).tolist()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("kind", INTEGERS)
def test_every_instruction_set(kind: str) -> None:
    rng = np.random.default_rng(7)
    to = rng.integers(0, 11, 10_000).astype(kind)
    for width in (1, 2, 4, 6, 8, 16, 20, 64, 100):
        rows = rng.integers(0, 256, (10_000, width), np.uint8)
        assert sort(rows, to, 11, 1 << 16) == [rows[to == rank].tobytes() for rank in range(11)]
    to[7777] = 11
    assert _core.count_destinations(to, 11)[1] == 7777


def test_a_binding_that_is_given_what_does_not_fit() -> None:
    rows, to = np.zeros((4, 4), np.float32), np.zeros(4, np.int64)
    for bad_rows, bad_to in (
        (rows[:3], to),
        (rows[:, ::2], to),
        (np.zeros((), np.float32), to),
        (rows, to[:0]),
    ):
        with pytest.raises(ValueError, match="expected"):
            _core.Partition(bad_rows, bad_to, 2, 100)
    for bad_to in (to.astype(">i8"), to.astype(float), to.astype(bool), to.reshape(2, 2)):
        with pytest.raises(TypeError, match="integers in one dimension"):
            _core.Partition(rows, bad_to, 2, 100)
    partition = _core.Partition(rows, to, 2, 1000)
    partition.read(0)
    for outputs in ([None], [np.empty(63, np.uint8), None], [np.empty(128, np.uint8)[::2], None]):
        with pytest.raises(ValueError, match="outputs"):
            partition.write(outputs)
    with pytest.raises(ValueError, match="writeable"):
        partition.write([np.frombuffer(bytes(64), np.uint8), None])
    to[2] = 2
    with pytest.raises(ValueError, match="as they were when they were counted"):
        partition.read(0)


def test_alone_all_rows_stay() -> None:
    rows = np.arange(12).reshape(4, 3)
    got = exchange(rows, [0, 0, 0, 0])
    assert got.tolist() == rows.tolist()
    assert got is not rows
    assert not np.shares_memory(got, rows)
    assert exchange(rows[:0], []).shape == (0, 3)
    assert exchange(rows[:, :0], np.zeros(4, np.uint8)).shape == (4, 0)
    assert exchange(rows, np.zeros(4, ">i4")).tolist() == rows.tolist()


def test_tables_keep_their_names_in_order() -> None:
    table = {"y": np.arange(3), "x": np.ones((3, 2), np.float32)}
    got = exchange(table, np.zeros(3, int))
    assert list(got) == ["y", "x"]
    assert got["y"].tolist() == [0, 1, 2]
    assert got["x"].dtype == np.float32
    with pytest.raises(TypeError, match="columns with names"):
        exchange({}, [])


def test_out() -> None:
    rows, to = np.arange(12.0).reshape(4, 3), np.zeros(4, np.int8)
    out = np.full((6, 3), -1.0)
    got = exchange(rows, to, out=out)
    assert got.base is out
    assert got.tolist() == rows.tolist()
    assert (out[4:] == -1).all()
    columns = {"y": np.arange(4), "x": rows}
    room = {"x": np.empty((4, 3)), "y": np.empty(4, int)}
    got = exchange(columns, to, out=room)
    assert list(got) == ["y", "x"]
    assert got["x"].base is room["x"]
    assert room["x"].tolist() == rows.tolist()


@pytest.mark.parametrize(
    ("out", "kind", "message"),
    [
        (np.empty((3, 3)), ValueError, "expected room for the 4 rows that come, got 3"),
        (np.empty((4, 3), np.float32), ValueError, "expected float64 rows of shape .3,., got float32"),
        (np.empty((4, 2)), ValueError, "got float64 of shape .4, 2."),
        (np.empty((4, 6))[:, ::2], ValueError, "a contiguous array"),
        (np.frombuffer(bytes(96)).reshape(4, 3), ValueError, "to write to"),
        ({"x": np.empty((4, 3))}, TypeError, "an array"),
        ([0.0], TypeError, "an array"),
    ],
)
def test_an_out_that_does_not_fit(out: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        exchange(np.zeros((4, 3)), np.zeros(4, np.int8), out=out)


def test_an_out_that_overlaps() -> None:
    memory = np.zeros((10, 3), np.int64)
    with pytest.raises(ValueError, match="memory of its own"):
        exchange(memory[:4], np.zeros(4, np.int8), out=memory[3:8])
    with pytest.raises(ValueError, match="memory of its own"):
        exchange(np.ones((3, 3), np.int64), memory[0], out=memory)
    table = {"a": np.zeros(3), "b": np.zeros(3)}
    room = np.zeros(3)
    with pytest.raises(ValueError, match=r"column 'b'.*memory of its own"):
        exchange(table, np.zeros(3, int), out={"a": room, "b": room})
    with pytest.raises(TypeError, match="expected columns"):
        exchange(table, np.zeros(3, int), out={"a": room})


def test_a_memory_map_is_read_as_it_is(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(20).reshape(10, 2))
    rows = np.load(tmp_path / "x.npy", mmap_mode="r")
    got = exchange(rows, np.zeros(10, np.int16))
    assert type(got) is np.ndarray
    assert got.flags.writeable
    assert got.tolist() == rows.tolist()


def test_torch() -> None:
    torch = pytest.importorskip("torch")
    rows = torch.arange(6, dtype=torch.bfloat16).reshape(3, 2)
    got = exchange(rows, torch.zeros(3, dtype=torch.int64))
    assert isinstance(got, torch.Tensor)
    assert torch.equal(got, rows)
    shuffled = shuffle_in_memory({"x": rows, "i": np.arange(3)})
    assert torch.equal(shuffled["x"], rows[torch.from_numpy(shuffled["i"])])


@pytest.mark.parametrize(
    ("rows", "destinations", "kind", "message"),
    [
        (np.zeros(3), [0, 0, 1], IndexError, "expected 0 to 0, got 1 for row 2"),
        (np.zeros(3), [0, -1, 1], IndexError, "expected 0 to 0, got -1 for row 1"),
        (np.zeros(1), np.array([2**63], np.uint64), IndexError, "got 9223372036854775808 for row 0"),
        (np.zeros(3), [0.0, 0.0, 0.0], TypeError, "expected integers, got float64"),
        (np.zeros(3), [True, False, False], TypeError, "expected integers, got bool"),
        (np.zeros(3), [0, 0], ValueError, "expected one for each of 3 rows"),
        (np.zeros(3), 0, TypeError, "expected an array"),
        (np.array(["a", None]), [0, 0], TypeError, "without Python objects"),
        (np.zeros(1, [("a", "i4"), ("b", "O")]), [0], TypeError, "without Python objects"),
        (np.zeros(()), [], ValueError, "at least one dimension"),
        ({"a": np.zeros(2), "b": np.zeros(3)}, [0, 0], ValueError, "columns of one length"),
    ],
)
def test_what_is_refused(rows: object, destinations: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        exchange(rows, destinations)  # type: ignore[arg-type]


@given(st.integers(0, 300), st.integers(0, 2**64 - 1), st.integers(0, 50))
def test_a_shuffle_is_the_order_of_the_permutation(n: int, seed: int, epoch: int) -> None:
    rows = np.arange(n, dtype=np.int16)
    order = Permutation(n, seed=seed, epoch=epoch)[:]
    assert (shuffle_in_memory(rows, seed=seed, epoch=epoch) == rows[order]).all()


def test_a_large_shuffle() -> None:
    n = 200_000
    assert (shuffle_in_memory(np.arange(n), epoch=2) == Permutation(n, epoch=2)[:]).all()


@given(st.integers(0, 10**20), st.integers(1, 1000))
def test_shares_are_even_and_cover_everything(n: int, parts: int) -> None:
    shares = [share(n, part, parts) for part in range(parts)]
    assert shares[0][0] == 0
    assert shares[-1][1] == n
    assert all(before[1] == after[0] for before, after in itertools.pairwise(shares))
    sizes = [stop - start for start, stop in shares]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) - min(sizes) <= 1
