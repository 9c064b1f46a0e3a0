"""The one door to pyarrow: tables of any library in, its tables and record batches out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

import numpy as np


def arrow() -> Any:
    """Return pyarrow, with the modules of it that are used here."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "pyscale.data: expected pyarrow, got none: pip install 'pyscale-ml[data]'"
        ) from error
    return pyarrow


class Stream(NamedTuple):
    """Record batches of one schema, to be read once."""

    schema: Any
    batches: Iterator[Any]


def is_stream(data: Any) -> bool:
    """Return whether data can be read only once, and may not fit in memory."""
    return isinstance(data, (arrow().RecordBatchReader, Iterator))


def as_table(data: Any, what: str) -> Any:
    """Return data that is in memory as a table.

    Parameters
    ----------
    data : pyarrow.Table, pyarrow.RecordBatch, dict of arrays, or what has ``__arrow_c_stream__``
        Such as a data frame of pandas or Polars. In a dict, NumPy arrays of two dimensions become lists of a
        fixed size.
    what : str
        Its name in errors.
    """
    pa = arrow()
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, Mapping):
        return _table_of_arrays(data, what)
    if hasattr(data, "__arrow_c_stream__"):
        return pa.table(data)
    raise TypeError(
        f"{what}: expected a pyarrow Table, RecordBatch or RecordBatchReader, a dict of arrays or an object "
        f"with __arrow_c_stream__, got {type(data).__name__}"
    )


def as_stream(data: Any, what: str, *, may_be_nothing: bool = False) -> Stream:
    """Return data as record batches: what `as_table` takes, a RecordBatchReader, or an iterator.

    An iterator gives record batches, or what `as_table` takes, all of the schema of the first. One that gives
    nothing has no schema: a ValueError, or None where there may be nothing.
    """
    pa = arrow()
    if isinstance(data, pa.RecordBatchReader):
        return Stream(data.schema, iter(data))
    if not isinstance(data, Iterator):
        table = as_table(data, what)
        return Stream(table.schema, iter(table.to_batches()))
    tables = (as_table(item, what) for item in data)
    first = next(tables, None)
    if first is None and may_be_nothing:
        return Stream(None, iter(()))
    if first is None:
        raise ValueError(f"{what}: expected at least one record batch, which says the schema, got none")
    return Stream(first.schema, _batches_of(chain([first], tables), first.schema, what))


def _batches_of(tables: Iterable[Any], schema: Any, what: str) -> Iterator[Any]:
    for table in tables:
        if not table.schema.equals(schema):
            raise ValueError(
                f"{what}: expected record batches of one schema, got ({_line(schema)}) and then "
                f"({_line(table.schema)})"
            )
        yield from table.to_batches()


def _line(schema: Any) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


def _table_of_arrays(columns: Mapping[Any, Any], what: str) -> Any:
    arrays = {str(name): _array(values, f"{what}[{name!r}]") for name, values in columns.items()}
    if len(arrays) < len(columns):
        raise ValueError(f"{what}: expected columns of different names, got {list(columns)}")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{what}: expected columns of equal length, got {lengths}")
    return arrow().table(arrays)


def _array(values: Any, what: str) -> Any:
    pa = arrow()
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    array = values if isinstance(values, np.ndarray) else np.asarray(values)
    if array.ndim == 0:
        raise TypeError(f"{what}: expected an array, got {type(values).__name__}")
    if array.dtype.kind in "cV":
        raise TypeError(f"{what}: expected a dtype that columns have, got {array.dtype}")
    if array.ndim > 2 or (array.ndim == 2 and array.shape[1] == 0):
        raise ValueError(f"{what}: expected one dimension, or rows of some elements, got shape {array.shape}")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    kind = {"U": pa.string(), "S": pa.binary()}.get(array.dtype.kind)
    if kind is not None:  # of which pyarrow takes what is before the first NUL
        array = array.astype(object)
    try:
        flat = pa.array(array.reshape(-1), kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise TypeError(f"{what}: expected values of one type that columns have, got {error}") from error
    return flat if array.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, array.shape[1])


def check_compression(what: str, name: str | None) -> None:
    """Raise ValueError for a compression that pyarrow has not."""
    try:
        known = name is None or arrow().Codec.is_available(name)
    except (TypeError, ValueError):
        known = False
    if not known:
        raise ValueError(f"{what}: expected compression that pyarrow has, such as 'zstd', got {name!r}")
