"""What the outputs of an ONNX graph are of a chain of layers: values, scores of classes, labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.dense.layers import Activation, Layer
from pyscale.infer.importers.onnx_constants import Graph
from pyscale.infer.importers.onnx_layers import linear_of
from pyscale.infer.importers.onnx_values import Attributes
from pyscale.infer.importers.reading import refuse

__all__ = ["Head", "head_of"]

Array = NDArray[Any]

_POSTS = {"NONE": None, "LOGISTIC": "sigmoid", "SOFTMAX": "softmax"}
_SAME = ("Identity", "Cast", "ZipMap", "Normalizer")  # the same numbers, in another form
_SAME_LABELS = ("Identity", "Cast", "Reshape", "Squeeze", "Flatten")
_FLOATS, _WHOLE, _TEXT = (1, 11), (6, 7), 8  # what labels may be cast to on their way; in the end no float
_DEEPEST = 100


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """
    The end of a graph.

    Attributes
    ----------
    tensor : str
        What the chain of layers makes.
    layers : tuple of Layer
        What follows it.
    shape : str
        "all" of scores as the chain gives them; "both": of its one output p, 1 - p and p; "signs": of its one
        output s, -s and s.
    labelled : bool
        Whether the graph gives labels.
    classes : numpy.ndarray or None
        The labels; None of numbers from 0 on.
    """

    tensor: str
    layers: tuple[Layer, ...] = ()
    shape: str = "all"
    labelled: bool = False
    classes: Array | None = None


def head_of(graph: Graph) -> Head:
    """
    Follow the outputs of a graph back to where its labels and its scores part.

    Raises
    ------
    ValueError
        There are others than labels and scores, or they are not of each other.
    """
    scores: list[str] = []
    labels: list[tuple[str, Array | None]] = []
    for output in graph.outputs:
        label = _label(graph, output)
        if label is not None:
            labels.append(label)
        else:
            scores.append(_same(graph, output))
    if len(scores) > 1 or len(labels) > 1 or not (scores or labels):
        refuse("graph.output", "one of values, or labels and scores", ", ".join(graph.outputs)[:80])
    if labels and scores and labels[0][0] != scores[0]:
        refuse("graph.output", f"labels of the scores {scores[0]!r}", labels[0][0])
    tensor, classes = labels[0] if labels else (scores[0], None)
    node = graph.maker(tensor, "LinearClassifier")
    if node is not None:
        return _classifier(*graph.made(tensor))
    shape, tensor = _two(graph, tensor)
    return Head(tensor=tensor, shape=shape, labelled=bool(labels), classes=classes)


def _label(graph: Graph, name: str) -> tuple[str, Array | None] | None:
    """Give the scores whose largest a tensor is the label of, and the labels; None if it is none."""
    casts: list[tuple[str, int]] = []
    for _ in range(_DEEPEST):
        node = graph.maker(name, *_SAME_LABELS)
        if node is None or not node.input:
            break
        if node.op_type == "Cast":
            where, _node = graph.made(name)
            casts.append((f"{where}.to", Attributes(node, where).integer("to", 0)))
        name = node.input[0]
    node = graph.maker(name, "LinearClassifier", "ArrayFeatureExtractor", "ArgMax")
    if node is None or not node.input:
        return None
    if node.op_type == "LinearClassifier":
        if name != node.output[0]:
            return None
        _check_casts(casts, text=any(given.name == "classlabels_strings" for given in node.attribute))
        return (node.output[1] if len(node.output) > 1 and node.output[1] else name), None
    if node.op_type == "ArgMax":
        _check_casts(casts, text=False)
        return _largest(graph, name), None
    where, _ = graph.made(name)
    index = graph.maker(node.input[1], "ArgMax") if len(node.input) == 2 else None
    if index is None:
        refuse(where, "the labels, and the numbers of the largest scores", list(node.input))
    labels = graph.labels(where, node.input[0])
    _check_casts(casts, text=labels.dtype.kind == "U")
    return _largest(graph, node.input[1]), labels


def _check_casts(casts: list[tuple[str, int]], *, text: bool) -> None:
    """Refuse casts, the last first, that make other labels: other numbers, fractions, or text of numbers."""
    for place, (where, to) in enumerate(casts):
        known = (_TEXT,) if text else _WHOLE if place == 0 else (*_WHOLE, *_FLOATS)
        if to not in known:
            refuse(where, f"labels that stay {'text' if text else 'whole numbers'}", f"type {to}")


def _largest(graph: Graph, name: str) -> str:
    where, node = graph.made(name)
    attributes = Attributes(node, where)
    if attributes.integer("axis", 0) not in (1, -1) or attributes.integer("select_last_index", 0):
        refuse(where, "the first of the largest of each row", "another choice")
    if len(node.input) != 1:
        refuse(where, "one input", len(node.input))
    return _same(graph, node.input[0])


def _same(graph: Graph, name: str) -> str:
    """Follow what makes the same numbers back."""
    for _ in range(_DEEPEST):
        node = graph.maker(name, *_SAME)
        if node is None or len(node.input) != 1 or node.input[0] in graph.inputs:
            break
        where, _node = graph.made(name)
        if node.op_type == "Normalizer":
            # Probabilities that add up to 1 already.
            before = graph.maker(node.input[0], "Softmax", "LinearClassifier")
            if before is None or Attributes(node, where).text("norm", "MAX") != "L1":
                break
            post = Attributes(before, where).text("post_transform", "NONE")
            if before.op_type == "LinearClassifier" and post != "SOFTMAX":
                break
        elif node.op_type == "Cast" and Attributes(node, where).integer("to", 0) != 1:
            break
        name = node.input[0]
    return name


def _two(graph: Graph, name: str) -> tuple[str, str]:
    """Say whether scores are those of two classes that are made of one number, and give the latter."""
    node = graph.maker(name, "Concat")
    if node is None or len(node.input) != 2:
        return "all", name
    where, _ = graph.made(name)
    first, second = node.input
    if Attributes(node, where).integer("axis", 0) in (1, -1):
        less, negated = graph.maker(first, "Sub"), graph.maker(first, "Mul", "Neg")
        if less is not None and len(less.input) == 2 and less.input[1] == second:
            one = graph.number(less.input[0])
            return ("both", second) if one == 1.0 else refuse(where, "1 - p and p", one)
        if negated is not None and second in negated.input:
            others = [graph.number(other) for other in negated.input if other != second]
            if others == ([] if negated.op_type == "Neg" else [-1.0]):
                return "signs", second
    return refuse(where, "[1 - p, p] or [-s, s]", list(node.input))


def _classifier(where: str, node: Any) -> Head:
    """Read LinearClassifier, of a row of coefficients a class."""
    attributes = Attributes(node, where)
    classes: Array = attributes.integers("classlabels_ints", -(2**63), 2**63 - 1)
    texts = attributes.labels("classlabels_strings")
    if texts:
        classes = np.array(texts)
    count = len(classes)
    rows = len(attributes.numbers("intercepts", None, "float"))
    if count < 2 or rows != count or len(node.input) != 1:
        refuse(where, f"2 labels or more, and an intercept of each of {count}", f"{rows} intercepts")
    post = attributes.text("post_transform", "NONE")
    if post not in _POSTS:
        refuse(attributes.place("post_transform"), ", ".join(_POSTS), post)
    function = _POSTS[post]
    layers: tuple[Layer, ...] = (linear_of(where, attributes, count),)
    if function is not None:
        layers += (Activation(function),)
    return Head(tensor=node.input[0], layers=layers, labelled=True, classes=classes)
