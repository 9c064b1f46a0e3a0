"""The labels of classes as what a model's file holds, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.reading import refuse

__all__ = ["pack_labels", "unpack_labels"]

Array = NDArray[Any]

_MOST_LABELS = 1 << 20


def pack_labels(
    classes: Array | None, header: dict[str, Any], arrays: dict[str, Array], where: str = "classes"
) -> None:
    """Add labels to what a file gets: numbers to its arrays, others to its header; ValueError of the rest."""
    if classes is None:
        return
    if classes.dtype.kind in "USO":
        labels = _listed(classes, where)
        if classes.dtype.kind != "O":
            _check_lengths(labels, where)
        header[where] = {"dtype": classes.dtype.kind, "labels": labels}
    else:
        arrays[where] = classes


def unpack_labels(
    header: Mapping[str, Any], arrays: Mapping[str, Array], where: str = "classes"
) -> Array | None:
    """Find the labels in what a file has; ValueError where they are none."""
    if where not in header:
        return arrays.get(where)
    found = header[where]
    if not isinstance(found, dict):
        refuse(where, "a value of type dict", found)
    labels, kind = found.get("labels"), found.get("dtype")
    if not isinstance(labels, list):
        refuse(f"{where}.labels", "a value of type list", labels)
    for place, label in enumerate(labels):
        if not isinstance(label, str | int | float if kind == "O" else str):
            refuse(f"{where}.labels[{place}]", "a label", label)
    if kind == "O":
        classes = np.empty(len(labels), object)
        classes[:] = labels
        return classes
    if kind not in ("U", "S"):
        refuse(f"{where}.dtype", "U, S or O", kind)
    _check_lengths(labels, where)
    if kind == "U":
        return np.array(labels, np.str_)
    try:
        return np.array([label.encode("latin-1") for label in labels], np.bytes_)
    except UnicodeEncodeError:
        refuse(f"{where}.labels", "bytes", "others")


def _check_lengths(labels: list[str], where: str) -> None:
    # All are as wide as the widest: that is not to be far wider than the others.
    if labels and max(map(len, labels)) * len(labels) > _MOST_LABELS + 100 * sum(map(len, labels)):
        refuse(f"{where}.labels", "labels of about one length", "some that are far longer")


def _listed(classes: Array, where: str) -> list[Any]:
    """Give labels of text, of bytes, or of several kinds as what JSON holds."""
    if classes.dtype.kind == "S":
        return [label.decode("latin-1") for label in classes.tolist()]
    labels = [label.item() if isinstance(label, np.generic) else label for label in classes.tolist()]
    for place, label in enumerate(labels):
        if not isinstance(label, str | int | float):
            refuse(f"{where}[{place}]", "a number or text, to be saved", type(label).__name__)
    return labels
