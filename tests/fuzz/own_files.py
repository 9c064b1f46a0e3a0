"""Small files of our own format for a fuzzer to begin with, and changes of their header and arrays."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import ml_dtypes
import numpy as np
from forest_random import random_trees
from mutations import FLOATS, INTEGERS, mutated_document

from pyscale.infer import (
    Activation,
    Affine,
    Dense,
    DenseDescription,
    EmbeddingBag,
    Forest,
    Imputer,
    LayerNorm,
    Linear,
    Link,
    ModelDescription,
    OnnxModel,
    Pipeline,
    Scaler,
    TopK,
    files,
    prune,
    quantize,
)

PREAMBLE = len(files.MAGIC) + 8
DTYPES = ("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")


def own_files(format: str) -> list[bytes]:
    """Give files as models save them; ImportError if a package that makes them is missing."""
    made: dict[str, Callable[[], list[Any]]] = {
        "pyscale": _forests,
        "pyscale_stages": _pipelines,
        "pyscale_dense": _chains,
        "pyscale_arrays": _searches_and_bags,
        "pyscale_graph": _graphs,
    }
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        for model in made[format]():
            model.save(path)
            found.append(path.read_bytes())
    return found


def _forests() -> list[Any]:
    kinds: list[dict[str, Any]] = [
        {"classes": np.array(["a", "b"]), "kind": "binary", "link": Link(name="logistic")},
        {"feature_names": ("x", "y", "z"), "link": Link(divisor=0.0)},
        {"kind": "anomaly", "link": Link(name="isolation", scale=3.0), "offset": -0.5},
    ]
    found = []
    for seed, more in enumerate(kinds):
        trees = random_trees(
            3 * seed, num_trees=3, num_features=3, most_leaves=5, categories=seed != 1, zeros=seed == 2
        )
        given = {"link": Link(), "kind": "regression", "source": "a fuzzer", **more}
        found.append(Forest(ModelDescription(trees=trees, **given)))
    return found


def _pipelines() -> list[Any]:
    trees = random_trees(1, num_trees=3, num_features=3, most_leaves=5)
    forest = Forest(ModelDescription(trees=trees, link=Link(), kind="regression", source="a fuzzer"))
    imputer = Imputer(np.ones(4), missing=-1, kept=np.arange(4) > 0)
    scaler = Scaler(subtract=np.ones(3), divide=np.ones(3, np.float32), clip=(-1, 1))
    lasts = (forest, Linear(np.ones((2, 3))))
    return [Pipeline([imputer, scaler, last], feature_names=list("abcd")) for last in lasts]


def _chains() -> list[Any]:
    rng = np.random.default_rng(0)

    def linear(outputs: int, inputs: int) -> Linear:
        return Linear(rng.normal(size=(outputs, inputs)), rng.normal(size=outputs))

    rows = rng.normal(size=(50, 3))
    norms = (Affine(np.ones(3), np.ones(3)), linear(4, 3), LayerNorm(np.ones(4), np.ones(4)))
    most = Dense(
        DenseDescription(
            layers=(*norms, Activation("elu", 0.5), linear(3, 4), Activation("softmax")),
            kind="multiclass",
            classes=np.array(["a", "b", "c"]),
            feature_names=("x", "y", "z"),
        )
    )
    one = Dense(
        DenseDescription(
            layers=(linear(4, 3), Activation("relu"), linear(1, 4), Activation("sigmoid")),
            kind="binary",
            classes=np.array([3, 5]),
            flat=True,
        )
    )
    return [
        most,
        quantize(most, rows, weights="bfloat16")[0],
        quantize(one, rows)[0],
        quantize(one, rows, activations="static")[0],
        quantize(most, rows, activations="static", keep=(0,))[0],
        prune(one, rows, sparsity=0.5)[0],
    ]


def _searches_and_bags() -> list[Any]:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(5, 3)).astype(np.float32)
    return [
        TopK(matrix, metric="l2", k=2),
        TopK(matrix, metric="cosine", ids=np.array([7, 5, 9, 1, 3]), k=5),
        TopK(matrix),
        EmbeddingBag(matrix, mode="sum", padding_idx=1),
        EmbeddingBag(matrix.astype(np.float16), mode="mean", include_last_offset=True),
        EmbeddingBag(matrix.astype(ml_dtypes.bfloat16), mode="max", padding_idx=-1),
    ]


def _graphs() -> list[Any]:
    import onnx_models as om
    from onnx.helper import make_node as node

    linear = {"coefficients": [1.0, 2.0, -1.0, 0.5], "intercepts": [0.5, -0.5], "domain": "ai.onnx.ml"}
    classified = [
        node("LinearClassifier", ["x"], ["label", "p"], classlabels_ints=[4, 6], **linear),
        node("ZipMap", ["p"], ["zipped"], domain="ai.onnx.ml", classlabels_int64s=[4, 6]),
    ]
    several = [node("Sin", ["x"], ["y"]), node("Cos", ["x"], ["z"])]
    x, rows = {"x": ("float", ["n", 2])}, ("float", ["n", 2])
    labelled = om.graph_of(classified, x, {"label": ("int64", ["n"]), "p": rows})
    labelled.graph.output[1].CopyFrom(_zipped())
    graph = om.graph_of(several, x, {"y": rows, "z": rows})
    return [
        OnnxModel(labelled),
        OnnxModel(graph),
        OnnxModel(graph, output="z"),
        OnnxModel(graph, output=["z", "y"]),
    ]


def _zipped() -> Any:
    from onnx import TensorProto, helper

    one = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    kind = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, one))
    return helper.make_value_info("zipped", kind)


def mutated_own(content: bytes, random: Random) -> bytes:
    """Change a file's header, the numbers of its arrays, or their types, shapes and names together."""
    length = int.from_bytes(content[len(files.MAGIC) : PREAMBLE], "little")
    rest = content[-(-(PREAMBLE + length) // 64) * 64 :]
    document = json.loads(content[PREAMBLE : PREAMBLE + length])
    chance = random.random()
    if chance < 0.4:
        document = mutated_document(document, random)
    elif chance < 0.6:
        document, rest = _with_other_array(document, rest, random)
    elif rest:
        rest = _with_other_number(document, rest, random)
    header = json.dumps(document).encode()
    size = PREAMBLE + len(header)
    return files.MAGIC + len(header).to_bytes(8, "little") + header + b"\0" * (-size % 64) + rest


def mutated_graph(content: bytes, random: Random) -> bytes:
    """Change a graph's file as :func:`mutated_own`, or cut it off."""
    try:
        return mutated_own(content, random)
    except ValueError:
        return content[: random.randrange(len(content))]


def _with_other_number(document: Any, rest: bytes, random: Random) -> bytes:
    """Make a number in an array another, often a small one."""
    entry = random.choice(_changed(_listed(document)))
    size = np.dtype(entry["dtype"]).itemsize
    count = math.prod(entry["shape"])
    if not count:
        raise ValueError("no numbers")
    at = entry["at"] + size * random.randrange(count)
    if entry["dtype"][1] == "f":
        with np.errstate(all="ignore"):
            number = np.array(random.choice(FLOATS)).astype(entry["dtype"]).tobytes()
    else:
        chosen = random.choice([*INTEGERS[:8], random.choice(INTEGERS)])
        number = (chosen % 2**64).to_bytes(8, "little")[:size]
    return rest[:at] + number + rest[at + size :]


def _with_other_array(document: Any, rest: bytes, random: Random) -> tuple[Any, bytes]:
    """Give an array another type, shape or name, or leave it out, so that the file still is one."""
    arrays = [{**entry, "held": rest[entry["at"] :][: _bytes_of(entry)]} for entry in _listed(document)]
    chosen, other = random.choice(_changed(arrays)), random.choice(arrays)
    shape = chosen["shape"]
    match random.randrange(6):
        case 0:
            chosen["dtype"] = random.choice(DTYPES)
        case 1:
            chosen["shape"] = [*shape, random.choice((0, 1, 2))]
        case 2 if shape:
            place = random.randrange(len(shape))
            chosen["shape"] = [*shape[:place], random.choice((0, 1, 2, 3, 70)), *shape[place + 1 :]]
        case 3 if shape:
            chosen["shape"] = random.choice((shape[1:], shape[::-1], [math.prod(shape)]))
        case 4:
            arrays.remove(chosen)
        case _:
            chosen.update({**other, "name": chosen["name"]})
    data = b""
    for entry in arrays:
        held, size = entry.pop("held"), min(_bytes_of(entry), 1 << 15)
        entry["at"] = len(data)
        data += (held * (size // max(len(held), 1) + 1))[:size].ljust(size, b"\0") + b"\0" * (-size % 64)
    return {**document, "arrays": arrays, "bytes": len(data)}, data


def _listed(document: Any) -> list[Any]:
    """Give the entries of arrays; ValueError where the header has none that are whole."""
    try:
        listed = list(document["arrays"])
        for entry in listed:
            whole = "name" in entry and all(type(n) is int and n >= 0 for n in (entry["at"], *entry["shape"]))
            if entry["dtype"] not in DTYPES or not whole or entry["at"] + _bytes_of(entry) > 1 << 20:
                raise ValueError("no array")
    except (TypeError, KeyError) as error:
        raise ValueError("no arrays") from error
    return listed


def _changed(arrays: list[Any]) -> list[Any]:
    """Give those to be changed; what a graph is, onnxruntime has to judge."""
    found = [entry for entry in arrays if entry["name"] != "graph"]
    if not found:
        raise ValueError("no arrays")
    return found


def _bytes_of(entry: Any) -> int:
    return int(math.prod(entry["shape"])) * int(np.dtype(entry["dtype"]).itemsize)
