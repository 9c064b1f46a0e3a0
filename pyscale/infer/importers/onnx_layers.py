"""Nodes of ONNX as layers of a dense model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.dense.layers import Activation, Affine, BatchNorm, Layer, LayerNorm, Linear
from pyscale.infer.importers.onnx_constants import Graph
from pyscale.infer.importers.onnx_values import Attributes, Budget
from pyscale.infer.importers.reading import refuse

__all__ = ["READERS", "Chain", "linear_of"]

Array = NDArray[Any]

_FLOAT = 1
_FUNCTIONS = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid"}
_OF_NUMBERS = (*_FUNCTIONS, "LeakyRelu", "Elu", "Gelu", "Identity", "Dropout", "Cast")
_MOST_OUTPUTS = 65536


class Chain:
    """
    Layers, as nodes are read from the input on.

    Parameters
    ----------
    graph : Graph
        Where the nodes are from.
    width : int or None
        Columns of the input, where the graph says.

    Attributes
    ----------
    layers : list of Layer
        So far.
    width : int or None
        Columns, so far.
    flat : bool
        Whether the one column has become no axis: what follows may only be functions of each number.
    """

    def __init__(self, graph: Graph, width: int | None) -> None:
        self.graph = graph
        self.width = width
        self.layers: list[Layer] = []
        self.flat = False
        self._budget = Budget(graph.graph)

    def read(self, where: str, node: Any, data: str) -> None:
        """Add what a node does with the tensor `data`."""
        if self.flat and node.op_type not in _OF_NUMBERS:
            refuse(where, "functions of each number once the axis of columns is gone", node.op_type)
        if node.op_type != "Dropout" and len(node.output) != 1:
            refuse(where, "one output", len(node.output))
        if node.op_type not in ("Add", "Mul", "Sub") and node.input[0] != data:
            refuse(f"{where}.input[0]", f"what the node before gives, {data!r}", node.input[0])
        READERS[node.domain.removeprefix("ai.onnx"), node.op_type](self, where, node, Attributes(node, where))

    def add(self, where: str, layer: Layer, inputs: int, outputs: int) -> None:
        """Add a layer of some columns to some others."""
        if self.width not in (None, inputs):
            refuse(where, f"{self.width} columns", inputs)
        self._budget.take(layer.weight.size if isinstance(layer, Linear) else outputs, where)
        self.layers.append(layer)
        self.width = outputs

    def vector(self, where: str, name: str) -> Array:
        """Give a constant that is added to rows, or the like, as one of each column."""
        values, width = self.graph.constant(where, name), self.width
        if values.size == 1 and values.ndim <= 2 and width is not None:
            return np.full(width, values.reshape(-1)[0])
        if values.ndim > 2 or values.size != (values.shape or (0,))[-1] or width not in (None, values.size):
            refuse(where, f"{'numbers' if width is None else width} of one axis", list(values.shape))
        return values.reshape(-1)

    def _inputs(self, where: str, node: Any, *counts: int) -> None:
        if len(node.input) not in counts:
            refuse(where, f"{' or '.join(map(str, counts))} inputs", len(node.input))

    def _gemm(self, where: str, node: Any, attributes: Attributes) -> None:
        self._inputs(where, node, 2, 3)
        attributes.only(("alpha", "beta", "transA", "transB"))
        if attributes.integer("transA", 0):
            refuse(f"{where}.transA", "0", 1)
        weight = self._matrix(where, node.input[1])
        if not attributes.integer("transB", 0):
            weight = weight.T
        outputs, inputs = weight.shape
        weight = weight * np.float64(attributes.number("alpha", 1.0))
        self.add(f"{where}.input[1]", Linear(weight), inputs, outputs)
        if len(node.input) == 3 and node.input[2]:
            beta = np.float64(attributes.number("beta", 1.0))
            self.layers[-1] = Linear(weight, self.vector(f"{where}.input[2]", node.input[2]) * beta)

    def _matmul(self, where: str, node: Any, _: Attributes) -> None:
        self._inputs(where, node, 2)
        weight = self._matrix(where, node.input[1])
        self.add(f"{where}.input[1]", Linear(weight.T), *weight.shape)

    def _matrix(self, where: str, name: str) -> Array:
        weight = self.graph.constant(f"{where}.input[1]", name)
        if weight.ndim != 2:
            refuse(f"{where}.input[1]", "a matrix", list(weight.shape))
        return weight

    def _arithmetic(self, where: str, node: Any, _: Attributes) -> None:
        self._inputs(where, node, 2)
        first = int(not self.graph.is_constant(node.input[0]))
        values = self.vector(f"{where}.input[{first}]", node.input[first]).astype(np.float64)
        last = self.layers[-1] if self.layers else None
        if node.op_type == "Add" and isinstance(last, Linear) and last.bias is None:
            self.layers[-1] = Linear(last.weight, values)
            return
        ones, zeros = np.ones(len(values)), np.zeros(len(values))
        with np.errstate(all="ignore"):
            layer = {
                "Add": lambda: Affine(ones, values),
                "Sub": lambda: Affine(ones, -values) if first else Affine(-ones, values),
                "Mul": lambda: Affine(values, zeros),
                "Div": lambda: Affine(1 / values, zeros),
            }[node.op_type]()
        self.add(where, layer, len(values), len(values))

    def _scaler(self, where: str, node: Any, attributes: Attributes) -> None:
        self._inputs(where, node, 1)
        attributes.only(("offset", "scale"))
        offset, scale = (attributes.numbers(name, None, "float") for name in ("offset", "scale"))
        width = self.width or max(len(offset), len(scale))
        if not {len(offset), len(scale)} <= {1, width} or not width:
            refuse(where, f"{width} numbers, or one", f"{len(offset)} and {len(scale)}")
        offset, scale = np.broadcast_to(offset, (width,)), np.broadcast_to(scale, (width,))
        if not np.isfinite([offset, scale]).all():
            refuse(where, "finite numbers", "others")
        self.add(where, Affine(scale, -offset * scale), width, width)

    def _regressor(self, where: str, node: Any, attributes: Attributes) -> None:
        self._inputs(where, node, 1)
        if attributes.text("post_transform", "NONE") != "NONE":
            refuse(f"{where}.post_transform", "NONE", attributes.text("post_transform", "NONE"))
        layer = linear_of(where, attributes, attributes.integer("targets", 1))
        self.add(where, layer, *layer.weight.shape[::-1])

    def _function(self, where: str, node: Any, attributes: Attributes) -> None:
        self._inputs(where, node, 1)
        operator = node.op_type
        if operator in _FUNCTIONS:
            self.layers.append(Activation(_FUNCTIONS[operator]))
        elif operator == "Gelu":
            kind = attributes.text("approximate", "none")
            if kind not in ("none", "tanh"):
                refuse(f"{where}.approximate", "none or tanh", kind)
            self.layers.append(Activation("gelu" if kind == "none" else "gelu_tanh"))
        elif operator == "Softmax":
            if attributes.integer("axis", -1) not in (1, -1):
                refuse(f"{where}.axis", "1 or -1", attributes.integer("axis", -1))
            self.layers.append(Activation("softmax"))
        else:
            name, default = {"LeakyRelu": ("leaky_relu", 0.01), "Elu": ("elu", 1.0)}[operator]
            self.layers.append(Activation(name, attributes.number("alpha", default)))

    def _nothing(self, where: str, node: Any, attributes: Attributes) -> None:
        self._inputs(where, node, *((1, 2, 3) if node.op_type == "Dropout" else (1,)))
        if node.op_type == "Flatten" and attributes.integer("axis", 1) != 1:
            refuse(f"{where}.axis", "1", attributes.integer("axis", 1))
        if node.op_type == "Dropout" and len(node.input) == 3 and node.input[2]:
            refuse(f"{where}.input[2]", "no training mode", node.input[2])
        if node.op_type == "Cast" and attributes.integer("to", 0) != _FLOAT:
            refuse(f"{where}.to", "float32", f"type {attributes.integer('to', 0)}")

    def _reshape(self, where: str, node: Any, attributes: Attributes) -> None:
        self._inputs(where, node, 2)
        if attributes.integer("allowzero", 0):
            refuse(f"{where}.allowzero", "0", 1)
        shape = self.graph.constant(f"{where}.input[1]", node.input[1], ("int64",)).reshape(-1).tolist()
        if shape == [-1] and self.width == 1:
            self.flat = True
        elif shape not in ([-1, self.width], [0, self.width], [0, -1]):
            refuse(f"{where}.input[1]", f"rows and {self.width} columns, as before", shape)

    def _squeeze(self, where: str, node: Any, attributes: Attributes) -> None:
        self._inputs(where, node, 1, 2)
        if len(node.input) == 2:
            axes = self.graph.constant(f"{where}.input[1]", node.input[1], ("int64",)).reshape(-1)
        else:  # before version 13
            axes = attributes.integers("axes", -(2**63), 2**63 - 1)
        if axes.tolist() not in ([1], [-1]) or self.width != 1:
            refuse(where, "the axis of one column", f"axes {axes.tolist()} of {self.width} columns")
        self.flat = True

    def _batch_norm(self, where: str, node: Any, attributes: Attributes) -> None:
        self._inputs(where, node, 5)
        if attributes.integer("training_mode", 0):
            refuse(f"{where}.training_mode", "0", 1)
        weight, bias, mean, variance = (
            self.vector(f"{where}.input[{i}]", node.input[i]) for i in range(1, 5)
        )
        epsilon = attributes.number("epsilon", 1e-5)
        self.add(where, BatchNorm(mean, variance, weight, bias, epsilon), len(mean), len(mean))

    def _layer_norm(self, where: str, node: Any, attributes: Attributes) -> None:
        self._inputs(where, node, 2, 3)
        if attributes.integer("axis", -1) not in (1, -1):
            refuse(f"{where}.axis", "1 or -1", attributes.integer("axis", -1))
        weight = self.vector(f"{where}.input[1]", node.input[1])
        self.width = len(weight)
        bias = np.zeros(len(weight))
        if len(node.input) == 3 and node.input[2]:
            bias = self.vector(f"{where}.input[2]", node.input[2])
        epsilon = attributes.number("epsilon", 1e-5)
        self.add(where, LayerNorm(weight, bias, epsilon), len(weight), len(weight))


def linear_of(where: str, attributes: Attributes, outputs: int) -> Linear:
    """Give what LinearRegressor and LinearClassifier compute first."""
    coefficients = attributes.numbers("coefficients", None, "float")
    if not 1 <= outputs <= _MOST_OUTPUTS or not len(coefficients) or len(coefficients) % outputs:
        refuse(f"{where}.coefficients", f"as many for each of {outputs} outputs", len(coefficients))
    bias = attributes.numbers("intercepts", outputs, "float", optional=True)
    return Linear(coefficients.reshape(outputs, -1), bias if len(bias) else None)


READERS: dict[tuple[str, str], Callable[[Chain, str, Any, Attributes], None]] = {
    ("", "Gemm"): Chain._gemm,
    ("", "MatMul"): Chain._matmul,
    ("", "BatchNormalization"): Chain._batch_norm,
    ("", "LayerNormalization"): Chain._layer_norm,
    ("", "Reshape"): Chain._reshape,
    ("", "Squeeze"): Chain._squeeze,
    (".ml", "Scaler"): Chain._scaler,
    (".ml", "LinearRegressor"): Chain._regressor,
    **{("", name): Chain._arithmetic for name in ("Add", "Sub", "Mul", "Div")},
    **{("", name): Chain._function for name in (*_FUNCTIONS, "LeakyRelu", "Elu", "Gelu", "Softmax")},
    **{("", name): Chain._nothing for name in ("Identity", "Dropout", "Flatten", "Cast")},
}
