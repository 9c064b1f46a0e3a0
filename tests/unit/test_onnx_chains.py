"""Pipelines of scikit-learn, and networks of torch, by their converters, against onnxruntime."""

from __future__ import annotations

import io
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyscale.infer import Dense, Forest, OnnxModel, load

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx_models as om  # noqa: E402

Array = NDArray[Any]
node = onnx.helper.make_node
RNG = np.random.default_rng(0)


def loaded(made: Any, folder: Path) -> Any:
    path = folder / "graph.onnx"
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return load(path)


def pipelines() -> dict[str, tuple[Any, str, Any, str]]:
    pytest.importorskip("skl2onnx")
    from sklearn import decomposition, ensemble, impute, linear_model, neural_network, preprocessing, svm
    from sklearn.pipeline import make_pipeline

    standard = preprocessing.StandardScaler
    network = {"hidden_layer_sizes": (16,), "max_iter": 30, "random_state": 0}
    few = {"n_estimators": 5, "max_depth": 3, "random_state": 0}
    listed = {
        "logistic": (linear_model.LogisticRegression(), "breast_cancer", Dense, "multiclass"),
        "softmax": (linear_model.LogisticRegression(), "wine", Dense, "multiclass"),
        "digits": (linear_model.LogisticRegression(max_iter=300), "digits", Dense, "multiclass"),
        "ridge": (linear_model.RidgeClassifier(), "wine", Dense, "scores"),
        "perceptron": (linear_model.Perceptron(), "breast_cancer", Dense, "scores"),
        "svr": (svm.LinearSVR(random_state=0), "diabetes", Dense, "values"),
        "forest": (ensemble.RandomForestClassifier(**few), "breast_cancer", Forest, "binary"),
        "boosting": (ensemble.GradientBoostingClassifier(**few), "wine", Forest, "multiclass"),
        "boosted values": (ensemble.GradientBoostingRegressor(**few), "diabetes", Forest, "regression"),
    }
    made = {name: (make_pipeline(standard(), last), *more) for name, (last, *more) in listed.items()}
    minmax, pca = preprocessing.MinMaxScaler(), decomposition.PCA
    classifier = neural_network.MLPClassifier(**network)
    made |= {
        "network": (make_pipeline(minmax, classifier), "wine", Dense, "multiclass"),
        "network of two": (
            make_pipeline(minmax, classifier), "breast_cancer", Dense, "binary",
        ),
        "network of values": (
            make_pipeline(minmax, neural_network.MLPRegressor(**network)), "diabetes", Dense, "values",
        ),
        "pca": (make_pipeline(pca(5), linear_model.LinearRegression()), "diabetes", Dense, "values"),
        "whitened": (make_pipeline(pca(5, whiten=True), linear_model.Ridge()), "diabetes", Dense, "values"),
        "svc": (svm.LinearSVC(random_state=0), "wine", Dense, "scores"),
        "scaler": (standard(), "diabetes", Dense, "values"),
        "imputed": (
            make_pipeline(impute.SimpleImputer(), ensemble.RandomForestRegressor(**few)), "diabetes", Forest,
            "regression",
        ),
    }  # fmt: skip
    return made


