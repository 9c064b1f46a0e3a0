"""Files are told apart by their content, objects by their library, and answers are those of the library."""

from __future__ import annotations

import importlib
import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from forest_random import random_trees
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pyscale.infer import FORMATS, Forest, Link, ModelDescription, convert, load

datasets = pytest.importorskip("sklearn.datasets")
ensemble = pytest.importorskip("sklearn.ensemble")
tree = pytest.importorskip("sklearn.tree")

Array = NDArray[Any]
CANCER = datasets.load_breast_cancer(return_X_y=True)
DIGITS = datasets.load_digits(return_X_y=True)
DIABETES = datasets.load_diabetes(return_X_y=True)
DATA = {"cancer": CANCER, "digits": DIGITS, "diabetes": DIABETES}


def named(data: str) -> tuple[Array, Array]:
    """The data, with labels that are text where they are classes."""
    x, y = DATA[data]
    return x, y if data == "diabetes" else np.array([f"class {label}" for label in y])


def xgboost_model(data: str, **more: Any) -> Any:
    xgb = pytest.importorskip("xgboost")
    x, y = DATA[data]
    kind = xgb.XGBRegressor if data == "diabetes" else xgb.XGBClassifier
    return kind(n_estimators=7, max_depth=3, n_jobs=1, **more).fit(x.astype(np.float32), y)


def lightgbm_model(data: str, **more: Any) -> Any:
    lgb = pytest.importorskip("lightgbm")
    x, y = named(data)
    kind = lgb.LGBMRegressor if data == "diabetes" else lgb.LGBMClassifier
    return kind(n_estimators=7, num_leaves=8, n_jobs=1, verbose=-1, **more).fit(x, y)


def onnx_model(estimator: Any, data: str) -> bytes:
    pytest.importorskip("onnx")
    convert_sklearn = pytest.importorskip("skl2onnx").to_onnx
    x, _ = DATA[data]
    helper = importlib.import_module("onnx.helper")
    make = helper.make_attribute

    def made(key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        # skl2onnx writes booleans into lists of integers, which newer onnx refuses.
        value = [int(item) for item in value] if key == "nodes_missing_value_tracks_true" else value
        return make(key, value, *args, **kwargs)

    options: Any = {"zipmap": False} if hasattr(estimator, "predict_proba") else None
    options = None if options is None else {id(estimator): options}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(helper, "make_attribute", made)
        converted = convert_sklearn(
            estimator, x[:1].astype(np.float32), options=options, target_opset={"": 18, "ai.onnx.ml": 3}
        )
    return bytes(converted.SerializeToString())


def sklearn_model(name: str, data: str) -> Any:
    x, y = named(data)
    few = {} if name.startswith(("Decision", "ExtraTree", "Hist")) else {"n_estimators": 6}
    if name.startswith("Hist"):
        few = {"max_iter": 6}
    kind = getattr(tree if hasattr(tree, name) else ensemble, name)
    return kind(random_state=0, **few).fit(x, y) if name != "IsolationForest" else kind(**few).fit(x)


# Telling formats apart.


def write(folder: Path, content: bytes) -> Path:
    path = folder / "model"
    path.write_bytes(content)
    return path


def contents(format: str) -> list[bytes]:
    if format == "xgboost":
        booster = xgboost_model("diabetes").get_booster()
        return [bytes(booster.save_raw("json")), bytes(booster.save_raw("ubj"))]
    if format == "lightgbm":
        return [lightgbm_model("diabetes").booster_.model_to_string().encode()]
    if format == "onnx":
        return [onnx_model(sklearn_model("RandomForestRegressor", "diabetes"), "diabetes")]
    raise AssertionError(format)


def saved(folder: Path) -> bytes:
    path = folder / "own"
    Forest(ModelDescription(trees=random_trees(0), link=Link(), kind="regression", source="a test")).save(
        path
    )
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.mark.parametrize("format", FORMATS)
def test_formats_are_told_by_content(format: str, tmp_path: Path) -> None:
    for content in [saved(tmp_path)] if format == "pyscale" else contents(format):
        path = write(tmp_path, content)
        model = load(path)
        assert model.source.lower().startswith({"pyscale": "a test", "onnx": ""}.get(format, format))
        x = np.random.default_rng(0).normal(size=(9, model.num_features))
        assert np.array_equal(load(str(path), format=format).predict(x), model.predict(x))
        for other in FORMATS:
            if other != format:
                with pytest.raises(ValueError, match="expected") as caught:
                    load(path, format=other)
                assert str(caught.value).startswith(f"{path}: ")


def test_formats_that_are_not() -> None:
    with pytest.raises(
        ValueError, match="format: expected one of pyscale, xgboost, lightgbm, onnx, got 'keras'"
    ):
        load("none", format="keras")


def archive(folder: Path) -> bytes:
    path = folder / "archive.pt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data.pkl", b"x")
    return path.read_bytes()


