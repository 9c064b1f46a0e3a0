"""Tables whose columns are plain numbers: taken as they lie, with the answers of a column at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from forest_random import random_trees
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pyscale.infer import Dense, Forest, Linear, Link, ModelDescription
from pyscale.infer.categories import Categories
from pyscale.infer.inputs import check_apart, rows_of
from pyscale.infer.tables import column_at, columns_of

Array = NDArray[Any]
pandas = pytest.importorskip("pandas")

NAMES = ["a", "b", "c", "d", "e", "f"]
ROWS = np.random.default_rng(0).normal(size=(40, 6))
ROWS[::7, 1] = np.nan
ROWS[3, 2], ROWS[4, 2], ROWS[5, 2] = np.inf, -np.inf, -0.0
PLAIN = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint8", "bool"]
OTHERS = ["Float64", "Float32", "Int64", "boolean", ">f8", ">i4", "longdouble"]


def one_by_one(frame: Any) -> Array:
    """Give a frame's values in the plainest way."""
    columns = [frame.iloc[:, k].to_numpy(dtype=np.float64, na_value=np.nan) for k in range(frame.shape[1])]
    return np.stack(columns, axis=1)


def models() -> list[Any]:
    trees = random_trees(3)
    description = ModelDescription(trees=trees, link=Link(), kind="regression", source="a test")
    return [Forest(description), Dense([Linear(np.ones((3, 6)))])]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_block_of_a_frame_is_taken_as_it_lies(dtype: Any) -> None:
    array = ROWS.astype(dtype)
    for rows in (array, np.asfortranarray(array), array[::2], array[::-1], array[:, ::-1], array[:1]):
        frame = pandas.DataFrame(rows, columns=NAMES, copy=False)
        found = rows_of(frame, 6, NAMES)
        assert found.dtype == dtype
        assert np.shares_memory(found, frame.to_numpy())
        np.testing.assert_array_equal(found, rows)
    whole = pandas.DataFrame(array, columns=NAMES)
    for part in (whole.iloc[7:9], whole[NAMES[2:5]], whole.iloc[:, 1:3], whole.iloc[::3]):
        found = rows_of(part, part.shape[1], None)
        assert found.dtype == dtype
        assert np.shares_memory(found, part.to_numpy())
        np.testing.assert_array_equal(found, part.to_numpy())
    assert np.array_equal(rows_of(whole, 6, None), array, equal_nan=True)  # and is not written to


def test_answers_of_frames_are_those_of_arrays() -> None:
    for model in models():
        for dtype in (np.float32, np.float64):
            array = ROWS.astype(dtype)
            expected = model.predict(array)
            series = {name: array[:, k] for k, name in enumerate(NAMES)}
            frame = pandas.DataFrame(array, columns=NAMES)
            grown = frame.iloc[:, :3].copy()
            for name in NAMES[3:]:
                grown[name] = series[name]  # a block of its own
            by_columns = (
                frame.copy(),
                pandas.DataFrame(series),
                grown,
                frame.astype({"a": object}).infer_objects(),
            )
            for table in (frame, *by_columns, frame.set_axis(range(6), axis=1)):
                np.testing.assert_array_equal(model.predict(table), expected)
                np.testing.assert_array_equal(model.predict(table.iloc[5:6]), expected[5:6])
            assert len(model.predict(frame[:0])) == 0


def test_answers_do_not_go_where_a_frame_lies() -> None:
    array = np.zeros((4, 3), np.float32)
    frame = pandas.DataFrame(array, columns=NAMES[:3], copy=False)
    assert np.shares_memory(rows_of(frame, 3, None), array)
    with pytest.raises(ValueError, match=r"out: expected memory of its own, got some of X's"):
        check_apart(array, frame)
    with pytest.raises(ValueError, match=r"out: expected memory of its own, got some of X's"):
        Dense([Linear(np.eye(3))]).raw(frame, out=array)
    check_apart(array.copy(), frame)
    check_apart(array, frame.assign(d="text"))


