"""Models of XGBoost give the answers that XGBoost gives."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import forest_reference as reference
import numpy as np
import pytest
from forest_inputs import around_thresholds
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pyscale.infer import Forest, load
from pyscale.infer.forest.trees import ModelDescription
from pyscale.infer.importers.xgboost import from_booster, read_xgboost

xgb = pytest.importorskip("xgboost")
datasets = pytest.importorskip("sklearn.datasets")

Array = NDArray[Any]
IRIS = datasets.load_iris(return_X_y=True)
CANCER = datasets.load_breast_cancer(return_X_y=True)
DIABETES = datasets.load_diabetes(return_X_y=True)
WINE = datasets.load_wine(return_X_y=True)
DIGITS = datasets.load_digits(return_X_y=True)
CLASSES3 = {"num_class": 3}


def holes(x: Array, seed: int = 0) -> Array:
    """Some of the data, with missing values."""
    rng = np.random.default_rng(seed)
    x = x[:150].astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    return x


def train(data: tuple[Array, Array], rounds: int = 8, **params: Any) -> Any:
    params = {"max_depth": 4, "nthread": 1, "seed": 3, "eta": 0.3, **params}
    return xgb.train(params, xgb.DMatrix(holes(data[0]), data[1][:150]), rounds)


def check(booster: Any, found: ModelDescription, x: Array, *, exact: bool = True, **options: Any) -> None:
    """Compare leaves, sums and predictions with XGBoost's, for its inputs as they are."""
    matrix = xgb.DMatrix(x, **options)
    trees = found.trees
    leaves = booster.predict(matrix, pred_leaf=True).reshape(len(x), -1)
    if exact:  # else nodes were pruned and have other numbers
        np.testing.assert_array_equal(reference.leaves(trees, x), leaves)
    sums = reference.sums(trees, x)
    margin = booster.predict(matrix, output_margin=True).reshape(len(x), -1)
    if found.link.name == "argmax":  # XGBoost's margins of multi:softmax are shaped as its predictions
        margin = margin.reshape(len(x), trees.num_outputs)
    np.testing.assert_array_equal(sums, margin)
    predicted = booster.predict(matrix).reshape(len(x), -1)
    np.testing.assert_allclose(
        reference.linked(found.link, sums, trees.num_trees), predicted, rtol=1e-5, atol=1e-7
    )


def both(booster: Any) -> ModelDescription:
    """Read both formats, which must give the same model."""
    first = read_xgboost(bytes(booster.save_raw("json")))
    second = read_xgboost(bytes(booster.save_raw("ubj")))
    for name in first.trees.__dataclass_fields__:
        np.testing.assert_equal(getattr(first.trees, name), getattr(second.trees, name), name)
    assert (first.link, first.kind, first.source) == (second.link, second.kind, second.source)
    return second


