"""Who predicts with a model: what each makes of it once, and how it loads that and is asked.

It runs in the environment of the peers.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _infer_compiled import (
    lleaves_file,
    load_lleaves,
    load_tl2cgen,
    load_treelite,
    tl2cgen_file,
    treelite_file,
)
from _infer_models import FOREST_ROWS, Model
from _infer_onnx import load_onnx, onnx_file
from _infer_unsupported import NotSupported

Predict = Callable[[Any], Any]  # rows to probabilities; those of one class or of all


@dataclass(frozen=True)
class Contestant:
    """One of those who predict."""

    name: str
    module: str  # imported before loading is timed
    prepare: Callable[[Model], Path]  # its file, made if it is not there; raises NotSupported
    load: Callable[[Model, Path, int], Predict]  # of that file, for so many threads
    wide: bool = True  # wants float64 of a model that compares in it; it is spared the conversion
    same: bool = True  # has the model's trees, not trees of its own

    def dtype(self, model: Model) -> str:
        """Rows that it need not convert."""
        return "float64" if self.wide and model.wide else "float32"


def _pyscale_file(model: Model) -> Path:
    path = model.file("pyscale")
    if not path.exists():
        import pyscale as ps

        ps.infer.convert(model.trained()).save(path)
    return path


def _load_pyscale(model: Model, path: Path, threads: int) -> Predict:
    """Threads are those of OMP_NUM_THREADS: the quick way into `predict` is without keywords."""
    import pyscale as ps

    found = ps.infer.load(path)
    predict: Predict = found.predict_proba if model.library == "scikit-learn" else found.predict
    return predict


def _library_file(library: str, model: Model) -> Path:
    if model.library != library:
        raise NotSupported(f"the model is of {model.library}")
    path = model.file({"XGBoost": "json", "LightGBM": "txt"}.get(library, "1.pickle"))
    if not path.exists():
        model.trained().save_model(path)
    return path


def _load_library(model: Model, path: Path, threads: int) -> Predict:
    """By its fastest call."""
    predict: Predict
    if model.library == "XGBoost":
        import xgboost

        booster = xgboost.Booster({"nthread": threads}, model_file=path)
        predict = booster.inplace_predict
    elif model.library == "LightGBM":
        import lightgbm

        predict = partial(lightgbm.Booster(model_file=path).predict, num_threads=threads)
    else:
        trained = pickle.loads(path.read_bytes())
        if hasattr(trained, "n_jobs"):
            trained.n_jobs = threads
        predict = trained.predict_proba  # the boosted ones take OMP_NUM_THREADS
    return predict


def _daal_file(model: Model) -> Path:
    if model.library == "scikit-learn":
        raise NotSupported("daal4py converts models of XGBoost, LightGBM and CatBoost")
    return _library_file(model.library, model)


def _load_daal(model: Model, path: Path, threads: int) -> Predict:
    import daal4py
    import daal4py.mb

    daal4py.daalinit(nthreads=threads)
    if model.library == "XGBoost":
        import xgboost

        converted = daal4py.mb.convert_model(xgboost.Booster(model_file=path))
    else:
        import lightgbm

        converted = daal4py.mb.convert_model(lightgbm.Booster(model_file=path))
    predict: Predict = converted.predict_proba
    return predict


def _forest_file(model: Model) -> Path:
    if model.name != "rf200":
        raise NotSupported("only beside the random forest")
    path = model.file("onedal.pickle")
    if not path.exists():
        import _infer_data
        from sklearnex.ensemble import RandomForestClassifier

        trained = RandomForestClassifier(200, n_jobs=2, random_state=0).fit(*_infer_data.flights(FOREST_ROWS))
        path.write_bytes(pickle.dumps(trained))
    return path


def _load_forest(model: Model, path: Path, threads: int) -> Predict:
    import daal4py

    daal4py.daalinit(nthreads=threads)
    trained = pickle.loads(path.read_bytes())
    trained.n_jobs = None  # else each call sets threads anew, which takes longer
    predict: Predict = trained.predict_proba
    return predict


def _ydf_file(model: Model) -> Path:
    if model.name != "rf200":
        raise NotSupported("ydf converts scikit-learn's random forests and extra trees")
    path = model.file("ydf")
    if not path.exists():
        import ydf  # type: ignore[import-not-found, unused-ignore]

        ydf.from_sklearn(model.trained()).save(str(path))
    return path


def _load_ydf(model: Model, path: Path, threads: int) -> Predict:
    import ydf  # type: ignore[import-not-found, unused-ignore]

    predict = ydf.load_model(str(path)).predict
    return lambda x: predict({"features": x}, num_threads=threads)


OURS = Contestant("pyscale", "pyscale.infer", _pyscale_file, _load_pyscale, wide=False)
LIBRARIES = {
    name: Contestant(name, module, partial(_library_file, name), _load_library, wide=name != "LightGBM")
    for name, module in (
        ("XGBoost", "xgboost"),
        ("LightGBM", "lightgbm"),
        ("scikit-learn", "sklearn.ensemble"),
    )
}
PEERS = (
    *LIBRARIES.values(),
    Contestant("ONNX Runtime", "onnxruntime", onnx_file, load_onnx, wide=False),
    Contestant("daal4py", "daal4py", _daal_file, _load_daal, wide=False),
    Contestant("oneDAL, trees of its own", "sklearnex.ensemble", _forest_file, _load_forest, same=False),
    Contestant("YDF", "ydf", _ydf_file, _load_ydf, wide=False),
    Contestant("treelite", "treelite", treelite_file, load_treelite),
    Contestant("tl2cgen", "tl2cgen", tl2cgen_file, load_tl2cgen),
    Contestant("lleaves", "lleaves", lleaves_file, load_lleaves),
)
CONTESTANTS = {one.name: one for one in (OURS, *PEERS)}


def answers(found: Any, model: Model) -> Any:
    """Bring an answer to rows x classes, or to the second class's probabilities of two."""
    array = np.asarray(found[0] if isinstance(found, list) else found)
    array = array.reshape(len(array), -1)
    return array if model.classes > 2 else array[:, -1]
