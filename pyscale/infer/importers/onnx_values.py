"""Attributes and tensors of ONNX nodes as arrays, with their types and sizes checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.reading import refuse

__all__ = ["FLOATS", "TENSOR_TYPES", "WIDTH", "Attributes", "Budget", "cast_type", "tensor_values"]

ATTRIBUTE_TYPES = {1: "FLOAT", 2: "INT", 3: "STRING", 4: "TENSOR", 6: "FLOATS", 7: "INTS", 8: "STRINGS"}
TENSOR_TYPES: dict[int, tuple[str, type, str]] = {
    1: ("float", np.float32, "float_data"),
    2: ("uint8", np.uint8, "int32_data"),
    6: ("int32", np.int32, "int32_data"),
    7: ("int64", np.int64, "int64_data"),
    11: ("double", np.float64, "double_data"),
}
FLOATS = ("float", "double")
# How many bits of a whole number each type holds; what a cast to it may round.
WIDTH = {"float": 24, "double": 53, "int32": 32, "int64": 64}
EXTERNAL = 1


def tensor_values(tensor: Any, where: str, types: Sequence[str]) -> NDArray[Any]:
    """Give a tensor's values in one dimension; refuses other types, sizes, and what lies in other files."""
    name, dtype, field = TENSOR_TYPES.get(tensor.data_type, ("another type", np.uint8, ""))
    if name not in types:
        refuse(where, f"a tensor of {' or '.join(types)}", f"type {tensor.data_type} ({name})")
    if tensor.data_location == EXTERNAL or tensor.external_data:
        refuse(where, "its values in the file", "a tensor whose values are in another file")
    if len(tensor.dims) > 8 or any(size < 0 for size in tensor.dims):
        refuse(where, "at most 8 sizes of 0 or more", list(tensor.dims)[:8])
    if math.prod(max(size, 1) for size in tensor.dims) >= 2**48:  # NumPy has no such shape, even of no values
        refuse(where, "a shape that can be", list(tensor.dims))
    count = math.prod(tensor.dims)
    raw = tensor.raw_data
    if raw:
        if len(raw) != count * np.dtype(dtype).itemsize:
            refuse(where, f"{count} values", f"{len(raw)} bytes")
        return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).astype(dtype)
    values = getattr(tensor, field)
    if len(values) != count:
        refuse(where, f"{count} values", len(values))
    array: NDArray[Any] = np.array(values, np.int64 if np.dtype(dtype).kind in "iu" else dtype)
    if array.size and dtype is np.uint8 and not 0 <= array.min() <= array.max() <= 255:
        refuse(where, "0 to 255", int(array[(array < 0) | (array > 255)][0]))
    return array.astype(dtype)


class Budget:
    """
    How many numbers a graph's nodes may take in all: constants that are used again and again multiply.

    Parameters
    ----------
    graph : onnx.GraphProto
        The graph: each of its floats may be used about four times, and a few millions in any case.
    """

    def __init__(self, graph: Any) -> None:
        self.left = 2**22 + int(graph.ByteSize())

    def take(self, count: int, where: str) -> None:
        """Count numbers; ValueError once they are too many."""
        self.left -= count
        if self.left < 0:
            refuse(where, "constants that are used a few times", "more numbers than the file has by far")