def frames(kinds: list[str]) -> st.SearchStrategy[Any]:
    def of(chosen: list[str]) -> Any:
        rng = np.random.default_rng(len(chosen))
        columns = []
        for kind in chosen:
            column = rng.integers(0, 100, 9)
            columns.append(
                pandas.Series(column % 2 > 0 if kind in ("bool", "boolean") else column).astype(kind)
            )
            if kind in OTHERS[:4]:
                columns[-1][4] = pandas.NA
        frame = pandas.concat(columns, axis=1)
        frame.columns = [f"c{k}" for k in range(len(chosen))]
        return frame

    return st.lists(st.sampled_from(kinds), min_size=1, max_size=7).map(of)


@given(frames(PLAIN + OTHERS))
@settings(deadline=None, max_examples=60)
def test_any_mixture_of_types_has_the_values_of_its_columns(frame: Any) -> None:
    found = rows_of(frame, frame.shape[1], list(frame.columns))
    np.testing.assert_array_equal(found, one_by_one(frame))
    narrow = all(kind in (np.float32, np.float16, np.int16, np.int8, np.uint8, bool) for kind in frame.dtypes)
    assert found.dtype == (np.float32 if narrow else np.float64)


def test_large_whole_numbers_are_float64() -> None:
    frame = pandas.DataFrame({"a": [2**53, 2**31 + 1], "b": np.array([1, 2], np.float32)})
    assert rows_of(frame, 2, None).tolist() == [[2**53, 1], [2**31 + 1, 2]]
    assert rows_of(frame[["a"]], 1, None, whole=np.float32).dtype == np.float64


def test_names_of_frames() -> None:
    frame = pandas.DataFrame(ROWS, columns=NAMES)
    with pytest.raises(ValueError, match=r"^X: expected column 1 to be 'b', got 'c'$"):
        rows_of(frame[["a", "c", "b", "d", "e", "f"]], 6, NAMES)
    for wrong, count in ((frame[NAMES[:5]], 5), (frame.assign(g=0.0), 7)):
        with pytest.raises(ValueError, match=f"^X: expected 6 columns, got {count}$"):
            rows_of(wrong, 6, NAMES)
    twice = pandas.DataFrame(ROWS[:, :2], columns=["a", "a"])
    np.testing.assert_array_equal(rows_of(twice, 2, ["a", "a"]), ROWS[:, :2])
    mixed = twice.astype(object).set_axis(["a", "b"], axis=1).astype({"b": "Float64", "a": "float32"})
    mixed.columns = ["a", "a"]
    np.testing.assert_array_equal(rows_of(mixed, 2, ["a", "a"]), one_by_one(mixed))
    levels = frame.set_axis(pandas.MultiIndex.from_product([["u", "v", "w"], [1, 2]]), axis=1)
    np.testing.assert_array_equal(rows_of(levels, 6, None), ROWS)
    assert columns_of(levels) == [str(pair) for pair in levels.columns]
    with pytest.raises(ValueError, match=r"expected column 0 to be 'a', got \"\('u', 1\)\""):
        rows_of(levels, 6, NAMES)
    whole = frame.set_axis([0, 1, 2.5, None, "type", "dtypes"], axis=1)
    np.testing.assert_array_equal(rows_of(whole, 6, [str(name) for name in whole.columns]), ROWS)


def test_frames_that_hold_no_numbers() -> None:
    numbers = {"n": [1.0, 2.0]}
    wrong = {
        "str|object": ["1", "2"],
        "object": np.array([1, 2], object),
        "datetime64": np.array([1, 2], "datetime64[s]"),
        "timedelta64": np.array([1, 2], "timedelta64[s]"),
        "complex128": [1j, 2],
        "category": pandas.Categorical([1, 2]),
        "period": pandas.period_range("2020", periods=2),
        "interval": pandas.interval_range(0, 2),
        "string": pandas.array(["1", "2"], "string"),
    }
    for kind, column in wrong.items():
        for more in ({}, numbers):
            frame = pandas.DataFrame({**more, "a": column})
            with pytest.raises(TypeError, match=rf"^X\['a'\]: expected numbers, got ({kind})"):
                rows_of(frame, frame.shape[1], None)


def test_a_series_is_no_table() -> None:
    for index in (NAMES[:2], ["columns", "dtypes"]):
        with pytest.raises(TypeError, match=r"^X: expected an array .*, got pandas\.Series$"):
            rows_of(pandas.Series([1.0, 2.0], index), 2, None)


