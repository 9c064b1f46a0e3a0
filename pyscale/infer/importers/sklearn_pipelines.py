"""Models of scikit-learn, alone or at the end of a pipeline: which importer is for them."""

from __future__ import annotations

from typing import Any

from pyscale.infer.dense.layers import DenseDescription
from pyscale.infer.forest.trees import ModelDescription
from pyscale.infer.importers import sklearn_dense, sklearn_trees
from pyscale.infer.importers.sklearn_nodes import class_name

__all__ = ["from_sklearn"]

_MOST_NESTED = 50


def from_sklearn(model: Any) -> ModelDescription | DenseDescription:
    """
    Describe a fitted model of scikit-learn.

    Parameters
    ----------
    model : object
        What `sklearn_trees.from_sklearn` takes; or one of `sklearn_dense.KNOWN`, or a pipeline of these.
        Steps that do nothing do not count, and pipelines may be in each other.

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
    name = class_name(last)
    if name in sklearn_trees.READERS:
        if len(steps) > 1:
            raise ValueError(
                f"{where}: expected trees without steps before them, got {name} after "
                f"{type(steps[-2][1]).__qualname__}: convert the trees alone, and give them transformed rows"
            )
        return sklearn_trees.from_sklearn(last)
    if name not in sklearn_dense.KNOWN:
        known = ", ".join(sorted([*sklearn_dense.KNOWN, *sklearn_trees.READERS]))
        kind = type(last)
        raise TypeError(f"{where}: expected one of {known}, got {kind.__module__}.{kind.__qualname__}")
    return sklearn_dense.from_steps(steps)


def _steps(model: Any, where: str, depth: int) -> list[tuple[str, Any]]:
    if class_name(model) != "Pipeline":
        return [(where, model)]
    if depth > _MOST_NESTED:
        raise ValueError(f"{where}: expected at most {_MOST_NESTED} pipelines in each other, got more")
    found = []
    for name, step in model.steps:
        if step is not None and not (isinstance(step, str) and step == "passthrough"):
            found += _steps(step, f"{where}[{name!r}]", depth + 1)
    return found
