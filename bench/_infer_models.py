"""The models that inference is measured with, trained on real data and kept.

It runs in the environment of the peers.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _infer_data as data
import numpy as np
from _infer_data import Array
from _infer_environment import FOLDER

CHECKED = 8192  # rows whose answers the library gave


@dataclass(frozen=True)
class Model:
    """A trained model and rows for it."""

    name: str
    title: str
    library: str  # "XGBoost", "LightGBM" or "scikit-learn"
    shallow: bool  # up to 64 leaves a tree
    train: Callable[[], Any]
    rows: Callable[[], Array]
    wide: bool = False  # compares in float64
    classes: int = 2

    def file(self, ending: str) -> Path:
        """Where something that was made of it is kept."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        return FOLDER / f"{self.name}.{ending}"

    def trained(self) -> Any:
        """Return the library's own object, trained once; the file is our own, so it may be unpickled."""
        path = self.file("1.pickle")
        if not path.exists():
            draft = path.with_suffix(".draft")
            draft.write_bytes(pickle.dumps(self.train()))
            draft.rename(path)
        return pickle.loads(path.read_bytes())

    def truth(self) -> dict[str, Array]:
        """Return the first rows, and what the library says of them: probabilities, and sums if it has any."""
        path = self.file("truth.npz")
        if not path.exists():
            x = self.rows()[:CHECKED]
            draft = self.file("draft.npz")
            np.savez(draft, allow_pickle=False, x=x, **_ask(self.library, self.trained(), x))
            draft.rename(path)
        with np.load(path) as arrays:
            return dict(arrays)


def _ask(library: str, trained: Any, x: Array) -> dict[str, Array]:
    """One thread: scikit-learn's forests add up in the order in which their threads come."""
    if library == "XGBoost":
        trained.set_param({"nthread": 1})
        raw = trained.inplace_predict(x, predict_type="margin")
        return {"probability": trained.inplace_predict(x), "raw": raw}
    if library == "LightGBM":
        raw = trained.predict(x, raw_score=True, num_threads=1)
        return {"probability": trained.predict(x, num_threads=1), "raw": raw}
    if hasattr(trained, "n_jobs"):
        trained.n_jobs = 1
        return {"probability": trained.predict_proba(x)}
    return {"probability": trained.predict_proba(x), "raw": trained.decision_function(x)}


def _xgboost(xy: tuple[Array, Array], rounds: int, depth: int, **more: Any) -> Any:
    import xgboost

    parameters = {"objective": "binary:logistic", "max_depth": depth, "eta": 0.1, "nthread": 2, **more}
    return xgboost.train(parameters, xgboost.DMatrix(*xy), rounds)


def _lightgbm(xy: tuple[Array, Array], rounds: int) -> Any:
    import lightgbm

    parameters = {
        "objective": "binary",
        "num_leaves": 31,
        "learning_rate": 0.05,
        "num_threads": 2,
        "verbose": -1,
    }
    x, y = xy
    return lightgbm.train(parameters, lightgbm.Dataset(x.astype(np.float64), y), rounds)


def _forest(xy: tuple[Array, Array], trees: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(trees, n_jobs=2, random_state=0).fit(*xy)


def _histogram(xy: tuple[Array, Array], rounds: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(max_iter=rounds, early_stopping=False, random_state=0)
    x, y = xy
    return model.fit(x.astype(np.float64), y)


def _boosting(xy: tuple[Array, Array], rounds: int, depth: int) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(n_estimators=rounds, max_depth=depth, random_state=0).fit(*xy)


FOREST_ROWS = 50_000  # that the random forest is trained on

_MODELS = (
    Model(
        "xgb500",
        "XGBoost, 500 trees of depth 6, flights",
        "XGBoost",
        True,
        lambda: _xgboost(data.flights(200_000), 500, 6),
        data.flights_rows,
    ),
    Model(
        "lgb2000",
        "LightGBM, 2,000 trees of 31 leaves, flights",
        "LightGBM",
        True,
        lambda: _lightgbm(data.flights(200_000), 2000),
        data.flights_rows,
        wide=True,
    ),
    Model(
        "xgb10",
        "XGBoost, 10 classes, 100 trees of depth 6 each, digits",
        "XGBoost",
        True,
        lambda: _xgboost(data.digits(), 100, 6, objective="multi:softprob", num_class=10),
        data.digits_rows,
        classes=10,
    ),
    Model(
        "hist300",
        "scikit-learn, histogram gradient boosting, 300 trees of 31 leaves, flights",
        "scikit-learn",
        True,
        lambda: _histogram(data.flights(200_000), 300),
        data.flights_rows,
        wide=True,
    ),
    Model(
        "gb200",
        "scikit-learn, gradient boosting, 200 trees of depth 4, breast cancer",
        "scikit-learn",
        True,
        lambda: _boosting(data.cancer(), 200, 4),
        data.cancer_rows,
    ),
    Model(
        "xgb50",
        "XGBoost, 50 trees of depth 6, flights",
        "XGBoost",
        True,
        lambda: _xgboost(data.flights(200_000), 50, 6),
        data.flights_rows,
    ),
    Model(
        "rf200",
        "scikit-learn, random forest of 200 trees, grown fully, flights",
        "scikit-learn",
        False,
        lambda: _forest(data.flights(FOREST_ROWS), 200),
        data.flights_rows,
    ),
    Model(
        "xgb300d10",
        "XGBoost, 300 trees of depth 10, flights",
        "XGBoost",
        False,
        lambda: _xgboost(data.flights(200_000), 300, 10),
        data.flights_rows,
    ),
)

MODELS = {model.name: model for model in _MODELS}
