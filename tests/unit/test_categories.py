"""Categorical columns of tables: numbered as the model was trained, whatever the table numbers them by."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyscale.infer import Forest, convert, load
from pyscale.infer.categories import Categories, check_categories, pack_categories, unpack_categories
from pyscale.infer.importers.lightgbm import read_lightgbm
from pyscale.infer.importers.xgboost import read_xgboost
from pyscale.infer.inputs import rows_of

arrow = pytest.importorskip("pyarrow")
pandas = pytest.importorskip("pandas")

Array = NDArray[Any]
COLORS, CODES = ["red", "green", "blue", "violet"], [10, 20, 35]


def data(rows: int = 400, seed: int = 0) -> tuple[Any, Array]:
    """Make a frame, whose second and third columns have categories and some of them missing; and targets."""
    rng = np.random.default_rng(seed)
    color, code = rng.integers(-1, 4, rows), rng.integers(0, 3, rows)
    frame = pandas.DataFrame(
        {
            "size": rng.standard_normal(rows),
            "color": pandas.Categorical([COLORS[k] if k >= 0 else None for k in color], COLORS),
            "code": pandas.Categorical([CODES[k] for k in code], CODES),
        }
    )
    y = frame["size"].to_numpy() + 2.0 * (color == 1) + (code == 2) * (color == 3) + rng.normal(0, 0.1, rows)
    return frame, y


def renumbered(frame: Any) -> Any:
    """Give the same values, with the categories in another order and one more of them that no row has."""
    other = frame.copy()
    other["color"] = pandas.Categorical(
        frame["color"].astype(object), ["blue", "black", "violet", "green", "red"]
    )
    other["code"] = pandas.Categorical(frame["code"].astype(object), CODES[::-1])
    return other


def trained(library: str) -> tuple[Any, Any]:
    """Train on the frame."""
    frame, y = data()
    if library == "xgboost":
        xgboost = pytest.importorskip("xgboost")
        if tuple(map(int, xgboost.__version__.split(".")[:2])) < (3, 1):
            pytest.skip("keeps no categories")
        model = xgboost.XGBRegressor(n_estimators=20, max_depth=4, enable_categorical=True, n_jobs=1)
        return model.fit(frame, y), model.get_booster().save_model
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMRegressor(n_estimators=20, num_leaves=15, verbose=-1, n_jobs=1).fit(frame, y)
    return model, model.booster_.save_model


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_frame_is_numbered_as_in_training(library: str, tmp_path: Path) -> None:
    model, save = trained(library)
    frame, _ = data(seed=1)
    expected = model.predict(frame)
    file = tmp_path / ("model.json" if library == "xgboost" else "model.txt")
    save(file)
    loaded = load(file)
    loaded.save(tmp_path / "own")
    for forest in (convert(model), loaded, load(tmp_path / "own"), pickle.loads(pickle.dumps(loaded))):
        for table in (frame, renumbered(frame), arrow.Table.from_pandas(renumbered(frame))):
            assert np.array_equal(forest.predict(table), expected)
        numbers = np.column_stack(
            [frame["size"], *(frame[name].cat.codes.replace(-1, np.nan) for name in ("color", "code"))]
        )
        assert np.array_equal(forest.predict(numbers), expected)
    # The order of a table's own numbers would have been another answer.
    wrong = renumbered(frame)
    wrong["color"], wrong["code"] = wrong["color"].cat.codes, wrong["code"].cat.codes
    assert not np.array_equal(loaded.predict(wrong.to_numpy(np.float64)), expected)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_unknown_categories_are_what_the_library_makes_of_them(library: str) -> None:
    model, _ = trained(library)
    forest = convert(model)
    frame, _ = data(seed=2)
    frame["color"] = frame["color"].cat.add_categories(["black"])
    assert np.array_equal(forest.predict(frame), model.predict(frame))
    frame.loc[7, "color"] = "black"
    if library == "xgboost":  # which raises for some of them, and takes others for one that it knows
        with pytest.raises(ValueError, match=r"X\['color'\]: expected categories that .*, got 'black'"):
            forest.predict(frame)
    else:
        assert np.array_equal(forest.predict(frame), model.predict(frame))


def test_other_columns_than_in_training() -> None:
    frame, _ = data()
    numbers = frame.assign(color=frame["color"].cat.codes)
    for_lightgbm, for_xgboost = (convert(trained(library)[0]) for library in ("lightgbm", "xgboost"))
    with pytest.raises(ValueError, match="expected 2 categorical columns, as in training, got 1"):
        for_lightgbm.predict(numbers)
    with pytest.raises(ValueError, match=r"X\['color'\]: expected a categorical column, as in training"):
        for_xgboost.predict(numbers)
    codes = frame.apply(lambda column: column.cat.codes if column.dtype == "category" else column)
    codes["color"] = codes["color"].where(codes["color"] >= 0)
    assert np.array_equal(for_xgboost.predict(codes), for_xgboost.predict(frame))
    with pytest.raises(ValueError, match=r"X\['size'\]: expected numbers, since"):
        for_xgboost.predict(frame.assign(size=frame["color"]))


def test_a_model_without_categories_takes_numbers() -> None:
    frame, _ = data()
    with pytest.raises(TypeError, match="X\\['color'\\]: expected numbers"):
        rows_of(frame, 3, None)


def test_arrows_chunks_may_each_have_their_own_numbers() -> None:
    known = Categories((("a", "b", "c"),), unknown="missing")
    texts: tuple[list[str | None], ...] = (["c", None, "a"], ["b", "x", "c"], [])
    parts = [arrow.array(part, arrow.string()).dictionary_encode() for part in texts]
    table = arrow.table({"k": arrow.chunked_array(parts, arrow.dictionary(arrow.int32(), arrow.string()))})
    found = rows_of(table, 1, None, categories=known)[:, 0]
    np.testing.assert_array_equal(found, [2, np.nan, 0, 1, np.nan, 2])
    empty = rows_of(table.slice(0, 0), 1, None, categories=known)
    assert empty.shape == (0, 1)


@pytest.mark.parametrize("kind", ["int8", "uint8", "uint32", "uint64"])
def test_arrows_numbers_may_be_of_any_type(kind: str) -> None:
    column = arrow.DictionaryArray.from_arrays(
        arrow.array([0, None, 1, 2], getattr(arrow, kind)()), arrow.array(["b", "a", None])
    )
    known = Categories((("a", "b"),))
    wanted = [[1], [np.nan], [0], [np.nan]]  # null as a category is missing, and not unknown
    np.testing.assert_array_equal(rows_of(arrow.table({"k": column}), 1, None, categories=known), wanted)
    series = pandas.Series(column, dtype=pandas.ArrowDtype(column.type))
    np.testing.assert_array_equal(rows_of(series.to_frame("k"), 1, None, categories=known), wanted)


def test_booleans_are_no_numbers() -> None:
    lightgbm = pytest.importorskip("lightgbm")
    frame, y = data()
    for count in (2, 3):  # of LightGBM, unless all are equal
        numbers = frame["code"].cat.codes % count
        table = frame[["size"]].assign(code=numbers.astype("category"))
        model = lightgbm.LGBMRegressor(n_estimators=5, verbose=-1, n_jobs=1).fit(table, y)
        for other in (numbers.astype(bool), numbers.astype(float)):
            table["code"] = other.astype("category")
            assert np.array_equal(convert(model).predict(table), model.predict(table))


@pytest.mark.parametrize(
    "found",
    [
        [],
        {"values": 1},
        {"values": [[]], "in_turn": 1, "unknown": "missing"},
        {"values": [["a", ["b"]]], "in_turn": False, "unknown": "missing"},
        {"values": [{}], "in_turn": False, "unknown": "missing"},
        {"values": [["a", "a"]], "in_turn": False, "unknown": "missing"},
        {"values": [["a"], ["b"]], "in_turn": True, "unknown": "missing"},
        {"values": [], "in_turn": False, "unknown": "missing"},
        {"values": [None], "in_turn": True, "unknown": "missing"},
        {"values": [["a"]], "in_turn": True, "unknown": 3},
        {"values": [["a"]], "in_turn": True},
    ],
)
def test_saved_categories_that_make_no_sense(found: Any) -> None:
    def read() -> None:
        categories = unpack_categories(found)
        assert categories is not None
        check_categories(categories, 1)

    with pytest.raises(ValueError, match="categories"):
        read()


def test_saved_categories() -> None:
    for one in (
        None,
        Categories((None, ("a", 1, 2.5))),
        Categories((("a",),), in_turn=True, unknown="missing"),
    ):
        assert unpack_categories(json.loads(json.dumps(pack_categories(one)))) == one


def test_hostile_categories_of_xgboost() -> None:
    booster = trained("xgboost")[0].get_booster()
    document = json.loads(bytes(booster.save_raw("json")))
    columns = document["learner"]["gradient_booster"]["model"]["cats"]["enc"]
    assert read_xgboost(json.dumps(document).encode()).categories == Categories(
        (None, tuple(COLORS), tuple(CODES))
    )
    text = columns[1]
    strange: list[Any] = [
        [],
        {"values": "abc"},
        {"offsets": [0, 3], "values": []},
        {"offsets": [0, 2, 1, len(text["values"])], "values": text["values"]},
        {"offsets": [0, len(text["values"]) - 1], "values": text["values"]},
        {"offsets": text["offsets"], "values": [1000] * len(text["values"])},
        {"values": [1, 1]},
        {"type": 15},
    ]
    for wrong in strange:
        columns[1] = wrong
        with pytest.raises(ValueError, match=r"cats|categories"):
            Forest(read_xgboost(json.dumps(document).encode()))
    # Of letters beyond ASCII it is not certain where they begin, and so the column has no categories.
    columns[1] = {"offsets": text["offsets"], "values": [-61, -68, *text["values"][2:]]}
    found = read_xgboost(json.dumps(document).encode()).categories
    assert found == Categories((None, None, tuple(CODES)))
    del columns[1]
    with pytest.raises(ValueError, match="expected 3 columns"):
        read_xgboost(json.dumps(document).encode())


@pytest.mark.parametrize(
    "wrong",
    ["{}", '{"a": 1}', "[1, 2]", "[[[]]]", "[[null]]", "x", "[" * 100_000, "[" * 900 + "]" * 900, "1"],
)
def test_hostile_categories_of_lightgbm(wrong: str) -> None:
    text = trained("lightgbm")[0].booster_.model_to_string()
    head, key, _ = text.rpartition("pandas_categorical:")
    with pytest.raises(ValueError, match="pandas_categorical"):
        read_lightgbm(f"{head}{key}{wrong}\n")
    assert read_lightgbm(f"{head}{key}null\n").categories is None
    assert read_lightgbm(head).categories is None
