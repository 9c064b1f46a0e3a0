"""The best rows of a matrix for each query: exact, and the same bits for any number of queries at once."""

from __future__ import annotations

from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pyscale import _core
from pyscale.arrays import view
from pyscale.infer.files import Saved
from pyscale.infer.inputs import output_of, rows_of, threads_of

__all__ = ["METRICS", "Metric", "TopK"]

Array = NDArray[Any]
Metric = Literal["inner_product", "l2", "cosine"]

#: What :class:`TopK` compares by.
METRICS = ("inner_product", "l2", "cosine")

_NARROW = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))  # every one of them is a float32
_ANSWER = np.dtype([("score", np.float32), ("index", np.int64)])


class TopK(Saved):
    """
    The rows of a matrix that are nearest to a query, or have the largest products with it; none is missed.

    Answers depend on a query alone: they are the same bits whatever the batch, the number of threads, the
    callers at the same time and the instruction set. Any number of threads may call at once; none waits for
    another.

    A product is a sum of float32 in the order of the columns, each step rounded once; a squared distance is
    such a sum of the squares of differences, so that near rows are told apart however far from zero they are.
    For cosines, rows and queries are divided by their lengths first; a row of zeros stays one, and its
    cosines are 0.

    Parameters
    ----------
    matrix : array
        Rows x columns, of float32 or narrower floats, finite. It is copied.
    metric : {"inner_product", "l2", "cosine"}
        What the score is: the product, the squared distance, which is best where it is least, or the product
        of what has length 1.
    ids : array of int, optional
        What to call each row in answers; by default 0, 1, …
    k : int, optional
        How many rows `predict` gives.

    Attributes
    ----------
    num_features : int
        Columns of the matrix and of queries.
    num_rows : int
        Rows of the matrix.
    metric : str
        As it was given.
    ids : numpy.ndarray or None
        As they were given, int64, read-only.
    k : int or None
        As it was given.
    dtype : numpy.dtype
        Of what `predict` gives.

    Raises
    ------
    TypeError
        `matrix` is no array of float32 or narrower floats, `ids` are no whole numbers, or `k` is none.
    ValueError
        `matrix` is empty, or has a NaN or an infinity; there is another number of `ids`; or `k` is not from 1
        to the number of rows.

    Examples
    --------
    >>> import numpy as np
    >>> index = TopK(np.eye(3, dtype=np.float32), metric="l2")
    >>> scores, rows = index.search(np.array([[0.0, 2.0, 1.0]]), 2)
    >>> scores, rows
    (array([[2., 4.]], dtype=float32), array([[1, 2]]))
    """

    def __init__(
        self, matrix: Any, *, metric: Metric = "inner_product", ids: Any = None, k: int | None = None
    ) -> None:
        self._fill(matrix, metric, ids, k, unit=False)

    def _fill(self, matrix: Any, metric: Metric, ids: Any, k: int | None, *, unit: bool) -> None:
        if metric not in METRICS:
            raise ValueError(f"metric: expected one of {', '.join(METRICS)}, got {metric!r}")
        rows = _rows_of(matrix)
        self.num_rows, self.num_features = rows.shape
        self.ids = None if ids is None else _ids_of(ids, self.num_rows)
        self.k = None if k is None else self._checked(k)
        self._native = _core.TopK(np.ascontiguousarray(rows, np.float32), metric, unit)
        self.metric = metric
        self.dtype = _ANSWER

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self)._of_kept, (self._matrix(), self.metric, self.ids, self.k)

    @classmethod
    def _of_kept(cls, matrix: Array, metric: Any, ids: Array | None, k: int | None) -> TopK:
        """Make a model of a matrix as one keeps it: of cosine, of rows of length 1."""
        model = cls.__new__(cls)
        model._fill(matrix, metric, ids, k, unit=True)
        return model

    def __repr__(self) -> str:
        return f"<pyscale.infer.TopK: {self.num_rows} x {self.num_features}, {self.metric}>"

    def search(
        self, queries: Any, k: int, *, out: tuple[Array, Array] | None = None, num_threads: int | None = None
    ) -> tuple[Array, Array]:
        """
        Find the best rows for each query.

        Parameters
        ----------
        queries : array
            Queries x columns: NumPy, torch, DLPack, a data frame, an Arrow table. What is not contiguous
            float32 is copied, and rounded to it.
        k : int
            How many rows for each query, from 1 to all.
        out : tuple of two numpy.ndarray, optional
            Where scores and indices go: contiguous, queries x k, float32 and int64.
        num_threads : int, optional
            Threads, at most; by default :func:`pyscale.config`'s. Little work takes one whatever this says.

        Returns
        -------
        scores : numpy.ndarray
            float32, queries x k, the best first: the largest, of l2 the least.
        indices : numpy.ndarray
            int64, queries x k: the rows' numbers, or their `ids`. Of equal scores, the first row comes first.
            Scores of NaN, as a query with a NaN has, come last.

        Raises
        ------
        TypeError
            `queries` is no array of numbers, `k` no whole number, or `out` no tuple.
        ValueError
            Another number of columns, a `k` that is not from 1 to the number of rows, or an `out` that does
            not fit.
        """
        wanted, threads = self._checked(k), threads_of(num_threads)
        x = rows_of(queries, self.num_features, None, "queries", whole=np.float32)
        with np.errstate(over="ignore"):  # beyond float32 are its infinities
            x = np.ascontiguousarray(x, np.float32)
        shape = (len(x), wanted)
        if out is None:
            scores, indices = np.empty(shape, np.float32), np.empty(shape, np.int64)
        else:
            scores, indices = _outputs_of(out, shape, x)
        self._native.search(x, wanted, self.ids, scores, indices, threads)
        return scores, indices

    def predict(self, queries: Any, *, num_threads: int | None = None) -> Array:
        """
        Find the best `k` rows for each query, as one array: what a :class:`Batcher` calls.

        Parameters
        ----------
        queries, num_threads
            As of :meth:`search`.

        Returns
        -------
        numpy.ndarray
            Queries x `k` of records with the fields ``score`` and ``index``.

        Raises
        ------
        ValueError
            The model was made without a `k`; and as of :meth:`search`.
        """
        if self.k is None:
            raise ValueError("k: expected one that was given with the matrix, got none")
        scores, indices = self.search(queries, self.k, num_threads=num_threads)
        answer = np.empty(scores.shape, _ANSWER)
        answer["score"], answer["index"] = scores, indices
        return answer

    def _packed(self) -> tuple[dict[str, Any], dict[str, Array]]:
        arrays = {"matrix": self._matrix()}
        if self.ids is not None:
            arrays["ids"] = self.ids
        return {"model": "topk", "metric": self.metric, "k": self.k}, arrays

    def _matrix(self) -> Array:
        """Give the rows as they are kept: of cosine, of length 1."""
        rows = np.empty((self.num_rows, self.num_features), np.float32)
        self._native.copy_rows(rows)
        return rows

    def _checked(self, k: Any) -> int:
        if isinstance(k, bool) or not isinstance(k, int | np.integer):
            raise TypeError(f"k: expected a whole number, got {k!r}")
        if not 1 <= k <= self.num_rows:
            raise ValueError(f"k: expected 1 to {self.num_rows}, the number of rows, got {k}")
        return int(k)


