"""How each library predicts with a model: a callable from rows to the probabilities, and what it took to load.

It runs in the environment of the peers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _infer_models import FOLDER, Model
from numpy.typing import NDArray

Array = NDArray[Any]
Predict = Callable[[Array], Array]


class NotSupported(Exception):
    """The peer cannot take this model; says why."""


def pyscale(model: Model, trained: Any, threads: int) -> Predict:
    """Ours, from a file of ours; of a classifier its probabilities, as all."""
    import pyscale as ps

    path = FOLDER / f"{model.name}.pyscale"
    if not path.exists():
        ps.infer.convert(trained).save(path)
    found = ps.infer.load(path)
    found._native.threads = threads
    if model.library == "sklearn":
        return found.predict_proba
    return found.predict


def own(model: Model, trained: Any, threads: int) -> Predict:
    """The library that trained it, by its fastest call."""
    if model.library == "xgboost":
        trained.set_param({"nthread": threads})
        return trained.inplace_predict
    if model.library == "lightgbm":
        return lambda x: trained.predict(x, num_threads=threads)
    from threadpoolctl import threadpool_limits

    if hasattr(trained, "n_jobs"):
        trained.n_jobs = threads

    def predict(x: Array) -> Array:
        with threadpool_limits(threads, "openmp"):
            return trained.predict_proba(x)

    return predict


def onnxruntime(model: Model, trained: Any, threads: int) -> Predict:
    """ONNX Runtime, from the usual converters."""
    import onnxruntime

    path = FOLDER / f"{model.name}.onnx"
    if not path.exists():
        path.write_bytes(_onnx(model, trained))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    wanted = [session.get_outputs()[-1].name]
    one = model.library != "sklearn" and model.name != "xgb10"

    def predict(x: Array) -> Array:
        found = session.run(wanted, {name: x})[0]
        return found[:, 1] if one else found

    return predict


def _onnx(model: Model, trained: Any) -> bytes:
    columns = model.rows().shape[1]
    if model.library == "sklearn":
        from skl2onnx import to_onnx

        converted = to_onnx(
            trained, np.zeros((1, columns), np.float32), options={"zipmap": False}, target_opset=17
        )
    else:
        from onnxmltools.convert import convert_lightgbm, convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        convert = convert_xgboost if model.library == "xgboost" else convert_lightgbm
        kinds = [("input", FloatTensorType([None, columns]))]
        more = {"zipmap": False} if model.library == "lightgbm" else {}
        converted = convert(trained, initial_types=kinds, target_opset=15, **more)
    content: bytes = converted.SerializeToString()
    return content


def daal(model: Model, trained: Any, threads: int) -> Predict:
    """OneDAL by daal4py: boosted trees are converted; of forests its own is trained on the same data."""
    import daal4py

    daal4py.daalinit(nthreads=threads)
    if model.library == "sklearn":
        raise NotSupported("daal4py converts XGBoost, LightGBM and CatBoost only")
    import daal4py.mb

    converted = daal4py.mb.convert_model(trained)
    many = model.name == "xgb10"

    def predict(x: Array) -> Array:
        found = converted.predict_proba(x)
        return found if many else found[:, 1]

    return predict


def treelite(model: Model, trained: Any, threads: int) -> Predict:
    """Treelite's own interpreter."""
    import treelite

    if model.library == "xgboost":
        found = treelite.frontend.from_xgboost(trained)
    elif model.library == "lightgbm":
        found = treelite.frontend.from_lightgbm(trained)
    else:
        found = treelite.sklearn.import_model(trained)
    import treelite.gtil

    wide = model.library == "lightgbm" or model.name == "hist300"

    def predict(x: Array) -> Array:
        return np.asarray(treelite.gtil.predict(found, x.astype(np.float64) if wide else x, nthread=threads))

    return predict


def tl2cgen(model: Model, trained: Any, threads: int) -> Predict:
    """Treelite compiled to C; compiled once, with -O2 of the system's compiler."""
    import tl2cgen
    import treelite

    if not model.shallow:
        raise NotSupported("the C of deep trees takes the compiler more than ten minutes")
    library = FOLDER / f"{model.name}-tl2cgen.so"
    if not library.exists():
        if model.library == "xgboost":
            found = treelite.frontend.from_xgboost(trained)
        elif model.library == "lightgbm":
            found = treelite.frontend.from_lightgbm(trained)
        else:
            found = treelite.sklearn.import_model(trained)
        tl2cgen.export_lib(
            found,
            toolchain="gcc",
            libpath=str(library),
            params={"parallel_comp": 8},
            nthread=2,
            options=["-O1"],
        )
    predictor = tl2cgen.Predictor(str(library), nthread=threads)
    wide = model.library == "lightgbm" or model.name == "hist300"

    def predict(x: Array) -> Array:
        matrix = tl2cgen.DMatrix(x, dtype="float64" if wide else "float32")
        return np.asarray(predictor.predict(matrix))

    return predict


def lleaves(model: Model, trained: Any, threads: int) -> Predict:
    """LightGBM's trees compiled by LLVM."""
    import lleaves

    if model.library != "lightgbm":
        raise NotSupported("lleaves takes LightGBM's models only")
    text = FOLDER / f"{model.name}.txt"
    if not text.exists():
        trained.save_model(text)
    found = lleaves.Model(model_file=text)
    found.compile(cache=FOLDER / f"{model.name}.lleaves")
    return lambda x: found.predict(x, n_jobs=threads)


PEERS: dict[str, Callable[[Model, Any, int], Predict]] = {
    "own": own,
    "onnxruntime": onnxruntime,
    "daal4py": daal,
    "treelite": treelite,
    "tl2cgen": tl2cgen,
    "lleaves": lleaves,
}


def load_seconds(make: Callable[[], Any]) -> tuple[Any, float]:
    """Make something, and say how long it took."""
    start = time.perf_counter()
    made = make()
    return made, time.perf_counter() - start
