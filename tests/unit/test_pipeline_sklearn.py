"""Pipelines of scikit-learn with scalers and imputers predict the same once imported, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from forest_inputs import around_thresholds
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import pyscale as ps

pytest.importorskip("sklearn")
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, PowerTransformer, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeRegressor

# scikit-learn adds up all inputs to see whether they are finite, and warns of columns without a value.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:All-NaN slice encountered:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Skipping features without any observed values:UserWarning"),
]

Array = NDArray[Any]
TYPES = ("float16", "float32", "float64")
SCALERS = {
    "standard": StandardScaler(),
    "mean": StandardScaler(with_std=False),
    "deviation": StandardScaler(with_mean=False),
    "neither": StandardScaler(with_mean=False, with_std=False),
    "min max": MinMaxScaler((-1, 3)),
    "clip": MinMaxScaler(clip=True),
    "max abs": MaxAbsScaler(),
    "robust": RobustScaler(),
    "robust middle": RobustScaler(with_scaling=False),
    "robust range": RobustScaler(with_centering=False),
    "robust nothing": RobustScaler(with_centering=False, with_scaling=False),
}
MODELS = {
    "tree": DecisionTreeRegressor(max_depth=7, random_state=0),
    "forest": RandomForestClassifier(4, max_depth=6, random_state=0),
    "forest of numbers": RandomForestRegressor(4, max_depth=6, random_state=0),
    "extra": ExtraTreesClassifier(4, max_depth=6, random_state=0),
    "boosting": GradientBoostingRegressor(n_estimators=6, random_state=0),
    "boosting of classes": GradientBoostingClassifier(n_estimators=4, random_state=0),
    "hist": HistGradientBoostingRegressor(max_iter=6, min_samples_leaf=3),
    "hist of classes": HistGradientBoostingClassifier(max_iter=4, min_samples_leaf=3),
    "isolation": IsolationForest(n_estimators=6, random_state=0),
}
NO_NAN = {"boosting", "boosting of classes"}


def same(fitted: Any, rows: Array, found: Any = None) -> None:
    """Compare all that a model answers; what ends in an exponential function, nearly."""
    found = ps.infer.convert(fitted) if found is None else found
    for name in ("predict", "decision_function", "score_samples"):
        if hasattr(fitted, name):
            expected = getattr(fitted, name)(rows)
            got = getattr(found, name)(rows)
            assert np.array_equal(got.reshape(expected.shape), expected), name
    if hasattr(fitted, "predict_proba"):
        expected = fitted.predict_proba(rows)
        exact = not hasattr(fitted, "decision_function")
        np.testing.assert_allclose(found.predict_proba(rows), expected, rtol=0 if exact else 1e-14)


def adversarial(fitted: Any, scaler: Any, dtype: str, seed: int, nan: bool) -> Array:
    """Rows that the scaler sends at thresholds and beside them, and their neighbours."""
    trees = ps.infer.convert(fitted[-1])._description.trees
    after = around_thresholds(trees, 150, seed, nan=nan, infinite=False)
    rows: Array = scaler.inverse_transform(np.clip(after, -1e6, 1e6)).astype(dtype)
    rng = np.random.default_rng(seed)
    for _ in range(3):
        toward = rng.choice([-np.inf, np.inf], rows.shape).astype(dtype)
        rows = np.where(rng.random(rows.shape) < 0.5, np.nextafter(rows, toward), rows)
    return rows.astype(dtype)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(sorted(SCALERS)),
    st.sampled_from(sorted(MODELS)),
    st.sampled_from(TYPES[1:]),
    st.sampled_from(TYPES[1:]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_scalers_before_trees(
    scaler: str, model: str, fitted_to: str, dtype: str, nan: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    nan = nan and model not in NO_NAN
    x = (rng.normal(rng.normal(0, 9), 1, (80, 4)) * [1, 1e-3, 50, 7]).astype(fitted_to)
    if nan:
        x[rng.random(x.shape) < 0.1] = np.nan
    y = rng.integers(0, 3, len(x))
    fitted = make_pipeline(SCALERS[scaler], MODELS[model]).fit(x, y)
    rows = adversarial(fitted, fitted[0], dtype, seed, nan)
    same(fitted, np.concatenate([rows, x.astype(dtype)]))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", sorted(SCALERS))
def test_scalers_alone_give_the_same_bits(name: str, dtype: str) -> None:
    """Of a pipeline of a scaler and an imputer that finds nothing, as a scaler alone becomes a Dense."""
    x = np.random.default_rng(1).normal(3, 2, (50, 4)) * [1, 1e-3, 1e3, 7]
    fitted = make_pipeline(SCALERS[name], SimpleImputer()).fit(x.astype("float32"))
    found = ps.infer.convert(fitted)
    rows = (1.5 * x).astype(dtype)
    kept = rows.copy()
    for given_rows in (rows, np.asfortranarray(rows), rows[::2, :], rows[:1]):
        got = found.predict(given_rows)
        expected = fitted.transform(given_rows)
        assert got.dtype == expected.dtype == dtype
        assert np.array_equal(got, expected)
        assert np.array_equal(np.signbit(got), np.signbit(expected))
    assert np.array_equal(rows, kept)
    for whole in ("int8", "uint16", "int64", "bool"):
        numbers = np.arange(8).reshape(2, 4).astype(whole)
        assert np.array_equal(found.predict(numbers), fitted.transform(numbers))


def test_standard_scalers_of_earlier_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 1.8, float32 rows met float64 means in float64: ``X -= self.mean_``."""
    import sklearn

    x = np.random.default_rng(0).normal(100, 1e-2, (300, 3)).astype(np.float32)
    fitted = make_pipeline(StandardScaler(), SimpleImputer()).fit(x)
    scaler = fitted[0]
    earlier = x.copy()
    earlier -= scaler.mean_.astype(np.float64)
    earlier /= scaler.scale_.astype(np.float64)
    now = x.copy()
    now -= scaler.mean_.astype(np.float32)
    now /= scaler.scale_.astype(np.float32)
    assert not np.array_equal(earlier, now)
    for version, expected in (("1.7.2", earlier), ("1.8.0", now), ("1.10.dev0", now), ("2.0", now)):
        monkeypatch.setattr(sklearn, "__version__", version)
        assert np.array_equal(ps.infer.convert(fitted).predict(x), expected)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["mean", "median", "most_frequent", "constant"]),
    st.sampled_from([np.nan, -1, 0.1]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(TYPES),
    st.sampled_from(TYPES),
    st.integers(0, 1000),
)
def test_imputers(
    strategy: str, missing: float, keep: bool, empty: bool, fitted_to: str, dtype: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-5, 6, (40, 4)) / 3
    x[rng.random(x.shape) < 0.3] = missing
    if empty:
        x[:, 1] = missing
    x = x.astype(fitted_to)
    constant = 2.5 if strategy == "constant" else None
    imputer = SimpleImputer(
        missing_values=missing, strategy=strategy, keep_empty_features=keep, fill_value=constant
    )
    fitted = make_pipeline(imputer).fit(x)
    found = ps.infer.convert(fitted)
    rows = np.where(rng.random(x.shape) < 0.3, missing, x).astype(dtype)
    got, expected = found.predict(rows), fitted.transform(rows)
    assert got.dtype == expected.dtype
    assert np.array_equal(got, expected, equal_nan=True)
    assert (found.num_features, found.num_outputs) == (4, expected.shape[1])