class Alarm:
    """Whose pickle, when it is loaded, fails the test."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return pytest.fail, ("a pickle was executed",)


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("format", [None, *FORMATS])
def test_pickles_are_not_opened(protocol: int, format: str | None, tmp_path: Path) -> None:
    if format == "onnx":
        pytest.importorskip("onnx")
    path = write(tmp_path, pickle.dumps(Alarm(), protocol))
    with pytest.raises(ValueError, match="expected") as caught:
        load(path, format=format)
    assert str(caught.value).startswith(f"{path}: ")
    if format is None:
        assert "a pickle or an archive is not opened" in str(caught.value)
        assert "pyscale.infer.convert" in str(caught.value)


def test_other_files(tmp_path: Path) -> None:
    for content, message in [
        (b"", "an empty file"),
        (archive(tmp_path), "an archive is not opened"),
        (b"\x1f\x8b\x08\0\0", "an archive is not opened"),
        (b"binf\0\0\0\0", "expected a model in a format of pyscale, xgboost, lightgbm, onnx"),
        (b"pyscale model\n\x00\x02", "expected a model in a format of"),
        (b"\x89PNG\r\n\x1a\n", "expected a model in a format of"),
        (b"   \n", "expected a model in a format of"),
        (b"{}", "version"),
        (b"tree\n", "expected"),
        (b"<PMML/>", "expected a model in a format of"),
    ]:
        path = write(tmp_path, content)
        with pytest.raises(ValueError, match="expected") as caught:
            load(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert message in str(caught.value)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="none"):
        load(tmp_path / "none")


@given(content=st.binary(max_size=200))
def test_random_bytes(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("onnx")
    path = write(tmp_path_factory.getbasetemp(), content)
    for format in (None, *FORMATS):
        with pytest.raises(ValueError, match="expected") as caught:
            load(path, format=format)
        assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pyscale-ml\[onnx\]"):
        load(write(tmp_path, b"\x08\x09"))


# Objects.


@pytest.mark.parametrize("model", [None, 7, "model.json", np.zeros(3), object, Forest])
def test_objects_of_others(model: Any) -> None:
    with pytest.raises(TypeError, match="a model of XGBoost, LightGBM, scikit-learn or torch, got"):
        convert(model)


def test_objects_of_other_kinds() -> None:
    neighbors = importlib.import_module("sklearn.neighbors")
    for model in (neighbors.KNeighborsClassifier(), datasets.load_iris):
        with pytest.raises(TypeError, match="expected"):
            convert(model)
    for name in ("xgboost", "lightgbm"):
        library = pytest.importorskip(name)
        with pytest.raises(TypeError, match=r"must be|expected"):
            convert(library.Booster)
        with pytest.raises(TypeError, match=r"must be|expected"):
            convert(library.train)


def test_objects_that_are_not_fitted() -> None:
    for name, kinds in {"xgboost": ("XGBRegressor",), "lightgbm": ("LGBMRegressor",)}.items():
        library = pytest.importorskip(name)
        for kind in kinds:
            with pytest.raises(ValueError, match="fit"):
                convert(getattr(library, kind)())
    with pytest.raises(ValueError, match="fit"):
        convert(ensemble.RandomForestRegressor())


# The library's answers.


class Expected(NamedTuple):
    """What a library answers; None where it has no such answer."""

    predict: Array
    raw: Array | None = None
    proba: Array | None = None
    leaves: Array | None = None
    decision: Array | None = None
    scores: Array | None = None


def close(found: Array, expected: Array, exact: bool) -> None:
    assert found.shape == expected.shape
    if exact or expected.dtype.kind not in "f":
        np.testing.assert_array_equal(found, expected)
        return
    narrow = min(found.dtype.itemsize, expected.dtype.itemsize) == 4
    digits = np.finfo(np.float32 if narrow else np.float64)
    # A few units in the last place, of what exp, which no two libraries round alike, gives.
    np.testing.assert_allclose(found, expected, rtol=8 * float(digits.eps), atol=float(digits.tiny))


def compare(model: Forest, x: Array, expected: Expected, *, exact: bool = False) -> None:
    """Compare in batches of 1, 7 and 600, of both types and both orders in memory."""
    methods = {
        "predict": expected.predict,
        "raw": expected.raw,
        "predict_proba": expected.proba,
        "leaf_index": expected.leaves,
        "decision_function": expected.decision,
        "score_samples": expected.scores,
    }
    for rows in (1, 7, 600):
        for dtype in (np.float32, np.float64):
            for order in ("C", "F"):
                batch = np.array(x[:rows], dtype, order=order)
                for name, all_rows in methods.items():
                    if all_rows is None:
                        continue
                    sums = name in ("raw", "leaf_index", "decision_function")
                    close(getattr(model, name)(batch), all_rows[:rows], exact or sums)


def everywhere(model: Forest, x: Array, expected: Expected, folder: Path, *, exact: bool = False) -> None:
    compare(model, x, expected, exact=exact)
    model.save(folder / "saved")
    compare(load(folder / "saved"), x, expected, exact=exact)


def rows_of(data: str) -> Array:
    """Values that float32 holds, so that the type in which they come is no matter."""
    x: Array = DATA[data][0][:600].astype(np.float32).astype(np.float64)
    return x


XGBOOST: list[tuple[str, dict[str, Any]]] = [
    ("cancer", {}),
    ("digits", {}),
    ("digits", {"objective": "multi:softmax"}),
    ("diabetes", {}),
    ("diabetes", {"objective": "count:poisson"}),
    ("diabetes", {"booster": "dart", "rate_drop": 0.5}),
]


@pytest.mark.parametrize(("data", "more"), XGBOOST, ids=str)
def test_xgboost(data: str, more: dict[str, Any], tmp_path: Path) -> None:
    xgb = pytest.importorskip("xgboost")
    estimator = xgboost_model(data, **more)
    booster = estimator.get_booster()
    x = rows_of(data)
    classifies = data != "diabetes"
    # The estimator adds up the trees of dart in another order than the booster.
    margin = booster.predict(xgb.DMatrix(x), output_margin=True)
    margin = margin.reshape(len(x), -1) if data == "digits" else margin
    expected = Expected(
        predict=estimator.predict(x) if classifies else booster.predict(xgb.DMatrix(x)),
        raw=margin,
        proba=estimator.predict_proba(x) if classifies and "objective" not in more else None,
        leaves=estimator.apply(x).reshape(len(x), -1).astype(np.int32),
    )
    everywhere(convert(estimator), x, expected, tmp_path)
    expected = expected._replace(predict=booster.predict(xgb.DMatrix(x)), proba=None)
    everywhere(convert(booster), x, expected, tmp_path)
    for format in ("json", "ubj"):
        path = tmp_path / f"m.{format}"
        estimator.save_model(path)
        compare(load(path), x, expected)


LIGHTGBM: list[tuple[str, dict[str, Any]]] = [
    ("cancer", {}),
    ("digits", {}),
    ("digits", {"objective": "multiclassova"}),
    ("diabetes", {}),
    ("diabetes", {"objective": "poisson"}),
    ("diabetes", {"linear_tree": True}),
    ("cancer", {"boosting_type": "rf", "subsample": 0.5, "subsample_freq": 1}),
]


def leaf_numbers(model: Forest, x: Array) -> Array:
    """Nodes by LightGBM's numbers of leaves, which come after the splits."""
    trees = model._description.trees
    splits = np.array(
        [(trees.feature[a:b] >= 0).sum() for a, b in zip(trees.first, trees.first[1:], strict=False)]
    )
    numbers: Array = model.leaf_index(x) - splits
    return numbers


