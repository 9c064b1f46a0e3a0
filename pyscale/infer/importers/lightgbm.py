"""Models of LightGBM, from their text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pyscale.infer.categories import Categories
from pyscale.infer.forest.trees import Link, ModelDescription
from pyscale.infer.importers.lightgbm_objectives import link_and_kind
from pyscale.infer.importers.lightgbm_text import parse
from pyscale.infer.importers.lightgbm_trees import assemble
from pyscale.infer.importers.reading import refuse

__all__ = ["from_booster", "read_lightgbm"]


def read_lightgbm(content: bytes | str) -> ModelDescription:
    """
    Read the text of a LightGBM model: what `Booster.save_model` writes or `model_to_string` gives.

    The trees mean what LightGBM 4 makes of such a text, also where it was written by an older version.
    Values from -1e-35f to 1e-35f count as 0, as it has them in dense rows (in sparse ones it compares them).
    A data frame's categorical columns are numbered by the categories that the text notes, as LightGBM does;
    in an array, categories are their numbers.

    Parameters
    ----------
    content : bytes or str
        The text, in format v3 or v4. It has the rounds that were saved: up to `best_iteration`, where
        training stopped early and nothing else was asked for.

    Returns
    -------
    ModelDescription
        Its trees add up in float64, in the model's order. Node `i` of a tree is LightGBM's split `i`;
        after the splits come the leaves.

    Raises
    ------
    ValueError
        If it is no such text, is cut off, or says what cannot be; the message names the place.
    TypeError
        If `content` is neither bytes nor a string.
    """
    header, trees = parse(_decoded(content))
    link, kind = link_and_kind(header)
    per_round = header.trees_per_round
    names = header.feature_names
    return ModelDescription(
        trees=assemble(trees, len(names), per_round),
        link=link,
        kind=kind,
        source=f"LightGBM, model format {header.version}",
        # What LightGBM calls the columns of an array that had no names.
        feature_names=None if names == tuple(f"Column_{k}" for k in range(len(names))) else names,
        trees_per_round=per_round,
        # LightGBM goes by the order of a frame's categorical columns, not by which they are.
        categories=None
        if header.table is None
        else Categories(header.table, in_turn=True, unknown="missing"),
    )


def from_booster(booster: object) -> ModelDescription:
    """
    Take over a trained LightGBM model: what its own `predict` would use, up to the best iteration.

    Parameters
    ----------
    booster : lightgbm.Booster or lightgbm.LGBMModel
        The model. Of an `LGBMClassifier` with an objective of LightGBM's own, the labels are taken too.

    Returns
    -------
    ModelDescription
        As `read_lightgbm` gives it.

    Raises
    ------
    TypeError
        If it is not a model of LightGBM.
    ValueError
        If it was not fitted, or is a classifier of one class only.
    """
    # Only who has a model of LightGBM has it loaded; all others need not have it at all.
    if not any(kind.__module__.partition(".")[0] == "lightgbm" for kind in type(booster).__mro__):
        raise TypeError(f"booster must be a lightgbm.Booster or LGBMModel, not {type(booster).__name__}")
    import lightgbm

    classes = None
    if isinstance(booster, lightgbm.LGBMModel):
        model, booster = booster, booster.booster_
        # With an objective of one's own, LGBMClassifier.predict gives no labels.
        if isinstance(model, lightgbm.LGBMClassifier) and not callable(model.objective_):
            classes = np.asarray(model.classes_)
    if not isinstance(booster, lightgbm.Booster):
        raise TypeError(f"booster must be a lightgbm.Booster or LGBMModel, not {type(booster).__name__}")
    found = read_lightgbm(booster.model_to_string())
    kind = found.kind
    if classes is not None:
        outputs = found.trees.num_outputs
        wanted = 2 if outputs == 1 else outputs
        # Of 2 classes with an output each, LGBMClassifier makes nothing of use either.
        if len(classes) != wanted or outputs == 2:
            refuse("classes_", f"{wanted} classes, and of 2 one output", f"{len(classes)} of {outputs}")
        kind = "binary" if outputs == 1 else "multiclass"
    source = f"LightGBM {lightgbm.__version__}"
    return replace(found, link=_exact(found, booster), classes=classes, kind=kind, source=source)


def _decoded(content: bytes | str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, bytes | bytearray | memoryview):
        raise TypeError(f"content must be bytes or a string, not {type(content).__name__}")
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError as error:
        refuse(f"byte {error.start}", "UTF-8", bytes(content[error.start : error.end]))


def _exact(found: ModelDescription, booster: Any) -> Link:
    """Give the link with all digits of its sigmoid: the text has 6, which a model read from it then uses."""
    sigmoid = booster.params.get("sigmoid")
    trained_here = getattr(booster, "train_set", None) is not None
    if trained_here and isinstance(sigmoid, float) and float(f"{sigmoid:.6g}") == found.link.scale:
        return replace(found.link, scale=sigmoid)
    return found.link
