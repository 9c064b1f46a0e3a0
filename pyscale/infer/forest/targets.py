"""Classifiers of several targets at once: what becomes of the sums of all classes of all targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.reading import refuse
from pyscale.infer.labels import pack_labels, unpack_labels

__all__ = ["labels_of_targets", "pack_targets", "probabilities_of_targets", "unpack_targets"]

Array = NDArray[Any]
Targets = tuple[Array, ...]

_MOST = 1 << 16


def probabilities_of_targets(answers: Array, classes: Targets) -> list[Array]:
    """
    Part what is known of all targets, each with columns for as many classes as the largest has.

    Parameters
    ----------
    answers : numpy.ndarray
        Rows x (targets x classes of the largest).
    classes : tuple of numpy.ndarray
        The labels of each target.

    Returns
    -------
    list of numpy.ndarray
        Rows x classes, of each target.
    """
    parts = answers.reshape(len(answers), len(classes), answers.shape[1] // len(classes))
    return [np.ascontiguousarray(parts[:, k, : len(labels)]) for k, labels in enumerate(classes)]


def labels_of_targets(answers: Array, classes: Targets) -> Array:
    """
    Give the label of the largest of each target's classes.

    Parameters
    ----------
    answers, classes
        As of :func:`probabilities_of_targets`.

    Returns
    -------
    numpy.ndarray
        Rows x targets, of a type that all labels have: a file keeps them as wide as each target's need be.
    """
    dtype = np.result_type(*(labels.dtype for labels in classes))
    found = np.empty((len(answers), len(classes)), dtype)
    for k, part in enumerate(probabilities_of_targets(answers, classes)):
        found[:, k] = classes[k].take(part.argmax(axis=1))
    return found


def pack_targets(classes: Targets, header: dict[str, Any], arrays: dict[str, Array]) -> None:
    """Add the labels of all targets to what a file gets; ValueError if they cannot be written."""
    header["targets"] = len(classes)
    for k, labels in enumerate(classes):
        pack_labels(labels, header, arrays, f"classes.{k}")


def unpack_targets(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Targets:
    """Find the labels of all targets in what a file has; ValueError where they are none."""
    targets = header["targets"]
    if type(targets) is not int or not 2 <= targets <= _MOST:
        refuse("targets", f"a whole number from 2 to {_MOST}", targets)
    found = []
    for k in range(targets):
        labels = unpack_labels(header, arrays, f"classes.{k}")
        if labels is None:
            refuse(f"classes.{k}", "labels", "none")
        found.append(labels)
    return tuple(found)
