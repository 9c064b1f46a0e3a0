"""Graphs whose probabilities come as a list of dictionaries, rewritten to give them as an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.onnx_graph import parse
from pyscale.infer.importers.onnx_values import Attributes
from pyscale.infer.importers.reading import refuse

__all__ = ["without_zipmaps"]


def without_zipmaps(content: bytes) -> tuple[bytes, dict[str, NDArray[Any]]]:
    """
    Leave out the nodes ZipMap that make outputs: what they take, rows x classes, becomes the output.

    Parameters
    ----------
    content : bytes
        The graph.

    Returns
    -------
    content : bytes
        The graph that gives arrays.
    classes : dict of numpy.ndarray
        By the output's name, the keys that the dictionaries had.

    Raises
    ------
    ValueError
        It is no ONNX model, or a ZipMap has no such keys.
    ImportError
        The package ``onnx`` is missing.
    """
    model = parse(content)
    graph = model.graph
    classes: dict[str, NDArray[Any]] = {}
    outputs = {value.name: value for value in graph.output}
    for place, node in enumerate(graph.node):
        if node.op_type != "ZipMap" or len(node.output) != 1 or node.output[0] not in outputs:
            continue
        where = f"graph.node[{place}] (ZipMap)"
        attributes = Attributes(node, where)
        labels: list[Any] = attributes.labels("classlabels_strings")
        labels = labels or attributes.integers("classlabels_int64s", -(2**63), 2**63 - 1).tolist()
        if not labels or len(node.input) != 1:
            refuse(where, "labels, and one input", f"{len(labels)} and {len(node.input)}")
        value = outputs[node.output[0]]
        classes[value.name] = np.array(labels)
        node.op_type, node.domain = "Identity", ""
        del node.attribute[:]
        value.type.Clear()
        value.type.tensor_type.elem_type = 1
        for size in (None, len(labels)):
            axis = value.type.tensor_type.shape.dim.add()
            if size is not None:
                axis.dim_value = size
    if not any(entry.domain in ("", "ai.onnx") for entry in model.opset_import):
        entry = model.opset_import.add()
        entry.domain, entry.version = "", 15
    return model.SerializeToString(), classes
