"""ONNX models: what becomes a forest or a chain of dense layers."""

from __future__ import annotations

from pathlib import Path

from pyscale.infer.dense.layers import DenseDescription
from pyscale.infer.forest.trees import ModelDescription
from pyscale.infer.importers.onnx_dense import OPERATORS, dense_of
from pyscale.infer.importers.onnx_external import take_in
from pyscale.infer.importers.onnx_graph import parse
from pyscale.infer.importers.onnx_trees import trees_of

__all__ = ["read_onnx"]


def read_onnx(content: bytes, folder: Path | None = None) -> ModelDescription | DenseDescription:
    """
    Read an ensemble of trees, or a chain of dense layers where the graph has none and multiplies.

    Parameters
    ----------
    content : bytes
        The file.
    folder : path, optional
        Where it is: weights may be in other files there.

    Raises
    ------
    ValueError
        It is neither; the message names the node, and what runs any graph. Or weights are in files that are
        missing or elsewhere.
    OSError
        These cannot be read.
    ImportError
        The package ``onnx`` is missing.
    """
    model = parse(content)
    if folder is not None:
        take_in(model.graph, folder)
    operators = {str(node.op_type) for node in model.graph.node}
    trees = any(operator.startswith("TreeEnsemble") for operator in operators)
    try:
        return trees_of(model) if trees or operators.isdisjoint(OPERATORS) else dense_of(model)
    except ValueError as error:
        raise ValueError(f"{error} (pyscale.infer.OnnxModel runs graphs of any kind)") from error
