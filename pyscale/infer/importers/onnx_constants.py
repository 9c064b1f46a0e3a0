"""A graph of ONNX as what makes each tensor, and the values of those that do not depend on its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.onnx_values import Attributes, tensor_values
from pyscale.infer.importers.reading import refuse

__all__ = ["Graph"]

Array = NDArray[Any]

_OF_CONSTANTS = ("Identity", "Sqrt", "Transpose")  # what exporters leave to be computed of constants
_DEEPEST = 8
_FLOAT, _STRING = 1, 8
_MOST_LABELS = 65536


class Graph:
    """
    Nodes by what they make.

    Parameters
    ----------
    graph : onnx.GraphProto
        The graph.

    Attributes
    ----------
    inputs : dict
        The graph's inputs that are no constants, by their names.
    outputs : list of str
        The names of its outputs.
    graph : onnx.GraphProto
        Itself.

    Raises
    ------
    ValueError
        Two nodes make one tensor, or there are sparse constants.
    """

    def __init__(self, graph: Any) -> None:
        if graph.sparse_initializer:
            refuse("graph.sparse_initializer", "none", f"{len(graph.sparse_initializer)}")
        self.graph = graph
        self._tensors: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
        self._makers: dict[str, tuple[str, Any]] = {}
        for place, node in enumerate(graph.node):
            where = f"graph.node[{place}] ({node.op_type[:40]})"
            for text in (node.op_type, node.domain, *node.input, *node.output):
                if not isinstance(text, str):  # protobuf gives bytes of what is no text
                    refuse(where, "names in UTF-8", text)
            for name in node.output:
                if name in self._makers or name in self._tensors:
                    refuse(f"{where}.output", "each tensor made once", name)
                if name:
                    self._makers[name] = where, node
            if node.op_type == "Constant" and not node.domain:
                values = [attribute for attribute in node.attribute if attribute.name == "value"]
                if len(values) != 1 or len(node.output) != 1:
                    refuse(where, "a value", "none")
                self._tensors[node.output[0]] = values[0].t
        self.inputs = {value.name: value for value in graph.input if value.name not in self._tensors}
        self.outputs = [str(value.name) for value in graph.output]

    def maker(self, name: str, *operators: str) -> Any:
        """Give the node that makes a tensor, if it is one of some operators; else None."""
        node = self._makers.get(name, (None, None))[1]
        return node if node is not None and node.op_type in operators else None

    def made(self, name: str) -> tuple[str, Any]:
        """Give the node that makes a tensor, and what messages call it."""
        if name not in self._makers:
            refuse("graph", "what comes from its input", name)
        return self._makers[name]

    def is_constant(self, name: str) -> bool:
        """Whether the values of a tensor are in the file, or made of such."""
        for _ in range(_DEEPEST):
            if name in self._tensors:
                return True
            node = self.maker(name, *_OF_CONSTANTS)
            if node is None or node.domain or len(node.input) != 1:
                return False
            name = node.input[0]
        return False

    def constant(self, where: str, name: str, types: Sequence[str] = ("float",)) -> Array:
        """Give the values of a constant of one of some types, in its shape."""
        if not self.is_constant(name):
            refuse(where, "a constant", name)
        steps = []
        while name not in self._tensors:
            steps.append(self._makers[name])
            name = steps[-1][1].input[0]
        tensor = self._tensors[name]
        values = tensor_values(tensor, where, types).reshape(tuple(tensor.dims))
        for at, node in reversed(steps):
            if node.op_type == "Sqrt":
                with np.errstate(invalid="ignore"):
                    values = np.sqrt(values)
            elif node.op_type == "Transpose":
                if values.ndim > 2 or list(Attributes(node, at).integers("perm", 0, 1)) not in ([], [1, 0]):
                    refuse(at, "a matrix, turned", list(values.shape))
                values = values.T
        return values

    def number(self, name: str) -> float | None:
        """Give a constant that is one float; None of what is none."""
        tensor = self._tensors.get(name)
        if tensor is None or tensor.data_type != _FLOAT or any(size != 1 for size in tensor.dims):
            return None
        return float(tensor_values(tensor, name, ("float",))[0])

    def labels(self, where: str, name: str) -> Array:
        """Give a constant of whole numbers or text, in one dimension."""
        tensor = self._tensors.get(name)
        if tensor is None or tensor.data_type != _STRING:
            return self.constant(where, name, ("int32", "int64")).reshape(-1)
        if tensor.external_data or not 0 < len(tensor.string_data) <= _MOST_LABELS:
            refuse(where, f"1 to {_MOST_LABELS} labels", len(tensor.string_data))
        try:
            return np.array([text.decode() for text in tensor.string_data])
        except UnicodeDecodeError:
            return refuse(where, "text in UTF-8", tensor.string_data[0])