@pytest.mark.parametrize(("data", "more"), LIGHTGBM, ids=str)
def test_lightgbm(data: str, more: dict[str, Any], tmp_path: Path) -> None:
    estimator = lightgbm_model(data, **more)
    x = rows_of(data)
    expected = Expected(
        predict=estimator.predict(x),
        raw=estimator.predict(x, raw_score=True),
        proba=estimator.predict_proba(x) if data != "diabetes" else None,
    )
    model = convert(estimator)
    if more.get("boosting_type") == "rf":  # LightGBM's raw sums of a forest are its averages
        expected = expected._replace(raw=None)
    everywhere(model, x, expected, tmp_path)
    np.testing.assert_array_equal(
        leaf_numbers(model, x), estimator.predict(x, pred_leaf=True).reshape(len(x), -1)
    )
    booster = estimator.booster_
    expected = expected._replace(predict=booster.predict(x), proba=None)
    everywhere(convert(booster), x, expected, tmp_path)
    booster.save_model(tmp_path / "m.txt")
    compare(load(tmp_path / "m.txt"), x, expected)


SKLEARN = [
    ("DecisionTreeClassifier", "cancer"),
    ("ExtraTreeRegressor", "diabetes"),
    ("RandomForestClassifier", "cancer"),
    ("RandomForestClassifier", "digits"),
    ("ExtraTreesClassifier", "digits"),
    ("RandomForestRegressor", "diabetes"),
    ("GradientBoostingClassifier", "cancer"),
    ("GradientBoostingClassifier", "digits"),
    ("GradientBoostingRegressor", "diabetes"),
    ("HistGradientBoostingClassifier", "cancer"),
    ("HistGradientBoostingClassifier", "digits"),
    ("HistGradientBoostingRegressor", "diabetes"),
    ("IsolationForest", "cancer"),
]


