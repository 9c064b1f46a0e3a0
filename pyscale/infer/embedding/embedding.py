"""Sums, means and largest values of rows of a table, as torch's ``EmbeddingBag`` gives them."""

from __future__ import annotations

from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pyscale import _core
from pyscale.arrays import view
from pyscale.infer.files import Saved
from pyscale.infer.inputs import output_of, threads_of

__all__ = ["MODES", "TYPES", "EmbeddingBag", "Mode"]

Array = NDArray[Any]
Mode = Literal["sum", "mean", "max"]

#: What :class:`EmbeddingBag` makes of the rows of a bag.
MODES = ("sum", "mean", "max")

#: Of tables, by name.
TYPES = {np.dtype(dtype).name: np.dtype(dtype) for dtype in (np.float32, np.float16, ml_dtypes.bfloat16)}
_WHOLE = (np.dtype(np.int64), np.dtype(np.int32))


class EmbeddingBag(Saved):
    """
    For each bag of indices, the sum, mean or largest values of the rows of a table that they say.

    As ``torch.nn.EmbeddingBag`` in evaluation. Rows are added in the order of the indices, in float32: the
    answer to a bag is the same bits whatever the other bags, the number of threads, the callers at the same
    time and the instruction set. Any number of threads may call at once; none waits for another.

    Parameters
    ----------
    table : array
        Rows x columns, of float32, float16 or bfloat16. It is copied.
    mode : {"mean", "sum", "max"}
        What becomes of the rows of a bag; of no rows it is 0.
    padding_idx : int, optional
        An index that is left out of bags; from the end, where it is negative.
    include_last_offset : bool
        Whether `offsets` end with where the last bag ends.

    Attributes
    ----------
    num_rows, num_outputs : int
        Rows and columns of the table.
    mode, include_last_offset
        As they were given.
    padding_idx : int or None
        From the beginning.
    table_dtype : numpy.dtype
        Of the table.
    dtype : numpy.dtype
        float32, of answers.

    Raises
    ------
    TypeError
        `table` is of another type, or `padding_idx` is no whole number.
    ValueError
        `table` is empty, `mode` is none of these, or `padding_idx` is no row.

    Examples
    --------
    >>> import numpy as np
    >>> model = EmbeddingBag(np.array([[1, 2], [10, 20], [100, 200]], np.float32), mode="sum")
    >>> model.predict(np.array([0, 2, 1]), offsets=np.array([0, 2]))
    array([[101., 202.],
           [ 10.,  20.]], dtype=float32)
    """

    def __init__(
        self,
        table: Any,
        *,
        mode: Mode = "mean",
        padding_idx: int | None = None,
        include_last_offset: bool = False,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")
        array = view(table, what="table").array
        if array.dtype not in TYPES.values():
            raise TypeError(f"table: expected one of {', '.join(TYPES)}, got {array.dtype}")
        if array.ndim != 2:
            raise ValueError(f"table: expected rows x columns, got shape {array.shape}")
        self.num_rows, self.num_outputs = array.shape
        self.padding_idx = None if padding_idx is None else self._padding(padding_idx)
        self._native = _core.EmbeddingTable(np.ascontiguousarray(array))
        self.mode, self.include_last_offset = mode, bool(include_last_offset)
        self.table_dtype, self.dtype = array.dtype, np.dtype(np.float32)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._table(), self.mode, self.padding_idx, self.include_last_offset)

    def __repr__(self) -> str:
        size = f"{self.num_rows} x {self.num_outputs}"
        return f"<pyscale.infer.EmbeddingBag: {size}, {self.table_dtype}, {self.mode}>"

    def predict(
        self,
        indices: Any,
        offsets: Any = None,
        *,
        per_sample_weights: Any = None,
        out: Array | None = None,
        num_threads: int | None = None,
    ) -> Array:
        """
        Reduce the rows of each bag.

        Parameters
        ----------
        indices : array of int
            Bags x indices, where all bags have as many; or all indices one after the other, with `offsets`.
        offsets : array of int, optional
            Where each bag begins in `indices`: 0 first, and none less than that before it.
        per_sample_weights : array, optional
            For each index what its row is multiplied by, of sums only: float32, or narrower floats.
        out : numpy.ndarray, optional
            Where the answer goes: contiguous, of its shape and float32.
        num_threads : int, optional
            Threads, at most; by default :func:`pyscale.config`'s. Little work takes one whatever this says.

        Returns
        -------
        numpy.ndarray
            Bags x columns, float32.

        Raises
        ------
        TypeError
            Indices or offsets are no whole numbers, or weights no floats.
        ValueError
            Shapes do not fit each other, offsets are not in order, weights come with a mean or a maximum, or
            `out` does not fit.
        IndexError
            An index is no row of the table; nothing is written.
        """
        found = _whole(indices, "indices")
        begins, bags = self._bags_of(found, offsets)
        weights = None if per_sample_weights is None else self._weights_of(per_sample_weights, found.shape)
        shape, threads = (bags, self.num_outputs), threads_of(num_threads)
        out = np.empty(shape, np.float32) if out is None else output_of(out, shape, self.dtype, found)
        for other, what in ((begins, "offsets"), (weights, "per_sample_weights")):
            if other is not None and np.may_share_memory(out, other):
                raise ValueError(f"out: expected memory of its own, got some of {what}'")
        padding = -1 if self.padding_idx is None else self.padding_idx
        self._native.reduce(found.reshape(-1), begins, bags, weights, self.mode, padding, out, threads)
        return out

    def _packed(self) -> tuple[dict[str, Any], dict[str, Array]]:
        table = self._table()
        header = {
            "model": "embedding_bag",
            "mode": self.mode,
            "padding_idx": self.padding_idx,
            "include_last_offset": self.include_last_offset,
            "dtype": table.dtype.name,
        }
        stored = table.view(np.uint16) if table.dtype.name == "bfloat16" else table  # files have no bfloat16
        return header, {"table": stored}

    def _table(self) -> Array:
        table = np.empty((self.num_rows, self.num_outputs), self.table_dtype)
        self._native.copy_rows(table)
        return table

    def _padding(self, index: Any) -> int:
        if isinstance(index, bool) or not isinstance(index, int | np.integer):
            raise TypeError(f"padding_idx: expected a whole number, got {index!r}")
        if not -self.num_rows <= index < self.num_rows:
            raise ValueError(f"padding_idx: expected a row of {self.num_rows}, got {index}")
        return int(index) % int(self.num_rows)

    def _bags_of(self, found: Array, offsets: Any) -> tuple[Array | None, int]:
        """Give where bags begin, None if all have as many indices, and how many there are."""
        if found.ndim == 2:
            if offsets is not None:
                raise ValueError("offsets: expected none with indices of two axes, got some")
            return None if found.shape[1] else np.zeros(len(found), np.int64), len(found)
        if found.ndim != 1:
            raise ValueError(f"indices: expected one or two axes, got shape {found.shape}")
        if offsets is None:
            raise ValueError("offsets: expected some with indices of one axis, got none")
        begins = _whole(offsets, "offsets").astype(np.int64, copy=False)
        if begins.ndim != 1 or (self.include_last_offset and len(begins) == 0):
            least = "1 or more" if self.include_last_offset else "some"
            raise ValueError(f"offsets: expected {least} on one axis, got shape {begins.shape}")
        return begins, len(begins) - self.include_last_offset

    def _weights_of(self, weights: Any, shape: tuple[int, ...]) -> Array:
        if self.mode != "sum":
            raise ValueError(f"per_sample_weights: expected none with mode {self.mode}, got some")
        array = view(weights, what="per_sample_weights").array
        if array.dtype not in TYPES.values():
            raise TypeError(f"per_sample_weights: expected one of {', '.join(TYPES)}, got {array.dtype}")
        if array.shape != shape:
            raise ValueError(f"per_sample_weights: expected shape {shape}, as indices, got {array.shape}")
        return np.ascontiguousarray(array, np.float32).reshape(-1)


def _again(table: Array, mode: Any, padding: int | None, last: bool) -> EmbeddingBag:
    return EmbeddingBag(table, mode=mode, padding_idx=padding, include_last_offset=last)


def _whole(values: Any, what: str) -> Array:
    """Open indices: contiguous, int64 or int32."""
    if type(values) is not np.ndarray or values.dtype not in _WHOLE:
        values = view(values, what=what).array
        if values.dtype.kind not in "iu" or values.dtype == np.uint64:
            raise TypeError(f"{what}: expected whole numbers that int64 has, got {values.dtype}")
        if values.dtype not in _WHOLE:
            values = values.astype(np.int64)
    found: Array = values if values.flags.c_contiguous and values.flags.aligned else values.copy()
    return found
