"""ONNX models whose graph is a chain of dense layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.dense.layers import (
    Activation,
    Affine,
    BatchNorm,
    DenseDescription,
    Layer,
    LayerNorm,
    Linear,
)
from pyscale.infer.forest.trees import ModelDescription
from pyscale.infer.importers.onnx_graph import parse
from pyscale.infer.importers.onnx_trees import read_onnx_trees
from pyscale.infer.importers.onnx_values import Attributes, tensor_values
from pyscale.infer.importers.reading import refuse

__all__ = ["read_onnx", "read_onnx_dense"]

Array = NDArray[Any]

_FLOAT = 1
_HAS_WEIGHTS = ("Gemm", "MatMul")
_FUNCTIONS = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid"}
_ROOT_OF_TWO = float(np.sqrt(np.float32(2)))


def read_onnx(content: bytes) -> ModelDescription | DenseDescription:
    """Read a chain of dense layers where the graph multiplies matrices, else an ensemble of trees."""
    operators = {str(node.op_type) for node in parse(content).graph.node}
    trees = any(operator.startswith("TreeEnsemble") for operator in operators)
    return (
        read_onnx_trees(content) if trees or operators.isdisjoint(_HAS_WEIGHTS) else read_onnx_dense(content)
    )


def read_onnx_dense(content: bytes) -> DenseDescription:
    """
    Read a chain of dense layers.

    The graph has one input and one output of float32. Its nodes follow each other: Gemm, MatMul, Add, Sub,
    Mul and Div with a constant, Relu, LeakyRelu, Elu, Gelu, Tanh, Sigmoid, Softmax, BatchNormalization,
    LayerNormalization, Identity, Dropout, Flatten; and what exporters make of SiLU (``x * Sigmoid(x)``) and
    of the exact GELU (Div, Erf, Add, Mul, Mul).

    Parameters
    ----------
    content : bytes
        The file.

    Returns
    -------
    DenseDescription
        Its kind is ``values``.

    Raises
    ------
    ValueError
        It is no such graph; the message names the node.
    ImportError
        The package ``onnx`` is missing.
    """
    graph = parse(content).graph
    reader = _Reader(graph)
    reader.read()
    return DenseDescription(layers=tuple(reader.layers), source="onnx")


class _Reader:
    def __init__(self, graph: Any) -> None:
        self.layers: list[Layer] = []
        self._constants: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
        if graph.sparse_initializer:
            refuse("graph.sparse_initializer", "none", f"{len(graph.sparse_initializer)}")
        self._nodes: list[tuple[str, Any]] = []
        for place, node in enumerate(graph.node):
            where = f"graph.node[{place}] ({node.op_type})"
            if node.domain not in ("", "ai.onnx"):
                refuse(where, "an operator of ONNX", node.domain)
            if node.op_type == "Constant":
                attributes = [a for a in node.attribute if a.name == "value"]
                if len(attributes) != 1 or len(node.output) != 1:
                    refuse(where, "a value", "none")
                self._constants[node.output[0]] = attributes[0].t
            else:
                self._nodes.append((where, node))
        inputs = [entry for entry in graph.input if entry.name not in self._constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            refuse("graph", "one input and one output", f"{len(inputs)} and {len(graph.output)}")
        if inputs[0].type.tensor_type.elem_type != _FLOAT:
            refuse("graph.input[0]", "float32", f"type {inputs[0].type.tensor_type.elem_type}")
        self._name: str = inputs[0].name
        self._output: str = graph.output[0].name

    def read(self) -> None:
        place = 0
        while place < len(self._nodes):
            for pattern in (self._silu, self._gelu):
                taken = pattern(place)
                if taken:
                    place += taken
                    break
            else:
                self._one(*self._nodes[place])
                place += 1
        if self._name != self._output:
            refuse("graph.output[0]", f"what the last node gives, {self._name!r}", self._output)

    def _one(self, where: str, node: Any) -> None:
        if not node.input or not node.output or (node.op_type != "Dropout" and len(node.output) != 1):
            refuse(where, "inputs and one output", f"{len(node.input)} and {len(node.output)}")
        read = _READERS.get(node.op_type)
        if read is None:
            refuse(where, f"one of {', '.join(_READERS)}", node.op_type)
        read(self, where, node, Attributes(node, where))
        self._name = node.output[0]

    def _first(self, where: str, node: Any, count: tuple[int, ...]) -> None:
        if node.input[0] != self._name:
            refuse(f"{where}.input[0]", f"what the node before gives, {self._name!r}", node.input[0])
        if len(node.input) not in count:
            refuse(where, f"{' or '.join(map(str, count))} inputs", len(node.input))

    def _constant(self, where: str, name: str) -> Array:
        tensor = self._constants.get(name)
        if tensor is None:
            refuse(where, "a constant", name)
        values = tensor_values(tensor, where, ("float",))
        return values.reshape(tuple(tensor.dims))

    def _vector(self, where: str, name: str, width: int | None) -> Array:
        """Give a constant that is added to rows, or the like, as one of each column."""
        values = self._constant(where, name)
        if values.size == 1 and width is not None:
            return np.full(width, values.reshape(-1)[0])
        if values.ndim > 2 or values.size != values.shape[-1] or (width is not None and values.size != width):
            refuse(where, f"{'numbers' if width is None else width} of one axis", list(values.shape))
        return values.reshape(-1)

    def _width(self) -> int | None:
        for layer in reversed(self.layers):
            if isinstance(layer, Linear):
                return len(layer.weight)
            if isinstance(layer, Affine):
                return len(layer.scale)
            if isinstance(layer, LayerNorm):
                return len(layer.weight)
            if isinstance(layer, BatchNorm):
                return len(layer.mean)
        return None

    def gemm(self, where: str, node: Any, attributes: Attributes) -> None:
        self._first(where, node, (2, 3))
        attributes.only(("alpha", "beta", "transA", "transB"))
        if attributes.integer("transA", 0):
            refuse(f"{where}.transA", "0", 1)
        weight = self._constant(f"{where}.input[1]", node.input[1])
        if weight.ndim != 2:
            refuse(f"{where}.input[1]", "a matrix", list(weight.shape))
        if not attributes.integer("transB", 0):
            weight = weight.T
        weight = weight * np.float64(attributes.number("alpha", 1.0))
        bias = None
        if len(node.input) == 3 and node.input[2]:
            bias = self._vector(f"{where}.input[2]", node.input[2], len(weight)) * np.float64(
                attributes.number("beta", 1.0)
            )
        self.layers.append(Linear(weight, bias))

    def matmul(self, where: str, node: Any, _: Attributes) -> None:
        self._first(where, node, (2,))
        weight = self._constant(f"{where}.input[1]", node.input[1])
        if weight.ndim != 2:
            refuse(f"{where}.input[1]", "a matrix", list(weight.shape))
        self.layers.append(Linear(weight.T))

    def arithmetic(self, where: str, node: Any, _: Attributes) -> None:
        operator = node.op_type
        inputs = list(node.input)
        if len(inputs) == 2 and inputs[1] == self._name and operator in ("Add", "Mul"):
            inputs.reverse()
        if len(inputs) != 2 or inputs[0] != self._name:
            refuse(where, f"what the node before gives, {self._name!r}, and a constant", inputs)
        values = self._vector(f"{where}.input", inputs[1], self._width()).astype(np.float64)
        last = self.layers[-1] if self.layers else None
        if operator == "Add" and isinstance(last, Linear) and last.bias is None:
            self.layers[-1] = Linear(last.weight, values)
            return
        ones, zeros = np.ones(len(values)), np.zeros(len(values))
        with np.errstate(all="ignore"):
            self.layers.append(
                {
                    "Add": lambda: Affine(ones, values),
                    "Sub": lambda: Affine(ones, -values),
                    "Mul": lambda: Affine(values, zeros),
                    "Div": lambda: Affine(1 / values, zeros),
                }[operator]()
            )

    def function(self, where: str, node: Any, attributes: Attributes) -> None:
        self._first(where, node, (1,))
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

    def nothing(self, where: str, node: Any, attributes: Attributes) -> None:
        self._first(where, node, (1, 2, 3) if node.op_type == "Dropout" else (1,))
        if node.op_type == "Flatten" and attributes.integer("axis", 1) != 1:
            refuse(f"{where}.axis", "1", attributes.integer("axis", 1))
        if node.op_type == "Dropout" and len(node.input) == 3 and node.input[2]:
            refuse(f"{where}.input[2]", "no training mode", node.input[2])

    def batch_norm(self, where: str, node: Any, attributes: Attributes) -> None:
        self._first(where, node, (5,))
        if attributes.integer("training_mode", 0):
            refuse(f"{where}.training_mode", "0", 1)
        weight, bias, mean, variance = (
            self._vector(f"{where}.input[{i}]", node.input[i], self._width()) for i in range(1, 5)
        )
        self.layers.append(BatchNorm(mean, variance, weight, bias, attributes.number("epsilon", 1e-5)))

    def layer_norm(self, where: str, node: Any, attributes: Attributes) -> None:
        self._first(where, node, (2, 3))
        if attributes.integer("axis", -1) not in (1, -1):
            refuse(f"{where}.axis", "1 or -1", attributes.integer("axis", -1))
        weight = self._vector(f"{where}.input[1]", node.input[1], self._width())
        bias = np.zeros(len(weight))
        if len(node.input) == 3 and node.input[2]:
            bias = self._vector(f"{where}.input[2]", node.input[2], len(weight))
        self.layers.append(LayerNorm(weight, bias, attributes.number("epsilon", 1e-5)))

    def _pattern(self, place: int, operators: tuple[str, ...]) -> list[Any] | None:
        nodes = [node for _, node in self._nodes[place : place + len(operators)]]
        if tuple(node.op_type for node in nodes) != operators:
            return None
        return nodes if all(len(node.output) == 1 for node in nodes) else None

    def _silu(self, place: int) -> int:
        nodes = self._pattern(place, ("Sigmoid", "Mul"))
        if nodes is None or list(nodes[0].input) != [self._name]:
            return 0
        if set(nodes[1].input) != {self._name, nodes[0].output[0]} or len(nodes[1].input) != 2:
            return 0
        self.layers.append(Activation("silu"))
        self._name = nodes[1].output[0]
        return 2

    def _gelu(self, place: int) -> int:
        nodes = self._pattern(place, ("Div", "Erf", "Add", "Mul", "Mul"))
        if nodes is None:
            return 0
        x, previous = self._name, self._name
        for node, wanted in zip(nodes, (_ROOT_OF_TWO, None, 1.0, x, 0.5), strict=True):
            inputs = list(node.input)
            if previous not in inputs or len(inputs) != (1 if wanted is None else 2):
                return 0
            inputs.remove(previous)
            if isinstance(wanted, str):
                if inputs != [wanted]:
                    return 0
            elif wanted is not None and not self._is(inputs[0], wanted):
                return 0
            previous = node.output[0]
        if nodes[0].input[0] != x:
            return 0
        self.layers.append(Activation("gelu"))
        self._name = previous
        return 5

    def _is(self, name: str, value: float) -> bool:
        tensor = self._constants.get(name)
        if tensor is None or tensor.data_type != _FLOAT:
            return False
        values = tensor_values(tensor, name, ("float",))
        return values.size == 1 and bool(abs(values[0] - value) < 1e-6)


_READERS: dict[str, Callable[[_Reader, str, Any, Attributes], None]] = {
    "Gemm": _Reader.gemm,
    "MatMul": _Reader.matmul,
    "BatchNormalization": _Reader.batch_norm,
    "LayerNormalization": _Reader.layer_norm,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _Reader.arithmetic),
    **dict.fromkeys((*_FUNCTIONS, "LeakyRelu", "Elu", "Gelu", "Softmax"), _Reader.function),
    **dict.fromkeys(("Identity", "Dropout", "Flatten"), _Reader.nothing),
}
