"""Scalers and imputers before ONNX trees: each row goes where onnxruntime sends it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from forest_inputs import around_thresholds
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pyscale.infer import Forest
from pyscale.infer.importers.onnx_trees import read_onnx_trees

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx_models as om  # noqa: E402

node = onnx.helper.make_node


def behind(
    steps: list[tuple[Any, ...]], constants: dict[str, NDArray[Any]], seed: int, dtype: str = "float"
) -> Any:
    """A model of random trees behind nodes, each of which is (operator, constant or attributes)."""
    rng, features = np.random.default_rng(seed), 3
    made, last = [], "X"
    for place, (operator, more) in enumerate(steps):
        name = f"t{place}"
        if isinstance(more, dict):
            domain = "" if operator in ("Cast", "Identity") else "ai.onnx.ml"
            made.append(node(operator, [last], [name], domain=domain, **more))
        else:
            made.append(node(operator, [constant.replace("$", last) for constant in more], [name]))
        last = name
    trees = [
        om.random_tree(
            rng, features=features, targets=[0], inner=6, modes=("LEQ", "LT", "GTE", "GT", "EQ"), dtype=dtype
        )
        for _ in range(4)
    ]
    return om.model(
        "TreeEnsembleRegressor",
        features,
        dtype,
        before=tuple(made),
        feed=last,
        n_targets=1,
        initializers=tuple(onnx.numpy_helper.from_array(array, name) for name, array in constants.items()),
        **om.attributes(trees, "target", dtype),
    )


def same(made: Any, dtype: str = "float") -> None:
    kind = om.TYPES[dtype]
    model = Forest(read_onnx_trees(made.SerializeToString()))
    with np.errstate(over="ignore"):
        x = around_thresholds(model._description.trees, 150, 0).astype(kind)
    rng = np.random.default_rng(1)
    largest, least = np.finfo(kind).max, np.finfo(kind).smallest_subnormal
    ends = [np.nan, np.inf, -np.inf, 0.0, -0.0, least, -least, 1e-42, -1e-42, largest, -largest]
    x = np.concatenate([x, rng.choice(ends, (60, x.shape[1])), rng.normal(0, 20, (60, x.shape[1]))])
    x = x.astype(kind)
    np.testing.assert_array_equal(model.predict(x).astype(np.float32), om.run(made, x)[0][:, 0])


numbers = st.floats(-100, 100, width=32).filter(lambda value: abs(value) > 1e-3)


@pytest.mark.parametrize("dtype", ["float", "double"])
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), values=st.lists(numbers, min_size=12, max_size=12))
def test_any_scale(dtype: str, seed: int, values: list[float]) -> None:
    a, b, c, d = np.array(values, om.TYPES[dtype]).reshape(4, 3)
    steps = [
        ("Scaler", {"offset": a.tolist(), "scale": b.tolist()}),
        ("Mul", ("m", "$")),
        ("Add", ("$", "a")),
        ("Div", ("$", "m")),
        ("Sub", ("$", "a")),
    ]
    first = int(dtype == "double")  # Scaler gives floats
    chosen = [steps[i] for i in np.random.default_rng(seed).integers(first, 5, 3)]
    same(behind(chosen, {"m": c, "a": d}, seed, dtype), dtype)


@pytest.mark.parametrize("seed", range(3))
def test_imputed(seed: int) -> None:
    imputer = ("Imputer", {"imputed_value_floats": [0.5, -1.0, 7.0], "replaced_value_float": float("nan")})
    scaler = ("Scaler", {"offset": [1.0, 0.0, -3.0], "scale": [2.0, -0.5, 1.0]})
    same(behind([imputer], {}, seed))
    same(behind([imputer, scaler], {}, seed))
    same(behind([scaler, imputer], {}, seed))


@pytest.mark.parametrize("scale", [1e-44, 3e38, -3e38])
def test_what_overflows_or_vanishes(scale: float) -> None:
    same(behind([("Scaler", {"offset": [3e38], "scale": [scale]})], {}, 0))


def test_doubles_are_rounded_first() -> None:
    steps = [("Cast", {"to": 1}), ("Scaler", {"offset": [0.1], "scale": [3.0]})]
    made = behind(steps, {}, 0)
    made.graph.input[0].type.tensor_type.elem_type = om.ELEMENTS["double"]
    model = Forest(read_onnx_trees(made.SerializeToString()))
    x = around_thresholds(model._description.trees, 200, 0).astype(np.float64)
    x = np.concatenate([x, np.nextafter(x, np.inf), np.nextafter(x, -np.inf)])
    np.testing.assert_array_equal(model.predict(x).astype(np.float32), om.run(made, x)[0][:, 0])


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([("Scaler", {"offset": [0.0], "scale": [0.0]})], "another number than 0"),
        (
            [("Scaler", {"offset": [0.0] * 4, "scale": [1.0] * 4})],
            "Scaler: expected numbers of 3 columns, got 4",
        ),
        ([("Scaler", {"offset": [0.0, 1.0], "scale": [1.0] * 3})], "one or one of each column"),
        ([("Scaler", {"offset": [float("inf")], "scale": [1.0]})], "finite numbers"),
        ([("Sub", ("m", "$"))], "the values, and then the constant"),
        (
            [("Imputer", {"imputed_value_floats": [1.0], "replaced_value_float": -1.0})],
            "expected NaN, got -1",
        ),
        ([("Scaler", {"offset": [0.0], "scale": [1.0]}), ("Cast", {"to": 11})], "stay float once they"),
    ],
)
def test_refused(steps: list[Any], message: str) -> None:
    made = behind(steps, {"m": np.ones(3, np.float32)}, 0)
    with pytest.raises(ValueError, match=message):
        read_onnx_trees(made.SerializeToString())
