"""Models of XGBoost, from their files as JSON or UBJSON, or from its own objects."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.forest.trees import Link, ModelDescription, Trees
from pyscale.infer.importers.reading import floats, integers, refuse
from pyscale.infer.importers.xgboost_categories import read_categories
from pyscale.infer.importers.xgboost_documents import entry, load, whole
from pyscale.infer.importers.xgboost_join import joined
from pyscale.infer.importers.xgboost_objectives import OBJECTIVES, base_margins
from pyscale.infer.importers.xgboost_trees import read_tree

if TYPE_CHECKING:
    from xgboost import Booster, XGBModel

__all__ = ["from_booster", "read_xgboost"]

Array = NDArray[Any]
_OLDEST, _NEWEST = (1, 6), 3
_MODEL = "learner.gradient_booster"
_PARAM = "learner.learner_model_param"


def read_xgboost(content: bytes, *, best_iteration: bool = False) -> ModelDescription:
    """
    Read a model file of XGBoost 1.6 to 3.x, without XGBoost.

    Predictions are those of ``Booster.predict`` of XGBoost 2 or later on float32 inputs in which NaN stands
    for a missing value. Categories are given as their numbers; those of a table's categorical columns are
    found by the categories that XGBoost 3.1 and later keep in the model, as it does itself.

    Parameters
    ----------
    content : bytes
        What ``save_model`` wrote, or ``save_raw`` returned, as JSON or UBJSON; told apart by the content.
    best_iteration : bool
        Take the trees up to the best iteration that early stopping noted, as predictions of XGBoost's
        estimators (``XGBModel``) do, and not all of them, as ``Booster.predict`` does.

    Returns
    -------
    ModelDescription
        Float32 trees with float32 sums.

    Raises
    ------
    ValueError
        If it is no such file, or is of a linear booster, of an objective that is not known, or of a version
        before 1.6 or after 3; the message says where.
    """
    document = load(content)
    version = integers(document.get("version"), "version", low=0, size=3).tolist()
    if tuple(version[:2]) < _OLDEST or version[0] > _NEWEST:
        refuse("version", f"{_OLDEST[0]}.{_OLDEST[1]} to {_NEWEST}", version)
    learner = entry(document, "learner", "", dict)
    param = entry(learner, "learner_model_param", "learner", dict)
    features = whole(param, "num_feature", _PARAM, low=1, high=2**31 - 1)
    outputs = _outputs(param, len(content))
    name = entry(entry(learner, "objective", "learner", dict), "name", "learner.objective", str)
    if name not in OBJECTIVES:
        refuse("learner.objective.name", "an objective that is known", name)
    objective = OBJECTIVES[name]
    base = base_margins(entry(param, "base_score", _PARAM, str), objective, outputs, f"{_PARAM}.base_score")

    model, weights = _booster(entry(learner, "gradient_booster", "learner", dict))
    items = entry(model, "trees", _MODEL, list)
    if not items and whole(param, "boost_from_average", _PARAM, low=0, high=1, default=0):
        refuse(f"{_MODEL}.trees", "trees, or a base score that was given", "neither")
    groups = integers(
        model.get("tree_info"), f"{_MODEL}.tree_info", low=0, high=outputs - 1, size=len(items)
    ).astype(np.int32)
    rounds = _rounds(model, groups)
    count = int(rounds[_best(learner, len(rounds) - 1)]) if best_iteration else len(items)
    weights = np.ones(len(items), np.float32) if weights is None else weights
    if len(weights) != len(items):
        refuse(f"{_MODEL}.weight_drop", f"{len(items)} numbers", f"{len(weights)}")
    trees = []
    for place in range(count):
        where = f"trees[{place}]"
        trees.append(read_tree(items[place], where, features=features, outputs=outputs))
        number = items[place].get("id", place)
        if type(number) is not int or number != place:
            refuse(f"{where}.id", f"{place}", number)

    steps = np.unique(np.diff(rounds))
    return ModelDescription(
        trees=Trees(
            num_features=features,
            num_outputs=outputs,
            precision="float32",
            sums="float32",
            base=base.astype(np.float64),
            **joined(trees, groups[:count], weights[:count]),
        ),
        link=Link(name=objective.link),
        kind=objective.kind,
        source="XGBoost " + ".".join(map(str, version)),
        feature_names=_names(learner, features),
        trees_per_round=int(steps[0]) if len(steps) == 1 else 1,
        categories=read_categories(model, features),
    )


def from_booster(booster: Booster | XGBModel) -> ModelDescription:
    """
    Take over a model of XGBoost that is in memory.

    Parameters
    ----------
    booster : xgboost.Booster or xgboost.XGBModel
        The model. Of an estimator, the trees up to the best iteration count, as in its own predictions;
        of a ``Booster``, all.

    Returns
    -------
    ModelDescription
        As of `read_xgboost`. An ``XGBClassifier`` with one label a row brings its classes, and an estimator
        what stands for a missing value.

    Raises
    ------
    ValueError
        As `read_xgboost`.
    TypeError
        If it is neither.
    """
    import xgboost

    if isinstance(booster, xgboost.Booster):
        return read_xgboost(bytes(booster.save_raw("ubj")))
    if not isinstance(booster, xgboost.XGBModel):
        raise TypeError(f"booster: expected an xgboost.Booster or XGBModel, got {type(booster).__name__}")
    found = read_xgboost(bytes(booster.get_booster().save_raw("ubj")), best_iteration=True)
    missing = booster.missing
    if missing is not None and not math.isnan(missing):
        found = dataclasses.replace(found, missing=float(missing))
    if not isinstance(booster, xgboost.XGBClassifier):
        return found
    if found.kind == "multiclass":
        return dataclasses.replace(found, classes=np.asarray(booster.classes_))
    # Whatever the objective, what is above a half is the second class.
    if found.trees.num_outputs == 1:
        return dataclasses.replace(found, kind="binary", classes=np.asarray(booster.classes_))
    return found


def _outputs(param: dict[str, Any], size: int) -> int:
    # Each output has a tree or at least a number in the file, so that its size bounds them.
    classes = whole(param, "num_class", _PARAM, low=0, high=size, default=0)
    targets = whole(param, "num_target", _PARAM, low=0, high=size, default=1)
    if classes > 1 and targets > 1:
        refuse(f"{_PARAM}.num_target", "1 with more than one class", targets)
    return max(classes, targets, 1)


def _booster(booster: dict[str, Any]) -> tuple[dict[str, Any], Array | None]:
    """Give the trees' part of a booster, and the trees' weights if it has dropped some."""
    name = entry(booster, "name", _MODEL, str)
    if name == "gbtree":
        return entry(booster, "model", _MODEL, dict), None
    if name != "dart":
        refuse(f"{_MODEL}.name", "gbtree or dart; other boosters are not supported", name)
    model = entry(entry(booster, "gbtree", _MODEL, dict), "model", f"{_MODEL}.gbtree", dict)
    weights = floats(booster.get("weight_drop"), f"{_MODEL}.weight_drop")
    if (np.abs(weights) > np.finfo(np.float32).max).any():
        refuse(f"{_MODEL}.weight_drop", "numbers of float32", weights)
    return model, weights.astype(np.float32)


def _rounds(model: dict[str, Any], groups: Array) -> Array:
    """Where each boosting round's trees begin, and where the last one's end."""
    count = len(groups)
    where = f"{_MODEL}.iteration_indptr"
    if "iteration_indptr" in model:
        rounds = integers(model["iteration_indptr"], where, low=0, high=count)
        if count == 0 and len(rounds) == 0:
            return np.zeros(1, np.int64)
    else:
        param = entry(model, "gbtree_model_param", _MODEL, dict)
        parallel = whole(param, "num_parallel_tree", _MODEL, low=1, high=2**31 - 1, default=1)
        step = parallel * (int(groups.max(initial=0)) + 1)
        rounds = np.arange(count // step + 1) * step
    if not len(rounds) or rounds[0] != 0 or rounds[-1] != count or (np.diff(rounds) < 0).any():
        refuse(where, f"rising numbers from 0 to {count}", rounds)
    return rounds


def _best(learner: dict[str, Any], rounds: int) -> int:
    """How many rounds count, by the iteration that early stopping found best."""
    attributes = entry(learner, "attributes", "learner", dict)
    if "best_iteration" not in attributes:
        return rounds
    return 1 + whole(attributes, "best_iteration", "learner.attributes", low=0, high=rounds - 1)


def _names(learner: dict[str, Any], features: int) -> tuple[str, ...] | None:
    names = [] if learner.get("feature_names") is None else learner["feature_names"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        refuse("learner.feature_names", "a list of strings", names)
    if len(names) not in (0, features):
        refuse("learner.feature_names", f"{features} names", f"{len(names)}")
    return tuple(names) or None
