"""What ONNX nodes after the trees make of their sums, where a link can say it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.onnx_values import FLOATS, Attributes, cast_type

__all__ = ["Label", "Scores", "follow"]


@dataclass(frozen=True, slots=True)
class Scores:
    """
    What a tensor after the trees holds: their sums, times `sign`, divided, linked, and times `factor`.

    `shape` is "all" of a column a class or target; "complement": 1 - p of the only column; "both": of that
    and p. `factor` is 1 but of the link "exp".
    """

    sign: int = 1
    divisor: float = 1.0
    link: str = "identity"
    shape: str = "all"
    factor: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Label:
    """Labels: the operator's own, or the numbers of the largest of the scores `of`, or `classes` of these."""

    of: Scores | None = None
    classes: NDArray[Any] | None = None


Constant = Callable[[str, Sequence[str]], NDArray[Any]]


def follow(
    node: Any, values: list[Scores | Label | None], where: str, constant: Constant
) -> Scores | Label | None:
    """
    Say what a node makes of tensors.

    Parameters
    ----------
    node : onnx.NodeProto
        The node.
    values : list
        What its inputs are; None of what the trees do not lead to.
    where : str
        What messages call it.
    constant : callable
        Gives the values of a constant by its name, of one of some types.

    Returns
    -------
    Scores or Label or None
        None where no link says it.
    """
    attributes = Attributes(node, where)
    value = values[0]
    if len(node.input) == 2:
        return _follow_two(node, values, attributes, constant)
    match node.op_type:
        case "Identity":
            return value
        case "Cast":
            # Scores stay numbers with fractions, labels what they are.
            return value if isinstance(value, Scores) == (cast_type(node, where) in FLOATS) else None
        case "ZipMap":
            return value
        case "Normalizer" if isinstance(value, Scores) and (value.link, value.shape) == ("softmax", "all"):
            # What adds up to 1 already.
            return value if attributes.text("norm", "MAX") == "L1" else None
        case "Flatten" | "Squeeze":
            return value if isinstance(value, Label) else None
        case "ArgMax" if isinstance(value, Scores) and value.shape in ("all", "both"):
            first = attributes.integer("select_last_index", 0) == 0
            axis = attributes.integer("axis", 0)
            return Label(of=value) if first and axis in (1, -1) else None
    if not isinstance(value, Scores) or value.shape != "all" or value.link != "identity":
        return None
    match node.op_type:
        case "Sigmoid":
            return replace(value, link="logistic")
        case "Exp":
            return replace(value, link="exp")
        case "Neg":
            return replace(value, sign=-value.sign)
        case "Softmax" if attributes.integer("axis", 1) in (1, -1):
            return replace(value, link="softmax")
    return None


def _follow_two(
    node: Any, values: list[Scores | Label | None], attributes: Attributes, constant: Constant
) -> Scores | Label | None:
    first, second = values
    match node.op_type:
        case "Reshape" if first is not None:
            shape = constant(node.input[1], ["int64"]).tolist()
            if isinstance(first, Label):
                return first if shape in ([-1], [-1, 1]) else None
            if shape == [-1, 1] and first.shape != "both":
                return first
        case "Squeeze" if isinstance(first, Label):
            return first
        case "ArrayFeatureExtractor" if isinstance(second, Label) and second.of and second.classes is None:
            return replace(second, classes=constant(node.input[0], ["int32", "int64"]))
        case "Sub" if isinstance(second, Scores) and second.shape == "all" and second.link == "logistic":
            one = constant(node.input[0], FLOATS)
            return replace(second, shape="complement") if one.tolist() == [1.0] else None
        case "Concat" if isinstance(first, Scores) and isinstance(second, Scores):
            axis = attributes.integer("axis", 0)
            if axis in (1, -1) and second.shape == "all" and first == replace(second, shape="complement"):
                return replace(second, shape="both")
        case "Div" if isinstance(first, Scores) and (first.link, first.divisor) == ("identity", 1.0):
            by = constant(node.input[1], FLOATS)
            if by.size == 1 and np.isfinite(by[0]) and by[0] > 0:
                return replace(first, divisor=float(by[0]))
        case "Mul" if isinstance(first, Scores) and second is None:
            by = constant(node.input[1], FLOATS)
            if by.tolist() == [1.0]:
                return first
            if (first.link, first.factor) == ("exp", 1.0) and by.size == 1 and 0 < by[0] < np.inf:
                return replace(first, factor=float(by[0]))
    return None
