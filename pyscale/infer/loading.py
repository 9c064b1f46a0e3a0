"""Models out of files and out of other libraries' objects."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pyscale.infer import files
from pyscale.infer.dense.dense import Dense
from pyscale.infer.dense.layers import DenseDescription
from pyscale.infer.dense.saving import unpack as unpack_dense
from pyscale.infer.embedding.saving import unpack as unpack_embedding
from pyscale.infer.forest.forest import Forest
from pyscale.infer.forest.saving import unpack
from pyscale.infer.forest.trees import ModelDescription
from pyscale.infer.graph.model import OnnxModel
from pyscale.infer.importers.reading import refuse
from pyscale.infer.labels import unpack_labels
from pyscale.infer.pipeline.pipeline import Pipeline
from pyscale.infer.pipeline.saving import unpack as unpack_pipeline
from pyscale.infer.pipeline.stages import PipelineDescription
from pyscale.infer.topk.saving import unpack as unpack_topk

__all__ = ["FORMATS", "convert", "load"]

#: What :func:`load` reads.
FORMATS = ("pyscale", "xgboost", "lightgbm", "onnx")

_MOST_BYTES = 1 << 34  # of another library's file


def load(path: str | os.PathLike[str], *, format: str | None = None) -> Any:
    """
    Load a model.

    The library that trained it need not be installed. Nothing in the file is executed.

    Parameters
    ----------
    path : path
        A file that ``model.save`` wrote, XGBoost's JSON or UBJ, LightGBM's text, or ONNX with one ensemble of
        trees or a chain of dense layers (which takes the package ``onnx``); its weights may be in other files
        beside it.
    format : {"pyscale", "xgboost", "lightgbm", "onnx"}, optional
        What it is; by default it is told by its content.

    Returns
    -------
    Forest, Dense, TopK, EmbeddingBag, Pipeline or OnnxModel
        The model; the last two only where one was saved. Other graphs of ONNX are refused: :class:`OnnxModel`
        runs them.

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
        return _from_file(Path(path), format or _format_of(head))
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


def convert(model: Any, layers: Any = None) -> Any:
    """
    Take over a model that another library holds in memory.

    Parameters
    ----------
    model : object
        An ``xgboost.Booster`` or a model of XGBoost's scikit-learn interface, a ``lightgbm.Booster`` or one
        of LightGBM's; of scikit-learn a fitted tree, forest, boosting, ``MLPClassifier``, ``MLPRegressor``,
        ``LinearRegression``, ``Ridge``, ``Lasso``, ``ElasticNet``, ``LogisticRegression``,
        ``StandardScaler``, ``MinMaxScaler``, ``MaxAbsScaler``, ``RobustScaler``, ``SimpleImputer``, ``PCA``
        or a pipeline of these (before trees, also XGBoost's and LightGBM's, scalers and imputers only); a
        ``torch.nn.Sequential``, or its ``state_dict`` with `layers`; a ``torch.nn.EmbeddingBag``. Of an
        ``XGBClassifier`` of several labels a row, `predict` gives the probabilities.
    layers : list of str or tuple, optional
        What a ``state_dict`` does not say: for each layer of the ``Sequential`` its class's name, as
        ``"Linear"``, or that and its options, as ``("LeakyReLU", {"negative_slope": 0.1})``.

    Returns
    -------
    Forest, Dense, EmbeddingBag or Pipeline
        A copy: what is done to `model` afterwards does not change it. A :class:`Pipeline` of what has
        scalers or imputers before trees, or an imputer or a scaler that clips before anything; other chains
        are a :class:`Dense` as a whole.

    Raises
    ------
    TypeError
        `model` is none of these.
    ValueError
        It is not fitted, or has what is not supported.
    """
    if layers is not None or _is_of_torch(model):
        from pyscale.infer.importers import dense_torch, embedding_torch

        if layers is None and embedding_torch.takes(model):
            return embedding_torch.from_module(model)
        if layers is not None:
            return Dense(dense_torch.from_state_dict(model, layers))
        return Dense(dense_torch.from_module(model))
    library = type(model).__module__.partition(".")[0]
    return _made(_converter(library, model)(model))


