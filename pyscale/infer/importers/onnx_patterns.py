"""Functions that exporters write as several nodes: SiLU, and both ways to compute GELU."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pyscale.infer.dense.layers import Activation
from pyscale.infer.importers.onnx_constants import Graph

__all__ = ["pattern"]

_DEEPEST = 6
_CLOSE = 1e-5


def pattern(graph: Graph, name: str) -> tuple[str, Activation] | None:
    """Give the tensor of which another is a function, and the function; None if it is none of them."""
    if graph.maker(name, "Mul", "Div") is None:
        return None
    for found, function in _candidates(graph, name):
        x, add = found
        if function == "silu":
            if _is_product(graph, name, 1.0, [x, add], (x, add)):
                return x, Activation("silu")
        elif _is_product(graph, name, 0.5, [x, add], (x, add)):
            return x, Activation(function)
    return None


def _candidates(graph: Graph, name: str) -> Iterator[tuple[tuple[str, str], str]]:
    """Give the tensors x that may be the argument, with the factor that is made of it."""
    for factor in _factors(graph, name):
        sigmoid = graph.maker(factor, "Sigmoid")
        if sigmoid is not None and len(sigmoid.input) == 1:
            yield (sigmoid.input[0], factor), "silu"
        add = graph.maker(factor, "Add")
        if add is None or len(add.input) != 2:
            continue
        for one, other in (add.input, reversed(add.input)):
            node = graph.maker(other, "Erf", "Tanh")
            if graph.number(one) != 1.0 or node is None or len(node.input) != 1:
                continue
            inner = _argument if node.op_type == "Erf" else _cubic
            for x in inner(graph, node.input[0]):
                yield (x, factor), "gelu" if node.op_type == "Erf" else "gelu_tanh"


def _argument(graph: Graph, name: str) -> Iterator[str]:
    """Give x of x / sqrt(2)."""
    node = graph.maker(name, "Mul", "Div")
    for x in node.input if node is not None else ():
        if _is_product(graph, name, math.sqrt(0.5), [x], (x,)):
            yield x


def _cubic(graph: Graph, name: str) -> Iterator[str]:
    """Give x of sqrt(2 / pi) * (x + 0.044715 * x^3)."""
    for inner in _factors(graph, name):
        add = graph.maker(inner, "Add")
        if add is None or len(add.input) != 2:
            continue
        if not _is_product(graph, name, math.sqrt(2 / math.pi), [inner], (inner,)):
            continue
        for x, cube in (add.input, reversed(add.input)):
            if _is_product(graph, cube, 0.044715, [x, x, x], (x,)):
                yield x


def _factors(graph: Graph, name: str) -> list[str]:
    """Give the inputs of a product, and those of its factors that are products."""
    found, level = [], [name]
    for _ in range(3):
        nodes = [graph.maker(other, "Mul", "Div") for other in level]
        level = [given for node in nodes if node is not None for given in node.input][:16]
        found += level
    return found


def _is_product(graph: Graph, name: str, number: float, factors: list[str], known: tuple[str, ...]) -> bool:
    """Whether a tensor is a number times some others, of which the graph is not followed further."""
    got, names = 1.0, []
    left = [name]
    for _ in range(_DEEPEST * 4):
        if not left:
            break
        other = left.pop()
        value = graph.number(other)
        node = graph.maker(other, "Mul", "Div", "Pow")
        if other in known:
            names.append(other)
        elif value is not None:
            got *= value
        elif node is None or len(node.input) != 2:
            return False
        elif node.op_type == "Mul":
            left += node.input
        else:
            by = graph.number(node.input[1])
            if by is None or by == 0 or (node.op_type == "Pow" and by not in (2.0, 3.0)):
                return False
            left += [node.input[0]] * (int(by) if node.op_type == "Pow" else 1)
            got /= by if node.op_type == "Div" else 1
    return not left and sorted(names) == sorted(factors) and math.isclose(got, number, rel_tol=_CLOSE)
