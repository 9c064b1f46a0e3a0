"""Scalers and imputers before the trees, as part of the thresholds: the same rows go the same ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.onnx_values import FLOATS, Attributes
from pyscale.infer.importers.reading import refuse

__all__ = ["OPERATORS", "Step", "pulled_back", "step_of"]

Array = NDArray[Any]

#: What may change values before trees.
OPERATORS = ("Scaler", "Imputer", "Add", "Sub", "Mul", "Div")
_DTYPES: dict[str, type] = {"float": np.float32, "double": np.float64}


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """
    What a node does to the values of a column, in the type in which it does it.

    Attributes
    ----------
    operator : str
        One of `OPERATORS`.
    constants : tuple of numpy.ndarray
        One value, or one of each column: of Scaler the offset and the scale.
    width : int or None
        Columns, where there is a value of each.
    """

    operator: str
    constants: tuple[Array, ...]
    width: int | None

    def __call__(self, values: Array, column: Array) -> Array:
        """Give what becomes of values of some columns."""
        first, *others = (c if c.size == 1 else c[column] for c in self.constants)
        match self.operator:
            case "Scaler":
                return (values - first) * others[0]
            case "Imputer":
                return np.where(np.isnan(values), first, values)
            case "Add":
                return values + first
            case "Sub":
                return values - first
            case "Mul":
                return values * first
        return values / first


def step_of(node: Any, where: str, type: str, data: str, constant: Callable[[str, Any], Array]) -> Step:
    """
    Read a node that changes the values of the tensor `data`, which are of a type.

    Raises
    ------
    ValueError
        It changes them in a way of which trees know nothing.
    """
    if type not in FLOATS or (node.domain and type != "float"):
        refuse(where, "values of float" if node.domain else "values of float or double", type)
    if len(node.input) != (1 if node.domain else 2):
        refuse(where, "one input" if node.domain else "two inputs", len(node.input))
    if node.domain:
        constants = _attributes(node, where)
    else:
        place = list(node.input).index(data)
        if place and node.op_type in ("Sub", "Div"):
            refuse(f"{where}.input[0]", "the values, and then the constant", node.input[0])
        constants = (constant(node.input[1 - place], [type]),)
    sizes = {c.size for c in constants} - {1}
    if len(sizes) > 1 or 0 in sizes or not all(np.isfinite(c).all() for c in constants):
        refuse(where, "finite numbers, one or one of each column", sorted(sizes))
    return Step(node.op_type, tuple(c.astype(_DTYPES[type]) for c in constants), next(iter(sizes), None))


def _attributes(node: Any, where: str) -> tuple[Array, ...]:
    attributes = Attributes(node, where)
    if node.op_type == "Scaler":
        attributes.only(("offset", "scale"))
        return attributes.numbers("offset", None, "float"), attributes.numbers("scale", None, "float")
    attributes.only(("imputed_value_floats", "replaced_value_float"))
    if not np.isnan(attributes.number("replaced_value_float", 0.0, nan=True)):
        refuse(
            attributes.place("replaced_value_float"), "NaN", attributes.number("replaced_value_float", 0.0)
        )
    return (attributes.numbers("imputed_value_floats", None, "float"),)


def pulled_back(nodes: dict[str, Any], steps: tuple[Step, ...], type: str, where: str) -> dict[str, Any]:
    """
    Give the nodes that send raw rows where `nodes` send what the steps make of them.

    Each step is monotonic and rounds monotonically; so is what all make of a value, and what is at most a
    threshold afterwards is at most, or at least, a number before: the last one in the order of floats, which
    is found by halving.

    Parameters
    ----------
    nodes : dict
        Arrays of `Trees`.
    steps : tuple of Step
        From the graph's input on.
    type : {"float", "double"}
        In which they compute.
    where : str
        What messages call the trees.
    """
    dtype = _DTYPES[type]
    inner = np.flatnonzero(nodes["feature"] >= 0)
    sets = nodes.get("category_set")
    if sets is not None and (sets[inner] >= 0).any():
        refuse(where, "no sets of categories where values are scaled or imputed before", "a set")
    column, threshold = nodes["feature"][inner], nodes["threshold"][inner]

    def applied(values: Array) -> Array:
        with np.errstate(all="ignore"):
            for step in steps:
                values = step(values, column)
        return values

    ends = [applied(np.full(len(inner), end, dtype)) for end in (-np.inf, np.inf)]
    rising = ends[0] < ends[1]
    if not (np.isinf(ends[0]) & np.isinf(ends[1]) & (ends[0] != ends[1])).all():
        refuse(where, "columns that are multiplied by another number than 0 before", 0.0)
    # Numbers up to `low` satisfy what is asked, and those from `high` on do not.
    high = np.full(len(inner), _order(np.array(np.inf, dtype)) + 1)
    low = -high + 1
    all_left = ~rising & (threshold == np.inf)
    while (high > low + 1).any():
        middle = low // 2 + high // 2 + (low & high & 1)  # of doubles, neither sum nor difference is an int64
        left = applied(_value(middle, dtype)) <= threshold
        kept = np.where(all_left, True, left == rising)
        low, high = np.where(kept, middle, low), np.where(kept, high, middle)
    out = {name: np.array(value) if isinstance(value, np.ndarray) else value for name, value in nodes.items()}
    out["threshold"][inner] = _value(low, dtype)
    swapped = inner[~rising & ~all_left]
    out["left"][swapped], out["right"][swapped] = nodes["right"][swapped], nodes["left"][swapped]
    missing = applied(np.full(len(inner), np.nan, dtype))
    goes_left = np.where(np.isnan(missing), nodes["missing_left"][inner], missing <= threshold)
    out["missing_left"][inner] = goes_left ^ (~rising & ~all_left)
    return out


def _order(values: Array) -> Array:
    """Give numbers of floats from 0 on: neighbours have numbers that follow each other."""
    return values.view(f"i{values.itemsize}").astype(np.int64)


def _value(order: Array, dtype: type) -> Array:
    """Give the float of a number; -0.0 has none."""
    size = np.dtype(dtype).itemsize
    return np.copysign(np.abs(order).astype(f"i{size}").view(dtype), np.where(order < 0, -1, 1)).astype(dtype)
