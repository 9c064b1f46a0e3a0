"""What models take as rows, threads and trees beside plain arrays, and what they refuse."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from forest_random import random_trees

from pyscale.infer import Forest, Link, ModelDescription, load
from pyscale.infer.dense.dense import Dense
from pyscale.infer.dense.layers import DenseDescription, Linear
from pyscale.infer.inputs import rows_of

MODELS: list[Any] = [
    Forest(ModelDescription(trees=random_trees(3), link=Link(), kind="regression", source="a test")),
    Dense([Linear(np.ones((3, 6)))]),
]
ROWS = np.random.default_rng(0).normal(size=(20_000, 6)).astype(np.float32)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_more_threads_than_can_be_started(model: Any) -> None:
    expected = model.raw(ROWS, num_threads=1)
    for threads in (np.int64(2), 10**6, 10**12):
        assert np.array_equal(model.raw(ROWS, num_threads=threads), expected)
    if isinstance(model, Forest):
        leaves = model.leaf_index(ROWS, num_threads=1)
        assert np.array_equal(model.leaf_index(ROWS, num_threads=10**6), leaves)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_threads_that_are_none(model: Any) -> None:
    for threads in (2.0, "2", np.float64(1), True, np.bool_(True)):
        with pytest.raises(TypeError, match="num_threads: expected a whole number"):
            model.raw(ROWS, num_threads=threads)
    for threads in (0, -1):
        with pytest.raises(ValueError, match="num_threads: expected 1 or more"):
            model.raw(ROWS, num_threads=threads)


def test_a_part_of_a_tree() -> None:
    forest = MODELS[0]
    for trees in (1.5, "1"):
        with pytest.raises(TypeError, match="num_trees: expected a whole number"):
            forest.raw(ROWS, num_trees=trees)
    assert np.array_equal(forest.raw(ROWS[:9], num_trees=np.int8(2)), forest.raw(ROWS[:9], num_trees=2))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_another_models_capsule_is_not_taken_for_its_own(model: Any) -> None:
    for other in MODELS:
        wrong = object.__new__(type(model))
        wrong.__dict__.update(model.__dict__, _quick=other._quick)
        assert np.array_equal(wrong.predict(ROWS[:5]), model.predict(ROWS[:5]))
    with pytest.raises(AttributeError, match="_quick"):
        object.__new__(type(model)).predict(ROWS)


def test_nothing_is_kept_of_calls() -> None:
    x, wrong = ROWS[:1].copy(), ROWS[:1, :5].copy()
    for model in MODELS:
        before = [sys.getrefcount(item) for item in (model._quick, model._native, x, wrong)]
        for _ in range(300):
            model.predict(x)
            with pytest.raises(ValueError, match="features"):
                model.predict(wrong)
        after = [sys.getrefcount(item) for item in (model._quick, model._native, x, wrong)]
        assert after == before


def test_whole_numbers_are_rounded_once() -> None:
    # By way of float64 these would be halfway, and then rounded to even.
    x = np.array([[2**60 + 2**36 - 1], [2**60 + 2**36 + 1]])
    assert rows_of(x, 1, None, whole=np.float32).tolist() == [[2.0**60], [2.0**60 + 2.0**37]]
    assert rows_of(x, 1, None).dtype == np.float64
    assert rows_of(x.astype(np.int16), 1, None).dtype == np.float32


def test_arrow_columns_that_are_no_numbers_or_have_none() -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"a": [True, None], "b": [1, None], "c": [1.5, None]})
    assert np.array_equal(rows_of(table, 3, None), [[1, 1, 1.5], [np.nan, np.nan, np.nan]], equal_nan=True)
    for wrong in (
        arrow.table({"a": arrow.array([1, 2], arrow.decimal128(30))}),
        arrow.table({"a": arrow.array([1, 2], arrow.timestamp("s"))}),
    ):
        with pytest.raises(TypeError, match=r"X\['a'\]: expected numbers, got (decimal128|timestamp)"):
            rows_of(wrong, 1, None)


def test_pandas_columns_that_are_no_numbers_or_have_none() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "a": pandas.array([True, None], "boolean"),
            "b": pandas.array([1, None], "Int64"),
            "c": [1.5, np.nan],
        }
    )
    assert np.array_equal(rows_of(frame, 3, None), [[1, 1, 1.5], [np.nan, np.nan, np.nan]], equal_nan=True)
    for wrong in (["1", "2"], np.array(["1", 2], object), np.array([1, 2], "datetime64[s]")):
        with pytest.raises(TypeError, match=r"X\['a'\]: expected numbers, got"):
            rows_of(pandas.DataFrame({"a": wrong}), 1, None)


def test_names_of_a_dense_models_columns(tmp_path: Any) -> None:
    arrow = pytest.importorskip("pyarrow")
    description = DenseDescription(layers=(Linear(np.eye(2)),), feature_names=("a", "b"))
    model = Dense(description)
    table = arrow.table({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    assert model.predict(table).tolist() == [[1, 3], [2, 4]]
    model.save(tmp_path / "model")
    for again in (model, load(tmp_path / "model")):
        with pytest.raises(ValueError, match="expected column 0 to be 'a', got 'b'"):
            again.predict(table.select(["b", "a"]))
    with pytest.raises(ValueError, match="feature_names: expected 2, got 1"):
        Dense(DenseDescription(layers=(Linear(np.eye(2)),), feature_names=("a",)))