NAMES = (
    "logistic", "softmax", "digits", "ridge", "perceptron", "svr", "forest", "boosting", "boosted values",
    "network", "network of two", "network of values", "pca", "whitened", "svc", "scaler", "imputed",
)  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("zipmap", [False, True])
def test_pipelines(name: str, zipmap: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn import datasets

    om.take_booleans(monkeypatch)
    model, data, kind, wanted = pipelines()[name]
    x, y = getattr(datasets, f"load_{data}")(return_X_y=True)
    text = wanted in ("multiclass", "binary", "scores") and not zipmap
    model.fit(x, np.array([f"class {label}" for label in y]) if text else y)
    x = x.astype(np.float32)
    labels = hasattr(model, "classes_")
    options = {"zipmap": zipmap} if labels and name != "svc" else None
    made = skl2onnx.to_onnx(model, x[:1], options=options, target_opset={"": 18, "ai.onnx.ml": 3})
    found, beside = loaded(made, tmp_path), OnnxModel(made)
    assert isinstance(found, kind)
    assert found.kind == wanted
    if not labels:
        answer = found.predict(x)
        np.testing.assert_allclose(answer.reshape(len(x), -1), beside.predict(x), rtol=2e-6, atol=1e-6)
        return
    np.testing.assert_array_equal(found.predict(x), beside.predict(x))
    scores = found.raw(x) if wanted == "scores" else found.predict_proba(x)
    expected = beside.predict_proba(x)
    if scores.ndim == 1:
        expected = expected[:, 1]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=5e-7 * max(1, np.abs(expected).max()))
    if wanted == "scores":
        with pytest.raises(ValueError, match="a model of probabilities, got one of scores"):
            found.predict_proba(x)
    found.save(tmp_path / "again")
    np.testing.assert_array_equal(load(tmp_path / "again").predict(x), found.predict(x))


@pytest.mark.filterwarnings("ignore")
def test_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.LayerNorm(8), nn.Linear(8, 8),
        nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Flatten(), nn.Linear(8, 3), nn.Softmax(-1),
    ).eval()  # fmt: skip
    file = io.BytesIO()
    axes = {"x": {0: "n"}}
    torch.onnx.export(
        network,
        (torch.zeros(2, 5),),
        file,
        dynamo=False,
        input_names=["x"],
        dynamic_axes=axes,
        opset_version=17,
    )
    found = loaded(file.getvalue(), tmp_path)
    functions = [layer.name for layer in found.layers if hasattr(layer, "parameter")]
    assert functions == ["relu", "gelu", "gelu_tanh", "silu", "softmax"]
    x = RNG.normal(size=(50, 5)).astype(np.float32)
    np.testing.assert_allclose(found.predict(x), network(torch.from_numpy(x)).detach(), rtol=1e-5, atol=1e-6)


def chain(nodes: list[Any], output: str, constants: dict[str, Array], kind: str = "float") -> Any:
    return om.graph_of(nodes, {"x": ("float", ["n", 4])}, {output: (kind, None)}, constants)  # type: ignore[dict-item]


W = RNG.normal(size=(4, 3)).astype(np.float32)
ONE, HALF = np.array(1, np.float32), np.array(0.5, np.float32)


@pytest.mark.parametrize("turned", [False, True])
def test_ways_to_write_gelu(turned: bool, tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Mul", ["half", "a"], ["b"]),
        node("Mul", ["a", "root"], ["c"]),
        node("Erf", ["c"], ["d"]),
        node("Add", ["one", "d"] if turned else ["d", "one"], ["e"]),
        node("Mul", ["e", "b"] if turned else ["b", "e"], ["f"]),
    ]
    made = chain(nodes, "f", {"w": W, "half": HALF, "one": ONE, "root": np.array(0.5**0.5, np.float32)})
    x = RNG.normal(size=(30, 4)).astype(np.float32)
    found = loaded(made, tmp_path)
    assert [layer.name for layer in found.layers[1:]] == ["gelu"]
    np.testing.assert_allclose(found.predict(x), om.run(made, x)[0], rtol=1e-5, atol=1e-6)
    wrong = chain(nodes, "f", {"w": W, "half": HALF, "one": ONE, "root": np.array(0.6, np.float32)})
    with pytest.raises(ValueError, match=r"Mul|Erf"):
        loaded(wrong, tmp_path)