MODELS: dict[str, tuple[tuple[Array, Array], dict[str, Any], str, str]] = {
    "squared": (DIABETES, {}, "regression", "identity"),
    "linear": (DIABETES, {"objective": "reg:linear"}, "regression", "identity"),
    "log": (DIABETES, {"objective": "reg:squaredlogerror"}, "regression", "identity"),
    "huber": (DIABETES, {"objective": "reg:pseudohubererror"}, "regression", "identity"),
    "absolute": (DIABETES, {"objective": "reg:absoluteerror"}, "regression", "identity"),
    "quantiles": (
        DIABETES,
        {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5, 0.9]},
        "regression",
        "identity",
    ),
    "gamma": (DIABETES, {"objective": "reg:gamma"}, "regression", "exp"),
    "tweedie": (DIABETES, {"objective": "reg:tweedie"}, "regression", "exp"),
    "poisson": (DIABETES, {"objective": "count:poisson", "base_score": 7.3}, "regression", "exp"),
    "cox": (DIABETES, {"objective": "survival:cox"}, "regression", "exp"),
    "logistic": (CANCER, {"objective": "reg:logistic"}, "regression", "logistic"),
    "binary": (CANCER, {"objective": "binary:logistic"}, "binary", "logistic"),
    "binary base": (CANCER, {"objective": "binary:logistic", "base_score": 0.137}, "binary", "logistic"),
    "raw": (CANCER, {"objective": "binary:logitraw", "base_score": 0.2}, "binary", "identity"),
    "hinge": (CANCER, {"objective": "binary:hinge"}, "binary", "step"),
    "softprob": (IRIS, {"objective": "multi:softprob", **CLASSES3}, "multiclass", "softmax"),
    "softmax": (WINE, {"objective": "multi:softmax", **CLASSES3}, "multiclass", "argmax"),
    "digits": (DIGITS, {"objective": "multi:softprob", "num_class": 10}, "multiclass", "softmax"),
    "forest": (CANCER, {"objective": "binary:logistic", "num_parallel_tree": 3}, "binary", "logistic"),
    "forests": (
        IRIS,
        {"num_parallel_tree": 2, "objective": "multi:softprob", **CLASSES3},
        "multiclass",
        "softmax",
    ),
    "dart": (DIABETES, {"booster": "dart", "rate_drop": 0.5}, "regression", "identity"),
    "darts": (
        WINE,
        {"booster": "dart", "rate_drop": 0.4, "objective": "multi:softprob", **CLASSES3},
        "multiclass",
        "softmax",
    ),
    "approx": (DIABETES, {"tree_method": "approx"}, "regression", "identity"),
    "exact": (DIABETES, {"tree_method": "exact"}, "regression", "identity"),
    "lossguide": (
        DIABETES,
        {"grow_policy": "lossguide", "max_leaves": 20, "max_depth": 0},
        "regression",
        "identity",
    ),
    "stump": (DIABETES, {"gamma": 1e12}, "regression", "identity"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    data, params, kind, link = MODELS[name]
    booster = train(data, **params)
    found = both(booster)
    assert (found.kind, found.link.name, found.trees.precision, found.trees.sums) == (
        kind,
        link,
        "float32",
        "float32",
    )
    assert found.source == f"XGBoost {xgb.__version__}"
    assert found.trees_per_round * 8 == found.trees.num_trees
    check(booster, found, holes(data[0], 1))
    check(booster, found, around_thresholds(found.trees, 40, 5, infinite=False))


@pytest.mark.parametrize("name", ["rank:pairwise", "rank:ndcg", "rank:map"])
def test_rankings(name: str) -> None:
    x, y = holes(IRIS[0]), (IRIS[1] > 0).astype(float)
    matrix = xgb.DMatrix(x, y, group=[50, 50, 50])
    booster = xgb.train({"objective": name, "max_depth": 3, "nthread": 1}, matrix, 6)
    found = both(booster)
    assert (found.kind, found.link.name) == ("ranking", "identity")
    check(booster, found, around_thresholds(found.trees, 40, 0, infinite=False))


def test_survival() -> None:
    x, y = holes(DIABETES[0]), DIABETES[1][:150]
    matrix = xgb.DMatrix(x, label_lower_bound=y, label_upper_bound=y + 10)
    booster = xgb.train({"objective": "survival:aft", "nthread": 1}, matrix, 6)
    found = both(booster)
    assert found.link.name == "exp"
    check(booster, found, around_thresholds(found.trees, 40, 0, infinite=False))


@pytest.mark.parametrize("strategy", ["one_output_per_tree", "multi_output_tree"])
@pytest.mark.parametrize("objective", ["reg:squarederror", "binary:logistic"])
def test_several_outputs(strategy: str, objective: str) -> None:
    y = np.stack([IRIS[1] == 0, IRIS[1] == 1, IRIS[0][:, 0] > 6], 1).astype(float)
    booster = train((IRIS[0], y), objective=objective, multi_strategy=strategy)
    found = both(booster)
    wide = strategy == "multi_output_tree"
    assert found.trees.values.shape[1] == (3 if wide else 1)
    assert found.trees_per_round == (1 if wide else 3)
    check(booster, found, around_thresholds(found.trees, 60, 0, infinite=False))


def test_softmax_with_vector_leaves() -> None:
    booster = train(
        WINE, objective="multi:softprob", multi_strategy="multi_output_tree", num_parallel_tree=2, **CLASSES3
    )
    found = both(booster)
    assert found.trees_per_round == 2
    check(booster, found, around_thresholds(found.trees, 40, 0, infinite=False))


def test_vector_leaves_as_before_3_2() -> None:
    booster = train((IRIS[0], IRIS[0][:, :2]), multi_strategy="multi_output_tree")
    document = json.loads(booster.save_raw("json"))
    for tree in document["learner"]["gradient_booster"]["model"]["trees"]:
        rows, leaf = tree["right_children"], [left < 0 for left in tree["left_children"]]
        kept = np.reshape(tree["leaf_weights"], (-1, 2))
        table = np.full((len(leaf), 2), 99.0)
        for node in np.flatnonzero(leaf):
            table[node] = kept[rows[node]]
        tree["base_weights"] = table.ravel().tolist()
        tree["right_children"] = [-1 if is_leaf else row for row, is_leaf in zip(rows, leaf, strict=True)]
        del tree["leaf_weights"]
    document["version"] = [2, 0, 0]
    check(booster, read_xgboost(json.dumps(document).encode()), holes(IRIS[0], 2))


def test_trees_of_both_widths() -> None:
    """As a change of strategy during training leaves them."""
    x, y = holes(IRIS[0]), IRIS[0][:, :3]
    matrix = xgb.DMatrix(x, y)
    booster = xgb.Booster({"nthread": 1, "max_depth": 3, "multi_strategy": "multi_output_tree"}, [matrix])
    for step, strategy in enumerate(["multi_output_tree", "one_output_per_tree", "multi_output_tree"]):
        booster.set_param({"multi_strategy": strategy})
        booster.update(matrix, step)
    found = both(booster)
    assert found.trees.num_trees == 5
    assert found.trees_per_round == 1
    check(booster, found, around_thresholds(found.trees, 60, 1, infinite=False))


@pytest.mark.parametrize("onehot", [100, 1])
@pytest.mark.parametrize("booster", ["gbtree", "dart"])
def test_categories(onehot: int, booster: str) -> None:
    """Listed ones go right, and the others, invalid ones too, left; with splits of one and of many."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 70, (400, 2))
    x = np.column_stack([codes, rng.normal(size=(400, 2))]).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    effect = rng.normal(size=70)
    y = effect[codes[:, 0]] + effect[codes[:, 1]] * 0.3 + np.nan_to_num(x[:, 2])
    options = {"feature_types": ["c", "c", "q", "q"], "enable_categorical": True}
    params = {"max_depth": 5, "max_cat_to_onehot": onehot, "nthread": 1, "booster": booster, "rate_drop": 0.4}
    if booster == "gbtree":
        del params["rate_drop"]
    trained = xgb.train(params, xgb.DMatrix(x, y, **options), 6)
    found = both(trained)
    assert found.trees.set_first is not None
    sizes = np.diff(found.trees.set_first)
    assert (sizes.max() == 1) == (onehot == 100)
    tests = around_thresholds(found.trees, 300, 3, infinite=False)
    assert (tests[:, :2] < 0).any()
    assert (tests[:, :2] >= 2**24).any()
    assert (tests[:, :2] % 1 == 0.5).any()
    # XGBoost's own check of categories is of DMatrix with their types; the values reach its trees without.
    trained.feature_types = None
    check(trained, found, tests)


def test_pruned_nodes_are_left_out() -> None:
    booster = train(DIABETES, rounds=5, tree_method="exact", max_depth=6, gamma=9000.0)
    trees = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]
    deleted = [int(tree["tree_param"]["num_deleted"]) for tree in trees]
    assert min(deleted) > 0
    found = both(booster)
    assert found.trees.num_nodes == sum(len(tree["left_children"]) for tree in trees) - sum(deleted)
    check(booster, found, around_thresholds(found.trees, 200, 0, infinite=False), exact=False)


def test_best_iteration() -> None:
    """All trees, as a Booster predicts; up to the best round, as estimators do."""
    x, y = holes(CANCER[0]), CANCER[1][:150]
    model = xgb.XGBClassifier(
        n_estimators=60, max_depth=2, early_stopping_rounds=3, n_jobs=1, num_parallel_tree=2
    )
    model.fit(x[:100], y[:100], eval_set=[(x[100:], y[100:])], verbose=False)
    booster = model.get_booster()
    assert booster.best_iteration + 1 < booster.num_boosted_rounds()
    whole = from_booster(booster)
    assert whole.trees.num_trees == 2 * booster.num_boosted_rounds()
    check(booster, whole, holes(CANCER[0], 4))
    for found in (from_booster(model), read_xgboost(bytes(booster.save_raw("json")), best_iteration=True)):
        assert found.trees.num_trees == 2 * (booster.best_iteration + 1)
        sums = reference.sums(found.trees, holes(CANCER[0], 4))[:, 0]
        np.testing.assert_array_equal(sums, model.predict(holes(CANCER[0], 4), output_margin=True))


@pytest.mark.parametrize(
    ("data", "objective"), [(CANCER, {}), (WINE, {}), (WINE, {"objective": "multi:softmax"})]
)
def test_classifier_has_classes(data: tuple[Array, Array], objective: dict[str, str]) -> None:
    model = xgb.XGBClassifier(n_estimators=5, n_jobs=1, **objective).fit(data[0], data[1])
    found = from_booster(model)
    assert found.classes is not None
    scores = reference.sums(found.trees, data[0])
    chosen = scores.argmax(1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype(int)
    np.testing.assert_array_equal(found.classes[chosen], model.predict(data[0]))


def test_other_estimators() -> None:
    x, y = holes(DIABETES[0]), DIABETES[1][:150]
    for model in (xgb.XGBRegressor(n_estimators=4), xgb.XGBRFRegressor(n_estimators=4)):
        found = from_booster(model.fit(x, y))
        assert found.classes is None
        np.testing.assert_array_equal(reference.sums(found.trees, x)[:, 0], model.predict(x))
    labels = np.stack([y > 100, y > 150], 1).astype(int)
    several = from_booster(xgb.XGBClassifier(n_estimators=3).fit(x, labels))
    assert several.classes is None
    assert several.trees.num_outputs == 2
    with pytest.raises(TypeError, match=r"expected an xgboost\.Booster or XGBModel, got dict"):
        from_booster({})


def test_feature_names() -> None:
    matrix = xgb.DMatrix(IRIS[0], IRIS[1], feature_names=["a", "b", "ü", "d"])
    booster = xgb.train({"nthread": 1}, matrix, 2)
    assert both(booster).feature_names == ("a", "b", "ü", "d")
    assert both(train(IRIS, 1)).feature_names is None


@pytest.mark.parametrize("version", [[1, 6, 0], [1, 7, 6], [2, 1, 4], [3, 0, 0]])
def test_base_score_of_older_files(version: list[int]) -> None:
    """One number for all outputs before 3.1, and no rounds before 2.0."""
    booster = train(WINE, objective="multi:softprob", base_score=0.25, **CLASSES3)
    document = json.loads(booster.save_raw("json"))
    document["version"] = version
    document["learner"]["learner_model_param"]["base_score"] = "2.5E-1"
    model = document["learner"]["gradient_booster"]["model"]
    del model["iteration_indptr"], model["cats"]
    content = json.dumps(document).encode()
    old = xgb.Booster(model_file=bytearray(content))
    found = read_xgboost(content)
    assert found.trees_per_round == 3
    check(old, found, holes(WINE[0], 3))


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-8, 1 - 1e-8) | st.sampled_from([0.0, 1.0, 1e-7, 0.5]))
def test_base_score_in_bits(score: float) -> None:
    """The sums begin with the logit or the logarithm as XGBoost's C library rounds it."""
    for name in ("binary:logistic", "count:poisson"):
        if score == 0 and name == "count:poisson":
            continue
        booster = train(CANCER, 1, objective=name, base_score=score, gamma=1e9, eta=0.0)
        found = read_xgboost(bytes(booster.save_raw("ubj")))
        margin = booster.predict(xgb.DMatrix(CANCER[0][:1]), output_margin=True)
        np.testing.assert_array_equal(reference.sums(found.trees, CANCER[0][:1])[0], margin)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_random_models(data: st.DataObject) -> None:
    """Values in few steps, so that they lie on thresholds; tiny, huge and missing ones."""
    seed = data.draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    scale = data.draw(st.sampled_from([1e-44, 1e-38, 1.0, 1e30]))
    x = (rng.integers(-4, 5, (80, 3)) * scale).astype(np.float32)
    x[rng.random(x.shape) < data.draw(st.sampled_from([0, 0.3]))] = np.nan
    y = rng.integers(0, 3, 80)
    booster = xgb.train(
        {
            "objective": "multi:softprob",
            "num_class": 3,
            "nthread": 1,
            "max_depth": data.draw(st.integers(1, 5)),
            "tree_method": data.draw(st.sampled_from(["hist", "exact", "approx"])),
            "booster": data.draw(st.sampled_from(["gbtree", "dart"])),
            "subsample": data.draw(st.sampled_from([0.5, 1.0])),
            "min_child_weight": 0,
        },
        xgb.DMatrix(x, y),
        3,
    )
    found = both(booster)
    rows = np.vstack([x, around_thresholds(found.trees, 30, seed, infinite=False)])
    check(booster, found, rows, exact=False)


def test_thresholds_at_the_ends() -> None:
    """Nothing is below -inf, all finite values are below inf, and zeros are one value."""
    booster = train(DIABETES, 1)
    text = booster.save_raw("json").decode()
    for threshold in ("-Infinity", "Infinity", "-0.0", "0.0", "1E-45", "-3.4028235E38"):
        document = json.loads(text)
        tree = document["learner"]["gradient_booster"]["model"]["trees"][0]
        tree["split_conditions"][0] = float(threshold)
        content = json.dumps(document).encode()
        changed = xgb.Booster(model_file=bytearray(content))
        found = read_xgboost(content)
        check(changed, found, around_thresholds(found.trees, 40, 0, infinite=False))
        rows = around_thresholds(found.trees, 60, 1, infinite=True)
        changed.set_param({"nthread": 1})
        expected = changed.inplace_predict(rows, predict_type="margin")
        np.testing.assert_array_equal(reference.sums(found.trees, rows)[:, 0], expected)


def test_no_trees() -> None:
    found = both(train(DIABETES, 0, base_score=3.5))
    assert found.trees.num_trees == 0
    np.testing.assert_array_equal(reference.sums(found.trees, DIABETES[0][:2]), [[3.5], [3.5]])
    with pytest.raises(ValueError, match="trees: expected trees, or a base score that was given"):
        from_booster(train(DIABETES, 0))


@pytest.mark.parametrize("objective", ["binary:logitraw", "binary:hinge", "reg:logistic", "binary:logistic"])
def test_labels_of_a_classifier_whatever_its_objective(objective: str) -> None:
    x = np.random.default_rng(3).normal(size=(200, 4)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] ** 2 > 0.5).astype(int)
    model = xgb.XGBClassifier(objective=objective, n_estimators=5, n_jobs=1).fit(x, y)
    ours = Forest(from_booster(model))
    assert np.array_equal(ours.predict(x), model.predict(x))
    np.testing.assert_allclose(ours.predict_proba(x), model.predict_proba(x), rtol=1e-6)


@pytest.mark.parametrize("missing", [-999.0, 0.0, 0.1])
def test_a_number_that_stands_for_missing_values(missing: float, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    x = np.round(random.normal(size=(300, 4)), 1)
    y = x[:, 0] + random.normal(size=300)
    x[random.random(x.shape) < 0.2] = missing
    x[random.random(x.shape) < 0.1] = np.nan
    model = xgb.XGBRegressor(n_estimators=6, n_jobs=1, missing=missing).fit(x, y)
    ours = Forest(from_booster(model))
    assert not np.array_equal(Forest(replace(from_booster(model), missing=None)).predict(x), ours.predict(x))
    before = x.copy()
    ours.save(tmp_path / "model")
    for found in (ours, load(tmp_path / "model"), pickle.loads(pickle.dumps(ours))):
        for rows in (x, x.astype(np.float32), np.asfortranarray(x), x[:1]):
            assert np.array_equal(found.predict(rows), model.predict(rows))
        assert np.array_equal(found.leaf_index(x), model.apply(x))
    assert np.array_equal(x, before, equal_nan=True)
    none: list[Any] = ["0", True]
    for wrong in none:
        with pytest.raises(ValueError, match="missing: expected a number"):
            Forest(replace(from_booster(model), missing=wrong))