def test_imputers_of_whole_numbers() -> None:
    x = np.array([[1, -1], [1, 7], [2**53 + 1, 7]])
    rows = np.array([[-1, -1], [2**53 + 1, 5], [3, -1]])
    for imputer in (
        SimpleImputer(missing_values=-1, strategy="most_frequent").fit(x),
        SimpleImputer(missing_values=-1, strategy="most_frequent").fit(x / 2 * 2 + 0.5 * (x == 7)),
        SimpleImputer(missing_values=-1, strategy="constant", fill_value=4).fit(x),
        SimpleImputer(missing_values=-1).fit(x),
        SimpleImputer(strategy="most_frequent").fit(x),
    ):
        for given_rows in (rows, rows.astype(np.int32), rows.astype(np.float32)):
            got, expected = ps.infer.convert(imputer).predict(given_rows), imputer.transform(given_rows)
            assert got.dtype == expected.dtype
            assert np.array_equal(got, expected)


@pytest.mark.parametrize("dtype", TYPES)
def test_imputers_and_scalers_before_trees(dtype: str) -> None:
    x, y = load_breast_cancer(return_X_y=True)
    holes = x.copy()
    holes[np.random.default_rng(0).random(x.shape) < 0.2] = np.nan
    holes[:, 3] = np.nan
    rows = holes.astype(dtype)
    for steps in (
        (SimpleImputer(), HistGradientBoostingClassifier(max_iter=5)),
        (SimpleImputer(strategy="median"), StandardScaler(), RandomForestClassifier(5, random_state=0)),
        (RobustScaler(), SimpleImputer(), GradientBoostingClassifier(n_estimators=4)),
        (
            MaxAbsScaler(),
            MinMaxScaler(clip=True),
            SimpleImputer(),
            IsolationForest(n_estimators=5, random_state=0),
        ),
    ):
        fitted = make_pipeline(*steps).fit(holes, y)
        same(fitted, rows)
        same(fitted, rows[:1])