def test_a_row_called_type_is_no_type() -> None:
    frame = pandas.DataFrame({"a": pandas.Categorical(["x", "y"])}, index=["type", "dtype"])
    np.testing.assert_array_equal(rows_of(frame, 1, None, categories=Categories((("y", "x"),))), [[1], [0]])


def test_a_frame_without_the_categories_of_training() -> None:
    frame = pandas.DataFrame(ROWS, columns=NAMES)
    known = Categories((("x",),), in_turn=True)
    with pytest.raises(ValueError, match=r"^X: expected 1 categorical columns, as in training, got 0$"):
        rows_of(frame, 6, NAMES, categories=known)
    by_place = Categories((("x",), *[None] * 5))
    assert np.shares_memory(rows_of(frame, 6, NAMES, categories=by_place), frame.to_numpy())


def test_frames_backed_by_arrow() -> None:
    arrow = pytest.importorskip("pyarrow")
    kinds = {"a": arrow.float32(), "b": arrow.int64(), "c": arrow.bool_()}
    values = {"a": [1.5, None], "b": [None, 3], "c": [True, None]}
    frame = pandas.DataFrame(
        {name: pandas.array(values[name], pandas.ArrowDtype(kind)) for name, kind in kinds.items()}
    )
    np.testing.assert_array_equal(rows_of(frame, 3, None), [[1.5, np.nan, 1], [np.nan, 3, np.nan]])
    text = pandas.DataFrame({"a": pandas.array(["1"], pandas.ArrowDtype(arrow.string()))})
    with pytest.raises(TypeError, match=r"X\['a'\]: expected numbers, got string"):
        rows_of(text, 1, None)


@pytest.mark.parametrize("kinds", [["float32"], ["float64"], ["float32", "float64"], ["float32", "int64"]])
def test_floats_of_arrow(kinds: list[str]) -> None:
    arrow = pytest.importorskip("pyarrow")
    columns, wanted = [], ROWS.copy()
    for k in range(6):
        kind = kinds[k % len(kinds)]
        column = np.arange(40) if kind == "int64" else ROWS[:, k].astype(kind)
        columns.append(arrow.array(column, mask=np.arange(40) % 5 == k))
        wanted[:, k] = column
        wanted[k::5, k] = np.nan if k < 5 else wanted[k::5, k]
    table = arrow.Table.from_arrays(columns, names=NAMES)
    chunks = arrow.concat_tables([table[:9], table[9:10], table[:0], table[10:]])
    dtype = np.float32 if kinds == ["float32"] else np.float64
    for whole in (table, chunks, table.to_batches()[0]):
        for part, rows in ((whole, wanted), (whole[8:21], wanted[8:21]), (whole[:0], wanted[:0])):
            found = rows_of(part, 6, NAMES)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, rows)
    expected = [column_at(table, k, name).to_numpy() for k, name in enumerate(NAMES)]
    np.testing.assert_array_equal(rows_of(table, 6, NAMES), np.stack(expected, axis=1))
    same = arrow.Table.from_arrays(columns[:2], names=["a", "a"])
    np.testing.assert_array_equal(rows_of(same, 2, ["a", "a"]), wanted[:, :2])
    with pytest.raises(ValueError, match=r"^X: expected column 0 to be 'a', got 'b'$"):
        rows_of(table.select(NAMES[::-1][4:]), 6, ["a"])


def test_floats_of_polars() -> None:
    polars = pytest.importorskip("polars")
    for dtype in (np.float32, np.float64):
        array = ROWS.astype(dtype)
        frame = polars.DataFrame(np.asfortranarray(array), schema=NAMES)
        assert np.shares_memory(rows_of(frame, 6, NAMES), frame.to_numpy())
        parts = polars.concat([frame[:9], frame[9:]], rechunk=False)
        for table in (frame, parts):
            found = rows_of(table, 6, NAMES)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, array)
            np.testing.assert_array_equal(rows_of(table[5:6], 6, NAMES), array[5:6])
            assert rows_of(table[:0], 6, NAMES).shape == (0, 6)
        for model in models():
            np.testing.assert_array_equal(model.predict(frame), model.predict(array))
    nulls = polars.DataFrame({"a": [1.0, None], "b": polars.Series([None, 2.0], dtype=polars.Float32)})
    np.testing.assert_array_equal(rows_of(nulls, 2, None), [[1, np.nan], [np.nan, 2]])
