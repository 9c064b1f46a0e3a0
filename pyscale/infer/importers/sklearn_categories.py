"""Categories of scikit-learn's histogram gradient boosting, and the encoder in front of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.reading import floats, integers, refuse
from pyscale.infer.importers.sklearn_nodes import attribute, class_name, items

__all__ = ["Categories", "read_categories"]

Array = NDArray[Any]
WORD = 32
CODES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Categories:
    """
    The columns' categories, as they are in the input. Arrays are empty where no column has categories.

    Attributes
    ----------
    is_categorical : numpy.ndarray
        bool, columns of the input.
    columns : numpy.ndarray
        int64: of each column that trees see, the column of the input; those of categories come first.
    known : mapping
        Column of the input -> int32: the categories, ascending; the encoder gives their positions.
    table : numpy.ndarray
        int32, columns x 256: the category of each code, -1 where there is none.
    """

    is_categorical: Array
    columns: Array
    known: Mapping[int, Array]
    table: Array

    def inputs(self, columns: Array) -> tuple[Array, Array]:
        """Give the columns of the input for columns that trees see, and which of them have categories."""
        if not self.known:
            return columns, np.zeros(len(columns), np.bool_)
        found = self.columns[columns]
        return found, self.is_categorical[found]

    def left(self, bitsets: object, numbers: Array, columns: Array, where: str) -> tuple[Array, Array]:
        """
        Give the sets of categories that go left at nodes.

        Parameters
        ----------
        bitsets : object
            The tree's `raw_left_cat_bitsets`: uint32, sets x 8, a bit a code.
        numbers : numpy.ndarray
            Nodes: the rows of `bitsets`.
        columns : numpy.ndarray
            Nodes: the columns of the input that they compare.
        where : str
            The place of the tree, for messages.

        Returns
        -------
        sizes : numpy.ndarray
            int64, nodes.
        values : numpy.ndarray
            int32: the sets' categories, ascending in each.
        """
        words = CODES // WORD
        if not isinstance(bitsets, np.ndarray) or bitsets.shape[1:] != (words,) or bitsets.dtype != "u4":
            refuse(f"{where}.raw_left_cat_bitsets", f"a uint32 array of sets x {words}", bitsets)
        rows = integers(numbers, f"{where}.nodes.bitset_idx (of categories)", low=0, high=len(bitsets) - 1)
        bits = (bitsets[:, :, None] >> np.arange(WORD, dtype=np.uint32)) & 1
        node, code = np.nonzero(bits.astype(np.bool_).reshape(-1, CODES)[rows])
        values = self.table[columns[node], code]
        # Codes that no category has cannot come.
        node, values = node[values >= 0], values[values >= 0]
        return np.bincount(node, minlength=len(rows)), values


def read_categories(estimator: object, num_features: int) -> Categories:
    """Read which columns are categorical, and what the encoder in front of the trees makes of them."""
    encoder = attribute(estimator, "_preprocessor")
    mask = attribute(estimator, "is_categorical_")
    if encoder is None or mask is None:
        return Categories(
            is_categorical=np.empty(0, np.bool_),
            columns=np.empty(0, np.int64),
            known={},
            table=np.empty((0, CODES), np.int32),
        )
    flags = integers(mask, "is_categorical_", low=0, high=1, size=num_features) > 0
    parts = items(attribute(encoder, "transformers_", "_preprocessor"), "_preprocessor.transformers_")
    where = "_preprocessor.transformers_[0][1]"
    ordinal = items(parts[0], "_preprocessor.transformers_[0]", 3)[1]
    if class_name(ordinal) != "OrdinalEncoder":
        refuse(where, "an OrdinalEncoder", ordinal)
    numbers = np.flatnonzero(flags)
    found = items(attribute(ordinal, "categories_", where), f"{where}.categories_", len(numbers))
    known = {
        int(column): _whole(values, f"{where}.categories_[{i}]", int(column))
        for i, (column, values) in enumerate(zip(numbers, found, strict=True))
    }
    table = np.full((num_features, CODES), -1, np.int32)
    for column, values in known.items():
        table[column, : len(values)] = values
    columns = np.concatenate([numbers, np.flatnonzero(~flags)])
    return Categories(is_categorical=flags, columns=columns, known=known, table=table)


def _whole(values: object, where: str, column: int) -> Array:
    """Give a column's categories, without the NaN that may be the last; refuses what is no whole number."""
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "iubf":
        got = getattr(values, "dtype", values)
        raise ValueError(
            f"{where}: only categories that are numbers are supported, got {got} (column {column}); "
            f"encode them before, as an OrdinalEncoder does"
        )
    numbers = floats(values, where, nan=True)
    if len(numbers) and np.isnan(numbers[-1]):
        numbers = numbers[:-1]
    whole = integers(numbers, f"{where} (only whole categories are supported)", low=0)
    if len(whole) > CODES or (np.diff(whole) <= 0).any():
        refuse(where, f"at most {CODES} ascending categories", values)
    return whole.astype(np.int32)