def test_real_data() -> None:
    digits, numbers = load_digits(return_X_y=True)
    x, y = load_diabetes(return_X_y=True)
    labels = np.array([f"n{number}" for number in numbers])
    forest = RandomForestClassifier(10, random_state=0)
    fitted = make_pipeline(StandardScaler(), forest).fit(digits, labels)
    found = ps.infer.convert(fitted)
    same(fitted, digits, found)
    assert list(found.classes) == sorted(set(labels))
    same(make_pipeline(MinMaxScaler(), RandomForestRegressor(10, random_state=0)).fit(x, y), x)
    same(make_pipeline(RobustScaler(), HistGradientBoostingRegressor(max_iter=20)).fit(x, y), x)
    leaves = forest.apply(fitted[0].transform(digits))
    assert np.array_equal(found.leaf_index(digits), leaves)


def test_pipelines_in_each_other_and_steps_that_do_nothing() -> None:
    x, y = load_diabetes(return_X_y=True)
    inner = make_pipeline("passthrough", make_pipeline(SimpleImputer(), StandardScaler()))
    fitted = make_pipeline(inner, None, MinMaxScaler(), DecisionTreeRegressor(max_depth=6)).fit(x, y)
    found = ps.infer.convert(fitted)
    assert [type(stage).__name__ for stage in found.stages] == ["Imputer", "Scaler", "Scaler", "Forest"]
    same(fitted, x, found)


def test_what_a_dense_model_does_alone_stays_one() -> None:
    x, y = load_diabetes(return_X_y=True)
    for scaler in (StandardScaler(), MaxAbsScaler(), RobustScaler(), MinMaxScaler()):
        for step in (make_pipeline(scaler), make_pipeline(scaler, Ridge())):
            fitted = step.fit(x, y)
            found = ps.infer.convert(fitted)
            assert type(found) is ps.infer.Dense
            expected = fitted.predict(x) if hasattr(fitted, "predict") else fitted.transform(x)
            np.testing.assert_allclose(found.predict(x), expected, rtol=1e-5, atol=1e-6)


