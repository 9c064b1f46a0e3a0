"""What leads from the inputs of an ONNX graph to its trees."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from pyscale.infer.importers.onnx_scaled import OPERATORS, Step, step_of
from pyscale.infer.importers.onnx_values import FLOATS, TENSOR_TYPES, WIDTH, Attributes, cast_type
from pyscale.infer.importers.reading import refuse

__all__ = ["Before", "columns_of", "lead"]


@dataclass(slots=True)
class Before:
    """
    What is before the trees.

    Attributes
    ----------
    types : list of str
        Of the values, from the graph's input on.
    steps : tuple of Step
        What changes them, from the first on.
    nodes : list of int
        The nodes.
    width : int or None
        Columns, where the graph says.
    columns : tuple of str or None
        The inputs' names, where each is a column.
    """

    types: list[str] = field(default_factory=list)
    steps: tuple[Step, ...] = ()
    nodes: list[int] = field(default_factory=list)
    width: int | None = None
    columns: tuple[str, ...] | None = None


def lead(
    graph: Any,
    node: Any,
    inputs: Mapping[str, Any],
    makers: Mapping[str, int],
    constants: Container[str],
    constant: Callable[[str, Any], NDArray[Any]],
) -> Before:
    """
    Follow the input of the trees back to the graph's.

    Parameters
    ----------
    graph : onnx.GraphProto
        The graph.
    node : onnx.NodeProto
        The trees.
    inputs : mapping
        The graph's inputs by their names.
    makers : mapping
        The number of the node that makes a tensor.
    constants : container of str
        Their names.
    constant : callable
        Gives the values of a constant by its name, of one of some types.
    """
    out = Before()
    path: dict[int, None] = {}  # in order
    columns: list[str] = []
    name = node.input[0] if node.input else ""
    while name not in inputs:
        i = makers.get(name, -1)
        if i < 0 or i in path:
            refuse(f"{node.op_type}.input", "what comes from the graph's input", name)
        maker, where = graph.node[i], f"graph.node[{i}] ({graph.node[i].op_type[:40]})"
        path[i] = None
        given = [other for other in maker.input if other not in constants]
        name = given[0] if given else ""
        if maker.op_type == "Concat" and not maker.domain and set(maker.input) == set(inputs):
            columns = columns_of(maker, inputs, where)
        elif _changes(maker):
            if len(given) != 1:
                refuse(where, "values, and constants", f"{len(given)} of values")
        elif maker.op_type not in ("Cast", "Identity") or maker.domain or len(maker.input) != 1:
            refuse(where, f"Cast, Identity or {', '.join(OPERATORS)} before the trees", maker.op_type)
    if len(inputs) != max(len(columns), 1):
        refuse("graph.input", "one input", ", ".join(inputs))
    tensor = inputs[name].type.tensor_type
    type_name = TENSOR_TYPES.get(tensor.elem_type, (str(tensor.elem_type),))[0]
    if type_name not in WIDTH:
        refuse(f"graph.input ({name})", f"a tensor of {', '.join(WIDTH)}", type_name)
    out.types.append(type_name)
    out.nodes = list(path)
    _forward(
        out, graph, [i for i in reversed(path) if graph.node[i].op_type != "Concat"], constants, constant
    )
    for first, then in zip(out.types, out.types[1:], strict=False):
        if then not in FLOATS and first != then and (first, then) != ("int32", "int64"):
            refuse(f"{node.op_type}.input", "values that stay what they are", f"a cast to {then}")
    dims = inputs[name].type.tensor_type.shape.dim
    if len(dims) == 2 and dims[1].HasField("dim_value"):
        if not 1 <= dims[1].dim_value < 2**31:
            refuse(f"graph.input ({name})", "1 column or more", dims[1].dim_value)
        out.width = dims[1].dim_value
    if columns:
        out.width, out.columns = len(columns), tuple(columns)
    for step in out.steps:
        if step.width not in (None, out.width or step.width):
            refuse(step.operator, f"numbers of {out.width} columns", step.width)
        out.width = out.width or step.width
    return out


def _changes(node: Any) -> bool:
    return node.op_type in OPERATORS and node.domain == (
        "ai.onnx.ml" if node.op_type in ("Scaler", "Imputer") else ""
    )


def _forward(
    out: Before, graph: Any, path: list[int], constants: Container[str], constant: Callable[[str, Any], Any]
) -> None:
    """Read the nodes in their order: casts give types, the others steps, of which the type stays."""
    steps: list[Step] = []
    for i in path:
        node, where = graph.node[i], f"graph.node[{i}] ({graph.node[i].op_type[:40]})"
        if node.op_type == "Cast":
            to = cast_type(node, where)
            if steps and to != out.types[-1]:
                refuse(where, f"values that stay {out.types[-1]} once they were scaled", f"a cast to {to}")
            out.types.append(to)
        elif _changes(node):
            data = next(name for name in node.input if name not in constants)
            steps.append(step_of(node, where, out.types[-1], data, constant))
    out.steps = tuple(steps)


def columns_of(node: Any, inputs: Mapping[str, Any], where: str) -> list[str]:
    """Give the names of inputs of one column each that a node puts beside each other."""
    columns = list(node.input)
    if Attributes(node, where).integer("axis", 0) not in (1, -1) or len(columns) != len(inputs):
        refuse(where, "each input once, beside each other", "another way to put them together")
    tensors = {name: inputs[name].type.tensor_type for name in columns}
    kinds = {tensor.elem_type for tensor in tensors.values()}
    wide = [name for name, tensor in tensors.items() if [d.dim_value for d in tensor.shape.dim][1:] != [1]]
    if len(kinds) != 1 or wide:
        refuse(where, "inputs of one type, and of one column", wide[0] if wide else sorted(kinds))
    return columns
