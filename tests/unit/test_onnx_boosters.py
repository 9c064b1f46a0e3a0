"""XGBoost and LightGBM by way of ONNX, as onnxmltools writes their graphs, against onnxruntime."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyscale.infer import Forest, load
from pyscale.infer.importers.onnx_trees import read_onnx_trees

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx_models as om  # noqa: E402
from forest_inputs import around_thresholds  # noqa: E402
from forest_reference import linked, sums  # noqa: E402

Array = NDArray[Any]


def regressor(tree: list[Any], **more: Any) -> Any:
    return om.model(
        "TreeEnsembleRegressor", 3, "float", n_targets=1, **om.attributes([tree], "target", "float"), **more
    )


def tree_of_sets(rng: np.random.Generator, inner: int) -> list[Any]:
    """A tree of sets, as LightGBM's: nodes that compare with a value each lead to the same node."""
    nodes = [om.Node()]
    leaves = [0]
    for _ in range(inner):
        at = leaves.pop(int(rng.integers(len(leaves))))
        inside = len(nodes)
        nodes.append(om.Node())
        leaves.append(inside)
        feature, track = int(rng.integers(3)), int(rng.integers(2))
        values = rng.choice([0.0, 1.0, 2.0, 3.0, 31.0, 32.0, 33.0, 70000.0, -1.0, 2.5], 4, replace=False)
        for value in values[: int(rng.integers(1, 5))].tolist():
            following = len(nodes)
            nodes.append(om.Node())
            nodes[at] = om.Node("EQ", feature, value, track=track, yes=inside, no=following)
            at = following
        leaves.append(at)
    for leaf in leaves:
        nodes[leaf] = om.Node(weights={0: float(np.float32(rng.normal()))})
    return nodes


@pytest.mark.parametrize("seed", range(20))
def test_sets_written_as_nodes_that_share_what_follows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = regressor(tree_of_sets(rng, 1 + seed % 5))
    description = read_onnx_trees(made.SerializeToString())
    with np.errstate(over="ignore"):
        x = around_thresholds(description.trees, 200, seed).astype(np.float32)
    chosen = rng.random(x.shape) < 0.4
    x[chosen] = rng.integers(-4, 72, int(chosen.sum())) / 2
    np.testing.assert_array_equal(sums(description.trees, x).astype(np.float32), om.run(made, x)[0])


def leaf(value: float) -> Any:
    return om.Node(weights={0: value})


@pytest.mark.parametrize(
    "tree",
    [
        # Of another feature, another way of NaN, another comparison, the other side, and not in turn.
        [om.Node("EQ", 0, 1.0, yes=1, no=2), leaf(1.0), om.Node("EQ", 1, 2.0, yes=1, no=3), leaf(2.0)],
        [
            om.Node("EQ", 0, 1.0, track=1, yes=1, no=2),
            leaf(1.0),
            om.Node("EQ", 0, 2.0, yes=1, no=3),
            leaf(2.0),
        ],
        [om.Node("LEQ", 0, 1.0, yes=1, no=2), leaf(1.0), om.Node("LEQ", 0, 2.0, yes=1, no=3), leaf(2.0)],
        [om.Node("EQ", 0, 1.0, yes=1, no=2), leaf(1.0), om.Node("EQ", 0, 2.0, yes=3, no=1), leaf(2.0)],
        [om.Node("EQ", 0, 1.0, yes=1, no=1), leaf(1.0)],
        [
            om.Node("EQ", 0, 1.0, yes=1, no=2),
            leaf(1.0),
            om.Node("EQ", 0, 2.0, yes=3, no=4),
            leaf(2.0),
            om.Node("EQ", 0, 3.0, yes=1, no=5),
            leaf(3.0),
        ],
    ],
)
def test_other_nodes_that_share_what_follows(tree: list[Any]) -> None:
    with pytest.raises(ValueError, match="expected each node a child once, got 'node 1 twice or more'"):
        read_onnx_trees(regressor(tree).SerializeToString())


def test_sets_in_a_circle() -> None:
    tree = [
        om.Node("LEQ", 1, 0.0, yes=1, no=2),
        leaf(1.0),
        leaf(2.0),
        om.Node("EQ", 0, 1.0, yes=5, no=4),
        om.Node("EQ", 0, 2.0, yes=5, no=6),
        om.Node("EQ", 2, 2.0, yes=3, no=7),
        leaf(3.0),
        leaf(4.0),
    ]
    with pytest.raises(ValueError, match="expected roots that lead to all nodes"):
        read_onnx_trees(regressor(tree).SerializeToString())


def exponential(factor: Any, targets: int = 1) -> Any:
    tree = [om.Node("LEQ", 0, 0.5, yes=1, no=2), *(leaf(weight) for weight in (1.5, -2.0))]
    if targets > 1:
        for node in tree[1:]:
            node.weights = dict.fromkeys(range(targets), 0.5)
    node = onnx.helper.make_node
    return om.model(
        "TreeEnsembleRegressor",
        1,
        "float",
        n_targets=targets,
        after=(node("Neg", ["scores"], ["n"]), node("Exp", ["n"], ["e"]), node("Mul", ["e", "c"], ["y"])),
        outputs=(("y", "float"),),
        initializers=(onnx.numpy_helper.from_array(np.array(factor, np.float32), "c"),),
        base_values=[0.25] * targets,
        **om.attributes([tree], "target", "float"),
    )


