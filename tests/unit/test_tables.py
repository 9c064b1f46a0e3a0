"""Tables of polars and Arrow as rows: nulls, types, categories, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyscale.infer import Dense, Linear, convert
from pyscale.infer.inputs import rows_of

Array = NDArray[Any]
NAN = np.nan
COLUMNS: dict[str, list[Any]] = {
    "whole": [1, None, 3],
    "half": [1.5, None, 2.5],
    "yes": [True, None, False],
    "small": [1, 2, 3],
}
WANTED = np.array([[1, 1.5, 1, 1], [NAN, NAN, NAN, 2], [3, 2.5, 0, 3]])


def frame() -> Any:
    polars = pytest.importorskip("polars")
    kinds = {"whole": polars.Int64, "half": polars.Float32, "yes": polars.Boolean, "small": polars.UInt8}
    return polars.DataFrame(COLUMNS, schema=kinds)


def arrow_table() -> Any:
    arrow = pytest.importorskip("pyarrow")
    kinds = {"whole": arrow.int64(), "half": arrow.float32(), "yes": arrow.bool_(), "small": arrow.uint8()}
    return arrow.table({name: arrow.array(COLUMNS[name], kind) for name, kind in kinds.items()})


@pytest.mark.parametrize("make", [frame, arrow_table])
def test_nulls_are_missing_and_types_are_numbers(make: Any) -> None:
    table = make()
    names = tuple(COLUMNS)
    np.testing.assert_array_equal(rows_of(table, 4, names), WANTED)
    np.testing.assert_array_equal(rows_of(table[1:], 4, names), WANTED[1:])
    assert rows_of(table[:0], 4, names).shape == (0, 4)
    # Of float32, and what is one, no float64 is made.
    assert rows_of(table.select(["half", "yes", "small"]), 3, None).dtype == np.float32
    with pytest.raises(ValueError, match="expected column 0 to be 'whole', got 'half'"):
        rows_of(table.select([*names[1:], names[0]]), 4, names)
    with pytest.raises(ValueError, match="expected 4 columns, got 3"):
        rows_of(table.select(names[:3]), 4, names)
    model = Dense([Linear(np.eye(4))])
    np.testing.assert_array_equal(model.predict(table[2:]), WANTED[2:])


def test_chunks_and_batches_of_arrow() -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow_table()
    twice = arrow.concat_tables([table, table])
    np.testing.assert_array_equal(rows_of(twice, 4, None), np.concatenate([WANTED, WANTED]))
    (batch,) = table.to_batches()
    np.testing.assert_array_equal(rows_of(batch, 4, tuple(COLUMNS)), WANTED)
    np.testing.assert_array_equal(rows_of(arrow.table({"a": arrow.nulls(2)}), 1, None), [[NAN], [NAN]])
    same = arrow.Table.from_arrays([arrow.array([1.0]), arrow.array([2.0])], names=["a", "a"])
    np.testing.assert_array_equal(rows_of(same, 2, ("a", "a")), [[1, 2]])


def test_chunks_of_polars() -> None:
    polars = pytest.importorskip("polars")
    twice = polars.concat([frame(), frame()], rechunk=False)
    np.testing.assert_array_equal(rows_of(twice, 4, None), np.concatenate([WANTED, WANTED]))
    np.testing.assert_array_equal(rows_of(polars.DataFrame({"a": [None, None]}), 1, None), [[NAN], [NAN]])


def test_columns_of_polars_that_are_no_numbers() -> None:
    polars = pytest.importorskip("polars")
    wrong = {
        "String": polars.Series(["1", "2"]),
        "Decimal": polars.Series(["1.5", "2.5"]).cast(polars.Decimal(10, 2)),
        "Datetime": polars.Series([1, 2]).cast(polars.Datetime),
        "Duration": polars.Series([1, 2]).cast(polars.Duration),
        "List": polars.Series([[1], [2, 3]]),
        "Array": polars.Series([[1, 2], [3, 4]], dtype=polars.Array(polars.Int64, 2)),
        "Struct": polars.Series([{"x": 1.0}]),
        "Object": polars.Series([object()], dtype=polars.Object),
        "Int128": polars.Series([1], dtype=polars.Int128),
        "Categorical": polars.Series(["x"], dtype=polars.Categorical),
        "Enum": polars.Series(["x"], dtype=polars.Enum(["x"])),
    }
    for kind, column in wrong.items():
        with pytest.raises(TypeError, match=rf"X\['a'\]: expected numbers.*, got {kind}"):
            rows_of(polars.DataFrame({"a": column}), 1, None)
    with pytest.raises(TypeError, match=r"X: expected rows, got a LazyFrame: collect\(\) it first"):
        rows_of(frame().lazy(), 4, None)


COLORS = ["red", "green", "blue", "violet"]


def colored(seed: int, rows: int = 300) -> tuple[Array, list[Any], Array]:
    rng = np.random.default_rng(seed)
    size, color = rng.normal(size=rows), rng.integers(-1, 4, rows)
    return size, [COLORS[k] if k >= 0 else None for k in color], size + 2.0 * (color == 1) - (color == 3)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_categories_of_polars(library: str) -> None:
    polars, pandas = pytest.importorskip("polars"), pytest.importorskip("pandas")
    size, color, y = colored(0)
    known = pandas.DataFrame({"size": size, "color": pandas.Categorical(color, COLORS)})
    if library == "xgboost":
        xgboost = pytest.importorskip("xgboost")
        if tuple(map(int, xgboost.__version__.split(".")[:2])) < (3, 1):
            pytest.skip("keeps no categories")
        model = xgboost.XGBRegressor(n_estimators=10, max_depth=3, enable_categorical=True, n_jobs=1)
    else:
        lightgbm = pytest.importorskip("lightgbm")
        model = lightgbm.LGBMRegressor(n_estimators=10, num_leaves=7, verbose=-1, n_jobs=1)
    model.fit(known, y)
    size, color, _ = colored(1)
    expected = model.predict(pandas.DataFrame({"size": size, "color": pandas.Categorical(color, COLORS)}))
    forest = convert(model)
    others = [*COLORS[::-1], "black"]
    for kind in (polars.Categorical, polars.Enum(others), polars.Enum(COLORS)):
        table = polars.DataFrame({"size": size, "color": polars.Series(color, dtype=kind)})
        assert np.array_equal(forest.predict(table), expected)
        assert np.array_equal(forest.predict(table[50:]), expected[50:])
        parts = polars.concat([table[:99], table[99:]], rechunk=False)
        assert np.array_equal(forest.predict(parts), expected)
        assert np.array_equal(forest.predict(table.to_arrow()), expected)
        (batch, *_) = table.to_arrow().to_batches()
        assert np.array_equal(forest.predict(batch), expected)
    strange = polars.DataFrame({"size": [0.0], "color": polars.Series(["black"], dtype=polars.Categorical)})
    if library == "xgboost":
        with pytest.raises(ValueError, match=r"X\['color'\]: expected categories that .*, got 'black'"):
            forest.predict(strange)
    else:
        missing = pandas.DataFrame({"size": [0.0], "color": pandas.Categorical([None], COLORS)})
        assert np.array_equal(forest.predict(strange), model.predict(missing))
