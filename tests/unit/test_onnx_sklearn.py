"""Forests of scikit-learn, by skl2onnx, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyscale.infer.importers.onnx_trees import read_onnx_trees

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx")
datasets = pytest.importorskip("sklearn.datasets")
ensemble = pytest.importorskip("sklearn.ensemble")
tree = pytest.importorskip("sklearn.tree")

import onnx_models as om  # noqa: E402
from forest_inputs import around_thresholds  # noqa: E402
from forest_reference import linked, sums  # noqa: E402


@pytest.fixture(autouse=True)
def _booleans_as_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    om.take_booleans(monkeypatch)


def convert(estimator: Any, x: NDArray[Any], zipmap: bool | str = False, version: int = 3) -> Any:
    options = {"zipmap": zipmap} if hasattr(estimator, "predict_proba") else None
    return skl2onnx.to_onnx(estimator, x[:1], options=options, target_opset={"": 18, "ai.onnx.ml": version})


def rows(description: Any, x: NDArray[Any]) -> NDArray[Any]:
    awkward = around_thresholds(description.trees, 150, 0)
    with np.errstate(over="ignore"):
        return np.concatenate([x[:100], awkward]).astype(np.float32)


CLASSIFIERS = [
    ensemble.RandomForestClassifier(n_estimators=12, max_depth=4, random_state=0),
    ensemble.ExtraTreesClassifier(n_estimators=12, max_depth=4, random_state=0),
    ensemble.GradientBoostingClassifier(n_estimators=8, max_depth=3, random_state=0),
    ensemble.HistGradientBoostingClassifier(max_iter=8, max_depth=4, random_state=0),
    tree.DecisionTreeClassifier(max_depth=5, random_state=0),
]
REGRESSORS = [
    ensemble.RandomForestRegressor(n_estimators=12, max_depth=4, random_state=0),
    ensemble.ExtraTreesRegressor(n_estimators=12, max_depth=4, random_state=0),
    ensemble.GradientBoostingRegressor(n_estimators=90, max_depth=3, random_state=0),
    ensemble.HistGradientBoostingRegressor(max_iter=12, max_depth=4, random_state=0),
    tree.DecisionTreeRegressor(max_depth=5, random_state=0),
]


@pytest.mark.parametrize("data", ["breast_cancer", "wine", "digits"])
@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=lambda estimator: type(estimator).__name__)
@pytest.mark.parametrize("text", [False, True])
def test_classifiers(estimator: Any, data: str, text: bool) -> None:
    x, y = getattr(datasets, f"load_{data}")(return_X_y=True)
    if data == "digits":
        x, y = x[:400, 10:50], y[:400]
    if "Hist" in type(estimator).__name__:
        x = x.copy()
        x[::7, 3] = np.nan
    names = np.array([f"class {label}" for label in range(10)])
    estimator.fit(x, names[y] if text else y)
    made = convert(estimator, x.astype(np.float32))
    description = read_onnx_trees(made.SerializeToString())
    checked = rows(description, x)
    label, expected = om.run(made, checked)
    answers = linked(description.link, sums(description.trees, checked), description.trees.num_trees)
    if data == "breast_cancer":
        assert description.kind == "binary"
        np.testing.assert_allclose(answers[:, 0], expected[:, 1], rtol=1e-5, atol=1e-6)
        chosen = (answers[:, 0] > 0.5) * 1
    else:
        np.testing.assert_allclose(answers, expected, rtol=1e-5, atol=1e-6)
        chosen = answers.argmax(axis=1)
    if description.link.name == "identity":  # to the bit, where nothing follows the sums
        np.testing.assert_array_equal(answers[:, -1], expected[:, -1])
    assert description.classes is not None
    np.testing.assert_array_equal(description.classes[chosen], label)


@pytest.mark.parametrize("estimator", REGRESSORS, ids=lambda estimator: type(estimator).__name__)
@pytest.mark.parametrize(("double", "version"), [(False, 1), (False, 3), (True, 3)])
def test_regressors(estimator: Any, double: bool, version: int) -> None:
    x, y = datasets.load_diabetes(return_X_y=True)
    estimator.fit(x, y)
    made = convert(estimator, x if double else x.astype(np.float32), version=version)
    made.graph.output[0].type.tensor_type.elem_type = om.ELEMENTS["float"]  # of any regressor's output
    assert {entry.domain: entry.version for entry in made.opset_import}["ai.onnx.ml"] <= version
    description = read_onnx_trees(made.SerializeToString())
    checked = rows(description, x).astype(np.float64 if double else np.float32)
    (expected,) = om.run(made, checked)
    got = linked(description.link, sums(description.trees, checked), description.trees.num_trees)
    np.testing.assert_array_equal(got.astype(np.float32), expected)
    assert description.kind == "regression"


def test_several_targets() -> None:
    x, y = datasets.load_diabetes(return_X_y=True)
    estimator = ensemble.RandomForestRegressor(n_estimators=5, max_depth=3, random_state=0)
    estimator.fit(x, np.stack([y, -y, y**2], axis=1))
    made = convert(estimator, x.astype(np.float32))
    description = read_onnx_trees(made.SerializeToString())
    checked = rows(description, x)
    np.testing.assert_array_equal(sums(description.trees, checked), om.run(made, checked)[0])


@pytest.mark.parametrize("zipmap", [True, "columns"])
def test_maps_of_probabilities(zipmap: bool | str) -> None:
    x, y = datasets.load_iris(return_X_y=True)
    estimator = ensemble.RandomForestClassifier(n_estimators=5, max_depth=3, random_state=0).fit(x, y)
    made = convert(estimator, x.astype(np.float32), zipmap)
    if zipmap == "columns":
        with pytest.raises(ValueError, match=r"graph.node\[\d\] \(.*\): expected a node that"):
            read_onnx_trees(made.SerializeToString())
        return
    description = read_onnx_trees(made.SerializeToString())
    found = linked(description.link, sums(description.trees, x.astype(np.float32)), 5)
    maps = om.run(made, x.astype(np.float32))[1]
    np.testing.assert_array_equal(found, [[row[label] for label in (0, 1, 2)] for row in maps])
    assert description.source.startswith("ONNX, by skl2onnx")
