"""What the numbers of categories stand for: as a model was trained, whatever a table numbers them by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.reading import refuse

__all__ = [
    "Categories",
    "check_categories",
    "codes_of",
    "is_categorical",
    "pack_categories",
    "unpack_categories",
]

Array = NDArray[Any]
Value = str | int | float  # and bool
Values = tuple[Value, ...]
_UNKNOWN = ("refused", "missing")


@dataclass(frozen=True)
class Categories:
    """
    The categories that a model knows: number `k` stands for the `k`-th.

    Attributes
    ----------
    values : tuple of (tuple or None)
        Of each column of the model, None where it has none; or, if `in_turn`, of a table's categorical
        columns in their order, whichever they are.
    in_turn : bool
        Which of these.
    unknown : {"refused", "missing"}
        What becomes of a category that the model does not know.
    """

    values: tuple[Values | None, ...]
    in_turn: bool = False
    unknown: str = "refused"

    def of(self, places: Sequence[int], names: Sequence[str], what: str) -> dict[int, Values]:
        """Give the categories of a table's categorical columns, by place; ValueError if others are to be."""
        if self.in_turn:
            if len(places) != len(self.values):
                raise ValueError(
                    f"{what}: expected {len(self.values)} categorical columns, as in training, "
                    f"got {len(places)}"
                )
            return {place: values or () for place, values in zip(places, self.values, strict=True)}
        found: dict[int, Values] = {}
        if not places:  # all are numbers, those of categories too, as in an array
            return found
        there = set(places)
        for place, values in enumerate(self.values):
            if values is not None and place not in there:
                raise ValueError(
                    f"{what}[{names[place]!r}]: expected a categorical column, as in training, got another"
                )
        for place in places:
            values = self.values[place] if place < len(self.values) else None
            if values is None:
                raise ValueError(
                    f"{what}[{names[place]!r}]: expected numbers, since the model has no categories for it, "
                    "got categories"
                )
            found[place] = values
        return found


def check_categories(categories: Categories, num_features: int) -> None:
    """Refuse what cannot be a model's categories."""
    if not categories.in_turn and len(categories.values) != num_features:
        refuse("categories.values", f"those of {num_features} columns", f"{len(categories.values)}")
    if len(categories.values) > num_features:
        refuse("categories.values", f"at most {num_features} columns'", f"{len(categories.values)}")
    if categories.unknown not in _UNKNOWN:
        refuse("categories.unknown", " or ".join(_UNKNOWN), categories.unknown)
    for place, values in enumerate(categories.values):
        if values is None and not categories.in_turn:
            continue
        where = f"categories.values[{place}]"
        if not isinstance(values, tuple) or not all(isinstance(value, str | int | float) for value in values):
            refuse(where, "text or numbers", values)
        if len(set(values)) != len(values):
            refuse(where, "categories that differ", values)


def pack_categories(categories: Categories | None) -> Any:
    """Give what JSON can hold of them."""
    if categories is None:
        return None
    values = [None if one is None else list(one) for one in categories.values]
    return {"values": values, "in_turn": categories.in_turn, "unknown": categories.unknown}


def unpack_categories(found: Any) -> Categories | None:
    """Make categories of that; ValueError where it is something else."""
    if found is None:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("values"), list):
        refuse("categories", "an object with values", found)
    if type(found.get("in_turn")) is not bool:
        refuse("categories.in_turn", "true or false", found.get("in_turn"))
    for place, one in enumerate(found["values"]):
        if not (one is None or isinstance(one, list)) or any(
            isinstance(item, list | dict) for item in one or ()
        ):
            refuse(f"categories.values[{place}]", "a list of text or numbers", one)
    values = tuple(None if one is None else tuple(one) for one in found["values"])
    return Categories(values, found["in_turn"], found.get("unknown", ""))


def is_categorical(column: Any) -> bool:
    """Tell whether a column of a table has categories: of pandas, polars or Arrow."""
    dtype = getattr(column, "dtype", None)  # asked first: a row of pandas may be called "type"
    if isinstance(dtype, np.dtype):
        return False
    kind = str(getattr(column, "type", "") if dtype is None else dtype)
    return kind == "category" or kind.startswith(("dictionary", "Categorical", "Enum"))


def codes_of(column: Any, values: Values, unknown: str, what: str) -> Array:
    """
    Give each row of a categorical column the number that the model has for its category.

    Parameters
    ----------
    column : column of a table
        Of pandas, polars or Arrow, categorical.
    values : tuple
        The model's categories.
    unknown : {"refused", "missing"}
        What becomes of others.
    what : str
        How messages call the column.

    Returns
    -------
    numpy.ndarray
        float32, or float64 where there are more than 2^24 categories; NaN where it is missing, as it also is
        where the category itself is null or NaN.

    Raises
    ------
    ValueError
        A row has a category that the model does not know, and it is refused.
    """
    own, codes = _own(column)
    dtype = np.float32 if len(values) <= 1 << 24 else np.float64
    # One more at the end, which code -1 takes.
    table = np.array([*_numbers(own, values), -1], np.int64)
    missing = np.array([value is None or value != value for value in own] + [True])
    found = table[codes]
    strange = (found < 0) & ~missing[codes]
    if unknown == "refused" and strange.any():
        value = own[int(codes[int(strange.argmax())])]
        raise ValueError(f"{what}: expected categories that the model was trained with, got {value!r}")
    return np.where(found < 0, np.nan, found).astype(dtype)


def _numbers(own: list[Any], values: Values) -> Iterable[int]:
    """Give categories their numbers, as LightGBM: by place if all are equal, else by pandas' equality."""
    if own == list(values):
        return range(len(own))
    # Among others, pandas has no boolean equal a number.
    known = {(isinstance(value, bool), value): number for number, value in enumerate(values)}
    return [known.get((isinstance(value, bool), value), -1) for value in own]


def _own(column: Any) -> tuple[list[Any], Array]:
    """Give a column's own categories, and each row's number of them, -1 where it has none."""
    if hasattr(column, "cat") and hasattr(column.cat, "codes"):  # pandas
        return _plain(column.cat.categories), np.asarray(column.cat.codes, np.int64)
    if hasattr(column, "to_arrow"):  # polars
        column = column.to_arrow()
    elif hasattr(column, "array"):  # pandas, with Arrow's columns
        column = column.array.__arrow_array__()
    if hasattr(column, "unify_dictionaries"):  # Arrow's chunks, each of which may have its own
        column = column.unify_dictionaries().combine_chunks()
    codes = np.full(len(column), -1, np.int64)
    known = np.asarray(column.indices.is_valid())
    codes[known] = column.indices.drop_null()  # which may be unsigned
    return _plain(column.dictionary.to_pylist()), codes


def _plain(values: Iterable[Any]) -> list[Any]:
    """Python's own values: NumPy's numbers are equal to them, but an interval, say, is not to be compared."""
    return [value.item() if isinstance(value, np.generic) else value for value in values]
