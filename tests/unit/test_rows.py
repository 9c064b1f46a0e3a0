"""Rows by their indices, as NumPy would have them, for every dtype, shape and stride; or refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyscale import _core
from pyscale.arrays import DTYPES
from pyscale.data import gather_columns, gather_rows, scatter_rows

STRUCTURE = np.dtype([("day", "M8[D]"), ("flight", "i2"), ("from", "S3"), ("delay", "f8", (2,))])
OTHERS = ["c8", "c16", "M8[ns]", "m8[s]", "S3", "U5", "V7", ">i4", ">f8", "longdouble"]
ALL_DTYPES = [*DTYPES.values(), *map(np.dtype, OTHERS), STRUCTURE, np.dtype(STRUCTURE.descr, align=True)]
SHAPES: list[tuple[int, ...]] = [(), (1,), (3,), (2, 5), (4, 1, 3), (0,), (2, 0), (300,)]


def filled(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    """Any bits at all, NaN included."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape)) * dtype.itemsize
    content = np.random.default_rng(seed).integers(0, 256, count, np.uint8)
    if dtype == np.bool_:
        content %= 2
    if dtype.kind == "U":  # of which not all bits are text
        content = (content.reshape(-1, 4) * np.array([1, 0, 0, 0], np.uint8)).reshape(-1)
    return np.frombuffer(content.tobytes(), dtype).reshape(shape).copy() if count else np.empty(shape, dtype)


def same(a: Any, b: Any) -> bool:
    """Whether all elements are the same, bit by bit."""
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype == b.dtype and a.dtype.names:  # NumPy does not always copy what lies between fields
        return all(same(a[name], b[name]) for name in a.dtype.names)
    return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())


def expected_scatter(rows: np.ndarray, indices: Any, out: np.ndarray) -> np.ndarray:
    out = out.copy()
    to, new = (
        x[..., np.newaxis].view(np.uint8) for x in (out, rows)
    )  # what lies between fields is copied too
    for row, index in zip(new, indices, strict=True):
        to[index] = row
    return out


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_every_dtype_and_shape(dtype: np.dtype[Any]) -> None:
    indices = np.array([4, 0, 4, 9, 1])
    for shape in SHAPES:
        array = filled((10, *shape), dtype)
        got = gather_rows(array, indices)
        assert same(got, array[indices])
        out = filled((5, *shape), dtype, seed=1)
        assert gather_rows(array, indices, out) is out
        assert same(out, array[indices])
        rows, out = filled((5, *shape), dtype, seed=2), array.copy()
        assert scatter_rows(rows, indices, out) is out
        assert same(out, expected_scatter(rows, indices, array))


@pytest.mark.parametrize("dtype", "bhilqBHILQ")
def test_every_type_of_index(dtype: str) -> None:
    array = filled((100, 7), np.float32)
    indices = np.array([5, 99, 0, 5], dtype)
    assert same(gather_rows(array, indices), array[indices])
    assert same(gather_rows(array, np.repeat(indices, 2)[::2]), array[indices])
    assert same(gather_rows(array, indices.astype(indices.dtype.newbyteorder(">"))), array[indices])
    memory = np.empty(indices.nbytes + 1, np.uint8)
    misaligned = memory[1:].view(dtype)
    misaligned[:] = indices
    assert same(gather_rows(array, misaligned), array[indices])


def test_indices_that_are_no_array() -> None:
    array = filled((10, 2), np.int16)
    for indices in ([3, 1], (3, 1), range(2, 8, 3), [], range(0)):
        assert same(gather_rows(array, indices), array[list(indices)] if indices else array[:0])


