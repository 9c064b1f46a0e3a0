"""LightGBM's models, imported: the answers of its own predict."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import forest_reference as reference
import lightgbm_texts
import numpy as np
import pytest
from forest_inputs import TINY, around_thresholds
from hypothesis import given, settings
from hypothesis import strategies as st

from pyscale.infer import Forest
from pyscale.infer.forest.trees import ModelDescription
from pyscale.infer.importers.lightgbm import from_booster, read_lightgbm

lgb = pytest.importorskip("lightgbm")
datasets = pytest.importorskip("sklearn.datasets")

ROWS = 150
QUIET = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, "min_data_per_group": 5, "num_leaves": 7}
LABELS: dict[str, Any] = {
    "regression": lambda y: y,
    "regression_l1": lambda y: y,
    "huber": lambda y: y,
    "fair": lambda y: y,
    "quantile": lambda y: y,
    "mape": lambda y: y + 100,
    "poisson": lambda y: np.abs(y),
    "gamma": lambda y: np.abs(y) + 0.1,
    "tweedie": lambda y: np.abs(y),
    "binary": lambda y: y > 0,
    "cross_entropy": lambda y: 1 / (1 + np.exp(-y)),
    "cross_entropy_lambda": lambda y: 1 / (1 + np.exp(-y)),
    "multiclass": lambda y: np.digitize(y, [-1, 1]),
    "multiclassova": lambda y: np.digitize(y, [-1, 1]),
    "lambdarank": lambda y: np.digitize(y, [-1, 1]),
    "rank_xendcg": lambda y: np.digitize(y, [-1, 1]),
}
KINDS = {"binary": "binary", "cross_entropy": "binary", "multiclass": "multiclass"}
KINDS |= {"multiclassova": "multiclass", "lambdarank": "ranking", "rank_xendcg": "ranking"}


def rows(seed: int = 0, count: int = 400) -> Any:
    """Features: with NaN, with many zeros, plain, and categories."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 4))
    x[rng.random(count) < 0.2, 0] = np.nan
    x[rng.random(count) < 0.5, 1] = 0
    x[:, 3] = rng.integers(0, 40, count)
    y = np.nan_to_num(x[:, 0]) + np.where(x[:, 1] == 0, 1.5, x[:, 1]) + (x[:, 3] % 3 - 1)
    return x, y


