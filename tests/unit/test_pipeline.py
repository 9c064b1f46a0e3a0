"""Pipelines of stages: what is fused, what is refused, what else is done with a model."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forest_random import random_trees
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import pyscale as ps
from pyscale.infer import (
    Activation,
    Affine,
    BatchNorm,
    Dense,
    DenseDescription,
    Forest,
    Imputer,
    LayerNorm,
    Linear,
    Link,
    ModelDescription,
    Pipeline,
    Scaler,
)

Array = NDArray[Any]
CLIPS: tuple[Any, ...] = (3, (1, 2, 3), (1, "2"), (1, 10**400), "12", (np.nan, 1))  # which are none


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def forest(num_outputs: int = 1, **options: Any) -> Forest:
    trees = random_trees(3, num_trees=7, num_features=4, num_outputs=num_outputs, width=num_outputs)
    options = {"kind": "regression", "link": Link(), **options}
    return Forest(ModelDescription(trees=trees, source="test", **options))


def scaler(features: int = 4) -> Scaler:
    return Scaler(subtract=normal(features, seed=1), divide=np.abs(normal(features, seed=2)) + 0.5)


def classifier(inputs: int = 4, **options: Any) -> Dense:
    layers = (Linear(normal(3, inputs), normal(3)), Activation("softmax"))
    labels = np.array(["a", "b", "c"])
    return Dense(DenseDescription(layers=layers, kind="multiclass", classes=labels, **options))


def kinds(model: Pipeline) -> str:
    return " ".join(type(stage).__name__ for stage in model.stages)


def scaled(x: Array, stage: Scaler) -> Array:
    x = x.copy()
    x -= stage.subtract
    x /= stage.divide
    return x


def test_layers_become_one_dense_that_gives_the_same_bits() -> None:
    layers: list[Any] = [
        Linear(normal(8, 4), normal(8)),
        BatchNorm(normal(8), np.abs(normal(8)) + 1),
        Activation("gelu"),
        LayerNorm(normal(8), normal(8)),
        Affine(normal(8), normal(8)),
        Linear(normal(2, 8)),
    ]
    x = normal(30, 4)
    whole = Dense(layers)
    for stages in (layers, [Dense(layers[:3]), *layers[3:]], [Dense(layers[:5]), Pipeline(layers[5:])]):
        model = Pipeline(stages)
        assert kinds(model) == "Dense"
        assert np.array_equal(model.predict(x), whole.predict(x))
        assert (model.num_features, model.num_outputs, str(model.dtype)) == (4, 2, "float32")
    last = classifier(2, source="here")
    model = Pipeline([whole, last])
    assert kinds(model) == "Dense"
    assert np.array_equal(model.predict_proba(x), last.predict_proba(whole.predict(x)))
    assert np.array_equal(model.predict(x), last.predict(whole.predict(x)))
    assert (model.kind, model.source, model.classes) == ("multiclass", "here", last.classes)


def test_weights_of_other_types_stay_apart() -> None:
    parts = [Dense([Linear(normal(4, 4, seed=seed))], weights="bfloat16") for seed in range(2)]
    assert kinds(Pipeline(parts)) == "Dense"
    (one,) = Pipeline(parts).stages
    assert isinstance(one, Dense)
    assert one.weights == "bfloat16"
    whole = Dense([Linear(normal(4, 4, seed=7))])
    quantized = Dense([Linear(normal(4, 4, seed=8))], weights="int8")
    x = normal(9, 4)
    cases: tuple[tuple[list[Any], str], ...] = (
        ([*parts, whole], "Dense Dense"),
        ([whole, quantized, Activation("relu"), parts[0]], "Dense Dense"),
        ([quantized, whole], "Dense"),
        ([parts[0], Activation("relu"), whole], "Dense Dense"),
    )
    for stages, expected in cases:
        model = Pipeline(stages)
        assert kinds(model) == expected
        rows = x
        for stage in stages:
            rows = np.maximum(rows, 0) if isinstance(stage, Activation) else stage.predict(rows)
        assert np.array_equal(model.predict(x), rows)


def test_activations_after_columns() -> None:
    x = np.array([[1.0, -0.0, -2.0, np.nan]])
    model = Pipeline([Imputer(np.full(4, 3.0)), Activation("relu")])
    assert np.array_equal(model.predict(x), [[1, 0, 0, 3]])
    gates = Pipeline([Scaler(multiply=np.ones(4)), Activation("leaky_relu", 1.0)])
    assert np.array_equal(
        np.signbit(gates.predict(x[:, :3].repeat(2, 1)[:, :4])), [[False, False, True, True]]
    )


def test_models_hand_on_what_raw_gives() -> None:
    x = normal(20, 4)
    trees = forest()
    model = Pipeline([scaler(), trees, Affine(np.array([2.0]), np.array([1.0])), Activation("sigmoid")])
    assert kinds(model) == "Scaler Forest Dense"
    raw = trees.raw(scaled(x, scaler()))
    expected = Dense([Affine(np.array([2.0]), np.array([1.0])), Activation("sigmoid")]).predict(raw[:, None])
    assert np.array_equal(model.predict(x), expected)
    flat = Dense(DenseDescription(layers=(Linear(normal(1, 4)),), flat=True))
    model = Pipeline([flat, scaler(1)])
    assert np.array_equal(model.raw(x), scaled(flat.raw(x)[:, None], scaler(1)))
    several = forest(num_outputs=3)
    model = Pipeline([several, classifier(3)])
    assert np.array_equal(model.predict(x), classifier(3).predict(several.raw(x)))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70), st.sampled_from(["f2", "f4", "f8"]), st.integers(0, 99))
def test_the_same_bits_in_any_batch(rows: int, dtype: str, seed: int) -> None:
    x = normal(rows, 4, seed=seed).astype(dtype)
    x[np.random.default_rng(seed).random(x.shape) < 0.2] = np.nan
    model = Pipeline([Scaler(multiply=normal(4), add=normal(4)), Imputer(normal(4)), scaler(), forest()])
    whole = model.predict(x)
    for begin in range(0, rows, 7):
        assert np.array_equal(model.predict(x[begin : begin + 7]), whole[begin : begin + 7])
    assert np.array_equal(model.predict(np.asfortranarray(x), num_threads=2), whole)


def test_arguments_go_to_the_last_stage() -> None:
    x = normal(11, 4)
    trees = forest()
    model, rows = Pipeline([scaler(), trees]), scaled(x, scaler())
    out = np.empty(11, trees.dtype)
    assert model.predict(x, num_trees=2, num_threads=1, out=out) is out
    assert np.array_equal(out, trees.predict(rows, num_trees=2))
    assert np.array_equal(model.raw(x, num_trees=3), trees.raw(rows, num_trees=3))
    assert np.array_equal(model.leaf_index(x, num_trees=3), trees.leaf_index(rows, num_trees=3))
    assert np.array_equal(model.decision_function(x), trees.decision_function(rows))
    assert model.explain_engine() == trees.explain_engine()
    with pytest.raises(ValueError, match="num_trees: expected 0 to 7, got 8"):
        model.predict(x, num_trees=8)
    with pytest.raises(ValueError, match="score_samples: expected an isolation forest"):
        model.score_samples(x)
    for method in ("leaf_index", "decision_function", "score_samples"):
        with pytest.raises(ValueError, match=f"{method}: expected a last stage that has it, got Dense"):
            getattr(Pipeline([scaler(), classifier()]), method)(x)
    with pytest.raises(ValueError, match="got Scaler"):
        Pipeline([scaler()]).predict_proba(x)
    with pytest.raises(ValueError, match=r"explain_engine: .* got Scaler"):
        Pipeline([scaler()]).explain_engine()
    for last in (scaler(), classifier()):
        with pytest.raises(TypeError, match="num_trees"):
            Pipeline([scaler(), last]).raw(x, num_trees=1)


def test_columns_alone_transform() -> None:
    x = normal(5, 4)
    model = Pipeline([scaler()])
    out = np.empty_like(x)
    assert model.raw(x, out=out) is out
    assert np.array_equal(out, scaled(x, scaler()))
    assert (model.kind, model.classes, model.dtype, model.num_outputs) == ("values", None, None, 4)
    for wrong in (np.empty((5, 3)), np.empty((5, 4), np.float32), x):
        with pytest.raises(ValueError, match="out: expected"):
            model.predict(x, out=wrong)


def test_rows_that_are_given_stay_as_they_are() -> None:
    x = normal(6, 4)
    x[0] = np.nan
    kept = x.copy()
    identity = Imputer(np.zeros(4), missing=77.0)
    for stages in (
        [scaler()],
        [Imputer(np.ones(4)), scaler()],
        [identity],
        [Imputer(np.ones(4), whole=True)],
    ):
        for rows in (x, x.astype(np.float32), np.ones((6, 4), np.int64)):
            before = rows.copy()
            got = Pipeline(stages).predict(rows)
            got[...] = 5
            assert np.array_equal(rows, before, equal_nan=True)
    with pytest.raises(ValueError, match="out: expected memory of its own"):
        Pipeline([scaler(), forest()]).raw(x, out=x.reshape(-1)[:6])
    assert np.array_equal(x, kept, equal_nan=True)


def test_rows_that_do_not_fit() -> None:
    model = Pipeline([scaler(), forest()], feature_names=["a", "b", "c", "d"])
    for rows in (np.ones((3, 5)), np.ones(4), np.ones((3, 5), np.int8)):
        with pytest.raises(ValueError, match="X: expected rows x 4 features, got shape"):
            model.predict(rows)
    with pytest.raises(TypeError, match="X: expected an array"):
        model.predict("rows")
    with pytest.raises(ValueError, match="num_threads: expected 1 or more, got 0"):
        Pipeline([scaler()]).predict(np.ones((3, 4)), num_threads=0)
    assert model.predict(np.ones((0, 4))).shape == (0,)
    torch = pytest.importorskip("torch")
    x = normal(3, 4)
    assert np.array_equal(model.predict(torch.from_numpy(x)), model.predict(x))
    half = torch.from_numpy(x).to(torch.bfloat16)
    assert np.array_equal(model.predict(half), model.predict(half.float()))


@pytest.mark.parametrize(
    ("stages", "error", "message"),
    [
        ([], ValueError, "stages: expected one or more, got none"),
        (
            lambda: [scaler(), Imputer(np.ones(4)), forest(3), scaler()],
            ValueError,
            r"stages\[3\]: expected 3 features, got 4",
        ),
        (
            [Linear(np.ones((16, 4))), Activation("relu"), Linear(np.ones((2, 20)))],
            ValueError,
            r"stages\[2\]: expected 16 features, got 20",
        ),
        (lambda: [scaler(3), forest()], ValueError, r"stages\[1\]: expected 3 features, got 4"),
        (
            lambda: [Pipeline([scaler(), scaler()]), scaler(3)],
            ValueError,
            r"stages\[1\]: expected 4 features, got 3",
        ),
        ([Activation("relu")], ValueError, r"stages\[0\]: expected a layer that says how many"),
        ([Linear(np.ones((2, 4))), Activation("swoosh")], ValueError, r"stages\[1\]: expected one of"),
        ([Linear(np.ones(4))], ValueError, r"stages\[0\]\.weight: expected 2 axes"),
        ([3], TypeError, r"stages\[0\]: expected a Scaler.*got int"),
        ([Scaler()], ValueError, r"stages\[0\]: expected numbers of as many columns"),
        (
            [Scaler(add=np.ones(2), divide=np.ones(3))],
            ValueError,
            r"stages\[0\]: expected numbers of as many",
        ),
        ([Scaler(add=np.ones((2, 2)))], ValueError, r"stages\[0\]\.add: expected a number of each column"),
        ([Scaler(add=np.array(["a"]))], ValueError, r"stages\[0\]\.add: expected floats"),
        ([Scaler(add=np.ones(2), clip=(2, 1))], ValueError, r"stages\[0\]\.clip"),
        ([Imputer(np.ones(2), kept=np.ones(3, bool))], ValueError, r"stages\[0\]\.kept"),
        ([Imputer(np.ones(2), kept=np.zeros(2, bool))], ValueError, r"stages\[0\]\.kept"),
        (
            [Imputer(np.ones(2), missing="x")],  # type: ignore[arg-type]
            ValueError,
            r"stages\[0\]\.missing",
        ),
        ([Imputer(np.ones(2), missing=10**400)], ValueError, r"stages\[0\]\.missing: expected a number"),
        ([Imputer(np.ones(2), missing=True)], ValueError, r"stages\[0\]\.missing"),
        *(
            ([Scaler(add=np.ones(2), clip=clip)], ValueError, r"stages\[0\]\.clip: expected .* number")
            for clip in CLIPS
        ),
    ],
)
def test_stages_that_do_not_fit(stages: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Pipeline(stages() if callable(stages) else stages)


def test_names_of_columns() -> None:
    named = Dense(DenseDescription(layers=(Linear(normal(2, 2)),), feature_names=("a", "b")))
    assert Pipeline([named]).feature_names == ("a", "b")
    inner = Pipeline([scaler(2)], feature_names=["c", "d"])
    assert Pipeline([inner, named]).feature_names == ("c", "d")
    assert Pipeline([scaler(2), named]).feature_names is None
    cases: tuple[tuple[list[Any], Any, str], ...] = (
        ([named], ["a", "b"], "has its own"),
        ([scaler(2)], ["a"], "feature_names: expected 2, got '1'"),
        ([scaler(2)], "ab", "sequence of text"),
        ([scaler(2)], [1, 2], "sequence of text"),
    )
    for stages, names, message in cases:
        with pytest.raises(ValueError, match=message):
            Pipeline(stages, feature_names=names)
    pandas = pytest.importorskip("pandas")
    x = normal(3, 2)
    model = Pipeline([inner, named])
    assert np.array_equal(model.predict(pandas.DataFrame(x, columns=["c", "d"])), model.predict(x))
    with pytest.raises(ValueError, match="column 0 to be 'c', got 'a'"):
        model.predict(pandas.DataFrame(x, columns=["a", "d"]))


def everything() -> list[Pipeline]:
    first = Scaler(multiply=np.ones(4, np.float32), add=normal(4), clip=(-1, np.inf), narrow=True)
    dropping = Imputer(
        np.array([1, 2, 3, 4]), missing=-1, kept=np.array([True, False, True, True]), whole=True
    )
    return [
        Pipeline([first, Imputer(normal(4)), forest()], feature_names=["a", "b", "c", "d"]),
        Pipeline([dropping, scaler(3)]),
        Pipeline([scaler(), Linear(normal(3, 4)), Activation("relu"), classifier(3)]),
        Pipeline([forest(3), classifier(3)]),
        Pipeline([Dense([Linear(normal(4, 4))], weights="bfloat16"), forest()]),
    ]


@pytest.mark.parametrize("place", range(5))
def test_saved_and_pickled(place: int, tmp_path: Path) -> None:
    model = everything()[place]
    x = normal(40, 4)
    x[3, 0] = -1
    path = tmp_path / "model"
    model.save(path)
    for again in (ps.infer.load(path), pickle.loads(pickle.dumps(model))):
        assert kinds(again) == kinds(model)
        assert again.feature_names == model.feature_names
        for rows in (x, x.astype(np.float32), (x * 3).astype(np.int32)):
            got, expected = again.predict(rows), model.predict(rows)
            assert got.dtype == expected.dtype
            assert np.array_equal(got, expected, equal_nan=got.dtype.kind == "f")


def test_no_more_stages_are_saved_than_can_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stages: expected at most 10000, to be saved, got '10001'"):
        Pipeline([Imputer(np.ones(1))] * 10_001).save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_what_becomes_of_an_array_afterwards_changes_nothing() -> None:
    values = np.ones(4)
    model = Pipeline([Scaler(add=values)])
    values[:] = 7
    assert np.array_equal(model.predict(np.zeros((1, 4))), np.ones((1, 4)))


def test_graphs_are_last(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x"], ["y"], axes=[1], keepdims=0)],
        "sum",
        [helper.make_tensor_value_info("x", 1, [None, 4])],
        [helper.make_tensor_value_info("y", 1, [None])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    last = ps.infer.OnnxModel(proto, num_threads=1)
    model = Pipeline([scaler(), last])
    x = normal(5, 4).astype(np.float32)
    assert np.array_equal(model.predict(x), last.predict(scaled(x, scaler())))
    model.save(tmp_path / "model")
    assert np.array_equal(ps.infer.load(tmp_path / "model").predict(x), model.predict(x))
    with pytest.raises(ValueError, match=r"stages\[1\]: expected nothing after stages\[0\], an OnnxModel"):
        Pipeline([last, forest()])
    with pytest.raises(ValueError, match=r"stages\[1\]: expected 3 features, got 4"):
        Pipeline([scaler(3), last])


def test_batcher_and_whole_data_sets(tmp_path: Path) -> None:
    model = everything()[0]
    x = normal(64, 4).astype(np.float32)
    expected = model.predict(x)
    with ps.infer.Batcher(model, max_batch=16, max_delay_ms=1, workers=2) as batcher:
        futures = [batcher.submit(x[k : k + 3]) for k in range(0, 63, 3)]
        assert np.array_equal(np.concatenate([future.result() for future in futures]), expected[:63])
        with pytest.raises(ValueError, match="rows x 4 features"):
            batcher.submit(x[:, :3])
    ps.infer.predict_distributed(model, x, out=tmp_path / "out.npy", batch_rows=10)
    assert np.array_equal(np.load(tmp_path / "out.npy"), expected)


def test_callers_at_the_same_time() -> None:
    model = everything()[0]
    batches = [normal(50, 4, seed=seed) for seed in range(4)]
    expected = [model.predict(x) for x in batches]
    wrong: list[int] = []

    def call(number: int) -> None:
        for _ in range(50):
            if not np.array_equal(model.predict(batches[number]), expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