def test_constants_of_constants_and_turned_subtraction(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", ["wt"], ["w"], perm=[1, 0]),
        node("Identity", ["c"], ["same"]),
        node("Sqrt", ["same"], ["root"]),
        node("MatMul", ["x", "w"], ["a"]),
        node("Sub", ["root", "a"], ["b"]),
        node("Reshape", ["b", "shape"], ["y"]),
    ]
    constants = {
        "wt": np.ascontiguousarray(W.T),
        "c": np.array([1, 2, 3], np.float32),
        "shape": np.array([-1, 3]),
    }
    made = chain(nodes, "y", constants)
    x = RNG.normal(size=(30, 4)).astype(np.float32)
    np.testing.assert_allclose(loaded(made, tmp_path).predict(x), om.run(made, x)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("operator", ["Sub", "Mul", "Neg"])
def test_two_scores_of_one_without_labels(operator: str, tmp_path: Path) -> None:
    last = "Sigmoid" if operator == "Sub" else "Identity"
    other = node(operator, {"Sub": ["one", "p"], "Mul": ["p", "minus"], "Neg": ["p"]}[operator], ["q"])
    constants: dict[str, Array] = {
        "w": W[:, :1],
        "one": np.ones(1, np.float32),
        "minus": -np.ones(1, np.float32),
    }
    nodes = [node("MatMul", ["x", "w"], ["s"]), node(last, ["s"], ["p"]), other]
    made = chain([*nodes, node("Concat", ["q", "p"], ["y"], axis=1)], "y", constants)
    model = loaded(made, tmp_path)
    x = RNG.normal(size=(30, 4)).astype(np.float32)
    (expected,) = om.run(made, x)
    assert (model.kind, model.predict(x).shape) == ("values", expected.shape)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-5, atol=1e-6)


def test_columns_beside_each_other(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    made = om.graph_of(
        [
            node("Concat", names, ["x"], axis=1),
            node("MatMul", ["x", "w"], ["m"]),
            node("ArgMax", ["m"], ["y"], axis=1),
        ],
        {name: ("float", ["n", 1]) for name in names},
        {"y": ("int64", ["n", 1])},
        {"w": W},
    )
    x = RNG.normal(size=(30, 4)).astype(np.float32)
    found = loaded(made, tmp_path)
    assert (found.kind, found.feature_names) == ("scores", tuple(names))
    np.testing.assert_array_equal(found.predict(x), OnnxModel(made).predict(x)[:, 0])


LINEAR = {"coefficients": W.T.reshape(-1).tolist(), "intercepts": [0.0] * 3, "domain": "ai.onnx.ml"}


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Normalizer", ["x"], ["y"], domain="ai.onnx.ml", norm="L2")], "MatMul|Tree|one of"),
        (
            [node("LinearRegressor", ["x"], ["y"], **{**LINEAR, "targets": 5})],
            "as many for each of 5 outputs",
        ),
        (
            [node("LinearRegressor", ["x"], ["y"], post_transform="PROBIT", **LINEAR)],
            "post_transform: expected NONE",
        ),
        (
            [node("LinearClassifier", ["x"], ["l", "y"], classlabels_ints=[1, 2], **LINEAR)],
            "an intercept of each of 2",
        ),
        (
            [
                node(
                    "LinearClassifier",
                    ["x"],
                    ["l", "y"],
                    classlabels_ints=[1, 2, 3],
                    post_transform="PROBIT",
                    **LINEAR,
                )
            ],
            "expected NONE, LOGISTIC, SOFTMAX, got 'PROBIT'",
        ),
        (
            [node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.0] * 3, scale=[1.0])],
            "4 numbers, or one",
        ),
        (
            [node("MatMul", ["x", "w"], ["m"]), node("Reshape", ["m", "s"], ["y"])],
            "rows and 3 columns, as before",
        ),
        ([node("MatMul", ["x", "w"], ["m"]), node("Concat", ["m", "m"], ["y"], axis=1)], r"\[1 - p, p\] or"),
        ([node("MatMul", ["y", "w"], ["m"]), node("Relu", ["m"], ["y"])], "nodes that follow each other"),
        (
            [node("MatMul", ["x", "w"], ["m"]), node("Dropout", ["m"], ["d", "y"])],
            r"\(Dropout\): expected its first output to be used, got 'y'",
        ),
        ([node("MatMul", ["w", "w"], ["y"])], "values that come from the graph's input"),
        (
            [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "block"], ["y"])],
            "3 of one axis, got",
        ),
    ],
)
def test_refused(nodes: list[Any], message: str, tmp_path: Path) -> None:
    constants: dict[str, Array] = {"w": W, "s": np.array([-1, 1]), "block": np.ones((1, 1, 1), np.float32)}
    with pytest.raises(ValueError, match=message):
        loaded(chain(nodes, "y", constants), tmp_path)


