"""The models that inference is measured with, trained on real data; kept under build/bench/inference.

It runs in the environment of the peers.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "bench" / "inference"
_VERSION = 1  # of what is trained: files of another one are not used


@dataclass(frozen=True)
class Model:
    """A trained model and rows for it."""

    name: str
    title: str
    library: str  # xgboost, lightgbm or sklearn
    shallow: bool  # up to 64 leaves a tree
    train: Callable[[], Any]
    rows: Callable[[], NDArray[Any]]

    @property
    def path(self) -> Path:
        """Where it is kept; our own, so that a pickle may be opened."""
        return FOLDER / f"{self.name}.{_VERSION}.pickle"

    def get(self) -> Any:
        """Return the library's own object, trained once."""
        if not self.path.exists():
            FOLDER.mkdir(parents=True, exist_ok=True)
            draft = self.path.with_suffix(".draft")
            draft.write_bytes(pickle.dumps(self.train()))
            draft.rename(self.path)
        return pickle.loads(self.path.read_bytes())


def flights() -> tuple[NDArray[Any], NDArray[Any]]:
    """The flights' features as float32, and whether they arrived more than 15 minutes late."""
    sys.path.insert(0, str(ROOT / "examples"))
    import flights_data

    found = flights_data.load()
    x = np.concatenate([found.categories.astype(np.float32), found.numbers], axis=1)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order], (found.delay > 15).astype(np.int32)[order]


def _flights_rows() -> NDArray[Any]:
    """Rows that were not trained on, so that paths mix."""
    return np.ascontiguousarray(flights()[0][-70_000:])


def _train_on_flights(rows: int = 200_000) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = flights()
    return x[:rows], y[:rows]


def _digits() -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x.astype(np.float32), y


def _digits_rows() -> NDArray[Any]:
    """70,000 digits: each pixel of one drawn from two real digits, so that paths mix."""
    x, _ = _digits()
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, len(x), (2, 70_000))
    return np.where(rng.random((70_000, x.shape[1])) < 0.8, x[a], x[b])


def _cancer_rows() -> NDArray[Any]:
    from sklearn.datasets import load_breast_cancer

    x = load_breast_cancer().data.astype(np.float32)
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, len(x), (2, 70_000))
    return (x[a] * 0.7 + x[b] * 0.3).astype(np.float32)


def _xgboost(objective: str, rounds: int, depth: int, data: Callable[[], Any], **more: Any) -> Any:
    import xgboost

    x, y = data()
    parameters = {"objective": objective, "max_depth": depth, "eta": 0.1, "nthread": 2, **more}
    return xgboost.train(parameters, xgboost.DMatrix(x, y), rounds)


def _lightgbm(objective: str, rounds: int, data: Callable[[], Any], **more: Any) -> Any:
    import lightgbm

    x, y = data()
    parameters = {
        "objective": objective,
        "num_leaves": 31,
        "learning_rate": 0.05,
        "num_threads": 2,
        "verbose": -1,
        **more,
    }
    return lightgbm.train(parameters, lightgbm.Dataset(x.astype(np.float64), y), rounds)


def _random_forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    x, y = _train_on_flights(50_000)
    return RandomForestClassifier(200, n_jobs=2, random_state=0).fit(x, y)


def _histogram() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    x, y = _train_on_flights()
    return HistGradientBoostingClassifier(max_iter=300, early_stopping=False, random_state=0).fit(
        x.astype(np.float64), y
    )


def _extra_trees() -> Any:
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import GradientBoostingClassifier

    x, y = load_breast_cancer(return_X_y=True)
    return GradientBoostingClassifier(n_estimators=200, max_depth=4, random_state=0).fit(
        x.astype(np.float32), y
    )


MODELS = (
    Model("xgb500", "XGBoost, 500 x depth 6, flights", "xgboost", True,
          lambda: _xgboost("binary:logistic", 500, 6, _train_on_flights), _flights_rows),
    Model("lgb2000", "LightGBM, 2000 x 31 leaves, flights", "lightgbm", True,
          lambda: _lightgbm("binary", 2000, _train_on_flights), _flights_rows),
    Model("xgb10", "XGBoost, 10 classes x 100 x depth 6, digits", "xgboost", True,
          lambda: _xgboost("multi:softprob", 100, 6, _digits, num_class=10), _digits_rows),
    Model("hist300", "scikit-learn histogram boosting, 300 x 31 leaves, flights", "sklearn", True, _histogram,
          _flights_rows),
    Model("gb200", "scikit-learn gradient boosting, 200 x depth 4, breast cancer", "sklearn", True, _extra_trees,
          _cancer_rows),
    Model("rf200", "scikit-learn random forest, 200 deep trees, flights", "sklearn", False, _random_forest,
          _flights_rows),
    Model("xgb50", "XGBoost, 50 x depth 6, flights", "xgboost", True,
          lambda: _xgboost("binary:logistic", 50, 6, _train_on_flights), _flights_rows),
    Model("xgb300d10", "XGBoost, 300 x depth 10, flights", "xgboost", False,
          lambda: _xgboost("binary:logistic", 300, 10, _train_on_flights), _flights_rows),
)  # fmt: skip


def model_of(name: str) -> Model:
    """Return the model of a name."""
    return next(model for model in MODELS if model.name == name)