def _rows_of(matrix: Any) -> Array:
    array = view(matrix, what="matrix").array
    if array.dtype != np.float32 and array.dtype not in _NARROW:
        raise TypeError(f"matrix: expected float32, or narrower floats, got {array.dtype}")
    if array.ndim != 2:
        raise ValueError(f"matrix: expected rows x columns, got shape {array.shape}")
    return array


def _ids_of(ids: Any, rows: int) -> Array:
    array = view(ids, what="ids").array
    if array.dtype.kind not in "iu" or array.dtype == np.uint64:
        raise TypeError(f"ids: expected whole numbers that int64 has, got {array.dtype}")
    if array.shape != (rows,):
        raise ValueError(f"ids: expected {rows}, one for each row, got shape {array.shape}")
    array = array.astype(np.int64)
    array.flags.writeable = False
    return array


def _outputs_of(out: Any, shape: tuple[int, int], x: Array) -> tuple[Array, Array]:
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"out: expected a tuple of scores and indices, got {type(out).__qualname__}")
    scores = output_of(out[0], shape, np.dtype(np.float32), x)
    indices = output_of(out[1], shape, np.dtype(np.int64), x)
    if np.may_share_memory(scores, indices):
        raise ValueError("out: expected scores and indices in memory of their own, got some of each other's")
    return scores, indices