@pytest.mark.parametrize(
    ("casts", "kept"),
    [((), True), ((6,), True), ((1, 7), True), ((1,), False), ((8,), False), ((9,), False), ((9, 7), False)],
)
def test_casts_of_labels(casts: tuple[int, ...], kept: bool, tmp_path: Path) -> None:
    names = ["label", *(f"cast {i}" for i in range(len(casts)))]
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("ArgMax", ["a"], ["label"], axis=1, keepdims=0)]
    nodes += [
        node("Cast", [taken], [given], to=to)
        for taken, given, to in zip(names, names[1:], casts, strict=False)
    ]
    made = chain(nodes, names[-1], {"w": W}, "int64")
    made.graph.output[0].type.tensor_type.elem_type = casts[-1] if casts else 7
    if not kept:
        with pytest.raises(ValueError, match="labels that stay whole numbers, got 'type"):
            loaded(made, tmp_path)
        return
    x = RNG.normal(size=(20, 4)).astype(np.float32)
    np.testing.assert_array_equal(loaded(made, tmp_path).predict(x), OnnxModel(made).predict(x))


def test_inputs_of_one_axis_and_old_operators_are_refused(tmp_path: Path) -> None:
    made = chain([node("MatMul", ["x", "w"], ["y"])], "y", {"w": W})
    old = onnx.ModelProto.FromString(made.SerializeToString())
    next(entry for entry in old.opset_import if not entry.domain).version = 6
    with pytest.raises(ValueError, match=r"opset_import\[ai.onnx\]: expected version 7 or later, got 6"):
        loaded(old, tmp_path)
    del made.graph.input[0].type.tensor_type.shape.dim[0]
    with pytest.raises(ValueError, match="rows and columns, got"):
        loaded(made, tmp_path)


@pytest.mark.parametrize("operator", ["MatMul", "Add"])
def test_constants_that_are_used_again_and_again(operator: str, tmp_path: Path) -> None:
    """A layer of each node would take a hundred times the memory of the file."""
    width = 512
    constants = {
        "MatMul": np.eye(width, dtype=np.float32),
        "Add": np.array(1, np.float32),
        "first": RNG.normal(size=(4, width)).astype(np.float32),
    }
    count = 100 if operator == "MatMul" else 12_000
    names = [f"t{i}" for i in range(count)] + ["y"]
    nodes = [node("MatMul", ["x", "first"], ["t0"])]
    nodes += [node(operator, [a, operator], [b]) for a, b in pairwise(names)]
    made = chain(nodes, "y", constants).SerializeToString()
    tracemalloc.start()
    with pytest.raises(ValueError, match="constants that are used a few times"):
        loaded(made, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120_000_000


def test_labels_of_other_scores_are_refused(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Relu", ["a"], ["b"]),
        node("ArgMax", ["a"], ["label"], axis=1, keepdims=0),
    ]
    made = om.graph_of(
        nodes, {"x": ("float", ["n", 4])}, {"label": ("int64", ["n"]), "b": ("float", ["n", 3])}, {"w": W}
    )
    with pytest.raises(ValueError, match="labels of the scores 'b', got 'a'"):
        loaded(made, tmp_path)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    made = chain([node("MatMul", ["x", "w"], ["m"]), node("Tanh", ["m"], ["y"])], "y", {"w": W})
    with pytest.raises(ValueError, match=r"graph.node\[1\] .*: expected names in UTF-8"):
        loaded(made.SerializeToString().replace(b"Tanh", b"Tan\xff"), tmp_path)