RECORDS = filled((12,), [("a", "u1"), ("b", "f8"), ("c", "i4", (3,))])
VIEWS: dict[str, Callable[[], np.ndarray]] = {
    "every second": lambda: filled((24, 5), np.int32)[::2],
    "backwards": lambda: filled((12, 5), np.int32)[::-1],
    "every third backwards": lambda: filled((36, 2, 2), np.int32)[::-3],
    "the same row": lambda: np.broadcast_to(filled((5,), np.int32), (12, 5)),
    "a window": lambda: np.lib.stride_tricks.sliding_window_view(filled((16,), np.int32), 5),
    "some columns": lambda: filled((12, 9), np.int32)[:, 2:5],
    "a misaligned field": lambda: RECORDS["b"],
    "a field of arrays": lambda: RECORDS["c"],
    "transposed": lambda: filled((5, 12), np.int32).T,
    "every second column": lambda: filled((12, 9), np.int32)[:, ::2],
    "columns backwards": lambda: filled((12, 9), np.int32)[:, ::-1],
    "the same column": lambda: np.broadcast_to(filled((12, 1), np.int32), (12, 7)),
    "inner axes swapped": lambda: filled((12, 3, 4), np.int32).swapaxes(1, 2),
    "Fortran's order": lambda: np.asfortranarray(filled((12, 3, 4), np.float64)),
    "read-only": lambda: np.frombuffer(filled((48,), np.int32).tobytes(), np.int32).reshape(12, 4),
}


@pytest.mark.parametrize("name", VIEWS)
def test_every_layout(name: str) -> None:
    array = VIEWS[name]()
    indices = np.array([11, 0, 3, 3, 7, 10])
    assert same(gather_rows(array, indices), array[indices])
    out = np.asfortranarray(np.zeros_like(array[indices]))
    assert same(gather_rows(array, indices, out), array[indices])
    rows = array[:6]
    for start in (np.zeros(array.shape, array.dtype), np.zeros(array.shape, array.dtype, order="F")):
        assert same(scatter_rows(rows, indices, start), expected_scatter(rows, indices, np.zeros_like(start)))


WRITABLE = [name for name, make in VIEWS.items() if make().flags.writeable]


@pytest.mark.parametrize("name", WRITABLE)
def test_outputs_of_every_layout(name: str) -> None:
    target = VIEWS[name]()
    source = filled((30, *target.shape[1:]), target.dtype, seed=3)
    indices = np.random.default_rng(1).integers(0, 30, 12)
    assert same(gather_rows(source, indices, target), source[indices])
    targets = np.random.default_rng(1).integers(0, 12, 30)
    expected = expected_scatter(source, targets, target)
    assert same(scatter_rows(source, targets, target), expected)


