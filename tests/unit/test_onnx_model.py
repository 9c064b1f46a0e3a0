"""ONNX graphs of any kind, through onnxruntime."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyscale.config import num_threads
from pyscale.infer import Batcher, OnnxModel, load, predict_distributed

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

import onnx_models as om  # noqa: E402

node = onnx.helper.make_node
Array = NDArray[Any]
RNG = np.random.default_rng(0)
W = RNG.normal(size=(4, 3)).astype(np.float32)


def rows(count: int, *shape: int) -> Array:
    return RNG.normal(size=(count, *(shape or (4,)))).astype(np.float32)


def product(batch: Any = "n") -> Any:
    return om.graph_of(
        [node("MatMul", ["x", "w"], ["m"]), node("Sin", ["m"], ["y"])],
        {"x": ("float", [batch, 4])},
        {"y": ("float", [batch, 3])},
        {"w": W},
    )


def wanted(x: Array) -> Array:
    return np.sin(x @ W)


def classifier(labels: dict[str, list[Any]], zipmap: bool) -> Any:
    nodes = [
        node(
            "LinearClassifier",
            ["x"],
            ["label", "p"],
            domain="ai.onnx.ml",
            coefficients=W.T.reshape(-1).tolist(),
            intercepts=[0.0, 0.0, 0.0],
            post_transform="SOFTMAX",
            **{name.replace("int64s", "ints"): value for name, value in labels.items()},
        )
    ]
    kind = "string" if "classlabels_strings" in labels else "int64"
    made = om.graph_of(nodes, {"x": ("float", ["n", 4])}, {"label": (kind, ["n"]), "p": ("float", ["n", 3])})
    if zipmap:
        made.graph.node.append(node("ZipMap", ["p"], ["maps"], domain="ai.onnx.ml", **labels))
        of_numbers = onnx.helper.make_tensor_type_proto(1, [])
        key = onnx.TensorProto.STRING if kind == "string" else onnx.TensorProto.INT64
        of_maps = onnx.helper.make_sequence_type_proto(onnx.helper.make_map_type_proto(key, of_numbers))
        made.graph.output[1].CopyFrom(onnx.helper.make_value_info("maps", of_maps))
    return made


def test_the_ways_to_give_a_graph(tmp_path: Path) -> None:
    made, x = product(), rows(7)
    path = tmp_path / "graph.onnx"
    onnx.save(made, path)
    for given in (made, made.SerializeToString(), bytearray(made.SerializeToString()), path, str(path)):
        model = OnnxModel(given)
        np.testing.assert_allclose(model.predict(x), wanted(x), rtol=1e-5, atol=1e-6)
    assert (model.num_features, model.feature_names, model.classes) == (4, None, None)
    (port,) = model.inputs
    assert (port.name, str(port.dtype), port.shape) == ("x", "float32", (None, 4))
    assert [port.name for port in model.outputs] == ["y"]
    assert repr(model).startswith("<pyscale.infer.OnnxModel: x -> y, ")
    assert model.predict(rows(0)).shape == (0, 3)
    with pytest.raises(TypeError, match=r"model: expected a path, bytes or an onnx\.ModelProto, got int"):
        OnnxModel(3)
    with pytest.raises(OSError, match="missing"):
        OnnxModel(tmp_path / "missing")


def test_threads_that_leave_ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, expected in ((None, num_threads()), (3, 3)):
        model = OnnxModel(product(), num_threads=given)
        options = model._session.get_session_options()
        assert (model.num_threads, options.intra_op_num_threads, options.inter_op_num_threads) == (
            expected,
            expected,
            1,
        )
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
        assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MPI_LOCALNRANKS", "100000")
    assert OnnxModel(product()).num_threads == 1
    with pytest.raises(ValueError, match="num_threads: expected 1 or more"):
        OnnxModel(product(), num_threads=0)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 8, 11])
def test_a_fixed_number_of_rows(count: int) -> None:
    x = rows(count)
    np.testing.assert_allclose(OnnxModel(product(4)).predict(x), wanted(x), rtol=1e-5, atol=1e-6)


def test_answers_that_are_not_one_a_row() -> None:
    made = om.graph_of(
        [node("ReduceSum", ["x"], ["y"], keepdims=1)], {"x": ("float", ["n", 4])}, {"y": ("float", [1, 1])}
    )
    with pytest.raises(ValueError, match="output 'y': expected an answer for each of 3 rows"):
        OnnxModel(made).predict(rows(3))


def test_several_inputs_and_outputs() -> None:
    made = om.graph_of(
        [node("Add", ["a", "b"], ["sum"]), node("Sub", ["a", "b"], ["less"])],
        {"a": ("float", ["n", 2]), "b": ("float", ["n", 2])},
        {"sum": ("float", ["n", 2]), "less": ("float", ["n", 2])},
    )
    a, b = rows(5, 2), rows(5, 2)
    found = OnnxModel(made).predict({"a": a, "b": b})
    assert list(found) == ["sum", "less"]
    np.testing.assert_array_equal(found["less"], a - b)
    one = OnnxModel(made, output="less")
    np.testing.assert_array_equal(one.predict({"b": b, "a": a}), a - b)
    assert list(OnnxModel(made, output=["less"]).predict({"a": a, "b": b})) == ["less"]
    assert one.num_features is None
    for bad, message in (
        ({"a": a}, "expected the inputs a, b, got a"),
        ({"a": a, "b": b[:3]}, "as many rows of each input"),
        (a, "expected a mapping with the inputs a, b"),
    ):
        with pytest.raises(ValueError, match=message):
            one.predict(bad)
    with pytest.raises(ValueError, match="output: expected some of sum, less, got 'more'"):
        OnnxModel(made, output="more")
    with pytest.raises(ValueError, match="out: expected none where several"):
        OnnxModel(made).predict({"a": a, "b": b}, out=np.empty((5, 2), np.float32))
    with pytest.raises(ValueError, match="predict_proba: expected a graph that gives labels"):
        one.predict_proba({"a": a, "b": b})


def test_columns_as_inputs() -> None:
    arrow = pytest.importorskip("pyarrow")
    codes = {"keys_strings": ["red", "blue"], "values_floats": [1.0, 0.0]}
    made = om.graph_of(
        [
            node("LabelEncoder", ["kind"], ["red"], domain="ai.onnx.ml", **codes),
            node("Mul", ["red", "x"], ["y"]),
        ],
        {"kind": ("string", ["n", 1]), "x": ("float", ["n", 1])},
        {"y": ("float", ["n", 1])},
    )
    model = OnnxModel(made)
    assert (model.feature_names, model.num_features) == (("kind", "x"), 2)
    table = arrow.table({"kind": ["red", "blue", "red"], "x": np.array([1, 2, 3], np.float32)})
    np.testing.assert_array_equal(model.predict(table), [[1], [0], [3]])
    given = {"kind": np.array(["red", "blue"]), "x": np.array([4, 5], np.float32)}
    np.testing.assert_array_equal(model.predict(given), [[4], [0]])
    with pytest.raises(ValueError, match="expected the columns kind, x, got x, kind"):
        model.predict(table.select(["x", "kind"]))
    with pytest.raises(TypeError, match=r"X\['kind'\]: expected text"):
        model.predict({**given, "kind": np.array([1, 2])})


def test_an_array_of_columns_as_inputs() -> None:
    made = om.graph_of(
        [node("Sub", ["a", "b"], ["y"])],
        {"a": ("float", ["n", 1]), "b": ("float", ["n", 1])},
        {"y": ("float", ["n", 1])},
    )
    x = rows(6, 2)
    np.testing.assert_array_equal(OnnxModel(made).predict(x), x[:, :1] - x[:, 1:])
    with pytest.raises(ValueError, match="expected rows x 2 features"):
        OnnxModel(made).predict(rows(6, 3))


def test_types_and_shapes() -> None:
    model = OnnxModel(product())
    x = rows(5)
    narrow = x.astype(np.float16)
    np.testing.assert_allclose(model.predict(narrow), wanted(narrow.astype(np.float32)), rtol=1e-5, atol=1e-6)
    answer = model.predict(x)
    np.testing.assert_array_equal(model.predict(np.asfortranarray(x)), answer)
    np.testing.assert_array_equal(model.predict(x.astype(">f4")), answer)
    with pytest.raises(TypeError, match=r"X: expected float32, as the graph has it, .* got float64"):
        model.predict(x.astype(np.float64))
    for bad in (x[:, :3], x[0], x[None]):
        with pytest.raises(ValueError, match="X: expected rows x 4, got shape"):
            model.predict(bad)
    out = np.empty((5, 3), np.float32)
    assert model.predict(x, out=out) is out
    np.testing.assert_array_equal(out, answer)
    for wrong in (np.empty((5, 3)), np.empty((4, 3), np.float32)):
        with pytest.raises(ValueError, match="out: expected a contiguous array of float32"):
            model.predict(x, out=wrong)


def test_tables() -> None:
    arrow = pytest.importorskip("pyarrow")
    x = rows(5)
    model = OnnxModel(product())
    columns = {str(place): x[:, place] for place in range(4)}
    np.testing.assert_array_equal(model.predict(arrow.table(columns)), model.predict(x))
    with pytest.raises(TypeError, match=r"X\['1'\]: expected float32"):
        model.predict(arrow.table({**columns, "1": x[:, 1].astype(np.float64)}))


@pytest.mark.parametrize("zipmap", [False, True])
@pytest.mark.parametrize("text", [False, True])
def test_classifiers(text: bool, zipmap: bool, tmp_path: Path) -> None:
    labels: dict[str, list[Any]] = (
        {"classlabels_strings": ["a", "b", "c"]} if text else {"classlabels_int64s": [5, 7, 9]}
    )
    model = OnnxModel(classifier(labels, zipmap))
    names = np.array(next(iter(labels.values())))
    x = rows(20)
    exp = np.exp(x @ W)
    np.testing.assert_allclose(model.predict_proba(x), exp / exp.sum(axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_array_equal(model.predict(x), names[exp.argmax(axis=1)])
    if zipmap:
        np.testing.assert_array_equal(model.classes, names)
        model.save(tmp_path / "model")
        for again in (pickle.loads(pickle.dumps(model)), load(tmp_path / "model")):
            np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
            np.testing.assert_array_equal(again.classes, names)


def test_pickled_and_saved(tmp_path: Path) -> None:
    x = rows(9)
    model = OnnxModel(product(), output="y", num_threads=2)
    again = pickle.loads(pickle.dumps(model))
    assert again.num_threads == 2
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    path = tmp_path / "model"
    model.save(path)
    found = load(path)
    assert isinstance(found, OnnxModel)
    np.testing.assert_array_equal(found.predict(x), model.predict(x))
    whole = path.read_bytes()
    for cut in (20, len(whole) - 1, len(whole) // 2):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=str(path)):
            load(path)


def test_arguments_of_other_kinds() -> None:
    for name, wrong in (("output", 3), ("output", [3]), ("providers", 3), ("providers", [("a", {})])):
        arguments: dict[str, Any] = {name: wrong}
        with pytest.raises(TypeError, match=f"{name}: expected a name, or several, got"):
            OnnxModel(product(), **arguments)
    assert OnnxModel(product(), providers="CPUExecutionProvider", num_threads=2).num_threads == 2


def test_more_threads_than_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def opened(content: object, threads: int, providers: object) -> None:
        started.append(threads)
        raise ValueError("counted")

    monkeypatch.setattr("pyscale.infer.graph.model.open_session", opened)
    with pytest.raises(ValueError, match="counted"):
        OnnxModel(product(), num_threads=10**6)
    assert started == [1024]


def test_weights_in_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "graph.onnx"
    onnx.save(product(), path, save_as_external_data=True, location="weights", size_threshold=0)
    x = rows(4)
    model = OnnxModel(path)
    np.testing.assert_allclose(model.predict(x), wanted(x), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="save: expected a graph in one file"):
        model.save(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="model: expected an ONNX graph that onnxruntime runs"):
        OnnxModel(path.read_bytes())  # nothing is read of where the process happens to be


def test_bad_graphs() -> None:
    whole = product().SerializeToString()
    for bad in (b"", b"junk" * 9, whole[:-9], whole[:20]):
        with pytest.raises(ValueError, match="model: expected an ONNX graph that onnxruntime runs, got"):
            OnnxModel(bad)
    unknown = om.graph_of([node("Foo", ["x"], ["y"])], {"x": ("float", ["n", 2])}, {"y": ("float", ["n", 2])})
    with pytest.raises(ValueError, match="Foo"):
        OnnxModel(unknown)
    with pytest.raises(ValueError, match=r"providers: expected some of .*, got 'NoSuch'"):
        OnnxModel(whole, providers=["NoSuch"])
    random = np.random.default_rng(0)
    for _ in range(100):
        changed = bytearray(whole)
        changed[random.integers(len(whole))] = random.integers(256)
        try:
            OnnxModel(bytes(changed))
        except ValueError:
            continue


def test_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install 'pyscale-ml\[onnx\]'"):
        OnnxModel(product())


def test_load_says_what_runs_it(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    onnx.save(product(), path)
    with pytest.raises(
        ValueError, match=r"graph.node\[1\] \(Sin\): expected one of .*OnnxModel runs graphs of any"
    ):
        load(path)


def test_batched(tmp_path: Path) -> None:
    x = rows(40)
    model = OnnxModel(product(), num_threads=1)
    expected = wanted(x)
    with Batcher(model, max_batch=16) as batcher, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: batcher.predict(row[None]), x))
        with pytest.raises(ValueError, match="4 features"):
            batcher.predict(rows(1, 3))
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-5, atol=1e-6)

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_distributed(model, x, out=tmp_path / "out.npy", batch_rows=7, progress=stop)
    other = om.graph_of(
        [node("MatMul", ["x", "w"], ["y"])], {"x": ("float", ["n", 4])}, {"y": ("float", ["n", 3])}, {"w": W}
    )
    with pytest.raises(ValueError, match="draft"):
        predict_distributed(OnnxModel(other), x, out=tmp_path / "out.npy", batch_rows=7)
    predict_distributed(model, x, out=tmp_path / "out.npy", batch_rows=7)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=1e-5, atol=1e-6)


FORK = """
import os, sys
import numpy as np
from pyscale.infer import OnnxModel

model, x = OnnxModel(sys.argv[1], num_threads=2), np.ones((5000, 4), np.float32)
expected = model.predict(x)
child = os.fork()
if child == 0:
    same = np.allclose(model.predict(x), expected)
    del model
    os._exit(0 if same else 1)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_after_a_fork(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    onnx.save(product(), path)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK, str(path)], timeout=60, check=False)
    assert done.returncode == 0
