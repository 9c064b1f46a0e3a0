"""ONNX models whose graph is a chain of dense layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyscale.infer.dense.layers import Activation, DenseDescription, Layer, Linear
from pyscale.infer.importers.onnx_before import columns_of
from pyscale.infer.importers.onnx_constants import Graph
from pyscale.infer.importers.onnx_graph import parse
from pyscale.infer.importers.onnx_heads import Head, head_of
from pyscale.infer.importers.onnx_layers import READERS, Chain
from pyscale.infer.importers.onnx_patterns import pattern
from pyscale.infer.importers.reading import refuse

__all__ = ["OPERATORS", "dense_of", "read_onnx_dense"]

_FLOAT = 1
#: By which a graph is told to be one of dense layers.
OPERATORS = ("Gemm", "MatMul", "LinearRegressor", "LinearClassifier", "Scaler")


def read_onnx_dense(content: bytes) -> DenseDescription:
    """
    Read a chain of dense layers.

    The graph has one input of float32, or several of a column each, which a Concat puts beside each other.
    Its nodes follow each other: Gemm, MatMul, Add, Sub, Mul and Div with a constant, Relu, LeakyRelu, Elu,
    Gelu, Tanh, Sigmoid, Softmax, BatchNormalization, LayerNormalization, Scaler, LinearRegressor, and
    Identity, Dropout, Flatten, Cast and Reshape that change nothing; Squeeze of one column; and what
    exporters make of SiLU and of GELU. In the end may be LinearClassifier, ZipMap, ``[1 - p, p]``,
    ``[-s, s]``, and labels by ArgMax.

    Parameters
    ----------
    content : bytes
        The file.

    Returns
    -------
    DenseDescription
        Its kind is ``values`` where the graph gives no labels. Labels have one axis, and are by
        the largest of the scores: those of onnxruntime, but for rows whose best two scores are within a few
        units in the last place.

    Raises
    ------
    ValueError
        It is no such graph; the message names the node.
    ImportError
        The package ``onnx`` is missing.
    """
    return dense_of(parse(content))


def dense_of(model: Any) -> DenseDescription:
    """Read a chain of dense layers of a parsed model."""
    graph = Graph(model.graph)
    head = head_of(graph)
    chain, columns = _chain(graph, head.tensor)
    for layer in head.layers:
        if isinstance(layer, Linear):
            chain.add("graph.node (LinearClassifier)", layer, *layer.weight.shape[::-1])
        else:
            chain.layers.append(layer)
    if head.shape != "all" and chain.width != 1:
        refuse("graph.node (Concat)", "two scores, made of one", chain.width)
    if head.shape != "all" and not head.labelled:  # both are the graph's output
        less = np.array([float(head.shape == "both"), 0.0])
        chain.layers.append(Linear(np.array([[-1.0], [1.0]]), less))
    return DenseDescription(
        layers=tuple(chain.layers),
        kind=_kind(head, chain.layers),
        classes=_classes(head, chain.width),
        flat=chain.flat or (head.labelled and head.shape != "all"),
        source="onnx",
        feature_names=tuple(columns) or None,
    )


def _kind(head: Head, layers: list[Layer]) -> str:
    if not head.labelled:
        return "values"
    if head.shape == "both":
        return "binary"
    last = layers[-1] if layers else None
    of_classes = isinstance(last, Activation) and last.name in ("softmax", "sigmoid")
    return "multiclass" if of_classes and head.shape == "all" else "scores"


def _classes(head: Head, width: int | None) -> Any:
    if not head.labelled:
        return None
    count = 2 if head.shape != "all" else width
    classes = np.arange(count or 0) if head.classes is None else head.classes
    if len(classes) != count:
        refuse("graph.output", f"{count} labels", len(classes))
    return classes


def _chain(graph: Graph, name: str) -> tuple[Chain, list[str]]:
    """Read what leads to a tensor, back to the input, as layers; and name the inputs that are columns."""
    path: list[tuple[str, Any, str] | Activation] = []
    seen = set()
    columns: list[str] = []
    while name not in graph.inputs:
        if name in seen:
            refuse("graph", "nodes that follow each other", name)
        seen.add(name)
        found = pattern(graph, name)
        if found is not None:
            name = found[0]
            path.append(found[1])
            continue
        where, node = graph.made(name)
        if node.output[0] != name:
            refuse(where, "its first output to be used", name)
        if node.op_type == "Concat" and not node.domain and set(node.input) == set(graph.inputs):
            columns = columns_of(node, graph.inputs, where)
            name = node.input[0]
            break
        if (node.domain.removeprefix("ai.onnx"), node.op_type) not in READERS:
            refuse(where, f"one of {', '.join(name for _, name in READERS)}", node.op_type)
        given = [other for other in node.input if other and not graph.is_constant(other)]
        if not given:
            refuse(f"{where}.input", "values that come from the graph's input", list(node.input))
        path.append((where, node, given[0]))
        name = given[0]
    chain = Chain(graph, _width(graph, name, columns))
    for step in reversed(path):
        if isinstance(step, Activation):
            chain.layers.append(step)
        else:
            chain.read(*step)
    return chain, columns


def _width(graph: Graph, name: str, columns: list[str]) -> int | None:
    if len(graph.inputs) != max(len(columns), 1):
        refuse("graph", "one input", ", ".join(graph.inputs)[:80])
    tensor = graph.inputs[name].type.tensor_type
    if tensor.elem_type != _FLOAT:
        refuse(f"graph.input ({name[:40]})", "float32", f"type {tensor.elem_type}")
    dims = tensor.shape.dim
    if columns:
        return len(columns)
    if (tensor.HasField("shape") and len(dims) != 2) or (
        len(dims) == 2 and dims[1].HasField("dim_value") and dims[1].dim_value < 1
    ):
        refuse(f"graph.input ({name[:40]})", "rows and columns", [axis.dim_value for axis in dims][:8])
    return (dims[1].dim_value or None) if len(dims) == 2 else None