@pytest.mark.parametrize("factor", [1.0, [152.13], [[0.125]]])
def test_exponentials_times_a_number(factor: Any) -> None:
    made = exponential(factor)
    description = read_onnx_trees(made.SerializeToString())
    x = np.array([[0], [1], [np.nan]], np.float32)
    answers = linked(description.link, sums(description.trees, x), description.trees.num_trees)
    np.testing.assert_allclose(answers, om.run(made, x)[0], rtol=1e-6)


def test_other_numbers_that_exponentials_are_multiplied_by() -> None:
    for factor in (0.0, -1.0, np.inf, np.nan, [2.0, 3.0]):
        with pytest.raises(ValueError, match="got 'Mul'"):
            read_onnx_trees(exponential(factor).SerializeToString())
    with pytest.raises(ValueError, match="one target, got 2"):
        read_onnx_trees(exponential(3.0, 2).SerializeToString())


def models() -> dict[str, tuple[str, dict[str, Any], str]]:
    few: dict[str, Any] = {"n_estimators": 12, "n_jobs": 1}
    gbm = few | {"verbose": -1, "num_leaves": 15}
    return {
        "XGBRegressor": ("xgboost", few | {"max_depth": 4}, "diabetes"),
        "XGBRegressor poisson": ("xgboost", few | {"objective": "count:poisson"}, "diabetes"),
        "XGBRegressor gamma": ("xgboost", few | {"objective": "reg:gamma", "max_depth": 3}, "diabetes"),
        "XGBClassifier": ("xgboost", few | {"max_depth": 4}, "breast_cancer"),
        "XGBClassifier wine": ("xgboost", few | {"max_depth": 4}, "wine"),
        "XGBRFClassifier": ("xgboost", few | {"max_depth": 4}, "wine"),
        "LGBMRegressor": ("lightgbm", gbm, "diabetes"),
        "LGBMRegressor tweedie": ("lightgbm", gbm | {"objective": "tweedie"}, "diabetes"),
        "LGBMRegressor rf": (
            "lightgbm",
            gbm | {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
            "diabetes",
        ),
        "LGBMClassifier": ("lightgbm", gbm, "breast_cancer"),
        "LGBMClassifier wine": ("lightgbm", gbm, "wine"),
        "LGBMClassifier ova": ("lightgbm", gbm | {"objective": "multiclassova"}, "wine"),
    }


def exported(model: Any, columns: int, **options: Any) -> Any:
    tools = pytest.importorskip("onnxmltools")
    types = importlib.import_module("onnxmltools.convert.common.data_types")
    convert = tools.convert_xgboost if "XGB" in type(model).__name__ else tools.convert_lightgbm
    kinds = [("input", types.FloatTensorType([None, columns]))]
    return convert(model, initial_types=kinds, target_opset=15, **options)


def assert_same(made: Any, x: Array, folder: Path) -> None:
    """Compare with onnxruntime: values to the bit where nothing follows their sums, and labels."""
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    model = load(folder / "model.onnx")
    assert isinstance(model, Forest)
    with np.errstate(over="ignore"):
        rows = np.concatenate([x[:150], around_thresholds(model._description.trees, 200, 0)])
        rows = rows.astype(np.float32)
    expected = om.run(made, rows)
    if model._description.classes is None:
        tolerance = {"rtol": 0} if model._description.link.name == "identity" else {"rtol": 1e-6}
        np.testing.assert_allclose(model.predict(rows), expected[0].reshape(-1), **tolerance)
        return
    np.testing.assert_array_equal(model.predict(rows), expected[0])
    wanted = expected[1]
    if isinstance(wanted, list):
        wanted = np.array([[row[key] for key in sorted(row)] for row in wanted])
    np.testing.assert_allclose(model.predict_proba(rows), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("name", models())
def test_exporters(name: str, missing: bool, tmp_path: Path) -> None:
    from sklearn import datasets

    library, options, data = models()[name]
    kind = getattr(pytest.importorskip(library), name.split()[0])
    x, y = getattr(datasets, f"load_{data}")(return_X_y=True)
    x = x.astype(np.float32)
    if missing:
        x[::5, 2] = x[::7, 0] = np.nan
    model = kind(**options).fit(x, y)
    assert_same(exported(model, x.shape[1]), x, tmp_path)
    if library == "lightgbm":
        assert_same(exported(model, x.shape[1], zipmap=False), x, tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_lightgbms_categories(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 4)).astype(np.float32)
    x[:, 1], x[:, 2] = rng.integers(0, 12, 500), rng.integers(0, 60, 500)
    x[::9, 2] = np.nan
    y = x[:, 0] + np.sin(x[:, 1] * 3) + np.cos(np.nan_to_num(x[:, 2]) * 7)
    options = {"min_child_samples": 5, "min_data_per_group": 5, "verbose": -1, "n_jobs": 1}
    model = lightgbm.LGBMRegressor(n_estimators=15, num_leaves=15, **options)
    model.fit(x, y, categorical_feature=[1, 2])
    made = exported(model, 4)
    rng.shuffle(x[:, 2])
    assert_same(made, x, tmp_path)