class Attributes:
    """
    The attributes of one node.

    Parameters
    ----------
    node : onnx.NodeProto
        The node.
    where : str
        What messages call it.
    """

    def __init__(self, node: Any, where: str) -> None:
        self.where = where
        self._found: dict[str, Any] = {}
        for attribute in node.attribute:
            if attribute.name in self._found:
                refuse(f"{where}.{attribute.name}", "one attribute of a name", "two")
            self._found[attribute.name] = attribute

    def place(self, name: str) -> str:
        """Give what messages call an attribute."""
        return f"{self.where}.{name}"

    def has(self, name: str) -> bool:
        """Whether the attribute is there."""
        return name in self._found

    def only(self, names: Sequence[str]) -> None:
        """Refuse attributes of other names."""
        for name in self._found:
            if name not in names:
                refuse(self.place(name), "an attribute that the operator has", name)

    def _get(self, name: str, kind: str, field: str) -> Any:
        attribute = self._found.get(name)
        if attribute is None:
            return None
        got = ATTRIBUTE_TYPES.get(attribute.type, str(attribute.type))
        if got != kind or attribute.ref_attr_name:
            refuse(self.place(name), f"an attribute of type {kind}", got)
        return getattr(attribute, field)

    def integer(self, name: str, default: int) -> int:
        """Give a whole number."""
        value = self._get(name, "INT", "i")
        return default if value is None else int(value)

    def number(self, name: str, default: float, *, nan: bool = False) -> float:
        """Give a finite number, or NaN where that is allowed."""
        value = self._get(name, "FLOAT", "f")
        if value is not None and not math.isfinite(value) and not (nan and math.isnan(value)):
            refuse(self.place(name), "a finite number", value)
        return default if value is None else float(value)

    def text(self, name: str, default: str) -> str:
        """Give a string."""
        value = self._get(name, "STRING", "s")
        return default if value is None else _text(value, self.place(name))

    def texts(self, name: str) -> list[bytes]:
        """Give a list of strings, not decoded; empty if it is not there."""
        return list(self._get(name, "STRINGS", "strings") or ())

    def labels(self, name: str) -> list[str]:
        """Give a list of strings; empty if it is not there."""
        return [_text(value, f"{self.place(name)}[{i}]") for i, value in enumerate(self.texts(name))]

    def integers(
        self, name: str, low: int, high: int, size: int | None = None, *, optional: bool = False
    ) -> NDArray[np.int64]:
        """Give a list of whole numbers from `low` to `high`; of `size` of them, or none if `optional`."""
        values = np.array(self._get(name, "INTS", "ints") or (), np.int64)
        self._sized(name, len(values), size, optional)
        wrong = (values < low) | (values > high)
        if wrong.any():
            place = int(wrong.argmax())
            refuse(f"{self.place(name)}[{place}]", f"{low} to {high}", int(values[place]))
        return values

    def numbers(
        self, name: str, size: int | None, dtype: str, *, optional: bool = False, nan: bool = False
    ) -> NDArray[np.float64]:
        """Give a list of floats, or, of its other name, a tensor of `dtype`; NaN is refused, or allowed."""
        other = f"{name}_as_tensor"
        if self.has(name) and self.has(other):
            refuse(self.where, f"one of {name} and {other}", "both")
        if self.has(other):
            tensor = self._get(other, "TENSOR", "t")
            values = tensor_values(tensor, self.place(other), [dtype]).astype(np.float64)
            name = other
        else:
            values = np.array(self._get(name, "FLOATS", "floats") or (), np.float64)
        self._sized(name, len(values), size, optional)
        return values if nan else self.no_nan(name, values)

    def raw_tensor(self, name: str) -> Any:
        """Give a tensor as the file has it."""
        tensor = self._get(name, "TENSOR", "t")
        if tensor is None:
            refuse(self.where, f"the attribute {name}", "no such attribute")
        return tensor

    def tensor(self, name: str, types: Sequence[str], size: int | None = None) -> NDArray[Any]:
        """Give a tensor's values, in its type."""
        values = tensor_values(self.raw_tensor(name), self.place(name), types)
        self._sized(name, len(values), size, False)
        return values

    def _sized(self, name: str, got: int, size: int | None, optional: bool) -> None:
        if size is not None and got != size and not (optional and got == 0):
            refuse(self.place(name), f"{size} values", str(got))

    def no_nan(self, name: str, values: NDArray[Any]) -> NDArray[np.float64]:
        """Give the values of an attribute in float64; refuses NaN."""
        if np.isnan(values).any():
            refuse(f"{self.place(name)}[{int(np.isnan(values).argmax())}]", "a number", float("nan"))
        return values.astype(np.float64)


def _text(value: bytes, where: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        refuse(where, "text in UTF-8", value[:40])


def cast_type(node: Any, where: str) -> str:
    """Give the type that a Cast makes; refuses others than those of numbers."""
    to = Attributes(node, where).integer("to", 0)
    name = TENSOR_TYPES.get(to, (str(to),))[0]
    if name not in WIDTH:
        refuse(f"{where}.to", f"one of {', '.join(WIDTH)}", f"type {to}")
    return name