def test_imputers_before_networks() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    holes = x.copy()
    holes[np.random.default_rng(0).random(x.shape) < 0.2] = np.nan
    for steps, kinds in (
        ((SimpleImputer(), StandardScaler(), LogisticRegression()), "Imputer Dense"),
        ((StandardScaler(), SimpleImputer(), PCA(5), LogisticRegression()), "Scaler Imputer Dense"),
        (
            (SimpleImputer(), PCA(5), MinMaxScaler(clip=True), LogisticRegression()),
            "Imputer Dense Scaler Dense",
        ),
    ):
        fitted = make_pipeline(*steps).fit(holes, y)
        found = ps.infer.convert(fitted)
        assert " ".join(type(stage).__name__ for stage in found.stages) == kinds
        np.testing.assert_allclose(
            found.predict_proba(holes), fitted.predict_proba(holes), rtol=1e-3, atol=1e-5
        )
        assert (found.predict(holes) == fitted.predict(holes)).mean() > 0.995


@pytest.mark.filterwarnings("ignore:X .* feature names:UserWarning")
@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed"])
def test_tables(library: str, dtype: str) -> None:
    table = pytest.importorskip(library)
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    x = rng.normal(100, 1e-2, (200, 3))
    names = ["a", "b", "c"]
    kinds = ["float32", "float64", "float32"] if dtype == "mixed" else [dtype] * 3
    columns = {name: x[:, place].astype(kinds[place]) for place, name in enumerate(names)}
    frame = pandas.DataFrame(columns)
    fitted = make_pipeline(StandardScaler(), ExtraTreesClassifier(5, random_state=0))
    fitted.fit(frame, x[:, 0] > 100)
    found = ps.infer.convert(fitted)
    assert found.feature_names == tuple(names)
    rows = (
        frame
        if library == "pandas"
        else getattr(table, "table" if library == "pyarrow" else "DataFrame")(columns)
    )
    scaled = make_pipeline(fitted[0], SimpleImputer().fit(frame))
    for first in (scaled, make_pipeline(SimpleImputer(strategy="most_frequent").fit(frame), *scaled)):
        got, expected = ps.infer.convert(first).predict(rows), first.transform(rows)
        assert got.dtype == expected.dtype
        assert np.array_equal(got, expected)
    assert np.array_equal(found.predict_proba(rows), fitted.predict_proba(rows))
    if library == "pandas":
        with pytest.raises(ValueError, match="column 0 to be 'a'"):
            found.predict(frame[["b", "a", "c"]])
        whole = pandas.DataFrame(
            {"a": [1, 2], "b": np.array([1, 2], "float32"), "c": np.array([3, 4], "int8")}
        )
        assert np.array_equal(ps.infer.convert(scaled).predict(whole), scaled[0].transform(whole))
        yes = frame.astype({"a": "float32", "b": "float32", "c": bool})
        assert np.array_equal(ps.infer.convert(scaled).predict(yes), scaled[0].transform(yes))


@pytest.mark.filterwarnings("ignore:X .* feature names:UserWarning")
def test_frames_of_whole_numbers_stay_such() -> None:
    pandas = pytest.importorskip("pandas")
    imputer = SimpleImputer(missing_values=-1, strategy="most_frequent").fit([[2, 4], [2, 4]])
    rows = pandas.DataFrame({"a": np.array([-1, 2**53 + 1]), "b": np.array([1, -1], "int8")})
    got, expected = ps.infer.convert(imputer).predict(rows), imputer.transform(rows)
    assert got.dtype == expected.dtype == np.int64
    assert got.tolist() == expected.tolist() == [[2, 1], [2**53 + 1, 4]]


@pytest.mark.filterwarnings("ignore:X .* feature names:UserWarning")
@pytest.mark.parametrize("kinds", [["float32", "int8"], ["int64", "int8"]])
@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_a_null_changes_no_other_row(library: str, kinds: list[str]) -> None:
    arrow, polars = pytest.importorskip("pyarrow"), pytest.importorskip("polars")
    x = np.random.default_rng(0).integers(0, 99, (30, 2))
    steps = make_pipeline(SimpleImputer(strategy="most_frequent"), StandardScaler(), SimpleImputer())
    model = ps.infer.convert(steps.fit(x / 1.0))
    columns = [arrow.array(x[:, k].astype(kinds[k]), mask=np.arange(30) == 29) for k in range(2)]
    table = arrow.table(columns, names=["a", "b"])
    rows = table if library == "pyarrow" else polars.from_arrow(table)
    got, some = model.predict(rows), model.predict(rows[:29])
    assert got.dtype == some.dtype
    assert np.array_equal(got[:29], some)
    assert np.array_equal(some, steps.transform(rows[:29]))


