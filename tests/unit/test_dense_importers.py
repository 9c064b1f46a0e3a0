"""Dense models of torch, scikit-learn and ONNX give what their libraries give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyscale.infer import Affine, Dense, Linear, convert, load

Array = NDArray[Any]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def same(got: Array, wanted: Array, tolerance: float = 3e-6) -> None:
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= tolerance * max(1, np.abs(wanted).max())


def torch_model() -> Any:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(20, 40),
        nn.BatchNorm1d(40),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Sequential(nn.Linear(40, 33), nn.GELU(), nn.LayerNorm(33)),
        nn.Linear(33, 30, bias=False),
        nn.GELU(approximate="tanh"),
        nn.Linear(30, 30),
        nn.SiLU(),
        nn.Linear(30, 30),
        nn.LeakyReLU(0.2),
        nn.Linear(30, 30),
        nn.ELU(0.5),
        nn.Linear(30, 30),
        nn.Tanh(),
        nn.Linear(30, 7),
        nn.Softmax(dim=1),
    )
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(64, 20) * 2 + 1)
    return model.eval()


def test_torch_sequential() -> None:
    torch = pytest.importorskip("torch")
    model = torch_model()
    x = normal(50, 20)
    with torch.no_grad():
        wanted = model(torch.from_numpy(x)).numpy()
    found = convert(model)
    assert isinstance(found, Dense)
    same(found.predict(x), wanted)
    assert not any(isinstance(layer, Affine) for layer in found.layers)  # the batch norm is folded


def test_torch_state_dict() -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    model = nn.Sequential(nn.Linear(5, 8), nn.LeakyReLU(0.3), nn.BatchNorm1d(8), nn.Linear(8, 2)).eval()
    x = normal(30, 5)
    with torch.no_grad():
        wanted = model(torch.from_numpy(x)).numpy()
    layers = ["Linear", ("LeakyReLU", {"negative_slope": 0.3}), "BatchNorm1d", "Linear"]
    same(convert(model.state_dict(), layers).predict(x), wanted)
    arrays = {key: value.numpy() for key, value in model.state_dict().items()}
    same(convert(arrays, layers).predict(x), wanted)
    for wrong, message in (
        (["Linear"], "too"),
        ([*layers, "Linear"], r"layers\[4\]: expected a tensor weight"),
        (["Conv2d", *layers[1:]], r"layers\[0\]: expected one of"),
        (["Linear", ("LeakyReLU", {"slope": 1}), *layers[2:]], "options of LeakyReLU"),
        (["Linear", 3, *layers[2:]], r"layers\[1\]: expected a name"),
    ):
        with pytest.raises(ValueError, match=message):
            convert(arrays, wrong)


def test_torch_refused() -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Other(nn.Sequential):  # type: ignore[name-defined,misc]
        def forward(self, x: Any) -> Any:
            return super().forward(x) * 2

    hooked = nn.Sequential(nn.Linear(2, 2))
    hooked[0].register_forward_hook(lambda *_: None)
    for model, message in (
        (nn.Sequential(nn.Conv1d(1, 1, 1)), r"model\[0\]: expected one of .* got Conv1d"),
        (nn.Sequential(nn.Linear(2, 2).double()), "float64"),
        (nn.Sequential(nn.Linear(2, 2), nn.Softmax(dim=0)), "dim"),
        (nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 2)), r"layers\[1\]"),
        (nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False)), "running_mean"),
        (Other(nn.Linear(2, 2)), "another forward"),
        (hooked, "hooks"),
    ):
        with pytest.raises(ValueError, match=message):
            convert(model)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_sklearn_networks() -> None:
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    x, y = load_digits(return_X_y=True)
    for activation in ("relu", "logistic", "tanh", "identity"):
        network = MLPClassifier((30, 20), activation=activation, max_iter=300, tol=1e-2, random_state=0)
        fitted = make_pipeline(MinMaxScaler(), network).fit(x, y)
        found = convert(fitted)
        same(found.predict_proba(x), fitted.predict_proba(x), 1e-5)
        assert (found.predict(x) == fitted.predict(x)).all()
    x, y = load_breast_cancer(return_X_y=True)
    names = np.array(["bad", "good"])[y]
    fitted = make_pipeline(StandardScaler(), MLPClassifier((16,), max_iter=300, tol=1e-2)).fit(x, names)
    found = convert(fitted)
    same(found.predict_proba(x), fitted.predict_proba(x), 1e-5)
    assert (found.predict(x) == fitted.predict(x)).all()
    x, y = load_diabetes(return_X_y=True)
    for target in (y, np.stack([y, -y], 1)):
        regressor = MLPRegressor(
            hidden_layer_sizes=(16,), max_iter=20, tol=1e9, n_iter_no_change=1, random_state=0
        )
        fitted = make_pipeline(StandardScaler(), regressor).fit(x, target)
        same(convert(fitted).predict(x), fitted.predict(x), 1e-5)


def test_sklearn_linear_models() -> None:
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
    from sklearn.decomposition import PCA
    from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    x, y = load_diabetes(return_X_y=True)
    two = np.stack([y, y**2], 1)
    for model in (
        LinearRegression().fit(x, y),
        LinearRegression(fit_intercept=False).fit(x, two),
        Ridge().fit(x, y),
        Ridge().fit(x, two),
        Lasso().fit(x, y),
        ElasticNet().fit(x, y),
        make_pipeline(StandardScaler(), PCA(4), LinearRegression()).fit(x, y),
    ):
        same(convert(model).predict(x), model.predict(x), 1e-5)
    for data in (load_iris, load_breast_cancer):
        x, y = data(return_X_y=True)
        model = make_pipeline(StandardScaler(), "passthrough", LogisticRegression()).fit(x, y)
        found = convert(model)
        same(found.predict_proba(x), model.predict_proba(x), 1e-5)
        assert (found.predict(x) == model.predict(x)).all()
    shifted = x + 1e6  # float32 has few digits left of that
    for scaler in (
        StandardScaler(),
        StandardScaler(with_std=False),
        MinMaxScaler((-1, 2)),
        PCA(3, whiten=True),
    ):
        scaler.fit(shifted)
        same(convert(scaler).predict(shifted), scaler.transform(shifted), 1e-5)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_sklearn_refused() -> None:
    pytest.importorskip("sklearn")
    from sklearn.decomposition import PCA
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer, StandardScaler
    from sklearn.svm import SVC

    x = normal(20, 3)
    trees = RandomForestClassifier(2).fit(x, x[:, 0] > 0)
    several = MLPClassifier((2,), max_iter=1, tol=1e9, n_iter_no_change=1).fit(x, (x > 0).astype(int))
    for model, message in (
        (LogisticRegression(), "fitted"),
        (MLPClassifier(), "fitted"),
        (make_pipeline(QuantileTransformer(n_quantiles=5), LogisticRegression()), "before the model"),
        (several, "one label"),
        (make_pipeline(PCA(3), trees).fit(x, x[:, 0] > 0), r"'pca'.*before trees, got PCA.*Pipeline"),
        (make_pipeline("passthrough"), "one step or more"),
    ):
        with pytest.raises(ValueError, match=message):
            convert(model)
    for other in (SVC(), make_pipeline(StandardScaler(), SVC())):
        with pytest.raises(TypeError, match=r"model.*: expected one of .*PCA.*, got sklearn\.svm"):
            convert(other)
    alone = convert(make_pipeline("passthrough", trees))
    assert (alone.predict(x) == trees.predict(x)).all()
    nested = make_pipeline(make_pipeline(StandardScaler()), LogisticRegression()).fit(x, x[:, 0] > 0)
    assert (convert(nested).predict(x) == nested.predict(x)).all()


def onnx_chain(path: Path, nodes: list[tuple[Any, ...]], constants: dict[str, Array], width: int) -> Any:
    """Write a graph whose nodes are (operator, inputs, attributes), each giving what the next takes."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    made, last = [], "x"
    for place, (operator, inputs, *attributes) in enumerate(nodes):
        names = [last if name == "x" else name for name in inputs]
        made.append(helper.make_node(operator, names, [f"y{place}"], **(attributes[0] if attributes else {})))
        last = f"y{place}"
    graph = helper.make_graph(
        made,
        "chain",
        [helper.make_tensor_value_info("x", 1, [None, width])],
        [helper.make_tensor_value_info(last, 1, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, path)
    return model


def run(path: Path, x: Array) -> Array:
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    wanted: Array = session.run(None, {"x": x})[0]
    return wanted


def test_onnx_chain(tmp_path: Path) -> None:
    constants: dict[str, Array] = {
        "w0": normal(20, 33, seed=1),
        "b0": normal(33, seed=2),
        "w1": normal(24, 33, seed=3),
        "b1": normal(1, 24, seed=4),
        "w2": normal(24, 9, seed=5),
        "g": normal(24, seed=6),
        "v": np.abs(normal(24, seed=7)),
        "s": normal(9, seed=8),
        "h": np.full(1, 0.25, np.float32),
    }
    nodes = [
        ("Identity", ["x"]),
        ("MatMul", ["x", "w0"]),
        ("Add", ["b0", "x"]),
        ("Relu", ["x"]),
        ("Gemm", ["x", "w1", "b1"], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
        ("BatchNormalization", ["x", "g", "g", "g", "v"]),
        ("Gelu", ["x"]),
        ("LayerNormalization", ["x", "g", "v"]),
        ("Elu", ["x"], {"alpha": 0.4}),
        ("MatMul", ["x", "w2"]),
        ("Mul", ["x", "s"]),
        ("Sub", ["x", "s"]),
        ("Div", ["x", "h"]),
        ("LeakyRelu", ["x"]),
        ("Softmax", ["x"]),
    ]
    path = tmp_path / "chain.onnx"
    onnx_chain(path, nodes, constants, 20)
    x = normal(40, 20)
    found = load(path)
    assert isinstance(found, Dense)
    same(found.predict(x), run(path, x), 1e-5)


def test_onnx_from_torch_is_told_apart(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    # What exporters make of SiLU and of the exact GELU.
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["a"], transB=1),
        helper.make_node("Sigmoid", ["a"], ["s"]),
        helper.make_node("Mul", ["a", "s"], ["c"]),
        helper.make_node("Gemm", ["c", "w", "b"], ["d"], transB=1),
        helper.make_node("Div", ["d", "root"], ["e"]),
        helper.make_node("Erf", ["e"], ["f"]),
        helper.make_node("Add", ["f", "one"], ["g"]),
        helper.make_node("Mul", ["d", "g"], ["h"]),
        helper.make_node("Mul", ["h", "half"], ["i"]),
    ]
    constants = {
        "w": normal(6, 6),
        "b": normal(6),
        "root": np.float32(2**0.5),
        "one": np.float32(1),
        "half": np.float32(0.5),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [None, 6])],
        [helper.make_tensor_value_info("i", 1, [None, 6])],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    x = normal(40, 6)
    same(load(path).predict(x), run(path, x), 1e-5)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(whole)
        changed[random.integers(len(whole))] = random.integers(256)
        path.write_bytes(bytes(changed))
        try:
            load(path)
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([("MatMul", ["x", "w"]), ("Conv", ["x", "w"])], r"graph.node\[1\] \(Conv\): expected one of"),
        ([("MatMul", ["w", "x"])], r"input\[0\]"),
        ([("MatMul", ["x", "missing"])], r"input\[1\]: expected a constant"),
        ([("MatMul", ["x", "v"])], "a matrix"),
        ([("MatMul", ["x", "w"]), ("Add", ["x", "v"])], "3"),
        ([("MatMul", ["x", "w"]), ("MatMul", ["x", "w"])], "expected 3 columns, got 5"),
        ([("Gemm", ["x", "w"], {"transA": 1})], "transA"),
        ([("MatMul", ["x", "w"]), ("Softmax", ["x"], {"axis": 0})], "axis"),
        ([("MatMul", ["x", "w64"])], "float"),
    ],
)
def test_onnx_refused(tmp_path: Path, nodes: list[Any], message: str) -> None:
    constants: dict[str, Array] = {"w": normal(5, 3), "v": normal(5), "w64": np.ones((5, 3))}
    path = tmp_path / "m.onnx"
    onnx_chain(path, nodes, constants, 5)
    with pytest.raises(ValueError, match=message):
        load(path)


def test_scaling_is_not_folded_into_float32() -> None:
    pytest.importorskip("sklearn")
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = normal(60, 3).astype(np.float64) + 1e7
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(x, x[:, 0])
    found = convert(model)
    assert isinstance(found, Dense)
    assert isinstance(found.layers[0], Affine)
    assert isinstance(found.layers[1], Linear)
    assert np.abs(found.predict(x) - model.predict(x)).max() <= 2 * np.spacing(np.float32(1e7))


def test_names_of_columns_that_scikit_learn_saw() -> None:
    pytest.importorskip("sklearn")
    arrow = pytest.importorskip("pyarrow")
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = normal(20, 2).astype(np.float64)
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(x, x[:, 0])
    assert convert(model).feature_names is None
    expected = model.predict(x)
    # As fit notes them of a table.
    model[0].feature_names_in_ = np.array(["a", "b"], object)
    found = convert(model)
    table = arrow.table({"a": x[:, 0], "b": x[:, 1]})
    same(found.predict(table), expected, 1e-5)
    with pytest.raises(ValueError, match="expected column 0 to be 'a', got 'b'"):
        found.predict(table.select(["b", "a"]))
