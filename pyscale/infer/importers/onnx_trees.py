"""ONNX models whose graph is one tree ensemble."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.forest.trees import Link, ModelDescription
from pyscale.infer.importers.onnx_after import Scores
from pyscale.infer.importers.onnx_graph import Ensemble, find_ensemble, parse
from pyscale.infer.importers.onnx_leaves import make_trees, scored
from pyscale.infer.importers.onnx_nodes import read_nodes
from pyscale.infer.importers.onnx_nodes_v5 import read_nodes_v5
from pyscale.infer.importers.onnx_table import NodeTable
from pyscale.infer.importers.onnx_values import Attributes
from pyscale.infer.importers.reading import refuse

__all__ = ["read_onnx_trees", "trees_of"]

# As onnxruntime numbers them; in the specification, 1 is SOFTMAX and 2 LOGISTIC.
POSTS = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT")
AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
LINKS = {"NONE": "identity", "SOFTMAX": "softmax", "LOGISTIC": "logistic"}
MOST_OUTPUTS = 65536
ATTRIBUTES_V5 = (
    "aggregate_function",
    "leaf_targetids",
    "leaf_weights",
    "membership_values",
    "n_targets",
    "nodes_falseleafs",
    "nodes_falsenodeids",
    "nodes_featureids",
    "nodes_hitrates",
    "nodes_missing_value_tracks_true",
    "nodes_modes",
    "nodes_splits",
    "nodes_trueleafs",
    "nodes_truenodeids",
    "post_transform",
    "tree_roots",
)


def read_onnx_trees(content: bytes) -> ModelDescription:
    """
    Read an ONNX model that is one tree ensemble.

    The graph may have TreeEnsembleRegressor, TreeEnsembleClassifier (both of ai.onnx.ml 1 to 4) or
    TreeEnsemble (5). Before it may be casts, inputs of one column each put beside each other, and what
    becomes part of the thresholds: Scaler, Imputer of NaN, and Add, Sub, Mul and Div with constants; after it
    what exporters put there: Cast, Identity, ZipMap, Sigmoid, Softmax, Exp, that times a number, Neg, a
    division by a number, ``[1 - p, p]``, ArgMax and labels by their number.

    Predictions are those of onnxruntime, also where it takes its own way with the specification:

    - A regressor of one target has no transform but PROBIT; a classifier of two classes with the weights of
      one has no softmax.
    - TreeEnsemble's transform 1 is LOGISTIC, and 2 SOFTMAX.
    - A set with a member below 0 or above 30, or of more than 30, holds what truncates to a member.
    - A label is what `Link` and `classes` make of the sums. Where onnxruntime has another rule, as for two
      classes with weights of both, `classes` is None.

    Parameters
    ----------
    content : bytes
        The file.

    Returns
    -------
    ModelDescription
        Base values are added last, as onnxruntime does.

    Raises
    ------
    ValueError
        The file is no such model, or asks for what trees do not express: MIN, MAX, PROBIT, SOFTMAX_ZERO,
        other nodes, or comparisons for equality that would need far more nodes than the file has.
    ImportError
        onnx is not installed.
    """
    return trees_of(parse(content))


def trees_of(model: Any) -> ModelDescription:
    """Read the one tree ensemble of a parsed model."""
    ensemble = find_ensemble(model)
    if ensemble.operator == "TreeEnsembleClassifier":
        return _classifier(ensemble)
    return _regressor(ensemble)


def _regressor(ensemble: Ensemble) -> ModelDescription:
    attributes, scores = ensemble.attributes, ensemble.scores
    outputs = attributes.integer("n_targets", 0)
    if not 1 <= outputs <= MOST_OUTPUTS:
        refuse(attributes.place("n_targets"), f"1 to {MOST_OUTPUTS}", outputs)
    if ensemble.operator == "TreeEnsemble":
        attributes.only(ATTRIBUTES_V5)
        aggregate = _named(attributes, "aggregate_function", AGGREGATES, 1)
        post = _named(attributes, "post_transform", POSTS, 0)
        table, base = read_nodes_v5(attributes, outputs, _dtype(ensemble)), np.zeros(0)
    else:
        aggregate = attributes.text("aggregate_function", "SUM")
        post = attributes.text("post_transform", "NONE")
        table = read_nodes(attributes, "target", outputs, _dtype(ensemble))
        base = _base(ensemble, (0, outputs))
    if aggregate not in ("SUM", "AVERAGE"):
        refuse(attributes.place("aggregate_function"), "SUM or AVERAGE", aggregate)
    name = _link(attributes, post)
    if outputs == 1:
        name = "identity"
    if name != "identity" and scores != Scores():
        refuse("graph.node", f"nothing after the post_transform {post}", scores.link)
    divisor = scores.divisor
    if aggregate == "AVERAGE":
        if divisor != 1.0:
            refuse("graph.node", "no division after the aggregate_function AVERAGE", divisor)
        # It is added to the average, but here to the sum.
        divisor = float(len(table.root))
        base = base * divisor
    kind, classes = _kind(ensemble, outputs)
    base = base if len(base) else np.zeros(outputs)
    if scores.factor != 1.0:  # of the exponential, whose logarithm is added to what it is taken of
        if outputs > 1:
            refuse("graph.node (Mul)", "one target", outputs)
        base = base + np.log(scores.factor) * scores.sign * divisor
    if outputs > 1:
        base = _base_of_voted(attributes, table, base)
    return ModelDescription(
        trees=make_trees(ensemble, table, outputs, base, scores.sign, complete=outputs == 1),
        link=Link(name=name if name != "identity" else scores.link, divisor=divisor),
        kind=kind,
        classes=classes,
        feature_names=ensemble.columns,
        source=ensemble.source,
    )


def _kind(ensemble: Ensemble, outputs: int) -> tuple[str, NDArray[Any] | None]:
    """Say what sums without labels of their own are, and give the labels that the graph makes of them."""
    scores, label = ensemble.scores, ensemble.label
    if scores.shape == "complement" or (scores.shape == "both" and outputs != 1):
        refuse("graph.output", "p, or 1 - p and p, of one target", f"{scores.shape} of {outputs}")
    if label is None:
        return ("regression" if scores.shape == "all" else "binary"), None
    if label.of is None or label.of.sign != scores.sign or (label.of.shape == "all") != (outputs > 1):
        refuse("graph.output", "labels by the largest of the scores", label.of)
    count = max(outputs, 2)
    classes = np.arange(count) if label.classes is None else label.classes
    if len(classes) != count:
        refuse("graph.output", f"{count} labels", str(len(classes)))
    return ("binary" if outputs == 1 else "multiclass"), classes


def _classifier(ensemble: Ensemble) -> ModelDescription:
    attributes = ensemble.attributes
    labels: NDArray[Any] = attributes.integers("classlabels_int64s", -(2**63), 2**63 - 1)
    texts = attributes.labels("classlabels_strings")
    if texts:
        labels = np.array(texts, object)
    count = len(labels)
    if not 2 <= count <= MOST_OUTPUTS:
        refuse(attributes.place("classlabels"), f"2 to {MOST_OUTPUTS} labels", str(count))
    post = attributes.text("post_transform", "NONE")
    name = _link(attributes, post)
    table = read_nodes(attributes, "class", count, _dtype(ensemble))
    base = _base(ensemble, (0, 1, 2) if count == 2 else (0, count))
    if ensemble.scores != Scores() or (ensemble.label is not None and ensemble.label.of is not None):
        refuse("graph.node", "scores and labels as the classifier gives them", ensemble.scores)
    if count == 2 and len(base) == 2:
        # onnxruntime leaves some of the weights out then.
        refuse(attributes.place("base_values"), "at most one value for two classes", "2")
    ids = np.unique(table.entry_target)
    if count == 2 and len(ids) == 1:
        name, same = _one_of_two(table, int(ids[0]), post, name)
        # The one base value is added to class 0, where the weights may not be.
        base = base if len(base) and ids[0] == 0 else np.zeros(1)
        table.entry_target[:] = 0
        outputs = 1
    else:
        same = count > 2 and (len(base) > 0 or _largest_wins(table, count))
        base = np.append(base, np.zeros(count - len(base)))
        outputs = count
    return ModelDescription(
        trees=make_trees(ensemble, table, outputs, base, 1, complete=False),
        link=Link(name=name),
        kind="binary" if outputs == 1 else "multiclass",
        classes=labels if same else None,
        feature_names=ensemble.columns,
        source=ensemble.source,
        # Sums that may be negative are scores: the label goes by their sign, and there are no probabilities.
        decides="positive" if outputs == 1 and (table.entry_weight < 0).any() else "probability",
    )


def _one_of_two(table: NodeTable, which: int, post: str, name: str) -> tuple[str, bool]:
    """Name the link of two classes with the weights of one, and say whether labels are what it makes."""
    positive = not (table.entry_weight < 0).any()
    if post == "SOFTMAX":
        # Over 0 and the sum, if the weights are of class 1; else there is none.
        name = "logistic" if which == 1 else "identity"
    if positive:  # the label is the second where the sum is above 0.5, else where it is above 0
        return name, name == "identity"
    return name, True


def _largest_wins(table: NodeTable, count: int) -> bool:
    """Whether labels go by the largest sum: onnxruntime skips classes that had no weight on the way."""
    return bool((table.entry_weight > 0).all() or scored(table, count)[0].all())


def _base_of_voted(
    attributes: Attributes, table: NodeTable, base: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give the base of several targets: onnxruntime leaves it out where a row met no weight of the target."""
    always, ever = scored(table, len(base))
    base = np.where(ever, base, 0.0)
    at_times = (base != 0) & ~always
    if at_times.any():
        target = int(at_times.argmax())
        expected = "0, or a tree with a weight of this target in each leaf"
        refuse(f"{attributes.place('base_values')}[{target}]", expected, float(base[target]))
    return base


def _dtype(ensemble: Ensemble) -> str:
    return "double" if ensemble.type == "double" else "float"


def _link(attributes: Attributes, post: str) -> str:
    if post not in LINKS:
        refuse(attributes.place("post_transform"), " or ".join(LINKS), post)
    return LINKS[post]


def _named(attributes: Attributes, name: str, names: tuple[str, ...], default: int) -> str:
    number = attributes.integer(name, default)
    if not 0 <= number < len(names):
        refuse(attributes.place(name), f"0 to {len(names) - 1}", number)
    return names[number]


def _base(ensemble: Ensemble, sizes: tuple[int, ...]) -> NDArray[np.float64]:
    base = ensemble.attributes.numbers("base_values", None, _dtype(ensemble))
    if len(base) not in sizes:
        refuse(ensemble.attributes.place("base_values"), f"{sizes[-1]} values, or none", str(len(base)))
    return base
