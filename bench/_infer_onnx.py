"""ONNX Runtime, by the converters that everybody takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _infer_models import Model


def onnx_file(model: Model) -> Path:
    """Convert, once."""
    path = model.file("onnx")
    if not path.exists():
        columns = model.truth()["x"].shape[1]
        convert = _of_sklearn if model.library == "scikit-learn" else _of_booster
        path.write_bytes(convert(model, columns).SerializeToString())
    return path


def _of_sklearn(model: Model, columns: int) -> Any:
    from skl2onnx import to_onnx

    row = np.zeros((1, columns), np.float32)
    return to_onnx(model.trained(), row, options={"zipmap": False}, target_opset=17)


def _of_booster(model: Model, columns: int) -> Any:
    from onnxmltools.convert import convert_lightgbm, convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    rows = [("input", FloatTensorType([None, columns]))]
    if model.library == "XGBoost":
        return convert_xgboost(model.trained(), initial_types=rows, target_opset=15)
    return convert_lightgbm(model.trained(), initial_types=rows, target_opset=15, zipmap=False)


def load_onnx(model: Model, path: Path, threads: int) -> Callable[[Any], Any]:
    """Make a session, and ask it for the probabilities alone."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    wanted = [session.get_outputs()[-1].name]
    ask = session.run
    return lambda x: ask(wanted, {name: x})