def train(parameters: dict[str, Any], rounds: int = 6, seed: int = 0, **more: Any) -> Any:
    x, y = rows(seed)
    y = LABELS[parameters.get("objective", "regression")](y)
    group = [len(x) // 4] * 4 if "rank" in parameters.get("objective", "") else None
    data = lgb.Dataset(x, y, group=group, categorical_feature=[3], params={"verbose": -1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that categories given twice win over parameters
        return lgb.train(QUIET | parameters, data, rounds, **more)


def leaf_numbers(found: ModelDescription, x: Any) -> Any:
    """LightGBM's numbers of the leaves: a tree of n leaves has n - 1 splits before them."""
    return reference.leaves(found.trees, x) - np.diff(found.trees.first) // 2


def sums(found: ModelDescription, x: Any) -> Any:
    with np.errstate(over="ignore", invalid="ignore"):  # a linear leaf may say inf - inf
        return reference.sums(found.trees, x)


def check(booster: Any, found: ModelDescription, x: Any) -> None:
    """No leaf differs, no bit of a sum, and no prediction by more than what exp may differ in."""
    np.testing.assert_array_equal(leaf_numbers(found, x), booster.predict(x, pred_leaf=True))
    raw = sums(found, x)
    theirs = booster.predict(x, raw_score=True).reshape(raw.shape)
    np.testing.assert_array_equal(raw, theirs)
    ours = reference.linked(found.link, raw, found.trees.num_trees // found.trees_per_round)
    theirs = booster.predict(x).reshape(raw.shape)
    np.testing.assert_allclose(ours, theirs, rtol=1e-14, atol=1e-300)


def check_everywhere(booster: Any, found: ModelDescription, seed: int = 0) -> None:
    check(booster, found, rows(seed + 1, 50)[0])
    x = around_thresholds(found.trees, ROWS, seed)
    check(booster, found, x)
    with np.errstate(over="ignore", under="ignore"):
        check(booster, found, x.astype(np.float32))


@pytest.mark.parametrize("objective", list(LABELS))
def test_objectives(objective: str) -> None:
    booster = train({"objective": objective, "num_class": 3 if "multiclass" in objective else 1})
    found = from_booster(booster)
    assert found.kind == KINDS.get(objective, "regression")
    assert found.trees_per_round == (3 if "multiclass" in objective else 1)
    assert found.feature_names is None
    assert found.source == f"LightGBM {lgb.__version__}"
    assert len(np.unique(booster.predict(rows()[0]))) > 10
    check_everywhere(booster, found)


@pytest.mark.parametrize("names", [["a b", "c", "d_e  f"], ["Column_1", "Column_0", "Column_2"], None])
def test_names_of_columns(names: list[str] | None) -> None:
    pandas = pytest.importorskip("pandas")
    x = np.random.default_rng(0).normal(size=(60, 3))
    frame = pandas.DataFrame(x, columns=names or ["a", "b", "c"])
    data = lgb.Dataset(frame if names else x, x[:, 0])
    booster = lgb.train({"verbose": -1, "min_data_in_leaf": 2}, data, 3)
    forest = Forest(from_booster(booster))
    assert np.array_equal(forest.predict(frame), booster.predict(frame))
    if names:
        with pytest.raises(ValueError, match="X: expected column 0 to be"):
            forest.predict(frame[frame.columns[::-1]])


@pytest.mark.parametrize("objective", ["regression", "regression_l1", "fair", "quantile", "mape", "huber"])
def test_square_roots(objective: str) -> None:
    booster = train({"objective": objective, "reg_sqrt": True})
    found = from_booster(booster)
    assert found.link.name == ("identity" if objective == "huber" else "signed_square")
    check_everywhere(booster, found)


def test_an_objective_of_ones_own() -> None:
    def two_outputs(score: Any, data: Any) -> Any:
        y = data.get_label()
        wanted = np.stack([y, -2 * y], axis=1)
        return score - wanted, np.ones_like(wanted)

    x, y = rows()
    booster = lgb.train(QUIET | {"objective": two_outputs, "num_class": 2}, lgb.Dataset(x, y), 4)
    found = from_booster(booster)
    assert (found.kind, found.link.name, found.trees.num_outputs) == ("multiclass", "identity", 2)
    check_everywhere(booster, found)


@pytest.mark.parametrize("objective", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("boosting", ["dart", "rf", "goss"])
def test_ways_of_boosting(boosting: str, objective: str) -> None:
    way: dict[str, Any] = {"boosting": boosting, "drop_rate": 0.5, "objective": objective}
    if boosting == "rf":
        way |= {"bagging_freq": 1, "bagging_fraction": 0.6}
    booster = train(way | {"num_class": 3 if objective == "multiclass" else 1})
    found = from_booster(booster)
    assert found.link.divisor == (0 if boosting == "rf" else 1)
    check_everywhere(booster, found)


@pytest.mark.parametrize(
    ("parameters", "linear"),
    [
        ({}, False),
        ({"use_missing": False}, False),
        ({"zero_as_missing": True}, False),
        ({}, True),
        ({"use_missing": False}, True),  # with linear trees LightGBM refuses zero_as_missing
    ],
)
def test_missing_values(parameters: dict[str, Any], linear: bool) -> None:
    booster = train(parameters | {"linear_tree": linear}, rounds=8)
    found = from_booster(booster)
    assert (found.trees.linear is not None) == linear
    assert (found.trees.zero_is_missing is not None) == ("zero_as_missing" in parameters)
    assert found.trees.category_set is not None
    check_everywhere(booster, found)


@pytest.mark.parametrize("load", ["breast_cancer", "digits", "diabetes", "wine"])
def test_real_data(load: str) -> None:
    x, y = getattr(datasets, f"load_{load}")(return_X_y=True)
    way: dict[str, Any] = {"objective": "multiclass", "num_class": len(np.unique(y))}
    way = {"diabetes": {}, "breast_cancer": {"objective": "binary"}}.get(load, way)
    booster = lgb.train(QUIET | way, lgb.Dataset(x, y), 5)
    found = read_lightgbm(booster.model_to_string())
    check(booster, found, x[:100])
    check(booster, found, around_thresholds(found.trees, 60, 0))


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.booleans())
def test_texts_written_at_random(seed: int, linear: bool) -> None:
    text = lightgbm_texts.model(np.random.default_rng(seed), linear=linear)
    booster = lgb.Booster(model_str=text)
    found = read_lightgbm(text)
    x = around_thresholds(found.trees, 60, seed)
    np.testing.assert_array_equal(leaf_numbers(found, x), booster.predict(x, pred_leaf=True))
    raw = sums(found, x)[:, 0]
    np.testing.assert_array_equal(raw, booster.predict(x, raw_score=True))


def test_tiny_features_are_zero_in_linear_leaves() -> None:
    text = lightgbm_texts.model(np.random.default_rng(5), num_trees=1, num_features=1)
    tree = "num_leaves=1\nnum_cat=0\nsplit_feature=\nthreshold=\ndecision_type=\nleft_child=\nright_child=\n"
    tree += "leaf_value=7\nis_linear=1\nleaf_const=0\nnum_features=1\nleaf_features=0\nleaf_coeff=1e30\n\n"
    sized = "tree_sizes=" + str(len(tree) + len("Tree=0\n\n"))
    text = text[: text.index("tree_sizes")] + f"{sized}\n\nTree=0\n{tree}\nend of trees\n"
    booster, found = lgb.Booster(model_str=text), read_lightgbm(text)
    above = np.nextafter(TINY, 1)
    x = np.array([[TINY], [-1e-36], [above], [np.nan], [2.0]])
    raw = reference.sums(found.trees, x)[:, 0]
    np.testing.assert_array_equal(raw, [0, 0, above * 1e30, 7, 2e30])
    np.testing.assert_array_equal(raw, booster.predict(x, raw_score=True))


def test_a_model_of_constants() -> None:
    x = np.ones((30, 2))
    booster = lgb.train(QUIET, lgb.Dataset(x, np.arange(30.0)), 3)
    found = from_booster(booster)
    assert found.trees.num_nodes == found.trees.num_trees
    check(booster, found, rows()[0][:5, :2])


def test_rounds_after_the_best_are_left_out() -> None:
    x, y = rows()
    noise = np.random.default_rng(1).normal(size=len(y))
    booster = lgb.train(
        QUIET | {"learning_rate": 0.5},
        lgb.Dataset(x[:200], (y + noise)[:200]),
        60,
        valid_sets=[lgb.Dataset(x[200:], (y + noise)[200:])],
        callbacks=[lgb.early_stopping(3, verbose=False)],
        keep_training_booster=True,
    )
    assert 0 < booster.best_iteration < booster.num_trees()
    found = from_booster(booster)
    assert found.trees.num_trees == booster.best_iteration
    check(booster, found, x[:50])
    every = read_lightgbm(booster.model_to_string(num_iteration=-1))
    assert every.trees.num_trees == booster.num_trees()
    raw = reference.sums(every.trees, x[:50])[:, 0]
    np.testing.assert_array_equal(raw, booster.predict(x[:50], raw_score=True, num_iteration=-1))


@pytest.mark.parametrize("labels", [["no", "yes"], ["a", "b", "c"], [5, 3, 9]])
def test_classifiers_know_their_labels(labels: list[Any]) -> None:
    x, y = rows()
    y = np.array(sorted(labels))[np.digitize(y, [-1, 1]) % len(labels)]
    model = lgb.LGBMClassifier(n_estimators=4, **QUIET).fit(x, y)
    found = from_booster(model)
    assert found.kind == ("binary" if len(labels) == 2 else "multiclass")
    assert found.classes is not None
    raw = reference.linked(found.link, reference.sums(found.trees, x), 4)
    picked = raw.argmax(axis=1) if len(labels) > 2 else (raw[:, 0] > 0.5).astype(int)
    np.testing.assert_array_equal(found.classes[picked], model.predict(x))


def test_regressors_and_rankers() -> None:
    x, y = rows()
    regressor = lgb.LGBMRegressor(n_estimators=4, **QUIET).fit(x, y)
    assert from_booster(regressor).classes is None
    check(regressor.booster_, from_booster(regressor), x[:30])
    ranker = lgb.LGBMRanker(n_estimators=4, **QUIET).fit(x, y > 0, group=[len(x)])
    assert from_booster(ranker).kind == "ranking"


@pytest.mark.parametrize("keep", [False, True])
def test_all_digits_of_sigmoid_where_lightgbm_has_them(keep: bool) -> None:
    parameters = {"objective": "binary", "sigmoid": 0.123456789}
    booster = train(parameters, keep_training_booster=keep)
    found = from_booster(booster)
    assert found.link.scale == (0.123456789 if keep else 0.123457)
    check(booster, found, rows()[0][:50])


def test_bytes_line_ends_and_the_third_version_are_the_same() -> None:
    text = train({}).model_to_string()
    want = read_lightgbm(text)
    third = text.replace("version=v4", "version=v3").replace("is_linear=0\n", "")
    for content in (text.encode(), text.replace("\n", "\r\n"), third):
        found = read_lightgbm(content)
        for name in ("feature", "threshold", "left", "right", "values", "set_values"):
            np.testing.assert_array_equal(getattr(found.trees, name), getattr(want.trees, name))
    assert want.source == "LightGBM, model format v4"
    assert read_lightgbm(third).source == "LightGBM, model format v3"


def test_a_text_is_read_without_lightgbm() -> None:
    text = train({}, rounds=1).model_to_string()
    code = (
        "import sys; from pyscale.infer.importers.lightgbm import read_lightgbm;"
        "assert read_lightgbm(sys.stdin.read()).trees.num_trees == 1; print('lightgbm' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_only_models_of_lightgbm_are_taken_over() -> None:
    with pytest.raises(TypeError, match="not list"):
        from_booster([])
    with pytest.raises(TypeError, match="not Dataset"):
        from_booster(lgb.Dataset(np.ones((2, 2))))
    with pytest.raises(TypeError, match="not list"):
        read_lightgbm([])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fit"):
        from_booster(lgb.LGBMClassifier())
    single = lgb.LGBMClassifier(n_estimators=1, **QUIET).fit(rows()[0], np.zeros(400))
    with pytest.raises(ValueError, match=r"classes_: expected 2 classes, .* got '1 of 1'"):
        from_booster(single)
    twice = lgb.LGBMClassifier(n_estimators=1, objective="multiclass", num_class=2, **QUIET)
    twice.fit(rows()[0], rows()[1] > 0)
    with pytest.raises(ValueError, match=r"classes_: expected 2 classes, .* got '2 of 2'"):
        from_booster(twice)


def test_a_classifier_with_an_objective_of_ones_own_gives_no_labels() -> None:
    x, y = rows()

    def squares(wanted: Any, score: Any) -> Any:
        return score - wanted, np.ones_like(wanted)

    model = lgb.LGBMClassifier(n_estimators=3, objective=squares, **QUIET).fit(x, y > 0)
    found = from_booster(model)
    assert (found.kind, found.link.name, found.classes) == ("regression", "identity", None)
    with pytest.warns(UserWarning, match="raw scores"):
        want = model.predict(x)
    np.testing.assert_array_equal(sums(found, x)[:, 0], want)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint64"])
def test_whole_numbers_as_lightgbm_has_them(dtype: str) -> None:
    # Of an array that is neither float32 nor float64 it makes float32, which has no 2^25 + 1.
    x = (2**25 + np.random.default_rng(4).integers(0, 60, (300, 1))).astype(dtype)
    y = (x[:, 0] % 7).astype(np.float64)
    model = lgb.LGBMRegressor(n_estimators=5, min_child_samples=1, verbosity=-1, n_jobs=1).fit(x, y)
    ours = Forest(from_booster(model))
    assert np.array_equal(ours.predict(x), model.predict(x))
    exact = x.astype(np.float64)
    assert np.array_equal(ours.predict(exact), model.predict(exact))
    assert not np.array_equal(ours.predict(exact), ours.predict(x))
