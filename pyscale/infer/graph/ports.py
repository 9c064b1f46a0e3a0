"""The inputs and outputs of a graph, and arrays that fit them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.arrays import view
from pyscale.infer.tables import column_at, columns_of, values_of

__all__ = ["Port", "feeds_of", "port_of", "scores_of"]

Array = NDArray[Any]

_DTYPES: dict[str, np.dtype[Any]] = {
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "string": np.dtype(np.object_),
    **{
        name: np.dtype(name)
        for name in (
            "float16", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
        )
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Port:
    """
    An input or output.

    Attributes
    ----------
    name : str
        Of the graph.
    dtype : numpy.dtype
        object of text.
    shape : tuple of (int or None)
        None of an axis of any length; the first one is that of the rows. Empty where the graph does not say.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    @property
    def is_column(self) -> bool:
        """Whether it has one value a row."""
        return len(self.shape) == 1 or self.shape[1:] == (1,)

    @property
    def kind(self) -> str:
        """The type, as messages have it."""
        return "text" if self.dtype == object else str(self.dtype)

    @property
    def wanted(self) -> str:
        """The shape, as messages have it."""
        axes = " x ".join("any" if size is None else str(size) for size in self.shape[1:])
        return f"rows x {axes}" if axes else "rows"


def port_of(argument: Any, what: str) -> Port:
    """Describe an input or output; ValueError of one that is no tensor with an axis of rows."""
    dtype = _DTYPES.get(argument.type.removeprefix("tensor(").removesuffix(")"))
    if dtype is None:
        raise ValueError(f"{what} {argument.name!r}: expected a tensor that NumPy has, got {argument.type}")
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in argument.shape)
    return Port(argument.name, dtype, shape)


def scores_of(ports: Sequence[Port]) -> str | None:
    """Name the scores of what gives a label a row and, after it, numbers a class."""
    if len(ports) != 2:
        return None
    label, scores = ports
    is_label = label.dtype in (np.dtype(np.int64), np.dtype(object)) and label.is_column
    return scores.name if is_label and scores.dtype.kind == "f" and len(scores.shape) == 2 else None


def feeds_of(ports: Sequence[Port], x: Any) -> tuple[dict[str, Array], int]:
    """
    Open rows for a graph.

    Parameters
    ----------
    ports : sequence of Port
        Its inputs.
    x : array, table, or mapping of names to arrays
        Of one input its array, or the table whose columns it is; of several a mapping, a table with columns
        of their names, or, where each has one value a row, an array with a column for each.

    Returns
    -------
    feeds : dict of numpy.ndarray
        By the names of inputs; contiguous.
    rows : int
        How many.

    Raises
    ------
    TypeError
        Values of a type that is not, without a loss, that of the input.
    ValueError
        Other names or shapes.
    """
    feeds = {
        port.name: _opened(port, value, what)
        for port, (value, what) in zip(ports, _parts(ports, x), strict=True)
    }
    rows = {name: len(array) for name, array in feeds.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"X: expected as many rows of each input, got {rows}")
    return feeds, next(iter(rows.values()))


def _parts(ports: Sequence[Port], x: Any) -> list[tuple[Any, str]]:
    names = [port.name for port in ports]
    if isinstance(x, Mapping):
        if set(x) != set(names):
            raise ValueError(f"X: expected the inputs {', '.join(names)}, got {', '.join(map(str, x))}")
        return [(x[name], f"X[{name!r}]") for name in names]
    columns = columns_of(x)
    if len(ports) == 1:
        if columns is None:
            return [(x, "X")]
        parts = [_column(x, place, name, ports[0]) for place, name in enumerate(columns)]
        return [(np.stack(parts, axis=1) if parts else np.empty((len(x), 0), ports[0].dtype), "X")]
    if not all(port.is_column for port in ports):
        raise ValueError(f"X: expected a mapping with the inputs {', '.join(names)}, got {type(x).__name__}")
    if columns is not None:
        if columns != names:
            raise ValueError(f"X: expected the columns {', '.join(names)}, got {', '.join(columns)}")
        return [(_column(x, place, port.name, port), f"X[{port.name!r}]") for place, port in enumerate(ports)]
    array = x if isinstance(x, np.ndarray) and x.dtype.kind in "OUT" else view(x, what="X").array
    if array.ndim != 2 or array.shape[1] != len(ports):
        raise ValueError(f"X: expected rows x {len(ports)} features, got shape {array.shape}")
    return [(array[:, place], f"X[:, {place}]") for place in range(len(ports))]


def _column(table: Any, place: int, name: str, port: Port) -> Array:
    return _typed(port, values_of(column_at(table, place, name)), f"X[{name!r}]")


def _opened(port: Port, value: Any, what: str) -> Array:
    """Give an array of the input's type and shape."""
    if port.dtype == object:
        array = np.asarray(value)
    else:
        array = value if type(value) is np.ndarray else view(value, what=what).array
    array = _typed(port, array, what)
    if port.shape[1:] == (1,) and array.ndim == 1:
        array = array.reshape(-1, 1)
    fits = array.ndim == len(port.shape) and all(
        size is None or size == got for size, got in zip(port.shape[1:], array.shape[1:], strict=True)
    )
    if array.ndim == 0 or (port.shape and not fits):
        raise ValueError(f"{what}: expected {port.wanted}, got shape {array.shape}")
    return np.ascontiguousarray(array)


def _typed(port: Port, array: Array, what: str) -> Array:
    if array.dtype == port.dtype and array.dtype != object:
        return array if array.dtype.isnative else array.astype(port.dtype)
    if port.dtype == object:
        if array.dtype.kind == "U" or array.dtype.kind == "T":
            return array.astype(object)
        if array.dtype == object and all(isinstance(value, str) for value in array.ravel()):
            return array
    elif array.dtype != object and np.can_cast(array.dtype, port.dtype, "safe"):
        return array.astype(port.dtype)
    got = "values that are no text" if array.dtype == object and port.dtype == object else array.dtype
    raise TypeError(
        f"{what}: expected {port.kind}, as the graph has it, or what is that without a loss, got {got}"
    )
