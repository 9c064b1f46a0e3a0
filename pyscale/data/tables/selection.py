"""What is read of files: which columns and as what, which rows, and what stands for null."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from pyscale.data.tables.values import Rows, check_fill, dtype_of
from pyscale.errors import DataError

Shape = tuple[Any, bool]  # the schema of the columns of a file that are read, and whether it has rows


def names_of(columns: Any) -> Any:
    """Return which columns to read, or as what; None for all."""
    if columns is None:
        return None
    if isinstance(columns, str):
        raise TypeError(f"ParquetShards: expected a sequence of columns, got the text {columns!r}")
    names = dict(columns) if isinstance(columns, Mapping) else list(columns)
    if not names:
        raise ValueError("ParquetShards: expected columns, got none")
    if again := [name for name, count in Counter(list(names)).items() if count > 1]:
        raise ValueError(f"ParquetShards: expected each column once, got {again[0]!r} again")
    return names


def types_of(columns: Any) -> dict[str, Any]:
    """Return the Arrow types of columns that are wanted as some dtype."""
    import pyarrow as pa

    wanted = {}
    for name, given in (columns if isinstance(columns, Mapping) else {}).items():
        if given is None:  # of which NumPy makes float64
            raise TypeError(f"column {name!r}: expected a dtype, got None")
        try:
            dtype = np.dtype(given)
        except TypeError as error:
            raise TypeError(f"column {name!r}: expected a dtype, got {given!r}") from error
        if dtype == np.dtype(str):
            wanted[name] = pa.string()
        elif dtype.kind in "iufbMm" and dtype.isnative:
            try:
                wanted[name] = pa.from_numpy_dtype(dtype)
            except NotImplementedError as error:  # pyarrow's own is one
                raise TypeError(f"column {name!r}: expected a dtype that Arrow has, got {dtype}") from error
        else:
            raise TypeError(f"column {name!r}: expected a dtype of numbers or dates, or str, got {dtype.str}")
    return wanted


def expression(filters: Any) -> Any:
    """Return filters, in the forms that pyarrow has for them, as an Expression."""
    if filters is None:
        return None
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet

    if isinstance(filters, compute.Expression):
        return filters
    try:
        if not isinstance(filters, (list, tuple)):
            raise TypeError(type(filters).__name__)
        return parquet.filters_to_expression(_in_order(filters))
    except (ValueError, TypeError, NotImplementedError) as error:  # pyarrow's own are these
        kind = ValueError if isinstance(filters, (list, tuple)) else TypeError
        raise kind(
            "filters: expected an Expression, or a list of (column, operator, value), got "
            f"{filters!r:.200}: {error}"
        ) from error


def in_full(where: Any) -> str:
    """Return a name of an Expression that no other has: its text leaves out values of long lists.

    Raises
    ------
    ValueError
        It names columns by their places.
    """
    if where is None:
        return "None"
    text = str(where)
    try:
        pickled = pickle.dumps(where, protocol=5)
    except NotImplementedError as error:  # pyarrow's own is one
        raise ValueError(f"filters: expected columns by their names, got {text}") from error
    exact = blake2b(pickled, digest_size=16).hexdigest()
    return f"{text if len(text) <= 300 else text[:299] + '…'} ({exact})"


def chosen(path: str, schema: Any, columns: Any) -> Any:
    """Return the schema of the columns to read of a file."""
    import pyarrow as pa

    names = schema.names if columns is None else list(columns)
    if missing := [name for name in names if name not in schema.names]:
        hint = (
            f", and {missing[0]!r} in a folder's name, which is not read" if _partition(path, missing) else ""
        )
        raise DataError(f"{path}: expected a column {missing[0]!r}, got {schema.names}{hint}")
    counts = Counter(schema.names)
    if again := [name for name in names if counts[name] > 1]:
        raise DataError(f"{path}: expected one column {again[0]!r}, got {counts[again[0]]}")
    return pa.schema([pa.field(name, schema.field(name).type) for name in names])


def check_partitions(path: str, names: Sequence[str], given: Collection[str]) -> None:
    """Raise DataError where folders of a path, within those that were given, name a column it has not."""
    above = [str(folder) for folder in Path(path).parents]  # the next first
    within = max((i for i, folder in enumerate(above) if folder in given), default=0)
    folders = [os.path.basename(folder) for folder in above[:within]]
    keys = [folder for folder in folders if "=" in folder and folder.partition("=")[0] not in names]
    if keys:
        raise DataError(
            f"{path}: expected all columns in the file, got {keys[0]!r} in a folder's name, which is not "
            f"read: say the columns to read without it, or write it into the files"
        )


def _partition(path: str, names: Sequence[str]) -> bool:
    return any(folder.startswith(f"{names[0]}=") for folder in os.path.dirname(path).split(os.sep))


def in_common(files: Sequence[str], shapes: Sequence[Shape], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Arrow type of each column, which all files have, or can be cast to.

    A file without rows has no opinion, nor has a column of nulls only: CSV files do not say types.
    """
    import pyarrow as pa

    names = shapes[0][0].names
    said: dict[str, tuple[str, Any]] = {}  # of each column, the first file that says a type, and that
    for path, (schema, has_rows) in zip(files, shapes, strict=True):
        if set(schema.names) != set(names):
            raise DataError(f"{path}: expected the columns of {files[0]}, {names}, got {schema.names}")
        for field in schema:
            if field.name in wanted:
                _check_cast(path, field, wanted[field.name])
            elif has_rows and not pa.types.is_null(field.type):
                first, kind = said.setdefault(field.name, (path, field.type))
                if kind != field.type:
                    raise DataError(
                        f"{path}: expected the columns of {first}, {field.name}: {kind}, got {field.name}: "
                        f"{field.type}"
                    )
    common = {}
    for name in names:
        first, kind = said.get(name, (files[0], shapes[0][0].field(name).type))
        common[name] = wanted.get(name, kind)
        if pa.types.is_null(common[name]):
            raise DataError(
                f"{first}: expected values in column {name!r}, which say its type, got none: "
                f"say it in columns"
            )
    return common


def dtypes_of(kinds: Mapping[str, Any], fill: Mapping[str, Any]) -> dict[str, Rows]:
    """Return the dtype and row shape of each column, once what stands for null in it is checked."""
    if unknown := fill.keys() - kinds.keys():
        raise ValueError(f"ParquetShards: expected fill of {list(kinds)}, got {sorted(unknown)}")
    dtypes = {name: dtype_of(name, kind) for name, kind in kinds.items()}
    for name, value in fill.items():
        check_fill(name, kinds[name], value)
    return dtypes


def _check_cast(path: str, field: Any, target: Any) -> None:
    import pyarrow as pa

    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)
    try:
        if pa.types.is_string(target) and not is_text:
            raise TypeError(f"column {field.name!r}: expected text for str, got {kind} in {path}")
        pa.array([], field.type).cast(target)
    except pa.ArrowNotImplementedError as error:
        raise TypeError(
            f"column {field.name!r}: expected what can be cast to {target}, got {field.type} in {path}"
        ) from error


def _in_order(filters: Any) -> Any:
    """Return a list of filters whose sets have an order: theirs differs from process to process."""
    if isinstance(filters, (set, frozenset)):
        return sorted(filters, key=repr)
    if isinstance(filters, (list, tuple)):
        return type(filters)(_in_order(item) for item in filters)
    return filters
