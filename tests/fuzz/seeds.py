"""Small files of every format for a fuzzer to begin with, and changes that keep to a format's structure."""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import lightgbm_texts
import numpy as np
from forest_random import random_trees
from mutations import FLOATS, INTEGERS, mutated_bytes, mutated_document, mutated_text

from pyscale.infer import Forest, Link, ModelDescription, files

FORMATS = ("pyscale", "xgboost_json", "xgboost_ubj", "lightgbm", "onnx")
PREAMBLE = len(files.MAGIC) + 8


def seeds(format: str) -> list[bytes]:
    """Give valid files; ImportError if a package that makes them is missing."""
    made: dict[str, Callable[[], list[bytes]]] = {
        "pyscale": _own,
        "xgboost_json": lambda: [json.dumps(document).encode() for document in _xgboost()],
        "xgboost_ubj": lambda: [ubjson(document) for document in _xgboost()],
        "lightgbm": _lightgbm,
        "onnx": _onnx,
    }
    return made[format]()


def mutated(format: str, content: bytes, other: bytes, random: Random) -> bytes:
    """Change a file, mostly so that it stays one of its format."""
    if random.random() < 0.3:
        return mutated_bytes(content, other, random)
    try:
        if format == "pyscale":
            return _mutated_own(content, random)
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


def _own() -> list[bytes]:
    kinds: list[dict[str, Any]] = [
        {"classes": np.array(["a", "b"]), "kind": "binary", "link": Link(name="logistic")},
        {"feature_names": ("x", "y", "z"), "link": Link(divisor=0.0)},
        {"kind": "anomaly", "link": Link(name="isolation", scale=3.0), "offset": -0.5},
    ]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        for seed, more in enumerate(kinds):
            trees = random_trees(
                3 * seed, num_trees=3, num_features=3, most_leaves=5, categories=seed != 1, zeros=seed == 2
            )
            given = {"link": Link(), "kind": "regression", "source": "a fuzzer", **more}
            Forest(ModelDescription(trees=trees, **given)).save(path)
            found.append(path.read_bytes())
    return found


def _mutated_own(content: bytes, random: Random) -> bytes:
    length = int.from_bytes(content[len(files.MAGIC) : PREAMBLE], "little")
    rest = content[-(-(PREAMBLE + length) // 64) * 64 :]
    document = json.loads(content[PREAMBLE : PREAMBLE + length])
    if random.random() < 0.5:
        document = mutated_document(document, random)
    elif rest:
        # Numbers lie at multiples of 4: what is there becomes another, often a small one.
        data, at = bytearray(rest), random.randrange(0, len(rest), 4)
        number = random.choice([*INTEGERS[:8], random.choice(INTEGERS)]) % 2**32
        data[at : at + 4] = random.choice(
            (struct.pack("<I", number), struct.pack("<f", random.choice(FLOATS[:8])))
        )
        rest = bytes(data[: len(rest)])
    header = json.dumps(document).encode()
    size = PREAMBLE + len(header)
    return files.MAGIC + len(header).to_bytes(8, "little") + header + b"\0" * (-size % 64) + rest


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

    rng = np.random.default_rng(0)
    tree = [
        om.Node("LEQ", 0, 0.5, yes=1, no=2),
        om.Node("LT", 1, 1.5, yes=3, no=4),
        *(om.Node(weights={target: float(rng.normal())}) for target in (0, 1, 2)),
    ]
    members = [om.Node("MEMBER", 0, members=[1.0, 2.0], yes=1, no=2), *tree[2:4]]
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
            "TreeEnsembleClassifier",
            2,
            "float",
            classlabels_int64s=[0, 1, 2],
            **om.attributes([tree], "class", "float"),
        ),
        om.model("TreeEnsemble", 2, "float", n_targets=2, **om.attributes_v5([members], "float")),
    ]
    return [bytes(model.SerializeToString()) for model in found]


def _mutated_onnx(content: bytes, random: Random) -> bytes:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise ValueError(str(error)) from error
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
