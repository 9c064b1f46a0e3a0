"""Models out of files and out of other libraries' objects."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyscale.infer import files
from pyscale.infer.forest.forest import Forest
from pyscale.infer.forest.saving import unpack
from pyscale.infer.forest.trees import ModelDescription
from pyscale.infer.importers.reading import refuse

__all__ = ["FORMATS", "convert", "load"]

#: What :func:`load` reads.
FORMATS = ("pyscale", "xgboost", "lightgbm", "onnx")

_MOST_BYTES = 1 << 34  # of another library's file


def load(path: str | os.PathLike[str], *, format: str | None = None) -> Forest:
    """
    Load a model.

    The library that trained it need not be installed. Nothing in the file is executed.

    Parameters
    ----------
    path : path
        A file that ``model.save`` wrote, XGBoost's JSON or UBJ, LightGBM's text, or ONNX with one ensemble of
        trees (which takes the package ``onnx``).
    format : {"pyscale", "xgboost", "lightgbm", "onnx"}, optional
        What it is; by default it is told by its content.

    Returns
    -------
    Forest
        The model.

    Raises
    ------
    ValueError
        The file is none of these, was cut off, contradicts itself, or holds what is not supported; the
        message names the place.
    OSError
        It cannot be read.
    ImportError
        A package that reads it is missing; the message says which extra has it.

    Examples
    --------
    >>> model = ps.infer.load("model.json")  # doctest: +SKIP
    >>> model.predict(X)  # doctest: +SKIP
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
    with open(path, "rb") as file:
        head = file.read(64)
    try:
        return Forest(_description(Path(path), format or _format_of(head)))
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


def convert(model: Any) -> Forest:
    """
    Take over a model that another library holds in memory.

    Parameters
    ----------
    model : object
        An ``xgboost.Booster`` or a model of XGBoost's scikit-learn interface, a ``lightgbm.Booster`` or one
        of LightGBM's, or a fitted tree, forest or boosting of scikit-learn.

    Returns
    -------
    Forest
        A copy: what is done to `model` afterwards does not change it.

    Raises
    ------
    TypeError
        `model` is none of these.
    ValueError
        It is not fitted, or has what is not supported.
    """
    library = type(model).__module__.partition(".")[0]
    return Forest(_converter(library, model)(model))


def _description(path: Path, format: str) -> ModelDescription:
    if format == "pyscale":
        header, arrays = files.read(path)
        if header.get("model") != "forest":
            refuse("model", "forest", header.get("model"))
        return unpack(header, arrays)
    size = path.stat().st_size
    if size > _MOST_BYTES:
        refuse("the file", f"at most {_MOST_BYTES} bytes", size)
    return _reader(format)(path.read_bytes())


def _reader(format: str) -> Callable[[bytes], ModelDescription]:
    if format == "xgboost":
        from pyscale.infer.importers.xgboost import read_xgboost

        return read_xgboost
    if format == "lightgbm":
        from pyscale.infer.importers.lightgbm import read_lightgbm

        return read_lightgbm
    from pyscale.infer.importers.onnx_trees import read_onnx_trees

    return read_onnx_trees


def _converter(library: str, model: Any) -> Callable[[Any], ModelDescription]:
    if library == "xgboost":
        from pyscale.infer.importers import xgboost

        return xgboost.from_booster
    if library == "lightgbm":
        from pyscale.infer.importers import lightgbm

        return lightgbm.from_booster
    if library == "sklearn":
        from pyscale.infer.importers.sklearn_trees import from_sklearn

        return from_sklearn
    kind = type(model)
    raise TypeError(
        "model: expected a model of XGBoost, LightGBM or scikit-learn, "
        f"got {kind.__module__}.{kind.__qualname__}"
    )


def _format_of(head: bytes) -> str:
    if head.startswith(files.MAGIC):
        return "pyscale"
    if head.lstrip()[:1] == b"{":
        return "xgboost"
    if head.startswith(b"tree"):
        return "lightgbm"
    known = f"a model in a format of {', '.join(FORMATS)}"
    if not head:
        refuse("the file", known, "an empty file")
    if head[:1] == b"\x80" or head[:2] == b"PK" or head[:2] == b"\x1f\x8b":
        refuse(
            "the file",
            f"{known}; a pickle or an archive is not opened: load it with its library and pass the object to "
            "pyscale.infer.convert",
            head[:4],
        )
    if head[:1] in (b"\x08", b"\x0a", b"\x12", b"\x3a", b"\x42"):  # a field of ONNX's ModelProto
        return "onnx"
    return refuse("the file", known, head[:16])
