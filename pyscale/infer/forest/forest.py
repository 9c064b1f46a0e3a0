"""Forests that predict: the same sums as the library that grew them, for any number of rows at once."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale import _core
from pyscale.config import num_threads as default_threads
from pyscale.infer.files import Saved
from pyscale.infer.forest.checking import check
from pyscale.infer.forest.explaining import explain_engine
from pyscale.infer.forest.saving import pack
from pyscale.infer.forest.targets import labels_of_targets, probabilities_of_targets
from pyscale.infer.forest.trees import LinearLeaves, ModelDescription, Trees
from pyscale.infer.inputs import output_of, rows_of, threads_of, whole_number

__all__ = ["Forest"]

Array = NDArray[Any]
_MOST_FEATURES, _MOST_OUTPUTS = 1 << 22, 1 << 12  # of a forest that is measured when it is made


class Forest(Saved):
    """
    Decision trees: gradient boosting, random forests, extra trees, isolation forests.

    Made by :func:`pyscale.infer.load` or :func:`pyscale.infer.convert`. Answers depend on a row alone: they
    are the same bits whatever the batch, the number of threads, the callers at the same time, the instruction
    set and the engine that is chosen. Any number of threads may call at once; none waits for another.

    Parameters
    ----------
    description : ModelDescription
        The trees and what their sums mean.

    Raises
    ------
    ValueError
        What is described is no forest; the message names the place.

    Attributes
    ----------
    num_features : int
        Columns of an input.
    num_trees : int
        Trees.
    num_outputs : int
        Columns of the sums.
    kind : str
        ``regression``, ``binary``, ``multiclass``, ``ranking`` or ``anomaly``.
    classes : numpy.ndarray, tuple of numpy.ndarray or None
        The labels, where `predict` gives labels; of each target, where there are several.
    feature_names : tuple of str or None
        The columns' names, where the model knows them.
    source : str
        The library that grew it.
    dtype : numpy.dtype
        The type of sums and probabilities: that of the library.
    """

    def __init__(self, description: ModelDescription) -> None:
        check(description)
        self._description = description
        trees = description.trees
        arrays = _fields(trees)
        arrays["linear"] = None if trees.linear is None else _fields(trees.linear)
        known = {int(key): np.asarray(value).tolist() for key, value in trees.known_categories.items()}
        self._native = _core.Forest(arrays, known, default_threads())
        link = description.link
        # Scores of isolation forests are made by NumPy, as scikit-learn makes them.
        name = "identity" if link.name == "isolation" else link.name
        self._native.set_link(name, link.divisor, link.scale, description.trees_per_round)
        self._native.gives_labels = description.classes is not None or description.kind == "anomaly"
        # One class has one column of probabilities, which the short way does not know.
        self._native.classifies = (description.kind == "binary" and not self._scores_alone()) or (
            description.kind == "multiclass"
            and trees.num_outputs > 1
            and not isinstance(description.classes, tuple)
        )
        # Measuring takes rows and sums in memory; of what is as wide as this, nobody asks for many rows.
        if trees.num_features <= _MOST_FEATURES and trees.num_outputs <= _MOST_OUTPUTS:
            self._native.calibrate()
        # Of an array's whole numbers LightGBM makes float32 too, though it compares in float64.
        narrow = trees.precision == "float32" or description.source.startswith("LightGBM")
        self._whole = np.float32 if narrow else np.float64
        # The short way knows of no missing value but NaN.
        self._quick = None if description.missing is not None else _core.capsule_of_forest(self._native)
        self.num_features = trees.num_features
        self.num_trees = trees.num_trees
        self.num_outputs = trees.num_outputs
        self.kind = description.kind
        self.classes = description.classes
        self.feature_names = description.feature_names
        self.source = description.source
        self.dtype = np.dtype(trees.sums)

    def __reduce__(self) -> tuple[type[Forest], tuple[ModelDescription]]:
        return Forest, (self._description,)

    def __repr__(self) -> str:
        return (
            f"<pyscale.infer.Forest: {self.kind}, {self.num_trees} trees, {self.num_features} features, "
            f"from {self.source}>"
        )

    def raw(
        self,
        X: Any,
        *,
        num_trees: int | None = None,
        num_threads: int | None = None,
        out: Array | None = None,
    ) -> Array:
        """
        Add up the leaves' values: the margin of boosted trees, before any link function.

        Parameters
        ----------
        X : array
            Rows x features: NumPy, torch, DLPack, in any layout, or a data frame of pandas whose columns are
            of one type and lie in one array: float32 and float64 are taken without a copy. Other data frames
            (pandas, polars) and Arrow's tables are copied once, other numbers converted. NaN is a missing
            value.
        num_trees : int, optional
            Only the first so many trees.
        num_threads : int, optional
            Threads, at most; by default :func:`pyscale.config`'s. Few rows take one whatever this says.
        out : numpy.ndarray, optional
            Where the answer goes: contiguous, of its shape and of `dtype`.

        Returns
        -------
        numpy.ndarray
            Rows, or rows x outputs where there are several; of `dtype`.

        Raises
        ------
        TypeError
            `X` is no array of numbers.
        ValueError
            Another number of columns, other names of them, `num_trees` out of range, or an `out` that does
            not fit.
        """
        return self._answer(X, "raw", num_trees, num_threads, out)

    def predict(
        self,
        X: Any,
        *,
        num_trees: int | None = None,
        num_threads: int | None = None,
        out: Array | None = None,
    ) -> Array:
        """
        Predict what the model's library predicts.

        Parameters
        ----------
        X, num_trees, num_threads, out
            As of :meth:`raw`.

        Returns
        -------
        numpy.ndarray
            Labels, where the model has `classes`; else what its link makes of the sums: values, or, of a
            booster that was trained to classify, probabilities. Rows, or rows x outputs (of labels: targets).
        """
        if self.classes is None and self.kind != "anomaly":
            return self._answer(X, "linked", num_trees, num_threads, out)
        if out is not None:
            raise ValueError("out: expected none, since labels are predicted; predict_proba and raw take one")
        if self.kind == "anomaly":
            scores = self.decision_function(X, num_trees=num_trees, num_threads=num_threads)
            return np.where(scores < 0, -1, 1)
        assert self.classes is not None
        if isinstance(self.classes, tuple):
            return labels_of_targets(self._answer(X, "linked", num_trees, num_threads, None), self.classes)
        labels: Array = self.classes[self._numbers(X, num_trees, num_threads)]
        return labels

    def _numbers(self, X: Any, num_trees: int | None, num_threads: int | None) -> Array:
        """Give the number of each row's class, by the rule of the library."""
        decides = self._description.decides
        if self._description.link.name == "argmax":
            return self._answer(X, "linked", num_trees, num_threads, None).astype(np.intp)
        if self.classes is not None and len(self.classes) == 1:
            return np.zeros(len(self._answer(X, "raw", num_trees, num_threads, None)), np.intp)
        if self.num_outputs > 1:
            best: Array = self._answer(X, "linked", num_trees, num_threads, None).argmax(axis=1)
            return best
        if decides == "probability":
            return (self._answer(X, "linked", num_trees, num_threads, None) > 0.5).astype(np.intp)
        raw = self._answer(X, "raw", num_trees, num_threads, None)
        return (raw > 0 if decides == "positive" else raw >= 0).astype(np.intp)

    def decision_function(
        self, X: Any, *, num_trees: int | None = None, num_threads: int | None = None
    ) -> Array:
        """
        Give what scikit-learn's method of this name gives.

        Parameters
        ----------
        X, num_trees, num_threads
            As of :meth:`raw`.

        Returns
        -------
        numpy.ndarray
            The sums of a model that classifies; of an isolation forest its scores less its offset, which are
            negative for an anomaly.
        """
        if self.kind != "anomaly":
            return self._answer(X, "raw", num_trees, num_threads, None)
        scores = self.score_samples(X, num_trees=num_trees, num_threads=num_threads)
        return scores - float(self._description.offset)

    def score_samples(self, X: Any, *, num_trees: int | None = None, num_threads: int | None = None) -> Array:
        """
        Give the scores of an isolation forest.

        Parameters
        ----------
        X, num_trees, num_threads
            As of :meth:`raw`.

        Returns
        -------
        numpy.ndarray
            -1 to 0; the lower, the more of an anomaly.

        Raises
        ------
        ValueError
            The model is no isolation forest.
        """
        if self.kind != "anomaly":
            raise ValueError(f"score_samples: expected an isolation forest, got a model for {self.kind}")
        lengths = self._answer(X, "raw", num_trees, num_threads, None) / self._description.link.scale
        # The last bit decides where the offset is the score of a row, as it is with a given contamination.
        scores: Array = -(2.0**-lengths)
        return scores

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
            As of :meth:`raw`.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            Rows x classes, of `dtype`; of each target, where there are several.

        Raises
        ------
        ValueError
            The model does not classify; or an `out` where there are several targets.
        """
        if self.kind not in ("binary", "multiclass"):
            raise ValueError(f"predict_proba: expected a model that classifies, got one for {self.kind}")
        if self._scores_alone():
            raise ValueError(
                "predict_proba: expected a model of probabilities, got one of scores: raw gives them"
            )
        if isinstance(self.classes, tuple):
            if out is not None:
                raise ValueError("out: expected none of a model of several targets; raw takes one")
            linked = self._answer(X, "linked", num_trees, num_threads, None)
            return probabilities_of_targets(linked, self.classes)
        if self.kind == "multiclass" and self.num_outputs == 1:
            if out is not None:
                raise ValueError("out: expected none of a model of one class")
            return self._answer(X, "linked", num_trees, num_threads, None)[:, None]
        return self._answer(X, "proba", num_trees, num_threads, out)

    def leaf_index(
        self,
        X: Any,
        *,
        num_trees: int | None = None,
        num_threads: int | None = None,
    ) -> Array:
        """
        Say which leaf each row reaches in each tree.

        Parameters
        ----------
        X, num_trees, num_threads
            As of :meth:`raw`.

        Returns
        -------
        numpy.ndarray
            int32, rows x trees: the number of a node in its tree, whose root is 0. (LightGBM's ``pred_leaf``
            numbers the leaves alone.)
        """
        x, count = self._rows(X), self._checked_trees(num_trees)
        return self._native.leaves(x, 0, count, threads_of(num_threads))

    def explain_engine(self) -> str:
        """
        Say which engine takes how many rows, and what was measured when the model was loaded.

        Returns
        -------
        str
            A few lines of text.
        """
        return explain_engine(self._native, self.num_trees, self._description.trees.num_nodes)

    def _packed(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return all that is saved."""
        return pack(self._description)

    def _scores_alone(self) -> bool:
        """Tell whether the second of two classes has a score that no link makes a probability."""
        description = self._description
        decided = description.kind == "binary" and description.decides != "probability"
        return decided and description.link.name == "identity"

    def _checked_trees(self, num_trees: int | None) -> int:
        if num_trees is None:
            return self.num_trees
        num_trees = whole_number(num_trees, "num_trees")
        if not 0 <= num_trees <= self.num_trees:
            raise ValueError(f"num_trees: expected 0 to {self.num_trees}, got {num_trees}")
        if self.kind == "anomaly" and num_trees != self.num_trees:
            raise ValueError("num_trees: expected all trees of an isolation forest, whose scale is for them")
        return num_trees

    def _rows(self, X: Any) -> Array:
        x = rows_of(
            X,
            self.num_features,
            self.feature_names,
            whole=self._whole,
            categories=self._description.categories,
        )
        missing = self._description.missing
        if missing is None:
            return x
        with np.errstate(over="ignore"):
            narrow = x.astype(np.float32)  # as the trees compare
            narrow[narrow == np.float32(missing)] = np.nan
        return narrow

    def _answer(
        self,
        X: Any,
        what: str,
        num_trees: int | None,
        num_threads: int | None,
        out: Array | None,
    ) -> Array:
        x = self._rows(X)
        count = self._checked_trees(num_trees)
        threads = threads_of(num_threads)
        if out is not None:
            out = output_of(out, self._native.shape(len(x), what), self.dtype, x)
        answer: Array = self._native.answer(x, out, what, 0, count, threads)
        return answer


def _fields(arrays: Trees | LinearLeaves) -> dict[str, Any]:
    found = {item.name: getattr(arrays, item.name) for item in dataclasses.fields(arrays)}
    return {
        name: np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value
        for name, value in found.items()
    }


_core.shorten_forest(Forest)
