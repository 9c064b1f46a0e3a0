"""What must be so of any file: it is refused with a ValueError, or is a model that predicts as it says."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import forest_reference as reference
import numpy as np
from forest_inputs import around_thresholds

from pyscale.infer import Dense, Forest, Pipeline, load
from pyscale.infer.dense.saving import pack as pack_dense
from pyscale.infer.dense.saving import unpack as unpack_dense
from pyscale.infer.forest.saving import pack, unpack

FORMATS = {"xgboost_json": "xgboost", "xgboost_ubj": "xgboost", "onnx_dense": "onnx"}
MOST_STEPS = 20_000  # of nodes of trees that are walked in Python
MOST_COLUMNS = 1000


def check(format: str, path: Path) -> None:
    """Load a file and let it predict; ValueError only where it is refused."""
    model = load(path, format=FORMATS.get(format, format))
    try:
        predicts(model)
    except ValueError as error:
        raise AssertionError("what was loaded does not predict") from error


def predicts_alike(model: Dense) -> None:
    """Compare a batch with each row, and what is written down with what is read."""
    if max(model.num_features, model.num_outputs) > MOST_COLUMNS:
        return
    x = np.random.default_rng(0).normal(size=(20, model.num_features)).astype(np.float32)
    x[0], x[1], x[2] = np.nan, np.inf, -1e30
    whole = model.raw(x)
    for row in range(len(x)):
        assert np.array_equal(model.raw(x[row : row + 1])[0], whole[row], equal_nan=True)
    assert len(model.predict(x)) == len(x)
    if model.kind in ("binary", "multiclass"):
        assert model.predict_proba(x).ndim == 2
    again, weights = unpack_dense(*pack_dense(model._description, model.weights))
    assert np.array_equal(Dense(again, weights=weights).raw(x), whole, equal_nan=True)


def predicts_in_stages(model: Pipeline) -> None:
    """Compare a batch with each row, and let models that are last be as they have to be."""
    if model.num_features is None or model.num_features > MOST_COLUMNS:
        return
    x = np.random.default_rng(0).normal(size=(20, model.num_features))
    x[0], x[1], x[2] = np.nan, np.inf, -1
    for rows in (x, x.astype(np.float32), np.ones(x.shape, np.int8)):
        whole = model.raw(rows)
        for row in range(len(x)):
            assert np.array_equal(model.raw(rows[row : row + 1])[0], whole[row], equal_nan=True)
        assert len(model.predict(rows)) == len(rows)
    if isinstance(model.stages[-1], Dense | Forest):
        predicts(model.stages[-1])


def predicts(model: object) -> None:
    """Compare all engines of a forest with the plain walk, and batches of a chain of layers with each row."""
    if isinstance(model, Dense):
        predicts_alike(model)
        return
    if isinstance(model, Pipeline):
        predicts_in_stages(model)
        return
    assert isinstance(model, Forest)
    trees = model._description.trees
    if max(trees.num_features, trees.num_outputs) > MOST_COLUMNS:
        return
    rows = min(20, MOST_STEPS // (trees.num_nodes + 1))
    with np.errstate(all="ignore"):
        x = around_thresholds(trees, rows, 0) if trees.num_features else np.zeros((rows, 0))
        expected = reference.sums(trees, x)
    for engine in ("masks", "hybrid", "walk", ""):
        for batch in (x, x[:1], np.asfortranarray(x)):
            got = model._native.answer(batch, None, "raw", 0, model.num_trees, 1, engine)
            same = got.reshape(len(batch), trees.num_outputs)
            assert np.array_equal(same, expected[: len(batch)], equal_nan=True), engine
    assert np.array_equal(model.leaf_index(x), reference.leaves(trees, x))
    with np.errstate(all="ignore"):
        model.predict(x)
        if model.kind in ("binary", "multiclass"):
            columns = trees.num_outputs if model.kind == "multiclass" else max(2, trees.num_outputs)
            assert model.predict_proba(x).shape == (rows, columns)
        if model.kind == "anomaly":
            model.score_samples(x)
    again = unpack(*pack(model._description)).trees
    for field in fields(trees):
        if isinstance(getattr(trees, field.name), np.ndarray):
            np.testing.assert_array_equal(getattr(again, field.name), getattr(trees, field.name))
