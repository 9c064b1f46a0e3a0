"""ONNX graphs whose weights are in other files, as torch's exporter writes them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyscale.infer import Dense, OnnxModel, load

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx_models as om  # noqa: E402

Array = NDArray[Any]
node = onnx.helper.make_node
RNG = np.random.default_rng(0)
W = RNG.normal(size=(4, 3)).astype(np.float32)
B = RNG.normal(size=3).astype(np.float32)


def chain(nodes: list[Any], constants: dict[str, Array]) -> Any:
    return om.graph_of(nodes, {"x": ("float", ["n", 4])}, {"y": ("float", None)}, constants)  # type: ignore[dict-item]


def written(folder: Path, change: Callable[[Any], None] | None = None) -> Path:
    """A graph whose two constants are in another file, and where one of them is changed."""
    made = chain([node("Gemm", ["x", "w", "b"], ["a"]), node("Relu", ["a"], ["y"])], {"w": W, "b": B})
    (folder / "weights").write_bytes(b"\0" * 64 + W.tobytes() + B.tobytes())
    at = 64
    for tensor in made.graph.initializer:
        size = len(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", "weights"), ("offset", at), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
        at += size
    if change is not None:
        change(made.graph.initializer[0])
    path = folder / "graph.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def said(**values: Any) -> Callable[[Any], None]:
    """Change what a tensor says of the other file; None leaves it out."""

    def change(tensor: Any) -> None:
        kept = {entry.key: entry.value for entry in tensor.external_data} | values
        tensor.ClearField("external_data")
        for key, value in kept.items():
            if value is not None:
                tensor.external_data.add(key=key, value=value)

    return change


def test_weights_beside_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    found = load(path)
    assert isinstance(found, Dense)
    x = RNG.normal(size=(30, 4)).astype(np.float32)
    np.testing.assert_allclose(found.predict(x), OnnxModel(path).predict(x), rtol=1e-5, atol=1e-6)
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(load("graph.onnx").predict(x), found.predict(x))
    # Of one that is alone in its file, what is left out is from the beginning, and to the end.
    (tmp_path / "alone").write_bytes(W.tobytes())
    written(tmp_path, said(location="alone", offset=None, length=None))
    assert np.array_equal(load(path).predict(x), found.predict(x))
    (tmp_path / "inner").mkdir()
    (tmp_path / "weights").rename(tmp_path / "inner" / "weights")
    written(tmp_path, said(location="inner/weights"))
    assert np.array_equal(load(path).predict(x), found.predict(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (said(location="nothing"), "a file beside the graph's, got 'nothing'"),
        (said(location=None), "a file beside the graph's, got None"),
        (said(location=""), "a file beside"),
        (said(location="."), "a file beside"),
        (said(location="/etc/passwd"), "a file beside"),
        (said(location="../outside"), "a file beside"),
        (said(location="link"), "a file beside"),
        (said(location="pipe"), "a file beside"),
        (said(location="circle"), "a file beside"),
        (said(location="a" * 5000), "a file beside"),
        (said(location="we\0ights"), "a file beside"),
        (said(offset="-1"), r"offset: expected a whole number, got '-1'"),
        (said(offset="1.5"), r"offset: expected a whole number"),
        (said(length="9" * 5000), r"length: expected a whole number"),
        (said(length="1000"), "cut off"),
        (said(offset="120"), "cut off"),
        (said(offset="0", length=None), "bytes of weights once"),
        (said(length="4"), "12 values"),
        (said(offset=str(10**17), length=None), "cut off"),
    ],
)
def test_other_files_that_are_not_read(
    change: Callable[[Any], None], message: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outer = tmp_path_factory.mktemp("outer")
    (outer / "outside").write_bytes(bytes(500))
    folder = outer / "inner"
    folder.mkdir()
    (folder / "link").symlink_to(outer / "outside")
    (folder / "circle").symlink_to(folder / "circle")
    os.mkfifo(folder / "pipe")
    path = written(folder, change)
    with pytest.raises(ValueError, match=message):
        load(path)


def test_one_file_is_not_read_again_and_again(tmp_path: Path) -> None:
    count, size = 300, 1 << 20
    constants = {f"w{i}": np.zeros((1, 4), np.float32) for i in range(count)}
    made = chain([node("Add", ["x", "w0"], ["y"])], constants)
    (tmp_path / "large").write_bytes(bytes(size))
    for tensor in made.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="large")
    (tmp_path / "graph.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(ValueError, match="bytes of large once"):
        load(tmp_path / "graph.onnx")


@pytest.mark.parametrize("version", [11, 18])
@pytest.mark.parametrize("last", ["Squeeze", "Sigmoid"])
def test_one_column_that_becomes_no_axis(version: int, last: str, tmp_path: Path) -> None:
    squeeze = node("Squeeze", ["a"], ["b"], axes=[1]) if version < 13 else node("Squeeze", ["a", "s"], ["b"])
    nodes = [node("Gemm", ["x", "w"], ["a"]), squeeze, node("Identity", ["b"], ["y"])]
    if last == "Sigmoid":
        nodes[2] = node("Sigmoid", ["b"], ["y"])
    made = chain(nodes, {"w": W[:, :1], "s": np.array([-1])})
    next(entry for entry in made.opset_import if not entry.domain).version = version
    (tmp_path / "graph.onnx").write_bytes(made.SerializeToString())
    x = RNG.normal(size=(20, 4)).astype(np.float32)
    (expected,) = om.run(made, x)
    found = load(tmp_path / "graph.onnx").predict(x)
    assert found.shape == expected.shape == (20,)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("axes", "width", "after"),
    [([0], 1, "Relu"), ([1], 2, "Relu"), ([], 1, "Relu"), ([1], 1, "Softmax")],
)
def test_other_axes_that_are_gone(axes: list[int], width: int, after: str, tmp_path: Path) -> None:
    nodes = [
        node("Gemm", ["x", "w"], ["a"]),
        node("Squeeze", ["a", "s"], ["b"]),
        node(after, ["b"], ["y"]),
    ]
    made = chain(nodes, {"w": W[:, :width], "s": np.array(axes, np.int64)})
    (tmp_path / "graph.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(ValueError, match=r"the axis of one column|functions of each number once"):
        load(tmp_path / "graph.onnx")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("beside", [False, True])
def test_torchs_exporter(beside: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    nn = torch.nn
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.BatchNorm1d(5), nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.LayerNorm(8),
        nn.Linear(8, 8, bias=False), nn.GELU(), nn.Linear(8, 8), nn.GELU("tanh"), nn.SiLU(), nn.ELU(0.5),
        nn.LeakyReLU(0.2), nn.Tanh(), nn.LayerNorm(8, elementwise_affine=False), nn.Linear(8, 3),
        nn.Softmax(1),
    )  # fmt: skip
    network(torch.randn(64, 5))  # so that the batch norms have seen something
    network.eval()
    path = tmp_path / "network.onnx"
    torch.onnx.export(
        network,
        (torch.zeros(2, 5),),
        path,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("n")},),
        external_data=beside,
        verbose=False,
    )
    assert (tmp_path / "network.onnx.data").exists() == beside
    found = load(path)
    assert isinstance(found, Dense)
    x = RNG.normal(size=(50, 5)).astype(np.float32)
    expected = network(torch.from_numpy(x)).detach()
    np.testing.assert_allclose(found.predict(x), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(OnnxModel(path).predict(x), expected, rtol=1e-5, atol=1e-6)
