"""Small files of every format for a fuzzer to begin with, and changes that keep to a format's structure."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import lightgbm_texts
import numpy as np
from mutations import FLOATS, INTEGERS, mutated_bytes, mutated_document, mutated_text
from own_files import mutated_graph, mutated_own, own_files

OWN = ("pyscale", "pyscale_stages", "pyscale_dense", "pyscale_arrays", "pyscale_graph")
FORMATS = (*OWN, "xgboost_json", "xgboost_ubj", "lightgbm", "onnx", "onnx_dense")


def seeds(format: str) -> list[bytes]:
    """Give valid files; ImportError if a package that makes them is missing."""
    if format in OWN:
        return own_files(format)
    made: dict[str, Callable[[], list[bytes]]] = {
        "xgboost_json": lambda: [json.dumps(document).encode() for document in _xgboost()],
        "xgboost_ubj": lambda: [ubjson(document) for document in _xgboost()],
        "lightgbm": _lightgbm,
        "onnx": _onnx,
        "onnx_dense": _onnx_dense,
    }
    return made[format]()


def mutated(format: str, content: bytes, other: bytes, random: Random) -> bytes:
    """Change a file, mostly so that it stays one of its format."""
    if format == "pyscale_graph":  # the graph's own bytes stay: onnxruntime has to judge them
        return mutated_graph(content, random)
    if random.random() < 0.3:
        return mutated_bytes(content, other, random)
    try:
        if format in OWN:
            return mutated_own(content, random)
        if format == "xgboost_json":
            return json.dumps(mutated_document(json.loads(content), random)).encode()
        if format == "xgboost_ubj":
            from pyscale.infer.importers.ubjson import read_ubjson

            return ubjson(mutated_document(_plain(read_ubjson(content)), random))
        if format == "lightgbm":
            return mutated_text(content, random)
        return _mutated_onnx(content, random)
    except (ValueError, RecursionError, OverflowError):  # it was no longer one of its format
        return mutated_bytes(content, other, random)


def _xgboost() -> list[Any]:
    folder = Path(__file__).parent.parent / "unit" / "xgboost_files"
    found = [json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
    return sorted((document.get("model", document) for document in found), key=lambda d: len(json.dumps(d)))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def ubjson(value: Any) -> bytes:
    """Write UBJSON as XGBoost does: lists of numbers as typed arrays."""

    def counted(size: int) -> bytes:
        return b"L" + struct.pack(">q", size)

    def text(words: str) -> bytes:
        return counted(len(words.encode())) + words.encode()

    match value:
        case None:
            return b"Z"
        case bool():
            return b"T" if value else b"F"
        case int():
            return b"L" + struct.pack(">q", (value + 2**63) % 2**64 - 2**63)
        case float():
            return b"D" + struct.pack(">d", value)
        case str():
            return b"S" + text(value)
        case dict():
            return b"{" + b"".join(text(str(key)) + ubjson(inner) for key, inner in value.items()) + b"}"
        case list() if value and all(type(inner) is float for inner in value):
            return b"[$D#" + counted(len(value)) + np.array(value, ">f8").tobytes()
        case list() if value and all(type(inner) is int and abs(inner) < 2**31 for inner in value):
            return b"[$l#" + counted(len(value)) + np.array(value, ">i4").tobytes()
    return b"[#" + counted(len(value)) + b"".join(map(ubjson, value))


def _lightgbm() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [lightgbm_texts.model(rng, linear=linear).encode() for linear in (False, True, False)]


def _onnx() -> list[bytes]:
    import onnx_models as om
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    tree = [
        om.Node("LEQ", 0, 0.5, yes=1, no=2),
        om.Node("LT", 1, 1.5, yes=3, no=4),
        *(om.Node(weights={target: float(rng.normal())}) for target in (0, 1, 2)),
    ]
    members = [om.Node("MEMBER", 0, members=[1.0, 2.0], yes=1, no=2), *tree[2:4]]
    # As LightGBM's sets are written: nodes that share what follows.
    shared = [
        om.Node("EQ", 0, 1.0, yes=3, no=1),
        om.Node("EQ", 0, 2.0, yes=3, no=2),
        om.Node("EQ", 0, 70.0, yes=3, no=4),
        *(om.Node(weights={0: 1.5}) for _ in range(2)),
    ]
    single = [om.Node(**{**vars(node), "weights": {0: 1.5} if node.weights else {}}) for node in tree]
    found = [
        om.model(
            "TreeEnsembleRegressor", 2, "float", n_targets=3, **om.attributes([tree], "target", "float")
        ),
        om.model(
            "TreeEnsembleRegressor",
            2,
            "float",
            n_targets=1,
            **om.attributes([single, single], "target", "float"),
        ),
        om.model(
            "TreeEnsembleRegressor",
            2,
            "float",
            after=(
                helper.make_node("Exp", ["scores"], ["e"]),
                helper.make_node("Mul", ["e", "factor"], ["z"]),
            ),
            outputs=(("z", "float"),),
            initializers=(numpy_helper.from_array(np.array([3.0], np.float32), "factor"),),
            n_targets=1,
            **om.attributes([shared], "target", "float"),
        ),
        om.model(
            "TreeEnsembleClassifier",
            2,
            "float",
            classlabels_int64s=[0, 1, 2],
            **om.attributes([tree], "class", "float"),
        ),
        om.model("TreeEnsemble", 2, "float", n_targets=2, **om.attributes_v5([members], "float")),
        om.model(
            "TreeEnsembleRegressor",
            2,
            "float",
            before=(_scaler("X", "scaled"),),
            feed="scaled",
            n_targets=1,
            **om.attributes([single], "target", "float"),
        ),
    ]
    return [bytes(model.SerializeToString()) for model in found]


def _scaler(given: str, made: str) -> Any:
    from onnx import helper

    more = {"offset": [1.0, 0.5], "scale": [2.0, -3.0]}
    return helper.make_node("Scaler", [given], [made], domain="ai.onnx.ml", **more)


def _onnx_dense() -> list[bytes]:
    import onnx_models as om
    from onnx.helper import make_node as node

    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(size=(2, 2)).astype(np.float32),
        "b": rng.normal(size=2).astype(np.float32),
        "root": np.array(0.5**0.5, np.float32),
        "half": np.array(0.5, np.float32),
        "one": np.array(1, np.float32),
        "shape": np.array([-1, 2]),
        "labels": np.array([7, 9]),
        "column": np.ones((2, 1), np.float32),
        "axis": np.array([-1]),
    }
    norm = [
        node("Gemm", ["X", "w", "b"], ["a"], transB=1, alpha=0.5, beta=2.0),
        node("BatchNormalization", ["a", "b", "b", "b", "b"], ["c"], epsilon=9.0),
        node("LayerNormalization", ["c", "b", "b"], ["d"], axis=-1, epsilon=0.5),
        node("LeakyRelu", ["d"], ["e"], alpha=0.25),
        node("Mul", ["e", "root"], ["f"]),
        node("Erf", ["f"], ["g"]),
        node("Add", ["g", "one"], ["h"]),
        node("Mul", ["e", "h"], ["i"]),
        node("Mul", ["i", "half"], ["y"]),
    ]
    labelled = [
        node("MatMul", ["X", "w"], ["a"]),
        node("Sub", ["a", "b"], ["c"]),
        node("Reshape", ["c", "shape"], ["d"]),
        node("Softmax", ["d"], ["p"], axis=-1),
        node("ArgMax", ["p"], ["best"], axis=1, keepdims=1),
        node("ArrayFeatureExtractor", ["labels", "best"], ["label"], domain="ai.onnx.ml"),
    ]
    linear = {"coefficients": [1.0, 2.0, -1.0, 0.5], "intercepts": [0.5, -0.5], "domain": "ai.onnx.ml"}
    classified = [
        _scaler("X", "a"),
        node(
            "LinearClassifier",
            ["a"],
            ["label", "p"],
            classlabels_ints=[0, 1],
            post_transform="SOFTMAX",
            **linear,
        ),
        node("Normalizer", ["p"], ["q"], domain="ai.onnx.ml", norm="L1"),
    ]
    squeezed = [
        node("MatMul", ["X", "column"], ["a"]),
        node("Squeeze", ["a", "axis"], ["c"]),
        node("Sigmoid", ["c"], ["y"]),
    ]
    regressed = [node("LinearRegressor", ["X"], ["y"], targets=2, **linear)]
    x = {"X": ("float", [None, 2])}
    rows, labels = ("float", [None, 2]), ("int64", [None])
    found = [
        om.graph_of(norm, x, {"y": rows}, constants),
        om.graph_of(labelled, x, {"label": labels, "p": rows}, constants),
        om.graph_of(classified, x, {"label": labels, "q": rows}),
        om.graph_of(regressed, x, {"y": rows}),
        om.graph_of(squeezed, x, {"y": ("float", [None])}, constants),
    ]
    return [bytes(model.SerializeToString()) for model in found]


def _mutated_onnx(content: bytes, random: Random) -> bytes:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise ValueError(str(error)) from error
    if random.random() < 0.4:
        _rewired(model.graph, random)
        return bytes(model.SerializeToString())
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    if not attributes:
        raise ValueError("no attributes")
    attribute = random.choice(attributes)
    values: Any = next(
        (values for values in (attribute.ints, attribute.floats, attribute.strings) if len(values)), None
    )
    what = random.randrange(5)
    if what == 0 or values is None:
        attribute.name = random.choice(attributes).name
        attribute.i = max(-(2**63), min(random.choice(INTEGERS), 2**63 - 1))
        attribute.type = random.randrange(12)
    elif what == 1:
        del values[random.randrange(len(values))]
    elif what == 2:
        values.append(random.choice(values))
    elif values is attribute.floats:
        values[random.randrange(len(values))] = random.choice(FLOATS)
    elif values is attribute.ints:
        number = random.choice([*INTEGERS[:6], random.choice(values), random.choice(INTEGERS)])
        values[random.randrange(len(values))] = max(-(2**63), min(number, 2**63 - 1))
    else:
        words = (b"", b"LEAF", b"BRANCH_LEQ", b"BRANCH_EQ", b"BRANCH_MEMBER", b"BRANCH_NEQ", b"\xff")
        values[random.randrange(len(values))] = random.choice(words)
    return bytes(model.SerializeToString())


def _rewired(graph: Any, random: Random) -> None:
    """Give nodes other inputs, outputs or places, or constants other shapes."""
    if not graph.node:
        raise ValueError("no nodes")
    node = random.choice(graph.node)
    names = [name for other in graph.node for name in (*other.input, *other.output)]
    match random.randrange(6):
        case 0 if node.input:
            node.input[random.randrange(len(node.input))] = random.choice(names)
        case 1 if node.output:
            node.output[0] = random.choice(names)
        case 2:
            node.op_type = random.choice(graph.node).op_type
        case 3:
            graph.node.insert(random.randrange(len(graph.node)), random.choice(graph.node))
        case 4:
            graph.node.remove(node)
        case 5 if graph.initializer:
            tensor = random.choice(graph.initializer)
            tensor.dims.append(random.choice((0, 1, 2, -1, 2**40)))
