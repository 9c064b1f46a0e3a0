"""Stages one after the other, as one model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.files import Saved
from pyscale.infer.importers.reading import refuse
from pyscale.infer.inputs import check_apart, output_of, rows_as_given, threads_of
from pyscale.infer.pipeline.columns import widths
from pyscale.infer.pipeline.fusing import Stage, fused
from pyscale.infer.pipeline.running import runners
from pyscale.infer.pipeline.saving import pack
from pyscale.infer.pipeline.stages import Columnwise, Imputer

__all__ = ["Pipeline"]

Array = NDArray[Any]
_AT_ONCE = (np.dtype(np.float32), np.dtype(np.float64))


class Pipeline(Saved):
    """
    Stages one after the other, as one model.

    Made of stages, or by :func:`pyscale.infer.convert`. What follows each other and can be fused is: layers
    and :class:`Dense` models become one :class:`Dense`, a :class:`Pipeline` its stages; scalers and imputers
    that follow each other work in one copy of the rows, in the rows' own type. Rows that are given are never
    changed.

    Answers depend on a row alone, and any number of threads may call at once, as of the stages themselves.

    Parameters
    ----------
    stages : iterable
        Each a :class:`Scaler`, an :class:`Imputer`, a layer (:class:`Linear`, :class:`Activation`, …), a
        :class:`Dense`, a :class:`Forest`, a :class:`Pipeline`, or, as the last one, an :class:`OnnxModel`.
        A model that is not the last hands on what its `raw` gives: the outputs of the last layer, the sums of
        the leaves.
    feature_names : sequence of str, optional
        What a table's columns are to be called, where the first stage is a scaler or an imputer; models know
        their own.

    Attributes
    ----------
    stages : tuple
        The stages, fused.
    num_features : int or None
        Columns of an input.
    num_outputs : int or None
        Columns of the last stage's `raw`.
    feature_names : tuple of str or None
        The columns' names, where they are known.
    kind : str or None
        That of the last model; ``values`` where there is none.
    classes : numpy.ndarray, tuple of numpy.ndarray, or None
        The labels, where `predict` gives labels; of several targets, those of each.
    source : str
        The library that the last model is of.
    dtype : numpy.dtype or None
        The type of the last model's `raw`; None where the last stage keeps that of the rows.

    Raises
    ------
    TypeError
        One of `stages` is none.
    ValueError
        One does not fit that before it; the message names it, as ``stages[2]: expected 16 features, got 20``.

    Notes
    -----
    Layers compute in float32. So a :class:`Forest` after them may send a row whose value is a rounding away
    from a threshold to another leaf than a library that computes in float64 would.

    Examples
    --------
    >>> import numpy as np
    >>> scaler = Scaler(subtract=np.array([1.0, 2.0]), divide=np.array([2.0, 2.0]))
    >>> model = Pipeline([scaler, Linear(np.array([[1.0, -1.0]])), Activation("relu")])
    >>> model.predict(np.array([[5.0, 2.0], [1.0, 8.0]]))
    array([[2.],
           [0.]], dtype=float32)
    """

    def __init__(self, stages: Iterable[Any], *, feature_names: Sequence[str] | None = None) -> None:
        flat = []
        for place, stage in enumerate(stages):
            inside = stage.stages if isinstance(stage, Pipeline) else (stage,)
            flat += [(f"stages[{place}]", one) for one in inside]
            if place == 0 and feature_names is None and isinstance(stage, Pipeline):
                feature_names = stage._names
        self.stages: tuple[Stage, ...] = fused(flat)
        first, last = self.stages[0], self.stages[-1]
        self._names: tuple[str, ...] | None = _checked_names(feature_names, first)
        self.feature_names = self._names if isinstance(first, Columnwise) else first.feature_names
        self.num_features = widths(first)[0] if isinstance(first, Columnwise) else first.num_features
        self._opens = isinstance(first, Columnwise)
        self._keeps = isinstance(first, Imputer) and first.whole
        self._last = None if isinstance(last, Columnwise) else last
        self._before = runners(self.stages if self._last is None else self.stages[:-1])
        self.num_outputs: int | None
        self.num_outputs = widths(last)[1] if isinstance(last, Columnwise) else _of(last, "num_outputs")
        self.kind = "values" if self._last is None else _of(last, "kind")
        self.classes: Array | tuple[Array, ...] | None = _of(last, "classes")
        self.source = str(_of(last, "source") or "pyscale")
        self.dtype: np.dtype[Any] | None = _of(last, "dtype")

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.stages, self._names)

    def __repr__(self) -> str:
        return f"<pyscale.infer.Pipeline: {' -> '.join(type(stage).__name__ for stage in self.stages)}>"

    def predict(
        self,
        X: Any,
        *,
        num_trees: int | None = None,
        num_threads: int | None = None,
        out: Array | None = None,
    ) -> Any:
        """
        Give what the last stage's `predict` gives; of a scaler or an imputer, the rows that it makes.

        Parameters
        ----------
        X : array
            Rows x features: NumPy, torch, DLPack, a data frame, an Arrow table; in any layout. Where the
            first stage is a scaler or an imputer they are copied once, and computed in their own type if that
            is one of floats, else in float64; so are tables of polars and Arrow, as scikit-learn has it.
        num_trees : int, optional
            Only the first so many trees, of a forest.
        num_threads : int, optional
            Threads, at most; by default :func:`pyscale.config`'s. Scalers and imputers take one.
        out : numpy.ndarray, optional
            Where the answer goes, as of the last stage.

        Returns
        -------
        numpy.ndarray
            As of the last stage.

        Raises
        ------
        TypeError
            `X` is no array of numbers, or the last stage does not know the argument.
        ValueError
            Another number of columns, other names of them, or what the last stage refuses.
        """
        if num_trees is None and num_threads is None and out is None and self._last is not None:
            return self._last.predict(self._rows(X))  # the short way of one row
        return self._answer("predict", X, num_trees=num_trees, num_threads=num_threads, out=out)

    def predict_proba(
        self,
        X: Any,
        *,
        num_trees: int | None = None,
        num_threads: int | None = None,
        out: Array | None = None,
    ) -> Any:
        """
        Give the probability of each class.

        Parameters
        ----------
        X, num_trees, num_threads, out
            As of :meth:`predict`.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            Rows x classes; of several targets, those of each.

        Raises
        ------
        ValueError
            The last stage does not classify.
        """
        return self._answer("predict_proba", X, num_trees=num_trees, num_threads=num_threads, out=out)

    def raw(
        self,
        X: Any,
        *,
        num_trees: int | None = None,
        num_threads: int | None = None,
        out: Array | None = None,
    ) -> Array:
        """
        Give the outputs of the last layer, or the sums of the leaves; of a scaler or an imputer, its rows.

        Parameters
        ----------
        X, num_trees, num_threads, out
            As of :meth:`predict`.

        Returns
        -------
        numpy.ndarray
            As of the last stage.
        """
        answer: Array = self._answer("raw", X, num_trees=num_trees, num_threads=num_threads, out=out)
        return answer

    def decision_function(self, X: Any, *, num_threads: int | None = None) -> Array:
        """Give what scikit-learn's method of this name gives, of a forest: see there."""
        answer: Array = self._answer("decision_function", X, num_threads=num_threads)
        return answer

    def score_samples(self, X: Any, *, num_threads: int | None = None) -> Array:
        """Give the scores of an isolation forest: see there."""
        answer: Array = self._answer("score_samples", X, num_threads=num_threads)
        return answer

    def leaf_index(self, X: Any, *, num_trees: int | None = None, num_threads: int | None = None) -> Array:
        """Say which leaf of a forest each row reaches in each tree: see there."""
        answer: Array = self._answer("leaf_index", X, num_trees=num_trees, num_threads=num_threads)
        return answer

    def explain_engine(self) -> str:
        """Say how a forest computes: see there; ValueError if the last stage is none."""
        text: str = self._method("explain_engine")()
        return text

    def _check_saved(self) -> None:
        if self._last is not None:
            self._last._check_saved()

    def _packed(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return all that is saved."""
        return pack(self.stages, self._names)

    def _rows(self, X: Any, num_threads: int | None = None) -> Any:
        """Give what the last stage gets."""
        if self._opens and not (
            type(X) is np.ndarray and X.dtype in _AT_ONCE and X.ndim == 2 and X.shape[1] == self.num_features
        ):
            assert self.num_features is not None
            X = rows_as_given(X, self.num_features, self._names, kept=self._keeps)
        for run in self._before:
            X = run(X, num_threads)
        return X

    def _method(self, name: str) -> Callable[..., Any]:
        found: Callable[..., Any] | None = getattr(self._last, name, None)
        if found is None:
            raise ValueError(
                f"{name}: expected a last stage that has it, got {type(self.stages[-1]).__qualname__}"
            )
        return found

    def _answer(self, name: str, X: Any, *, out: Array | None = None, **options: Any) -> Any:
        num_threads = options.get("num_threads")
        given = {option: value for option, value in options.items() if value is not None}
        if out is not None:
            check_apart(out, X)
            given["out"] = out
        if self._last is not None:
            return self._method(name)(self._rows(X, num_threads), **given)
        if name not in ("predict", "raw"):
            self._method(name)
        if options.get("num_trees") is not None:
            raise TypeError("num_trees: expected none without trees")
        threads_of(num_threads)
        rows: Array = self._rows(X, num_threads)
        if out is None:
            return rows
        filled = output_of(out, rows.shape, rows.dtype, rows)
        np.copyto(filled, rows)
        return filled


def _again(stages: tuple[Stage, ...], names: tuple[str, ...] | None) -> Pipeline:
    return Pipeline(stages, feature_names=names)


def _of(last: Any, name: str) -> Any:
    return getattr(last, name, None)


def _checked_names(names: Any, first: Stage) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not isinstance(first, Columnwise):
        refuse("feature_names", f"none: the first stage, a {type(first).__qualname__}, has its own", names)
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        refuse("feature_names", "a sequence of text", names)
    if len(names) != widths(first)[0]:
        refuse("feature_names", f"{widths(first)[0]}", f"{len(names)}")
    return tuple(names)
