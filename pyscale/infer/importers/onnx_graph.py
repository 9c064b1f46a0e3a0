"""The one tree ensemble of an ONNX graph, and what the nodes around it do."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pyscale.infer.importers.onnx_after import Label, Scores, follow
from pyscale.infer.importers.onnx_before import lead
from pyscale.infer.importers.onnx_scaled import Step
from pyscale.infer.importers.onnx_values import WIDTH, Attributes, Budget, tensor_values
from pyscale.infer.importers.reading import refuse

__all__ = ["Ensemble", "find_ensemble", "parse"]

OPERATORS = ("TreeEnsembleRegressor", "TreeEnsembleClassifier", "TreeEnsemble")
DOMAIN = "ai.onnx.ml"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ensemble:
    """
    The operator and what is around it.

    Attributes
    ----------
    operator : str
        Its name.
    attributes : Attributes
        Its attributes.
    type : str
        The type of its input: "float", "double", "int32" or "int64".
    narrowest : str
        The narrowest type that values had before it.
    width : int or None
        The columns of the input, where the graph says.
    columns : tuple of str or None
        The names of the inputs, where each is one column.
    steps : tuple of Step
        What changes the values before it.
    scores : Scores
        What the graph gives of the sums, or makes its labels of.
    label : Label or None
        What labels it gives.
    source : str
        What made the model.
    """

    operator: str
    attributes: Attributes
    type: str
    narrowest: str
    width: int | None
    columns: tuple[str, ...] | None
    steps: tuple[Step, ...]
    scores: Scores
    label: Label | None
    source: str


def parse(content: bytes) -> Any:
    """Read a model's protobuf; onnx is imported here."""
    try:
        import onnx

        message = importlib.import_module("google.protobuf.message")
    except ImportError as error:
        raise ImportError("reading ONNX models needs onnx: pip install 'pyscale-ml[onnx]'") from error
    try:
        model = onnx.ModelProto.FromString(content)
    except message.DecodeError as error:
        refuse("the file", "an ONNX model", str(error))
    for entry in model.opset_import:
        # Before 7, operators had other rules for shapes; onnxruntime has none of them either.
        if entry.domain in ("", "ai.onnx") and entry.version < 7:
            refuse("opset_import[ai.onnx]", "version 7 or later", entry.version)
    return model


def find_ensemble(model: Any) -> Ensemble:
    """
    Find the tree ensemble of a model, and follow the graph from its input and to its outputs.

    Raises
    ------
    ValueError
        There is none, or several, or a node that changes values in a way that trees do not express.
    """
    versions = {entry.domain: entry.version for entry in model.opset_import}
    graph = model.graph
    found = [i for i, node in enumerate(graph.node) if node.op_type in OPERATORS and node.domain == DOMAIN]
    if len(found) != 1:
        refuse("graph.node", f"one of {', '.join(OPERATORS)}", f"{len(found)} of them")
    version = versions.get(DOMAIN, 0)
    if not 1 <= version <= 5:
        refuse(f"opset_import[{DOMAIN}]", "version 1 to 5", version)
    node = graph.node[found[0]]
    attributes = Attributes(node, node.op_type)
    walk = _Walk(graph, attributes.integer("n_targets", 0) == 1)
    before = lead(graph, node, walk.inputs, walk.makers, walk.constants, walk.constant)
    done = {found[0], *before.nodes}
    outputs = ["label", "scores"] if node.op_type == "TreeEnsembleClassifier" else ["scores"]
    if len(node.input) != 1 or not 1 <= len(node.output) <= len(outputs):
        refuse(
            node.op_type, f"1 input and {len(outputs)} outputs", f"{len(node.input)} and {len(node.output)}"
        )
    for kind, name in zip(outputs, node.output, strict=False):
        if name:
            walk.known[name] = Label() if kind == "label" else Scores()
    for i, after in enumerate(graph.node):
        if i not in done:
            walk.after(after, f"graph.node[{i}] ({after.op_type[:40]})")
    scores, label = walk.outputs()
    made = f"{model.producer_name} {model.producer_version}".strip()
    return Ensemble(
        operator=node.op_type,
        attributes=attributes,
        type=before.types[-1],
        narrowest=min(before.types, key=lambda name: WIDTH[name]),
        width=before.width,
        columns=before.columns,
        steps=before.steps,
        scores=scores,
        label=label,
        source=f"ONNX, by {made}" if made else "ONNX",
    )


class _Walk:
    """What each tensor of a graph is."""

    def __init__(self, graph: Any, one: bool) -> None:
        self.graph = graph
        self.one = one  # whether the trees have one target
        self.budget = Budget(graph)
        self.known: dict[str, Scores | Label] = {}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = {value.name: value for value in graph.input if value.name not in self.constants}
        self.makers: dict[str, int] = {}
        for i, node in enumerate(graph.node):
            for name in node.output:
                if name in self.makers or name in self.constants:
                    refuse(f"graph.node[{i}].output", "each tensor made once", name)
                if name:
                    self.makers[name] = i
            if node.op_type == "Constant" and not node.domain and len(node.output) == 1:
                self.constants[node.output[0]] = Attributes(node, f"graph.node[{i}] (Constant)")

    def after(self, node: Any, where: str) -> None:
        """Say what a node makes of what is known."""
        if all(name in self.constants for name in node.output):
            return
        values = [self.known.get(name) for name in node.input]
        if not any(value is not None for value in values) or len(node.output) != 1:
            refuse(where, "a node that follows the trees", node.op_type)
        made = None
        if node.op_type == "Reshape" and isinstance(values[0], Scores) and not self.one:
            refuse(where, "scores of one target, to be reshaped", "several")
        if node.domain in ("", DOMAIN) and len(node.input) <= 2:
            made = follow(node, values, where, self.constant)
        if made is None:
            refuse(where, "a node that can be a part of the trees' link", node.op_type)
        self.known[node.output[0]] = made

    def constant(self, name: str, types: Any) -> NDArray[Any]:
        """Give the values of a constant that has one axis, or is one row."""
        tensor = self.constants.get(name)
        if tensor is None:
            refuse("graph", f"a constant {name[:40]}", "no such initializer")
        where = f"initializer {name[:40]}"
        if isinstance(tensor, Attributes):
            where, tensor = tensor.place("value"), tensor.raw_tensor("value")
        values = tensor_values(tensor, where, types)
        if len(tensor.dims) > 2 or values.size != (tensor.dims or [1])[-1]:
            refuse(where, "one axis, or one row", list(tensor.dims)[:8])
        self.budget.take(values.size, where)
        return values

    def outputs(self) -> tuple[Scores, Label | None]:
        """Give what the graph's outputs are."""
        scores: list[Scores] = []
        labels: list[Label] = []
        for value in self.graph.output:
            known = self.known.get(value.name)
            if known is None:
                refuse(f"graph.output ({value.name[:40]})", "what the trees lead to", "another tensor")
            if isinstance(known, Scores):
                scores.append(known)
            else:
                labels.append(known)
        if not scores and not labels:
            refuse("graph.output", "an output or more", "none")
        if len(set(scores)) > 1 or len(labels) > 1:
            refuse("graph.output", "one output of scores and one of labels", f"{len(scores)}, {len(labels)}")
        label = labels[0] if labels else None
        if scores:
            return scores[0], label
        return (label.of if label is not None else None) or Scores(), label