def test_categories_after_an_imputer() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.integers(0, 6, 300), rng.normal(size=300)]).astype(float)
    y = (x[:, 0] % 2) + x[:, 1]
    x[rng.random(x.shape) < 0.1] = np.nan
    model = HistGradientBoostingRegressor(max_iter=5, categorical_features=[0])
    same(make_pipeline(SimpleImputer(strategy="most_frequent"), model).fit(x, y), x)


def test_several_targets() -> None:
    x, y = load_digits(return_X_y=True)
    forest = RandomForestClassifier(4, max_depth=5, random_state=0)
    fitted = make_pipeline(StandardScaler(), forest).fit(x, np.stack([y, y % 2], 1))
    found = ps.infer.convert(fitted)
    assert np.array_equal(found.predict(x), fitted.predict(x))
    for got, expected in zip(found.predict_proba(x), fitted.predict_proba(x), strict=True):
        assert np.array_equal(got, expected)


def test_trees_of_other_libraries() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    rows = [x, x.astype(np.float32)]
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, num_threads=1)
    fitted = make_pipeline(StandardScaler(), model).fit(x, y)
    found = ps.infer.convert(fitted)
    for one in rows:
        scaled = fitted[0].transform(one)
        assert np.array_equal(found.raw(one), model.booster_.predict(scaled, raw_score=True))
        assert np.array_equal(
            found.predict(one), model.predict(scaled.astype(np.float64), validate_features=False)
        )
    xgboost = pytest.importorskip("xgboost")
    booster = xgboost.XGBClassifier(n_estimators=5, n_jobs=1, missing=-9.0)
    fitted = make_pipeline(SimpleImputer(), StandardScaler(), booster).fit(x, y)
    found = ps.infer.convert(fitted)
    for one in rows:
        assert np.array_equal(found.predict(one), fitted.predict(one))
        assert np.array_equal(found.leaf_index(one), booster.apply(fitted[:-1].transform(one)))


def test_refused() -> None:
    x, y = load_diabetes(return_X_y=True)
    tree = DecisionTreeRegressor(max_depth=2).fit(x, y)
    words = np.array([["a"], ["b"]], object)
    for model, message in (
        (
            make_pipeline(PCA(10), tree).fit(x, y),
            r"model\['pca'\]: expected one of Standard.*float32.*Pipeline\(",
        ),
        (make_pipeline(StandardScaler(), PCA(10), SimpleImputer(), tree).fit(x, y), r"model\['pca'\]"),
        (make_pipeline(PowerTransformer(), tree).fit(x, y), "before trees, got PowerTransformer$"),
        (SimpleImputer(add_indicator=True).fit(x), r"model\.add_indicator: expected False"),
        (SimpleImputer(strategy="most_frequent").fit(words), "fitted to numbers"),
        (
            SimpleImputer(missing_values=np.float64(0.1)).fit(x),
            r"missing_values: expected a number of Python",
        ),
        (SimpleImputer(missing_values=np.int64(2**24 + 1)).fit(x), "missing_values: expected a number of"),
        (SimpleImputer(), "SimpleImputer has no such attribute; it is not fitted"),
        (make_pipeline(StandardScaler(), tree), "mean_"),
        (SimpleImputer().fit(np.full((3, 2), np.nan)), "something was seen"),
    ):
        with pytest.raises(ValueError, match=message):
            ps.infer.convert(model)
    explicit = ps.infer.Pipeline([ps.infer.convert(PCA(10).fit(x)), ps.infer.convert(tree)])
    assert explicit.predict(x).shape == y.shape