@pytest.mark.parametrize(("name", "data"), SKLEARN)
def test_sklearn(name: str, data: str, tmp_path: Path) -> None:
    estimator = sklearn_model(name, data)
    x = rows_of(data)
    expected = Expected(predict=estimator.predict(x))
    boosted = "Boosting" in name
    if hasattr(estimator, "predict_proba"):
        expected = expected._replace(proba=estimator.predict_proba(x))
    if hasattr(estimator, "decision_function"):
        expected = expected._replace(decision=estimator.decision_function(x))
    if name == "IsolationForest":
        expected = expected._replace(scores=estimator.score_samples(x))
        everywhere(convert(estimator), x, expected._replace(decision=None), tmp_path)
        found = convert(estimator).decision_function(x)
        np.testing.assert_allclose(found, estimator.decision_function(x), rtol=0, atol=4e-16)
        return
    if hasattr(estimator, "apply"):
        expected = expected._replace(leaves=estimator.apply(x).reshape(len(x), -1).astype(np.int32))
    everywhere(convert(estimator), x, expected, tmp_path, exact=not boosted)


def test_one_class(tmp_path: Path) -> None:
    x = rows_of("diabetes")
    for estimator in (tree.DecisionTreeClassifier(), ensemble.RandomForestClassifier(3)):
        estimator.fit(x, np.full(len(DIABETES[0]), "only")[: len(x)])
        expected = Expected(predict=estimator.predict(x), proba=estimator.predict_proba(x))
        everywhere(convert(estimator), x, expected, tmp_path, exact=True)
        with pytest.raises(ValueError, match="out: expected none of a model of one class"):
            convert(estimator).predict_proba(x, out=np.empty((len(x), 1)))


ONNX = [
    ("RandomForestClassifier", "digits"),
    ("DecisionTreeClassifier", "cancer"),
    ("RandomForestRegressor", "diabetes"),
    ("GradientBoostingClassifier", "digits"),
    ("GradientBoostingRegressor", "diabetes"),
    ("HistGradientBoostingRegressor", "diabetes"),
]


@pytest.mark.parametrize(("name", "data"), ONNX)
def test_onnx(name: str, data: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    content = onnx_model(sklearn_model(name, data), data)
    x = rows_of(data)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    first, *rest = session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})
    path = write(tmp_path, content)
    model = load(path)
    if not rest:
        everywhere(model, x, Expected(predict=first[:, 0]), tmp_path, exact="Boosting" not in name)
        return
    everywhere(model, x, Expected(predict=np.asarray(first, str), proba=rest[0]), tmp_path)
