"""Decision trees in the one form that every importer brings its models to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.categories import Categories

__all__ = ["LinearLeaves", "Link", "ModelDescription", "Precision", "Trees", "empty_nodes"]

Array = NDArray[Any]
Precision = Literal["float32", "float64"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearLeaves:
    """
    A linear function a leaf: its constant, and coefficients times features added in turn, in float64.

    A leaf whose features include a NaN adds its row of `Trees.values` instead. Features from -1e-35f to
    1e-35f count as 0, as LightGBM has it.

    Attributes
    ----------
    constant : numpy.ndarray
        float64, leaves.
    first : numpy.ndarray
        int64, leaves + 1: where each leaf's terms begin.
    feature : numpy.ndarray
        int32, terms.
    coefficient : numpy.ndarray
        float64, terms.
    """

    constant: Array
    first: Array
    feature: Array
    coefficient: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trees:
    """
    Decision trees as flat arrays; the nodes of a tree lie together, its root first.

    A node sends a row left if its value of `feature` is at most `threshold`, or is one of the categories of
    its set; else right. Any other comparison is one of these with another threshold or the children swapped:
    ``x < t`` is ``x <= np.nextafter(t, -inf)`` in the precision of the comparison.

    Attributes
    ----------
    num_features : int
        Columns of an input.
    num_outputs : int
        Columns of the sums.
    precision : {"float32", "float64"}
        The type in which values are compared: inputs are rounded to it, and thresholds are of it.
    sums : {"float32", "float64"}
        The type of the sums and of all that is added to them.
    first : numpy.ndarray
        int64, trees + 1: where each tree's nodes begin, and where the last one's end.
    output : numpy.ndarray
        int32, trees: the first of the outputs to which a tree adds its leaves' values.
    feature : numpy.ndarray
        int32, nodes: what is compared; -1 at a leaf.
    threshold : numpy.ndarray
        float64, nodes. May be infinite; not NaN where it is used.
    left, right : numpy.ndarray
        int32, nodes: the children's numbers in their tree (its root is 0). Of a leaf, `left` is its row of
        `values`.
    missing_left : numpy.ndarray
        bool, nodes: where NaN goes.
    zero_is_missing : numpy.ndarray, optional
        bool, nodes: whether values from -1e-35f to 1e-35f go where NaN goes, as LightGBM can have it.
    category_set : numpy.ndarray, optional
        int32, nodes: the set of categories that go left; -1 where a threshold decides.
    set_first : numpy.ndarray, optional
        int64, sets + 1: where each set begins in `set_values`.
    set_values : numpy.ndarray, optional
        int32: categories, 0 or more, ascending in each set.
    known_categories : mapping
        Feature -> the categories that are known, ascending; what is not known goes where NaN goes. Of a
        feature that is not in it, all that is not in a node's set goes right.
    negative_fractions : bool
        Whether a value between -1 and 0 is category 0 (as LightGBM truncates) and not none at all.
    whole_categories : bool
        Whether a value with a fraction is no category at all (as scikit-learn looks values up) and not cut
        off to one.
    values : numpy.ndarray
        float64, leaves x width: what a leaf adds to `width` outputs from its tree's `output` on. Exact in
        the type of `sums`.
    base : numpy.ndarray
        float64, outputs: what the sums begin with.
    base_last : bool
        Whether it is added last instead, as onnxruntime does.
    linear : LinearLeaves, optional
        What leaves add where it is more than a constant; only with a width of 1.
    """

    num_features: int
    num_outputs: int
    precision: Precision
    sums: Precision
    first: Array
    output: Array
    feature: Array
    threshold: Array
    left: Array
    right: Array
    missing_left: Array
    values: Array
    base: Array
    zero_is_missing: Array | None = None
    category_set: Array | None = None
    set_first: Array | None = None
    set_values: Array | None = None
    known_categories: Mapping[int, Array] = field(default_factory=dict)
    negative_fractions: bool = False
    whole_categories: bool = False
    base_last: bool = False
    linear: LinearLeaves | None = None

    @property
    def num_trees(self) -> int:
        """How many trees there are."""
        return len(self.first) - 1

    @property
    def num_nodes(self) -> int:
        """How many nodes all trees have, leaves included."""
        return len(self.feature)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """
    What makes predictions of the sums, in their type.

    Attributes
    ----------
    name : str
        ``identity``; ``logistic``, of each output: 1 / (1 + exp(-scale x)); ``softmax``, over a row's
        outputs; ``exp``; ``log1p_exp``; ``signed_square``: sign(x) x^2; ``step``: 1 where x > 0, else 0;
        ``argmax``: the number of the largest output; ``isolation``: -2^(-x / scale).
    divisor : float
        By which the sums are divided first: the number of rounds, of an average. 0: of as many rounds as
        were asked for.
    scale : float
        What some of the names take.
    """

    name: str = "identity"
    divisor: float = 1.0
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelDescription:
    """
    What an importer found: the trees, and what their sums mean.

    Attributes
    ----------
    trees : Trees
        The trees.
    link : Link
        What makes `predict`'s answers, or probabilities, of the sums.
    kind : str
        ``regression``, ``binary``, ``multiclass``, ``ranking`` or ``anomaly``.
    classes : numpy.ndarray or tuple of numpy.ndarray, optional
        The labels, where `predict` is to give labels as the library does. A tuple holds those of several
        targets, each of which has outputs for as many classes as the largest.
    feature_names : tuple of str, optional
        The columns' names, where the model knows them.
    source : str
        The library and its version, as far as the model says.
    trees_per_round : int
        Trees that one boosting round made: as many as there are classes; 1 of a forest.
    offset : float
        Of ``anomaly``: what is below it is an anomaly.
    decides : str
        When the second of two classes is the answer: ``probability``, where that is above a half;
        ``positive``, where the sum is above 0; ``not_negative``, where it is 0 or above.
    missing : float, optional
        A number that stands for a missing value, beside NaN; of trees that compare float32.
    categories : Categories, optional
        What the numbers of a table's categorical columns stand for, where the model knows that.
    """

    trees: Trees
    link: Link
    kind: str
    source: str
    classes: Array | tuple[Array, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    trees_per_round: int = 1
    offset: float = 0.0
    decides: str = "probability"
    missing: float | None = None
    categories: Categories | None = None


def empty_nodes(count: int) -> dict[str, Array]:
    """Arrays for `count` nodes, all of them leaves, for an importer to fill in."""
    return {
        "feature": np.full(count, -1, np.int32),
        "threshold": np.zeros(count, np.float64),
        "left": np.zeros(count, np.int32),
        "right": np.zeros(count, np.int32),
        "missing_left": np.zeros(count, np.bool_),
    }
