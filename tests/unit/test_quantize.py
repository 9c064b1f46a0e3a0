"""Quantized models: plain sums of whole numbers, close to the model before, and an honest report."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pyscale import _core
from pyscale.infer import (
    Activation,
    Affine,
    Dense,
    DenseDescription,
    LayerNorm,
    Linear,
    QuantizedLinear,
    convert,
    files,
    load,
    quantize,
)
from pyscale.infer.compress.ranges import range_of, steps_of
from pyscale.infer.dense.layers import Layer

Array = NDArray[Any]
static = partial(quantize, activations="static")


@pytest.fixture(params=_core.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _core.isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def network(*widths: int, name: str = "relu") -> Dense:
    layers: list[Layer] = []
    for place, inputs in enumerate(widths[:-1]):
        weight = normal(widths[place + 1], inputs, seed=place) / np.sqrt(inputs)
        layers += [Linear(weight, normal(widths[place + 1], seed=place + 50)), Activation(name, 0.3)]
    return Dense(layers[:-1])


def plain(model: Dense, x: Array) -> Array:
    """Do in NumPy what a chain of quantized layers and relu does."""
    for layer in model.layers:
        if isinstance(layer, QuantizedLinear):
            assert layer.input_scale is not None
            step, zero = np.float32(layer.input_scale), layer.input_zero
            with np.errstate(over="ignore"):
                steps = np.rint(np.clip(x * (np.float32(1) / step), -zero, 255 - zero)).astype(np.int64)
            sums = (steps @ layer.weight.astype(np.int64).T).astype(np.float32)
            x = sums * (layer.scale * step) + layer.bias
        else:
            assert isinstance(layer, Activation)
            assert layer.name == "relu"
            x = np.where(x < 0, np.float32(0), x)
    return x


@pytest.mark.parametrize("widths", [(1, 1), (3, 17, 2), (64, 33, 16, 10), (700, 48, 65, 65, 5), (20, 96, 1)])
def test_sums_are_plain_sums_of_whole_numbers(isa: str, widths: tuple[int, ...]) -> None:
    x = normal(37, widths[0], seed=9)
    model, report = static(network(*widths), x)
    assert all(isinstance(layer, QuantizedLinear | Activation) for layer in model.layers)
    outside = x * np.float32(3)  # saturates
    outside[0] = [np.inf, -np.inf, 0, 1e38][: min(4, widths[0])] + [0.0] * (widths[0] - 4)
    for rows in (x, outside):
        wanted = plain(model, rows)
        assert model.raw(rows).tobytes() == wanted.tobytes()
        for batch in (1, 2, 5, 14, 30):
            parts = [model.raw(rows[i : i + batch]) for i in range(0, 37, batch)]
            assert np.concatenate(parts).tobytes() == wanted.tobytes()
    assert report.rows == 37


def test_same_bits_when_threads_divide_outputs(isa: str) -> None:
    x = normal(20, 1100, seed=9)
    model, _ = static(network(1100, 1536, 1536, 105, 7), x)
    one = model.raw(x, num_threads=1)
    for rows in (1, 3, 9, 20):
        for threads in (2, 5, 100):
            assert model.raw(x[:rows], num_threads=threads).tobytes() == one[:rows].tobytes()


@pytest.mark.parametrize("name", ["gelu", "tanh", "elu"])
def test_same_bits_in_any_batch_with_layers_of_all_kinds(isa: str, name: str) -> None:
    inner = network(20, 40, 33, name=name).layers
    layers: list[Layer] = [Affine(normal(20), normal(20, seed=1)), *inner, LayerNorm(normal(33), normal(33))]
    layers += [Linear(normal(70, 33)), Activation(name, 0.2), Linear(normal(70, 70)), Affine(*normal(2, 70))]
    layers += [Linear(normal(4, 70)), Activation("softmax")]
    x = normal(80, 20, seed=2)
    model, _ = static(Dense(layers), x, keep=[2])
    before = _core.isa()
    _core.set_isa(_core.available_isas()[-1])
    wanted = model.raw(x)
    _core.set_isa(before)
    for threads in (1, 2, 3):
        assert model.raw(x, num_threads=threads).tobytes() == wanted.tobytes()
    for batch in (1, 3, 8, 79):
        parts = [model.raw(x[i : i + batch]) for i in range(0, 80, batch)]
        assert np.concatenate(parts).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("zero", [0, 255])
def test_the_largest_sums_fit(isa: str, zero: int) -> None:
    inputs = 65536
    weight = np.full((1, inputs), 127, np.int8)
    model = Dense([QuantizedLinear(weight, np.ones(1, np.float32), np.zeros(1, np.float32), 1.0, zero)])
    x = np.full((1, inputs), 1000.0 if zero == 0 else -1000.0, np.float32)
    assert model.raw(x)[0, 0] == np.float32((255 if zero == 0 else -255) * 127 * inputs)


def test_nan_stays_in_its_row(isa: str) -> None:
    x = normal(20, 8)
    model, _ = static(network(8, 30, 20, 3), x)
    clean = model.raw(x)
    x[3, 2] = np.nan
    got = model.raw(x)
    assert (got[3].view(np.uint32) == 0x7FC00000).all()
    others = [row for row in range(20) if row != 3]
    assert got[others].tobytes() == clean[others].tobytes()


def test_what_is_out_of_range_counts_as_its_end() -> None:
    x = np.array([[-1.0], [2.0]], np.float32)
    model, _ = static(Dense([Linear(np.ones((1, 1)))]), x, percentile=100)
    far = model.raw(np.array([[2.0], [50.0], [np.inf], [-1.0], [-9.0], [-np.inf]], np.float32))[:, 0]
    assert len(set(far[:3])) == len(set(far[3:])) == 1
    assert far[[0, 3]] == pytest.approx([2, -1], abs=0.01)


@pytest.mark.parametrize("data", ["digits", "breast_cancer"])
def test_accuracy_on_real_data(data: str) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = getattr(datasets, f"load_{data}")(return_X_y=True)
    train = np.arange(len(y)) % 3 > 0
    library = make_pipeline(StandardScaler(), MLPClassifier((64, 32), tol=1e-2, random_state=0))
    library.fit(x[train], y[train])
    model = convert(library)
    exact = (model.predict(x[~train]) == y[~train]).mean()
    assert exact > 0.9
    ways: list[dict[str, Any]] = [{}, {"activations": "static"}, {"activations": "static", "percentile": 100}]
    for way in ways:
        smaller, _ = quantize(model, x[train], **way)
        assert (smaller.predict(x[~train]) == y[~train]).mean() >= exact - 0.0051, way
    report = static(model, x[~train], y=y[~train])[1]
    assert report.measure == "accuracy"
    assert report.score_before == exact
    assert report.score_after >= exact - 0.005
    assert 0 < report.mean_error < 0.01
    assert report.size_after < report.size_before / 2.5


def test_regression_and_agreement() -> None:
    x = normal(400, 12)
    model = network(12, 64, 1, name="tanh")
    y = model.raw(x)[:, 0] + normal(400, seed=3) / 10
    report = static(model, x, y=y)[1]
    assert report.measure == "R2"
    assert 0.9 < report.score_after < report.score_before + 0.01
    report = static(model, x)[1]
    assert report.measure == "agreement"
    assert report.score_before == 1
    assert 0.999 < report.score_after < 1
    many = network(12, 64, 5)
    assert static(many, x, y=many.raw(x).argmax(axis=1))[1].score_before == 1
    lowest = static(model, x, y=y, score=lambda y, predicted: -float(abs(y - predicted).max()))[1]
    assert lowest.measure == "score"
    assert lowest.score_before < 0


def test_outliers_do_not_take_the_steps_of_all_others() -> None:
    x = normal(2000, 16)
    x[7, 3] = 1e4
    usual = np.delete(x, 7, axis=0)
    model = network(16, 32, 3)
    off = [
        np.abs(static(model, x, percentile=percentile)[0].raw(usual) - model.raw(usual)).mean()
        for percentile in (99.9, 100)
    ]
    assert off[0] < off[1] / 20
    sparse = np.zeros((2000, 16), np.float32)
    sparse[5, 3] = 2  # as rare as an outlier, but all there is
    linear = Dense(model.layers[:1])
    few = static(linear, sparse)[0].raw(sparse[5:6])
    assert np.allclose(few, linear.raw(sparse[5:6]), atol=0.01)


@given(
    values=st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=50),
    percentile=st.floats(50, 100, exclude_min=True),
)
@settings(deadline=None, max_examples=60)
def test_ranges_hold_zero_and_steps_are_sound(values: list[float], percentile: float) -> None:
    array = np.array(values, np.float32)
    low, high = range_of(array, percentile)
    assert min(0, array.min()) <= low <= 0 <= high <= max(0, array.max())
    scale, zero = steps_of(low, high)
    assert 2.0**-100 <= scale <= 2.0**100
    assert np.float32(scale) == scale
    assert 0 <= zero <= 255
    # Both ends are a step away at most from what the bytes can say.
    assert -zero * scale - scale <= low
    assert high <= (255 - zero) * scale + scale


def test_constant_columns_and_one_row() -> None:
    for row in (np.zeros((1, 4)), np.full((1, 4), 7.0), np.full((3, 4), -1e-38), np.full((1, 4), 1e30)):
        x = row.astype(np.float32)
        model = Dense([Linear(normal(3, 4), normal(3, seed=1))])
        for percentile in (99.9, 100):
            smaller, report = static(model, x, percentile=percentile)
            # A step of the inputs and one of the weights, of the largest there are.
            assert np.allclose(smaller.raw(x), model.raw(x), rtol=0.02, atol=0.03 * np.abs(x).max() + 1e-6)
            assert report.rows == len(x)
    dead = Dense([Linear(np.zeros((3, 4)), np.arange(3.0))])
    assert static(dead, normal(5, 4))[0].raw(normal(5, 4)).tolist() == [[0, 1, 2]] * 5


def test_layers_that_stay() -> None:
    x = normal(200, 10)
    model = network(10, 20, 20, 4)
    kept, report = static(model, x, keep=[0, -1])
    linear = [layer for layer in kept.layers if not isinstance(layer, Activation)]
    assert [type(layer).__name__ for layer in linear] == ["Linear", "QuantizedLinear", "Linear"]
    assert "layers 0, 2 stay float32" in report.notes[0]
    assert "float32 and static int8" in repr(kept)
    # A layer whose inputs are far beyond a byte's steps: the one that a tolerance keeps.
    wide = np.concatenate([np.ones(10), np.full(10, 3e4)]).astype(np.float32)
    first, relu, second, *others = model.layers
    assert isinstance(first, Linear)
    assert isinstance(second, Linear)
    assert first.bias is not None
    wider = Linear(first.weight * wide[:, None], first.bias * wide)
    uneven = Dense([wider, relu, Linear(second.weight / wide, second.bias), *others])
    y = model.raw(x).argmax(axis=1)
    loose, before = static(uneven, x, y=y)
    assert before.score_after < 0.95
    tight, after = static(uneven, x, y=y, tolerance=0.02)
    assert after.score_after >= after.score_before - 0.02
    assert isinstance(tight.layers[2], Linear)
    assert not all(isinstance(layer, Linear | Activation) for layer in tight.layers)
    assert repr(loose) == "<pyscale.infer.Dense: 10-20-20-4, static int8, from pyscale>"


@pytest.mark.parametrize("activations", ["static", "dynamic"])
def test_saved_and_pickled(tmp_path: Path, activations: Any) -> None:
    labels = np.array(["a", "b", "c"])
    chain = (*network(37, 50, 3).layers, Activation("softmax"))
    model = Dense(DenseDescription(layers=chain, kind="multiclass", classes=labels, source="a test"))
    x = normal(64, 37)
    smaller, _ = quantize(model, x, activations=activations, keep=[1])
    smaller.save(tmp_path / "small")
    model.save(tmp_path / "large")
    for again in (load(tmp_path / "small"), pickle.loads(pickle.dumps(smaller))):
        assert again.predict_proba(x).tobytes() == smaller.predict_proba(x).tobytes()
        assert (again.predict(x) == smaller.predict(x)).all()
        assert repr(again) == repr(smaller)
    assert (tmp_path / "small").stat().st_size < (tmp_path / "large").stat().st_size / 1.5


def test_bfloat16_takes_half_the_file(tmp_path: Path) -> None:
    model, x = network(64, 256, 10), normal(50, 64)
    half, report = quantize(model, x, weights="bfloat16")
    assert report.size_after < 0.52 * report.size_before
    half.save(tmp_path / "half")
    assert load(tmp_path / "half").raw(x).tobytes() == half.raw(x).tobytes()
    assert 0 < report.max_error < 0.1


def test_dynamic_is_what_dense_makes() -> None:
    model, x = network(64, 256, 10), normal(50, 64)
    dynamic, _ = quantize(model, x)
    assert dynamic.raw(x).tobytes() == Dense(model.layers, weights="int8").raw(x).tobytes()


def test_report_prints_a_table() -> None:
    text = str(static(network(8, 16, 3), normal(100, 8))[1])
    for word in (
        "before",
        "after",
        "bytes",
        "rows/s",
        "agreement",
        "largest change",
        "100 rows",
        "static int8",
    ):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": np.ones((3, 7))}, "rows: expected rows x 8"),
        ({"rows": np.ones((0, 8))}, "rows: expected one or more"),
        ({"rows": np.full((2, 8), np.nan)}, "rows: expected finite"),
        ({"weights": "int4"}, "weights: expected one of int8, bfloat16"),
        ({"activations": "lazy"}, "activations: expected"),
        ({"percentile": 50}, "percentile: expected more than 50"),
        ({"keep": [2]}, "keep: expected numbers of 2"),
        ({"tolerance": -1}, "tolerance: expected 0 or more"),
        ({"rows": np.full((2, 8), 1e300)}, r"rows: expected finite inputs of layers\[0\]"),
        ({"weights": "bfloat16", "keep": [0]}, "of bfloat16"),
        ({"y": np.ones(3)}, "y: expected 20"),
        ({"y": np.ones((20, 4))}, r"y: expected shape \(20, 3\)"),
        ({"y": np.full((20, 3), "1 m")}, "y: expected numbers, got <U3"),
        ({"y": np.full((20, 3), np.nan)}, "y: expected finite numbers"),
        ({"score": lambda y, predicted: 0.0}, "score: expected y"),
    ],
)
def test_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        static(network(8, 16, 3), **{"rows": normal(20, 8), **arguments})


def test_refuses_other_models() -> None:
    x = normal(20, 8)
    smaller, _ = static(network(8, 16, 3), x)
    with pytest.raises(ValueError, match="quantized already"):
        static(smaller, x)
    with pytest.raises(TypeError, match="model: expected a Dense, got str"):
        static("model", x)  # type: ignore[arg-type]
    strange: tuple[tuple[Any, str], ...] = (
        ([0.5], "a whole number, got 0.5"),
        (0, "numbers of linear layers, got 0"),
    )
    for keep, message in strange:
        with pytest.raises(TypeError, match=f"keep: expected {message}"):
            static(network(8, 16, 3), x, keep=keep)
    large = Dense([Linear(np.full((4, 8), 1e30)), Linear(np.full((2, 4), 1e30)), Linear(np.ones((1, 2)))])
    both: tuple[Literal["static", "dynamic"], ...] = ("static", "dynamic")
    for ways in both:
        with pytest.raises(ValueError, match=r"rows: expected finite inputs of layers\[2\]"):
            quantize(large, np.abs(x), activations=ways)
    with pytest.raises(ValueError, match=r"layers\[0\].weight: expected finite weights"):
        static(Dense([Linear(np.full((1, 8), np.inf)), Linear(np.ones((1, 1)))]), np.zeros((2, 8)))
    with pytest.raises(ValueError, match="X: expected rows x 8"):
        smaller.predict(normal(3, 9))


def test_layers_that_cannot_be_int8_can_stay() -> None:
    wide = Dense([Linear(np.ones((2, 65537))), Linear(normal(3, 2))])
    x = normal(2, 65537)
    for make in (lambda: quantize(wide, x), lambda: Dense(wide.layers, weights="int8")):
        with pytest.raises(ValueError, match=r"layers\[0\].weight: expected at most 65536 inputs for int8"):
            make()
    kept, report = quantize(wide, x, keep=[0])
    assert [type(layer).__name__ for layer in kept.layers] == ["Linear", "QuantizedLinear"]
    assert report.notes == ("dynamic int8; linear layers 0 stay float32",)
    weight = np.ones((1, 65537), np.int8)
    large = QuantizedLinear(weight, np.ones(1, np.float32), np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="expected outputs x 1 to 65536 inputs of int8"):
        Dense([Affine(np.ones(65537), np.ones(65537)), large])


def test_layers_in_any_layout() -> None:
    model, x = static(network(8, 16, 4), normal(50, 8))[0], normal(50, 8)
    wanted = model.raw(x).tobytes()
    strided = [
        dataclasses.replace(layer, weight=np.asfortranarray(layer.weight), scale=layer.scale.repeat(2)[::2])
        if isinstance(layer, QuantizedLinear)
        else layer
        for layer in model.layers
    ]
    assert Dense(strided).raw(x).tobytes() == wanted


def layer(**changes: Any) -> QuantizedLinear:
    one = QuantizedLinear(np.ones((3, 2), np.int8), np.ones(3, np.float32), np.zeros(3, np.float32), 0.1, 10)
    return dataclasses.replace(one, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": np.ones((3, 2))}, "weight: expected int8"),
        ({"weight": np.ones(3, np.int8)}, "weight: expected int8, 2 axes"),
        ({"weight": np.ones((3, 65537), np.int8)}, "65536 inputs of int8"),
        ({"scale": np.ones(2, np.float32)}, "scale: expected 3"),
        ({"scale": np.full(3, np.nan, np.float32)}, "scale: expected finite"),
        ({"bias": np.ones(3)}, "bias: expected 3 of float32"),
        ({"input_scale": 0.0}, "input_scale: expected"),
        ({"input_scale": float("nan")}, "input_scale: expected"),
        ({"input_zero": 256}, "input_zero: expected a whole number from 0 to 255"),
        ({"input_zero": 3.5}, "input_zero: expected"),
    ],
)
def test_layers_that_make_no_sense(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dense([layer(**changes)])
    Dense([layer()]).save(tmp_path / "model")
    header, arrays = files.read(tmp_path / "model")
    for name, value in changes.items():
        if isinstance(value, np.ndarray):
            arrays[f"0.{name}"] = value
        else:
            header["layers"][0][name] = value
    files.write(tmp_path / "other", header, arrays)
    with pytest.raises(ValueError, match=r"layers\[0\]"):
        load(tmp_path / "other")


def test_scores_of_classes() -> None:
    weight = np.random.default_rng(0).normal(size=(3, 4))
    layers = (Linear(weight),)
    model = Dense(DenseDescription(layers=layers, kind="scores", classes=np.array(["a", "b", "c"])))
    x = np.random.default_rng(1).normal(size=(300, 4)).astype(np.float32)
    smaller, _ = quantize(model, x)
    assert (smaller.predict(x) == model.predict(x)).mean() > 0.95


@pytest.mark.parametrize("outputs", [1, 3])
def test_scores_without_labels_are_of_classes_too(outputs: int) -> None:
    model = Dense(DenseDescription(layers=(Linear(normal(outputs, 4)),), kind="scores"))
    x = normal(300, 4, seed=1)
    found = model.raw(x)
    y = found.argmax(axis=1) if outputs > 1 else (found[:, 0] > 0).astype(int)
    for report in (quantize(model, x)[1], quantize(model, x, y=y)[1]):
        assert report.score_before == 1
        assert 0.9 < report.score_after <= 1


def test_a_table_has_the_columns_of_the_model() -> None:
    pandas = pytest.importorskip("pandas")
    model = Dense(DenseDescription(layers=network(3, 4, 2).layers, feature_names=("a", "b", "c")))
    table = pandas.DataFrame(normal(20, 3), columns=["a", "b", "c"])
    assert static(model, table)[0].feature_names == ("a", "b", "c")
    with pytest.raises(ValueError, match="rows: expected column 0 to be 'a', got 'c'"):
        static(model, table[["c", "b", "a"]])


def test_labels_of_another_kind() -> None:
    chain = (*network(4, 3).layers, Activation("softmax"))
    x = normal(3, 4)
    named = Dense(DenseDescription(layers=chain, kind="multiclass", classes=np.array(["a", "b", "c"])))
    assert quantize(named, x, y=named.predict(x).tolist())[1].score_before == 1
    with pytest.raises(ValueError, match=r"y: expected labels such as '[abc]', got 0"):
        quantize(named, x, y=[0, 1, 2])
    # As many rows as classes: compared with the labels of all of them otherwise.
    with pytest.raises(ValueError, match=r"y: expected shape \(3,\), got \(3, 3\)"):
        quantize(named, x, y=np.eye(3, dtype=int))
    counted = Dense(DenseDescription(layers=chain, kind="multiclass"))
    with pytest.raises(ValueError, match=r"y: expected labels such as [012], got 'a'"):
        quantize(counted, x, y=["a", "b", "c"])


def test_a_score_that_is_no_number_is_not_good_enough() -> None:
    model, x = network(8, 16, 3), normal(20, 8)
    smaller, _ = quantize(model, x, y=np.ones(20), tolerance=0.1, score=lambda y, predicted: float("nan"))
    assert all(isinstance(layer, Linear | Activation) for layer in smaller.layers)


def test_numbers_of_numpy_are_saved(tmp_path: Path) -> None:
    one = layer(input_scale=np.float32(0.1), input_zero=np.int64(3))
    Dense([one]).save(tmp_path / "model")
    x = normal(5, 2)
    assert load(tmp_path / "model").raw(x).tobytes() == Dense([one]).raw(x).tobytes()
    with pytest.raises(ValueError, match="input_scale: expected"):
        Dense([layer(input_scale="0.1")])
