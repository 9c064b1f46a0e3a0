"""Chains without small weights and idle units: the same answers where they were idle, close ones else."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pyscale.infer import Activation, Affine, Dense, Forest, LayerNorm, Linear, convert, prune, quantize
from pyscale.infer.dense.layers import Layer

Array = NDArray[Any]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def widths(model: Dense) -> list[int]:
    return [len(layer.weight) for layer in model.layers if isinstance(layer, Linear)]


@given(seed=st.integers(0, 10**6), name=st.sampled_from(["relu", "gelu", "sigmoid", "leaky_relu"]))
@settings(deadline=None, max_examples=25)
def test_dead_units_go_and_answers_stay(seed: int, name: str) -> None:
    random = np.random.default_rng(seed)
    sizes = [7, *random.integers(1, 20, 2), 3]
    layers: list[Layer] = []
    for inputs, outputs in itertools.pairwise(sizes):
        weight = normal(outputs, inputs, seed=int(random.integers(1000)))
        weight[random.random(outputs) < 0.3] = 0
        weight[:, random.random(inputs) < 0.3] = 0
        layers += [
            Linear(weight, normal(outputs, seed=seed % 97)),
            Activation(name, 0.1),
            Affine(random.normal(size=outputs), random.normal(size=outputs)),
        ]
    model = Dense(layers)
    x = normal(50, 7, seed=1)
    smaller, report = prune(model, x, sparsity=0)
    assert np.allclose(smaller.raw(x), model.raw(x), rtol=1e-4, atol=1e-4)
    assert report.max_error < 1e-3
    found = [layer for layer in smaller.layers if isinstance(layer, Linear)]
    for made, taken in itertools.pairwise(found):
        alive = (made.weight != 0).any(axis=1) & (taken.weight != 0).any(axis=0)
        assert alive.all() or len(made.weight) == 1


def test_units_that_nobody_takes_change_no_bit() -> None:
    model = Dense(
        [Linear(normal(9, 4), normal(9)), Activation("tanh"), Linear(normal(2, 9) * (np.arange(9) > 3))]
    )
    x = normal(30, 4, seed=3)
    smaller, report = prune(model, x, sparsity=0)
    assert widths(smaller) == [5, 2]
    assert smaller.raw(x).tobytes() == model.raw(x).tobytes()
    assert report.size_after < report.size_before
    assert report.notes == ("4-9-2 became 4-5-2",)
    assert report.score_after == 1


def test_the_smallest_weights_become_zero() -> None:
    small, large = normal(6, 5) / 100, normal(3, 6, seed=1) + 10
    model = Dense([Linear(small, np.ones(6)), Linear(large)])
    x = normal(20, 5)
    one, report = prune(model, x, sparsity=0.2)  # of 48: 9, of the 30 small ones
    first = one.layers[0]
    assert isinstance(first, Linear)
    gone = np.sort(np.abs(small).reshape(-1))[8]
    assert (first.weight == np.where(np.abs(small) <= gone, 0, small)).all()
    assert "saves neither time nor space" in report.notes[1]
    each, _ = prune(model, x, sparsity=0.5, per_layer=True)
    assert [int((layer.weight == 0).sum()) for layer in each.layers if isinstance(layer, Linear)] == [15, 9]
    # All of the first layer is 0 then: one unit is left, that always says the same.
    assert widths(prune(model, x, sparsity=0.7)[0]) == [1, 3]


def test_weak_units_on_real_data() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.neural_network import MLPClassifier

    x, y = datasets.load_digits(return_X_y=True)
    x = x / 16
    train = np.arange(len(y)) % 3 > 0
    library = MLPClassifier((128, 64), tol=1e-2, random_state=0).fit(x[train], y[train])
    model = convert(library)
    smaller, report = prune(model, x[train], units=0.4)
    assert widths(smaller) == [77, 39, 10]
    exact = (model.predict(x[~train]) == y[~train]).mean()
    assert (smaller.predict(x[~train]) == y[~train]).mean() > exact - 0.02
    assert report.score_after > 0.98
    assert report.size_after < 0.55 * report.size_before
    both, _ = quantize(smaller, x[train])
    assert (both.predict(x[~train]) == y[~train]).mean() > exact - 0.02


def test_units_that_vary_little_leave_little_behind() -> None:
    weight = normal(6, 4)
    weight[2] *= 1e-6
    model = Dense([Linear(weight, np.full(6, 2.0)), Activation("relu"), Linear(normal(2, 6, seed=1))])
    x = normal(200, 4, seed=2)
    smaller, report = prune(model, x, units=0.2)
    assert widths(smaller) == [5, 2]
    assert report.max_error < 1e-4


def test_units_that_say_the_same_replace_each_other() -> None:
    weight, taken = normal(8, 4), normal(3, 8, seed=1)
    weight[4:] = weight[:4]
    model = Dense([Linear(weight), Activation("tanh"), Linear(taken, np.ones(3))])
    x = normal(500, 4, seed=2)
    smaller, report = prune(model, x, units=0.13)  # one of eight
    assert widths(smaller) == [7, 3]
    assert report.max_error < 0.03
    one_row = prune(model, x[:1], units=0.5)[0]  # nothing varies: all is in the bias
    assert np.allclose(one_row.raw(x[:1]), model.raw(x[:1]), atol=1e-5)


def test_units_before_what_mixes_them_stay() -> None:
    first, last = Linear(normal(6, 4)), Linear(normal(3, 6))
    mixing: list[Layer] = [LayerNorm(np.ones(6), np.zeros(6)), Activation("softmax")]
    for between in mixing:
        model = Dense([first, between, last])
        assert widths(prune(model, normal(9, 4), units=0.5)[0]) == [6, 3]
    assert widths(prune(Dense([first]), normal(9, 4), units=0.9)[0]) == [6]
    assert prune(Dense([Affine(np.ones(2), np.ones(2))]), normal(3, 2), sparsity=0.5)[1].max_error == 0


def test_refuses() -> None:
    model, x = Dense([Linear(normal(6, 4)), Linear(normal(3, 6))]), normal(9, 4)
    wrong: list[dict[str, Any]] = [{}, {"tolerance": 1}, {"units": 0.5, "tolerance": 1}]
    for arguments in wrong:
        with pytest.raises(ValueError, match="sparsity, units: expected one or both"):
            prune(model, x, **arguments)
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="units: expected a share"):
            prune(model, x, units=share)
    with pytest.raises(ValueError, match="quantized already"):
        prune(quantize(model, x)[0], x, units=0.5)
    with pytest.raises(ValueError, match="rows: expected rows x 4"):
        prune(model, normal(9, 5), units=0.5)
    large = Dense([Linear(np.full((6, 4), 3e38)), Activation("tanh"), Linear(normal(3, 6))])
    prune(large, x, units=0.5)
    with pytest.raises(ValueError, match=r"rows: expected finite inputs of layers\[1\]"):
        prune(Dense([large.layers[0], large.layers[2]]), np.abs(x), units=0.5)
    with pytest.raises(TypeError, match="model: expected a Dense, got str"):
        prune("model", x, units=0.5)  # type: ignore[type-var]


def test_a_forest_takes_a_tolerance() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.ensemble import RandomForestRegressor

    x, y = datasets.load_diabetes(return_X_y=True)
    forest = convert(RandomForestRegressor(5, random_state=0).fit(x, y))
    assert isinstance(forest, Forest)
    wrong: list[dict[str, Any]] = [{"units": 0.5}, {"tolerance": 1, "sparsity": 0.5}, {}]
    for arguments in wrong:
        with pytest.raises(ValueError, match="for a forest"):
            prune(forest, x, **arguments)
    _, report = prune(forest, x, y=y, tolerance=4.0)
    assert report.measure == "R2"
    assert report.size_after < report.size_before
    assert 0.8 < report.score_after < report.score_before + 0.01