@given(
    st.integers(1, 300),
    st.integers(0, 400),
    st.integers(1, 90),
    st.integers(1, 5),
    st.integers(0, 2**32),
)
def test_any_size_with_any_number_of_threads(
    rows: int, count: int, size: int, threads: int, seed: int
) -> None:
    array = filled((rows, size), np.uint8, seed)
    indices = np.random.default_rng(seed).integers(0, rows, count)
    assert same(gather_rows(array, indices, num_threads=threads), array[indices])
    new = filled((count, size), np.uint8, seed + 1)
    out = array.copy()
    scatter_rows(new, indices, out, num_threads=threads)
    assert same(out, expected_scatter(new, indices, array))


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("size", [1, 4, 24, 64, 200, 1000, 1024, 5000, 300_000])
def test_large_arrays_at_every_level(isa: str, size: int) -> None:
    count = min(max(3, (1 << 20) // size), 1 << 17)
    array = filled((count, size), np.uint8)
    indices = np.random.default_rng(0).integers(0, count, 2 * count)
    before = _core.isa()
    _core.set_isa(isa)
    try:
        for threads in (1, 3):
            assert same(gather_rows(array, indices, num_threads=threads), array[indices])
            assert same(gather_rows(array, indices.astype(np.int32), num_threads=threads), array[indices])
            out, new = array.copy(), filled((2 * count, size), np.uint8, seed=1)
            scatter_rows(new, indices, out, num_threads=threads)
            written, from_the_end = np.unique(indices[::-1], return_index=True)
            assert same(out[written], new[::-1][from_the_end])
            others = np.setdiff1d(np.arange(count), indices)
            assert same(out[others], array[others])
    finally:
        _core.set_isa(before)


def test_outputs_past_the_caches() -> None:
    array = filled((1000, 4096 + 8), np.uint8)
    indices = np.random.default_rng(0).integers(0, 1000, 100_000)
    out = gather_rows(array, indices, num_threads=2)
    for start in range(0, len(indices), 5000):
        assert same(out[start : start + 5000], array[indices[start : start + 5000]])


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_last_row_of_an_index_stays(threads: int) -> None:
    count = 200_000
    indices = np.random.default_rng(0).integers(0, 5, count)
    for rows in (np.arange(count), np.asfortranarray(np.arange(2 * count).reshape(count, 2))):
        out = np.full((8, *rows.shape[1:]), -1)
        scatter_rows(rows, indices, out, num_threads=threads)
        last = [np.flatnonzero(indices == index)[-1] for index in range(5)]
        assert (out[:5] == rows[last]).all()
        assert (out[5:] == -1).all()


@pytest.mark.parametrize("bad", [10, -1, -11, 2**31, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("position", [0, 500, 999])
@pytest.mark.parametrize("layout", ["plain", "transposed"])
def test_bad_indices_write_nothing(bad: int, position: int, layout: str) -> None:
    indices = np.random.default_rng(0).integers(0, 10, 1000)
    indices[position] = bad
    array, rows = filled((10, 4), np.uint8), filled((1000, 4), np.uint8, seed=1)
    if layout == "transposed":
        array, rows = np.asfortranarray(array), np.asfortranarray(rows)
    message = rf"indices: .* got {bad} at position {position}$"
    out, before = rows.copy(), rows.copy()
    with pytest.raises(IndexError, match=message):
        gather_rows(array, indices, out)
    assert same(out, before)
    second = filled((10,), np.int64)
    with pytest.raises(IndexError, match=message):
        gather_columns([second, array], indices, [np.empty(1000, np.int64), out])
    assert same(out, before)
    out = array.copy()
    with pytest.raises(IndexError, match=message):
        scatter_rows(rows, indices, out)
    assert same(out, array)


def test_bad_indices_of_other_types() -> None:
    array = np.zeros((10, 4))
    with pytest.raises(IndexError, match=r"got -3 at position 1"):
        gather_rows(array, np.array([0, -3], np.int8))
    with pytest.raises(IndexError, match=r"got 4294967295 at position 1"):
        gather_rows(array, np.array([0, 2**32 - 1], np.uint32))
    with pytest.raises(IndexError, match=r"got 18446744073709551615 at position 2"):
        gather_rows(array, np.array([0, 1, 2**64 - 1], np.uint64))
    with pytest.raises(IndexError, match=r"got 10 at position 0"):
        gather_rows(array, [10])
    with pytest.raises(IndexError, match=r"no rows, got 0 at position 0"):
        gather_rows(array[:0], [0])
    assert gather_rows(array[:0], []).shape == (0, 4)
    with pytest.raises(IndexError, match=r"got 10 at position 1"):
        gather_rows(np.empty((10, 0)), [0, 10])


OBJECTS = [np.dtype(object), np.dtype([("a", int), ("b", object)])]
if hasattr(np.dtypes, "StringDType"):
    OBJECTS.append(np.dtypes.StringDType())


@pytest.mark.parametrize("dtype", OBJECTS, ids=str)
def test_python_objects_are_refused(dtype: Any) -> None:
    array = np.zeros(3, dtype)
    with pytest.raises(TypeError, match=r"array: expected elements without Python objects"):
        gather_rows(array, [0])
    with pytest.raises(TypeError, match=r"rows: expected elements without Python objects"):
        scatter_rows(array, [0, 1, 2], np.zeros(3))
    with pytest.raises(TypeError, match=r"out: expected elements without Python objects"):
        gather_rows(np.zeros(3), [0], array)


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def overlapping() -> np.ndarray:
    return np.lib.stride_tricks.as_strided(np.zeros(5), (2, 4), (8, 8))


BUFFER = np.zeros((8, 4))
# arguments, error, what it says
REFUSED: list[tuple[tuple[Any, ...], type[Exception], str]] = [
    ((BUFFER, [0.5]), TypeError, "indices: expected integers, got float64"),
    ((BUFFER, [True]), TypeError, "indices: expected integers, got bool"),
    ((BUFFER, np.zeros(1, "m8")), TypeError, "indices: expected integers"),
    ((BUFFER, "0"), TypeError, "indices: expected an array"),
    ((BUFFER, [[0]]), ValueError, r"indices: expected a 1-d array, got shape \(1, 1\)"),
    ((BUFFER, np.int64(0)), ValueError, "indices: expected an array of rows, got a 0-d one"),
    ((BUFFER, np.ma.array([0])), TypeError, "indices: expected an array without a mask"),
    (([[1.0]], [0]), TypeError, "array: expected an array"),
    ((np.float64(1), [0]), ValueError, "array: expected an array of rows, got a 0-d one"),
    ((np.ma.zeros(3), [0]), TypeError, "array: expected an array without a mask"),
    ((BUFFER, [0], np.zeros((1, 4), np.float32)), ValueError, "out: expected dtype float64, got float32"),
    ((BUFFER, [0], np.zeros((1, 4), ">f8")), ValueError, "out: expected dtype float64, got >f8"),
    ((BUFFER, [0], np.zeros((2, 4))), ValueError, r"out: expected shape \(1, 4\), got \(2, 4\)"),
    ((BUFFER, [0], np.zeros(4)), ValueError, r"out: expected shape \(1, 4\), got \(4,\)"),
    ((BUFFER, [0], read_only(np.zeros((1, 4)))), ValueError, "out: expected an array to write to"),
    (
        (BUFFER, [0, 1], overlapping()),
        ValueError,
        "out: expected an array to write to whose elements share no",
    ),
    ((BUFFER, [0], [[0.0] * 4]), TypeError, "out: expected an array"),
    ((BUFFER, [0, 1], BUFFER[:2]), ValueError, "out: expected memory of its own, got some that an input has"),
    ((BUFFER, [0, 1], BUFFER[::-7]), ValueError, "out: expected memory of its own"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), REFUSED)
def test_what_cannot_be_right_is_refused(
    arguments: tuple[Any, ...], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        gather_rows(*arguments)
    assert not BUFFER.any()


@pytest.mark.parametrize(
    ("rows", "indices", "out", "kind", "message"),
    [
        (BUFFER, [0], np.zeros((3, 4)), ValueError, r"rows: expected shape \(1, 4\), got \(8, 4\)"),
        (BUFFER, [0] * 8, np.zeros((3, 5)), ValueError, r"rows: expected shape \(8, 5\), got \(8, 4\)"),
        (BUFFER, [0] * 8, np.zeros((3, 4), int), ValueError, "rows: expected dtype int64, got float64"),
        (BUFFER, [0] * 8, read_only(np.zeros((3, 4))), ValueError, "out: expected an array to write to"),
        (BUFFER, [0, 1] * 4, overlapping(), ValueError, "out: .* elements share no memory"),
        (BUFFER, [0] * 8, [[0.0] * 4], TypeError, "out: expected an array"),
        (BUFFER, [0.0] * 8, np.zeros((3, 4)), TypeError, "indices: expected integers"),
        ([[0.0] * 4], [0], np.zeros((3, 4)), TypeError, "rows: expected an array"),
    ],
)
def test_what_cannot_be_scattered_is_refused(
    rows: Any, indices: Any, out: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        scatter_rows(rows, indices, out)


def test_numbers_of_threads() -> None:
    array = filled((10, 4), np.uint8)
    threads: Any
    for threads in (1, np.int64(2), 1 << 40):
        assert same(gather_rows(array, [3], num_threads=threads), array[3:4])
    for threads, kind in ((0, ValueError), (-1, ValueError), (1.5, TypeError)):
        with pytest.raises(kind):
            gather_rows(array, [3], num_threads=threads)


def test_memory_of_its_own() -> None:
    table = np.arange(40).reshape(10, 4)
    expected = table[[9, 0, 1, 2, 3, 4, 5, 6, 7, 8], :2]
    gather_rows(table[:, :2], [9, *range(9)], table[:, 2:])  # between each other, and not in each other
    assert (table[:, 2:] == expected).all()
    positions = np.arange(5)
    with pytest.raises(ValueError, match="that the array of indices has"):
        gather_rows(np.arange(40), positions, positions)
    with pytest.raises(ValueError, match="that an input has"):
        scatter_rows(table[:3], [0, 1, 2], table)
    with pytest.raises(ValueError, match="that another output has"):
        gather_columns([np.arange(9), np.arange(9)], [0, 1], [positions[:2], positions[1:3]])


def test_columns() -> None:
    columns = [
        filled((50,), np.int8),
        filled((50, 3), np.float32),
        np.asfortranarray(filled((50, 3), np.float64)),
        filled((50, 70_000), np.uint8),
        RECORDS[np.arange(50) % 12]["b"],
        filled((50, 0), np.int8),
    ]
    indices = np.random.default_rng(0).integers(0, 50, 33)
    for threads in (1, 3):
        for got, column in zip(gather_columns(columns, indices, num_threads=threads), columns, strict=True):
            assert same(got, column[indices])
    outs = tuple(np.zeros_like(column[indices]) for column in columns)
    got = gather_columns(columns, indices, outs)
    assert all(a is b for a, b in zip(got, outs, strict=True))
    assert all(same(out, column[indices]) for out, column in zip(outs, columns, strict=True))
    assert gather_columns([], indices) == []
    with pytest.raises(ValueError, match="arrays: expected as many rows in each"):
        gather_columns([np.zeros(3), np.zeros(4)], [0])
    with pytest.raises(ValueError, match="outs: expected 2, one for each array, got 1"):
        gather_columns([np.zeros(3), np.zeros(3)], [0], [np.zeros(1)])
    with pytest.raises(ValueError, match=r"outs\[1\]: expected dtype float64, got int64"):
        gather_columns([np.zeros(3), np.zeros(3)], [0], [kept := np.ones(1), np.ones(1, int)])
    assert kept == 1


def test_files_in_memory(tmp_path: Path) -> None:
    file = np.memmap(tmp_path / "rows", np.float32, "w+", shape=(1000, 50))
    file[:] = filled((1000, 50), np.float32)
    file.flush()
    mapped = np.memmap(tmp_path / "rows", np.float32, "r", shape=(1000, 50))
    indices = np.random.default_rng(0).integers(0, 1000, 500)
    got = gather_rows(mapped, indices)
    assert type(got) is np.ndarray
    assert same(got, np.asarray(mapped)[indices])
    scatter_rows(filled((2, 50), np.float32, seed=1), [5, 6], file)
    assert same(file[5:7], filled((2, 50), np.float32, seed=1))
    with pytest.raises(ValueError, match="read-only"):
        scatter_rows(got[:1], [0], mapped)


def test_more_than_two_to_the_32(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(5 << 30)
    indices = np.array([(5 << 30) - 1, 0, 1 << 31, (1 << 32) + 7])
    array = np.memmap(path, np.uint8, "r+")
    scatter_rows(np.array([1, 2, 3, 4], np.uint8), indices, array)
    assert gather_rows(array, indices).tolist() == [1, 2, 3, 4]
    assert array[indices].tolist() == [1, 2, 3, 4]
    with pytest.raises(IndexError, match=f"got {5 << 30} at position 0"):
        gather_rows(array, [5 << 30])
    rows = array.reshape(5, 1 << 30)  # each of a gigabyte
    assert gather_rows(rows[:, -2:], [4, 1]).tolist() == [[0, 1], [0, 0]]


def test_other_threads_run_meanwhile() -> None:
    array = np.zeros((1000, 4096), np.uint8)
    indices = np.random.default_rng(0).integers(0, 1000, 30_000)
    out = np.empty((30_000, 4096), np.uint8)
    for _ in range(20):
        calls: list[float] = []

        def work(calls: list[float] = calls) -> None:
            calls.append(time.perf_counter())
            gather_rows(array, indices, out, num_threads=1)
            calls.append(time.perf_counter())

        thread = threading.Thread(target=work)
        thread.start()
        seen = []
        while thread.is_alive():
            seen.append(time.perf_counter())
        thread.join()
        start, stop = calls
        quarter = (stop - start) / 4
        if any(start + quarter < moment < stop - quarter for moment in seen):
            return
    raise AssertionError("Python stood still in every call")


def test_torch() -> None:
    torch: Any = pytest.importorskip("torch", reason="torch is not installed")
    array = torch.arange(24, dtype=torch.bfloat16).reshape(6, 4)
    got = gather_rows(array, torch.tensor([5, 0]))
    assert isinstance(got, torch.Tensor)
    assert torch.equal(got, array[[5, 0]])
    out = torch.zeros(2, 4, dtype=torch.bfloat16)
    assert gather_rows(array, [1, 2], out) is out
    assert torch.equal(out, array[[1, 2]])
    target = torch.zeros(6, 4, dtype=torch.bfloat16)
    scatter_rows(out, torch.tensor([3, 3], dtype=torch.int32), target)
    assert torch.equal(target[3], out[1])
    assert torch.equal(gather_rows(array.T, [3, 0]), array.T[[3, 0]])
    numpy = np.arange(6, dtype=ml_dtypes.bfloat16).reshape(3, 2)
    assert isinstance(gather_rows(numpy, torch.tensor([1])), np.ndarray)
    columns = gather_columns([array, np.arange(6)], [2])
    assert [type(column) for column in columns] == [torch.Tensor, np.ndarray]
    with pytest.raises(ValueError, match="requires grad"):
        gather_rows(np.zeros((3, 2), np.float32), [0], torch.zeros(1, 2, requires_grad=True))


def test_jax() -> None:
    jax: Any = pytest.importorskip("jax", reason="JAX is not installed")
    array = jax.numpy.arange(6.0).reshape(3, 2)
    got = gather_rows(array, jax.numpy.array([2, 0]))
    assert isinstance(got, jax.Array)
    assert got.tolist() == [[4.0, 5.0], [0.0, 1.0]]


def test_buffers() -> None:
    assert gather_rows(b"abcd", [3, 0]).tobytes() == b"da"
    out = bytearray(2)
    assert gather_rows(b"abcd", [3, 0], out) is out
    assert out == b"da"


def test_the_binding_checks_what_memory_safety_needs() -> None:
    array, indices = np.zeros((4, 3)), np.array([0, 3])
    out = np.zeros((2, 3))
    bad: list[tuple[Any, Any, Any]] = [
        (array, indices, out[:1]),
        (array, indices, np.zeros((2, 4))),
        (array, indices, read_only(np.zeros((2, 3)))),
        (array, indices.reshape(1, 2), out),
        (array, indices[::-1], out),
        (array, indices.astype(np.uint64), out),
        (array.T, indices, np.zeros((2, 4))),
        (array, indices, np.zeros((3, 2)).T),
        (np.zeros((4, 3), object), indices, np.zeros((2, 3), object)),
        (np.zeros(()), indices, out),
        ([[0.0]], indices, out),
    ]
    for source, positions, target in bad:
        with pytest.raises((TypeError, ValueError)):
            _core.gather_columns([source], positions, [target], 1)
    for source, positions, target in bad:
        if target.flags.writeable:
            with pytest.raises((TypeError, ValueError)):
                _core.scatter_rows(target, positions, source, 1)
    with pytest.raises(ValueError, match="writable"):
        _core.scatter_rows(out, indices, read_only(array.copy()), 1)
    for position in (4, -1):
        with pytest.raises(IndexError):
            _core.gather_columns([array], np.array([0, position]), [out], 1)
        with pytest.raises(IndexError):
            _core.scatter_rows(out, np.array([0, position]), array, 1)
        with pytest.raises(IndexError):
            _core.check_indices(np.array([0, position]), 4, 1)


def test_places_are_checked() -> None:
    source, out = np.arange(4.0), np.zeros(6)
    rows, places = np.array([3, 0], np.uint32), np.array([5, 1], np.uint32)
    _core.place_columns([source], rows, [out], places)
    assert out.tolist() == [0, 0, 0, 0, 0, 3]
    _core.place_columns([source[:2]], None, [out], places)
    assert out.tolist() == [0, 1, 0, 0, 0, 0]
    before = out.copy()
    for bad_rows, bad_places, error in (
        ([4, 0], [5, 1], IndexError),
        ([3, 0], [6, 1], IndexError),
        ([3, 0], [2**32 - 1, 1], IndexError),
        ([3, 0], [5], ValueError),
        (None, [5, 1], ValueError),
    ):
        chosen = None if bad_rows is None else np.array(bad_rows, np.uint32)
        with pytest.raises(error, match="expected"):
            _core.place_columns([source], chosen, [out], np.array(bad_places, np.uint32))
    with pytest.raises(TypeError):
        _core.place_columns([source], rows, [out], places.astype(np.int64))
    assert (out == before).all()
