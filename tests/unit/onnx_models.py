"""Random tree ensembles as ONNX models, and what onnxruntime makes of them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MODES = ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ", "MEMBER")
TYPES: dict[str, Any] = {"float": np.float32, "double": np.float64, "int64": np.int64, "int32": np.int32}
ELEMENTS = {"float": 1, "double": 11, "int64": 7, "int32": 6, "string": 8}


@dataclass
class Node:
    """A node of a random tree; a leaf if it has weights."""

    mode: str = "LEAF"
    feature: int = 0
    value: float = 0.0
    members: list[float] = field(default_factory=list)
    track: int = 0
    yes: int = 0
    no: int = 0
    weights: dict[int, float] = field(default_factory=dict)


def random_tree(
    rng: np.random.Generator,
    *,
    features: int,
    targets: list[int],
    inner: int,
    modes: tuple[str, ...] = ("LEQ",),
    dtype: str = "float",
    positive: bool = False,
) -> list[Node]:
    """A tree of `inner` nodes that compare; its root first, its leaves with a weight of each target."""
    nodes = [Node()]
    leaves = [0]
    for _ in range(inner):
        at = leaves.pop(int(rng.integers(len(leaves))))
        node = nodes[at]
        node.mode = str(rng.choice(modes))
        node.feature = int(rng.integers(features))
        # Whole numbers and fractions, so that equality matters.
        kinds = (float(rng.integers(-3, 40)), float(rng.integers(0, 8)) / 2, float(rng.normal()))
        node.value = kinds[int(rng.integers(3))]
        node.value = float(TYPES[dtype](node.value))
        node.members = [float(v) for v in rng.integers(0, 9, int(rng.integers(1, 5)))]
        if rng.random() < 0.5:
            node.members = [float(v) for v in rng.integers(-5, 60, int(rng.integers(1, 40)))]
        node.track = int(rng.integers(2))
        node.yes, node.no = len(nodes), len(nodes) + 1
        leaves += [len(nodes), len(nodes) + 1]
        nodes += [Node(), Node()]
    for leaf in leaves:
        weights = rng.normal(size=len(targets)) * 10.0 ** rng.integers(-3, 4)
        weights = TYPES[dtype](np.abs(weights) if positive else weights)
        nodes[leaf].weights = dict(zip(targets, weights.tolist(), strict=True))
    return nodes


def attributes(
    trees: list[list[Node]], entries: str, dtype: str, rng: np.random.Generator | None = None
) -> dict[str, Any]:
    """What TreeEnsembleRegressor or -Classifier take of nodes; numbered and ordered at random with `rng`."""
    from onnx import numpy_helper

    columns: dict[str, list[Any]] = {
        f"nodes_{name}": []
        for name in (
            "modes",
            "featureids",
            "values",
            "nodeids",
            "treeids",
            "truenodeids",
            "falsenodeids",
            "missing_value_tracks_true",
        )
    }
    votes: dict[str, list[Any]] = {
        f"{entries}_{name}": [] for name in ("ids", "nodeids", "treeids", "weights")
    }
    for number, tree in enumerate(trees):
        order, ids = np.arange(len(tree)), np.arange(len(tree))
        if rng is not None:
            order, ids = np.append(0, 1 + rng.permutation(len(tree) - 1)), rng.permutation(len(tree))
        name = number if rng is None else 3 * len(trees) - 2 * number
        for at in order:
            node = tree[at]
            leaf = node.mode == "LEAF"
            row = (
                "LEAF" if leaf else f"BRANCH_{node.mode}",
                node.feature,
                node.value,
                int(ids[at]),
                name,
                0 if leaf else int(ids[node.yes]),
                0 if leaf else int(ids[node.no]),
                node.track,
            )
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
            for target, weight in node.weights.items():
                for column, value in zip(votes.values(), (target, int(ids[at]), name, weight), strict=True):
                    column.append(value)
    out = {**columns, **votes}
    if dtype == "double":
        for column_name in ("nodes_values", f"{entries}_weights"):
            values = np.array(out.pop(column_name), np.float64)
            out[f"{column_name}_as_tensor"] = numpy_helper.from_array(values, column_name)
    return out


def attributes_v5(trees: list[list[Node]], dtype: str) -> dict[str, Any]:
    """What TreeEnsemble takes of nodes."""
    from onnx import numpy_helper

    names = (
        "featureids",
        "truenodeids",
        "trueleafs",
        "falsenodeids",
        "falseleafs",
        "missing_value_tracks_true",
    )
    columns: dict[str, list[int]] = {f"nodes_{name}": [] for name in names}
    leaves: list[tuple[int, float]] = []
    modes, splits, members, roots = [], [], [], []
    inner = 0
    for tree in trees:
        compare = [i for i, node in enumerate(tree) if node.mode != "LEAF"]
        number = {at: inner + i for i, at in enumerate(compare)}
        inner += len(compare)
        roots.append(number[0])
        for at in compare:
            node = tree[at]
            row = [node.feature]
            for child in (node.yes, node.no):
                leaf = tree[child].mode == "LEAF"
                row += [len(leaves) if leaf else number[child], int(leaf)]
                leaves += list(tree[child].weights.items()) if leaf else []
            for column, value in zip(columns.values(), [*row, node.track], strict=True):
                column.append(value)
            modes.append(MODES.index(node.mode))
            splits.append(node.value)
            members += [*node.members, np.nan] if node.mode == "MEMBER" else []
    kind = TYPES[dtype]
    return {
        **columns,
        "nodes_modes": numpy_helper.from_array(np.array(modes, np.uint8), "modes"),
        "nodes_splits": numpy_helper.from_array(np.array(splits, kind), "splits"),
        "leaf_targetids": [target for target, _ in leaves],
        "leaf_weights": numpy_helper.from_array(np.array([weight for _, weight in leaves], kind), "weights"),
        "tree_roots": roots,
        **(
            {"membership_values": numpy_helper.from_array(np.array(members, kind), "members")}
            if members
            else {}
        ),
    }


def model(
    operator: str,
    features: int | None,
    dtype: str,
    *,
    after: tuple[Any, ...] = (),
    outputs: tuple[tuple[str, str], ...] | None = None,
    before: tuple[Any, ...] = (),
    initializers: tuple[Any, ...] = (),
    feed: str = "X",
    given: str | None = None,
    **attributes: Any,
) -> Any:
    """A model of one operator, which reads `feed`; with nodes before and after it."""
    from onnx import helper

    made = {"TreeEnsembleClassifier": (("label", "int64"), ("scores", "float"))}.get(
        operator, (("scores", dtype if operator == "TreeEnsemble" else "float"),)
    )
    if attributes.get("classlabels_strings"):
        made = (("label", "string"), ("scores", "float"))
    node = helper.make_node(operator, [feed], [name for name, _ in made], domain="ai.onnx.ml", **attributes)
    version = 5 if operator == "TreeEnsemble" else 3
    graph = helper.make_graph(
        [*before, node, *after],
        "trees",
        [helper.make_tensor_value_info("X", ELEMENTS[given or dtype], [None, features])],
        [helper.make_tensor_value_info(name, ELEMENTS[kind], None) for name, kind in outputs or made],
        list(initializers),
    )
    versions = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", version)]
    return helper.make_model(graph, opset_imports=versions, ir_version=9)


def run(onnx_model: Any, x: NDArray[Any] | dict[str, NDArray[Any]]) -> list[Any]:
    """What onnxruntime gives for the input, or for several by their names, with one thread."""
    onnxruntime = importlib.import_module("onnxruntime")

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        onnx_model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, x if isinstance(x, dict) else {session.get_inputs()[0].name: x}))


def take_booleans(monkeypatch: Any) -> None:
    """Let skl2onnx write booleans into lists of integers, which newer onnx refuses."""
    from onnx import helper

    make = helper.make_attribute

    def made(key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        if key == "nodes_missing_value_tracks_true":
            value = [int(item) for item in value]
        return make(key, value, *args, **kwargs)

    monkeypatch.setattr(helper, "make_attribute", made)


def graph_of(
    nodes: list[Any],
    inputs: dict[str, tuple[str, list[Any]]],
    outputs: dict[str, tuple[str, list[Any]]],
    constants: dict[str, NDArray[Any]] | None = None,
) -> Any:
    """A model of any nodes, with inputs and outputs of a type and a shape by their names."""
    from onnx import helper, numpy_helper

    def values(ports: dict[str, tuple[str, list[Any]]]) -> list[Any]:
        return [
            helper.make_tensor_value_info(name, ELEMENTS[kind], shape)
            for name, (kind, shape) in ports.items()
        ]

    initializers = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "graph", values(inputs), values(outputs), initializers)
    versions = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=versions, ir_version=9)
