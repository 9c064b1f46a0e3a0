"""Models of scikit-learn, alone or at the end of a pipeline: which importer is for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyscale.infer.dense.layers import DenseDescription
from pyscale.infer.forest.trees import ModelDescription
from pyscale.infer.importers import sklearn_columns, sklearn_dense, sklearn_trees
from pyscale.infer.importers.sklearn_nodes import class_name, feature_names
from pyscale.infer.pipeline.stages import Columnwise, PipelineDescription

__all__ = ["from_sklearn"]

Description = ModelDescription | DenseDescription | PipelineDescription
_Steps = list[tuple[str, Any]]

_MOST_NESTED = 50


def from_sklearn(model: Any) -> Description:
    """
    Describe a fitted model of scikit-learn.

    Parameters
    ----------
    model : object
        What `sklearn_trees.from_sklearn` takes; or one of `sklearn_dense.KNOWN` or `sklearn_columns.KNOWN`;
        or a pipeline of these, which may end with trees of XGBoost or LightGBM. Steps that do nothing do not
        count, and pipelines may be in each other.

    Returns
    -------
    ModelDescription, DenseDescription or PipelineDescription
        The last of scalers and imputers before trees, which compare what scikit-learn's own would give to the
        bit; or of an imputer, or a scaler that clips, and what is before and after it.

    Raises
    ------
    TypeError
        It is of another class.
    ValueError
        It is not fitted, or has what is not supported; the message names the step and what was expected.
    """
    steps = _steps(model, "model", 0)
    if not steps:
        raise ValueError("model: expected a pipeline of one step or more, got none")
    where, last = steps[-1]
    if _is_of_trees(last):
        return _before_trees(steps)
    name = class_name(last)
    if name not in sklearn_dense.KNOWN and name not in sklearn_columns.KNOWN:
        known = sorted({*sklearn_columns.KNOWN, *sklearn_dense.KNOWN, *sklearn_trees.READERS})
        kind = type(last)
        raise TypeError(
            f"{where}: expected one of {', '.join(known)}, got {kind.__module__}.{kind.__qualname__}"
        )
    after = max(
        (place + 1 for place, (_, step) in enumerate(steps) if sklearn_columns.needed(step)), default=0
    )
    if not after:
        return sklearn_dense.from_steps(steps)
    stages: list[Columnwise | DenseDescription] = []
    for place, step in steps[:after]:
        if class_name(step) in sklearn_columns.KNOWN:
            stages.append(sklearn_columns.read_columnwise(place, step))
        else:
            sklearn_dense.check_transformer(place, step)
            stages.append(sklearn_dense.from_steps([(place, step)]))
    if steps[after:]:
        stages.append(sklearn_dense.from_steps(steps[after:]))
    return _pipeline(steps, stages)


def _before_trees(steps: _Steps) -> ModelDescription | PipelineDescription:
    """Describe trees, and scalers and imputers before them."""
    for where, step in steps[:-1]:
        if class_name(step) not in sklearn_columns.KNOWN:
            known, got = ", ".join(sklearn_columns.KNOWN), type(step).__qualname__
            if class_name(step) in sklearn_dense.KNOWN:
                got += (
                    ": computed in float32, values can fall on the other side of a threshold; if that does "
                    "no harm, make it explicit: Pipeline([convert(step), convert(trees)])"
                )
            raise ValueError(f"{where}: expected one of {known} before trees, got {got}")
    found = _trees(steps[-1][1])
    if len(steps) == 1:
        return found
    return _pipeline(steps, [*(sklearn_columns.read_columnwise(*step) for step in steps[:-1]), found])


def _is_of_trees(model: Any) -> bool:
    return class_name(model) in sklearn_trees.READERS or _library(model) in ("xgboost", "lightgbm")


def _trees(model: Any) -> ModelDescription:
    if _library(model) == "xgboost":
        from pyscale.infer.importers import xgboost

        return xgboost.from_booster(model)
    if _library(model) == "lightgbm":
        from pyscale.infer.importers import lightgbm

        return lightgbm.from_booster(model)
    return sklearn_trees.from_sklearn(model)


def _library(model: Any) -> str:
    return type(model).__module__.partition(".")[0]


def _pipeline(steps: _Steps, stages: list[Any]) -> PipelineDescription:
    first = steps[0][1]
    names = None
    if isinstance(stages[0], Columnwise):
        features = getattr(first, "n_features_in_", None)
        names = feature_names(first, int(features)) if isinstance(features, int | np.integer) else None
    return PipelineDescription(tuple(stages), names)


def _steps(model: Any, where: str, depth: int) -> _Steps:
    if class_name(model) != "Pipeline":
        return [(where, model)]
    if depth > _MOST_NESTED:
        raise ValueError(f"{where}: expected at most {_MOST_NESTED} pipelines in each other, got more")
    found = []
    for name, step in model.steps:
        if step is not None and not (isinstance(step, str) and step == "passthrough"):
            found += _steps(step, f"{where}[{name!r}]", depth + 1)
    return found
