"""What must be so of any file: it is refused with a ValueError, or is a model that predicts as it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import forest_reference as reference
import numpy as np
from forest_inputs import around_thresholds

from pyscale.infer import Dense, EmbeddingBag, Forest, OnnxModel, Pipeline, TopK, load
from pyscale.infer.dense.saving import pack as pack_dense
from pyscale.infer.dense.saving import unpack as unpack_dense
from pyscale.infer.embedding.saving import unpack as unpack_bags
from pyscale.infer.forest.saving import pack, unpack
from pyscale.infer.loading import _graph as unpack_graph
from pyscale.infer.topk.saving import unpack as unpack_topk

FORMATS = {"xgboost_json": "xgboost", "xgboost_ubj": "xgboost", "onnx_dense": "onnx"}
FORMATS |= dict.fromkeys(("pyscale_stages", "pyscale_dense", "pyscale_arrays", "pyscale_graph"), "pyscale")
MOST_STEPS = 20_000  # of nodes of trees that are walked in Python
MOST_COLUMNS = 1000


def check(format: str, path: Path) -> None:
    """Load a file and let it predict; ValueError only where it is refused, and says what was expected."""
    try:
        model = load(path, format=FORMATS.get(format, format))
    except ValueError as error:
        if "expected" not in str(error):
            raise AssertionError("an error that nobody foresaw") from error
        raise
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


def finds_alike(model: TopK) -> None:
    """Compare a batch with each query, the best with those a sort finds, and a copy with the model."""
    if model.num_features > MOST_COLUMNS:
        return
    queries = np.random.default_rng(0).normal(size=(10, model.num_features)).astype(np.float32)
    queries[0], queries[1], queries[2] = np.nan, np.inf, -1e30
    scores, indices = model.search(queries, model.num_rows)
    best = np.sort(scores, axis=1) if model.metric == "l2" else -np.sort(-scores, axis=1)
    assert np.array_equal(scores, best, equal_nan=True)
    names = np.arange(model.num_rows) if model.ids is None else model.ids
    assert np.array_equal(np.sort(indices, axis=1), np.broadcast_to(np.sort(names), indices.shape))
    for row in range(len(queries)):
        one = model.search(queries[row : row + 1], model.num_rows)
        assert np.array_equal(one[0][0], scores[row], equal_nan=True)
        assert np.array_equal(one[1][0], indices[row])
    if model.k is not None:
        assert np.array_equal(model.predict(queries)["index"], indices[:, : model.k])
    again = unpack_topk(*model._packed()).search(queries, model.num_rows)
    assert np.array_equal(again[0], scores, equal_nan=True)
    assert np.array_equal(again[1], indices)


def reduces_alike(model: EmbeddingBag) -> None:
    """Compare bags at once with each, and a copy with the model."""
    random = np.random.default_rng(0)
    bags = [random.integers(0, model.num_rows, size) for size in (0, 1, 2, 7)]
    offsets = np.cumsum([0, *map(len, bags)])
    whole = model.predict(np.concatenate(bags), offsets[: None if model.include_last_offset else -1])
    assert whole.shape == (len(bags), model.num_outputs)
    again = unpack_bags(*model._packed())
    for bag, expected in zip(bags, whole, strict=True):
        assert np.array_equal(model.predict(bag[None])[0], expected, equal_nan=True)
        assert np.array_equal(again.predict(bag[None])[0], expected, equal_nan=True)


def runs(model: OnnxModel) -> None:
    """Run a graph; a copy gives the same outputs and labels."""
    assert model.num_features is not None
    x = np.random.default_rng(0).normal(size=(5, model.num_features)).astype(np.float32)
    again = unpack_graph(*model._packed())
    answers = [one.predict(x) for one in (model, again)]
    several = [answer if isinstance(answer, dict) else {"": answer} for answer in answers]
    assert several[0].keys() == several[1].keys()
    for name, answer in several[0].items():
        assert len(answer) == len(x)
        assert np.array_equal(answer, several[1][name])
    assert (model.classes is None) == (again.classes is None)
    if model.classes is not None and again.classes is not None:
        assert np.array_equal(again.classes, model.classes, equal_nan=model.classes.dtype.kind == "f")


def predicts(model: object) -> None:
    """Compare all engines of a forest with the plain walk, and batches of other models with each row."""
    for kind, compare in COMPARED.items():
        if isinstance(model, kind):
            compare(model)
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


COMPARED: dict[type, Callable[[Any], None]] = {
    Dense: predicts_alike,
    Pipeline: predicts_in_stages,
    TopK: finds_alike,
    EmbeddingBag: reduces_alike,
    OnnxModel: runs,
}