def _from_file(path: Path, format: str) -> Any:
    if format == "pyscale":
        header, arrays = files.read(path)
        kind = header.get("model")
        opener = _SAVED.get(kind) if isinstance(kind, str) else None
        if opener is None:
            refuse("model", f"one of {', '.join(_SAVED)}", kind)
        return opener(header, arrays)
    size = path.stat().st_size
    if size > _MOST_BYTES:
        refuse("the file", f"at most {_MOST_BYTES} bytes", size)
    return _made(_reader(format, path.parent)(path.read_bytes()))


def _forest(header: dict[str, Any], arrays: dict[str, Any]) -> Forest:
    return Forest(unpack(header, arrays))


def _dense(header: dict[str, Any], arrays: dict[str, Any]) -> Dense:
    description, weights = unpack_dense(header, arrays)
    return Dense(description, weights=weights)


def _pipeline(header: dict[str, Any], arrays: dict[str, Any]) -> Pipeline:
    models = {kind: _SAVED[kind] for kind in ("forest", "dense", "onnx")}
    stages, names = unpack_pipeline(header, arrays, models)
    return Pipeline(stages, feature_names=names)


def _graph(header: dict[str, Any], arrays: dict[str, Any]) -> OnnxModel:
    """Open a graph that ``OnnxModel.save`` wrote."""
    content, output = arrays.get("graph"), header.get("output")
    if content is None or content.dtype != "u1" or content.ndim != 1:
        refuse(
            "graph",
            "an array of bytes",
            None if content is None else f"{content.ndim} axes of {content.dtype}",
        )
    names = output if isinstance(output, list) else [output]
    if output is not None and not all(isinstance(name, str) for name in names):
        refuse("output", "a name, names or null", output)
    classes = unpack_labels(header, arrays)
    if classes is not None and classes.ndim != 1:
        refuse("classes", "labels of one axis", f"{classes.ndim} axes")
    model = OnnxModel(content.tobytes(), output=output)
    model.classes = classes if classes is not None else model.classes
    return model


#: What opens a file of our own, by the kind of its model.
_SAVED: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "forest": _forest,
    "dense": _dense,
    "topk": unpack_topk,
    "embedding_bag": unpack_embedding,
    "onnx": _graph,
    "pipeline": _pipeline,
}


def _is_of_torch(model: Any) -> bool:
    return any(kind.__module__.partition(".")[0] == "torch" for kind in type(model).__mro__)


_Description = ModelDescription | DenseDescription | PipelineDescription


def _made(description: _Description) -> Forest | Dense | Pipeline:
    if isinstance(description, PipelineDescription):
        stages = [
            _made(stage) if isinstance(stage, ModelDescription | DenseDescription) else stage
            for stage in description.stages
        ]
        return Pipeline(stages, feature_names=description.feature_names)
    return Dense(description) if isinstance(description, DenseDescription) else Forest(description)


def _reader(format: str, folder: Path) -> Callable[[bytes], _Description]:
    if format == "xgboost":
        from pyscale.infer.importers.xgboost import read_xgboost

        return read_xgboost
    if format == "lightgbm":
        from pyscale.infer.importers.lightgbm import read_lightgbm

        return read_lightgbm
    from pyscale.infer.importers.onnx import read_onnx

    return partial(read_onnx, folder=folder)


def _converter(library: str, model: Any) -> Callable[[Any], _Description]:
    if library == "xgboost":
        from pyscale.infer.importers import xgboost

        return xgboost.from_booster
    if library == "lightgbm":
        from pyscale.infer.importers import lightgbm

        return lightgbm.from_booster
    if library == "sklearn":
        from pyscale.infer.importers import sklearn_pipelines

        return sklearn_pipelines.from_sklearn
    kind = type(model)
    raise TypeError(
        "model: expected a model of XGBoost, LightGBM, scikit-learn or torch, "
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
