"""Treelite, which walks trees; tl2cgen, which compiles them to C; lleaves, which compiles them by LLVM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from _infer_models import Model
from _infer_unsupported import NotSupported

Predict = Callable[[Any], Any]


def _treelite_model(model: Model) -> Any:
    import treelite

    if model.library == "XGBoost":
        return treelite.frontend.from_xgboost(model.trained())
    if model.library == "LightGBM":
        return treelite.frontend.from_lightgbm(model.trained())
    return treelite.sklearn.import_model(model.trained())


def treelite_file(model: Model) -> Path:
    """Treelite's own form."""
    path = model.file("treelite")
    if not path.exists():
        _treelite_model(model).serialize(path)
    return path


def load_treelite(model: Model, path: Path, threads: int) -> Predict:
    """Its interpreter, which is meant for checks."""
    import treelite
    import treelite.gtil

    found = treelite.Model.deserialize(path)
    predict = treelite.gtil.predict
    return lambda x: predict(found, x, nthread=threads)


def tl2cgen_file(model: Model) -> Path:
    """Compile with the system's GCC: -O3 takes it twice as long, for code that is no faster."""
    if not model.shallow:
        raise NotSupported("the C of deep trees takes the compiler more than ten minutes")
    path = model.file("tl2cgen.so")
    if not path.exists():
        import tl2cgen

        tl2cgen.export_lib(
            _treelite_model(model),
            toolchain="gcc",
            libpath=str(path),
            params={"parallel_comp": 8},
            nthread=2,
            options=["-O1"],
        )
    return path


def load_tl2cgen(model: Model, path: Path, threads: int) -> Predict:
    """Load the shared library."""
    import tl2cgen

    predictor = tl2cgen.Predictor(str(path), nthread=threads)
    predict, matrix = predictor.predict, tl2cgen.DMatrix
    dtype = "float64" if model.wide else "float32"
    return lambda x: predict(matrix(x, dtype=dtype))


def lleaves_file(model: Model) -> Path:
    """Compile; beside LightGBM's file."""
    if model.library != "LightGBM":
        raise NotSupported("it compiles LightGBM's models")
    path = model.file("lleaves")
    if not path.exists():
        _lleaves(model, path)
    return path


def _lleaves(model: Model, path: Path) -> Any:
    import lleaves

    text = model.file("txt")
    if not text.exists():
        model.trained().save_model(text)
    found = lleaves.Model(model_file=text)
    found.compile(cache=path)
    return found


def load_lleaves(model: Model, path: Path, threads: int) -> Predict:
    """Load the compiled code."""
    predict = _lleaves(model, path).predict
    return lambda x: predict(x, n_jobs=threads)
