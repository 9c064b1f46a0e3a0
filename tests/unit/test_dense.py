"""Dense models: right within the bounds of float32, and the same bits however they are called."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dense_reference as reference
import numpy as np
import pytest
from numpy.typing import NDArray

from pyscale import _core
from pyscale.infer import (
    ACTIVATIONS,
    Activation,
    Affine,
    BatchNorm,
    Dense,
    DenseDescription,
    LayerNorm,
    Linear,
    load,
)
from pyscale.infer.dense.layers import Layer

Array = NDArray[Any]
FUNCTIONS = [name for name in ACTIVATIONS if name not in ("identity", "softmax")]


@pytest.fixture(params=_core.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _core.isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def network(*widths: int, name: str = "relu", seed: int = 0) -> list[Layer]:
    layers: list[Layer] = []
    for place, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        weight = normal(outputs, inputs, seed=seed + place) / np.sqrt(inputs)
        layers += [Linear(weight, normal(outputs, seed=-seed - place & 0xFFFF)), Activation(name, 0.3)]
    return layers[:-1]


def all_layers() -> list[Layer]:
    scale, shift = normal(37, seed=2), normal(37, seed=3)
    return [
        Affine(scale, shift),
        *network(37, 70, 33, name="gelu"),
        BatchNorm(normal(33, seed=4), np.abs(normal(33, seed=5)), normal(33, seed=6), normal(33, seed=7)),
        Activation("elu", 0.7),
        LayerNorm(normal(33, seed=8), normal(33, seed=9)),
        Activation("leaky_relu", 0.1),
        Affine(normal(33, seed=10), normal(33, seed=11)),
        Linear(normal(12, 33, seed=12)),
        Activation("softmax"),
    ]


def bits(array: Array) -> bytes:
    return array.tobytes()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_rounded_once(name: str) -> None:
    # A float32 of each 64th pattern of bits is dense enough to see a wrong piece of a polynomial.
    pattern = np.arange(0, 0x7F800000, 6421, dtype=np.uint32)
    x = np.concatenate([pattern, pattern | 0x80000000]).astype(np.uint32).view(np.float32)
    got = x.copy()
    _core.apply_function(name, 0.3, got)
    with np.errstate(over="ignore", under="ignore"):
        wanted = reference.function(name, 0.3, x.astype(np.float64))
        unit = np.maximum(np.spacing(np.abs(wanted).astype(np.float32)).astype(np.float64), 2.0**-149)
        off = np.abs(got.astype(np.float64) - wanted) / unit
    finite = np.abs(wanted) < 3.4e38
    assert off[finite].max() < 0.51
    assert (got[~finite] == wanted[~finite].astype(np.float32)).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values(name: str) -> None:
    x = np.array([0.0, np.inf, -np.inf, np.nan], np.float32)
    _core.apply_function(name, 0.3, x)
    infinite = {"tanh": (1, -1), "sigmoid": (1, 0), "leaky_relu": (np.inf, -np.inf), "elu": (np.inf, -0.3)}
    assert x[0] == (0.5 if name == "sigmoid" else 0)
    assert x[1:3].tolist() == np.array(infinite.get(name, (np.inf, 0)), np.float32).tolist()
    assert np.isnan(x[3])


@pytest.mark.parametrize("widths", [(1, 1), (3, 17, 2), (64, 128, 10), (700, 33, 65), (16, 513, 16)])
@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_beside_float64(isa: str, widths: tuple[int, ...], name: str) -> None:
    model = Dense(network(*widths, name=name))
    x = normal(23, widths[0], seed=5)
    wanted, error = reference.predict(model, x)
    got = model.predict(x)
    assert got.dtype == np.float32
    assert got.shape == wanted.shape
    assert (np.abs(got - wanted) <= error).all()


def test_all_layers_beside_float64(isa: str) -> None:
    model = Dense(all_layers())
    x = normal(19, 37, seed=1).astype(np.float64) * 1.1
    wanted, error = reference.predict(model, x)
    off = np.abs(model.predict(x) - wanted)
    assert (off <= error).all()
    assert off.max() < 1e-5


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_same_bits_in_any_batch(isa: str, weights: Any) -> None:
    model = Dense(all_layers(), weights=weights)
    x = normal(70, 37, seed=1)
    before = _core.isa()
    _core.set_isa(_core.available_isas()[-1])
    whole = model.predict(x)
    _core.set_isa(before)
    for batch in range(1, 71):
        parts = [model.predict(x[i : i + batch]) for i in range(0, 70, batch)]
        assert bits(np.concatenate(parts)) == bits(whole), batch


def test_same_bits_with_threads_and_tiles(isa: str) -> None:
    model = Dense(network(40, 300, 300, 20))
    rows = 700 if isa != "baseline" else 150
    x = normal(rows, 40, seed=1)
    one = model.predict(x, num_threads=1)
    for threads in (2, 3, 8):
        assert bits(model.predict(x, num_threads=threads)) == bits(one)
    assert bits(np.concatenate([model.predict(x[:99]), model.predict(x[99:])])) == bits(one)


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_same_bits_when_threads_divide_outputs(isa: str, weights: Any) -> None:
    """Few rows of layers worth a team: 48 whole panels, then 3 and a narrow one, then one alone."""
    layers = network(1100, 1536, 1536, 105, 7)
    model = Dense([*layers, Activation("gelu"), Activation("softmax")], weights=weights)
    x = normal(30, 1100, seed=1)
    one = model.predict(x, num_threads=1)
    for rows in (1, 2, 5, 9, 14, 15, 30):
        for threads in (2, 3, 5, 100):
            assert bits(model.predict(x[:rows], num_threads=threads)) == bits(one[:rows]), (rows, threads)


def test_bfloat16_is_the_model_of_rounded_weights() -> None:
    layers = network(37, 50, 45, 20)
    rounded: list[Layer] = []
    for layer in layers:
        if isinstance(layer, Linear):
            word = layer.weight.astype(np.float32).view(np.uint32).astype(np.uint64)
            word = ((word + 0x7FFF + (word >> 16 & 1)) & 0xFFFF0000).astype(np.uint32)
            layer = Linear(word.view(np.float32), layer.bias)
        rounded.append(layer)
    x = normal(29, 37)
    half = Dense(layers, weights="bfloat16")
    assert bits(half.predict(x)) == bits(Dense(rounded).predict(x))
    assert not np.array_equal(half.predict(x), Dense(layers).predict(x))


def int8_linear(weight: Array, bias: Array, x: Array) -> Array:
    """Do the same in NumPy."""

    def levels(rows: Array) -> tuple[Array, Array]:
        largest = np.abs(rows).max(axis=1, keepdims=True)
        return largest, largest / np.float32(127)

    largest, scales = levels(weight)
    weights = np.rint(weight.astype(np.float64) * 127 / largest).astype(np.int64)
    largest, row_scales = levels(x)
    inputs = np.rint(x * (np.float32(127) / largest)).astype(np.int64)
    sums = (inputs @ weights.T).astype(np.float32)
    return np.asarray(sums * (scales.T * row_scales) + bias)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (7, 20), (64, 33), (1030, 50), (37, 64)])
def test_int8_is_exact_in_between(isa: str, inputs: int, outputs: int) -> None:
    weight, bias = normal(outputs, inputs), normal(outputs, seed=1)
    x = normal(33, inputs, seed=2)
    model = Dense([Linear(weight, bias)], weights="int8")
    assert bits(model.predict(x)) == bits(int8_linear(weight, bias, x))


def test_int8_edges(isa: str) -> None:
    model = Dense([Linear(np.ones((17, 3)), np.arange(17.0))], weights="int8")
    x = np.array([[0, 0, 0], [np.nan, 1, 1], [1, 1, -np.inf], [1e-42, 0, 0], [3e38, 0, 0]], np.float32)
    got = model.predict(x)
    assert (got[[0, 3]] == np.arange(17)).all()
    assert (got[[1, 2]].view(np.uint32) == 0x7FC00000).all()
    assert np.allclose(got[4], 3e38)
    largest = Dense([Linear(np.full((1, 65536), 5.0))], weights="int8")
    assert np.allclose(largest.predict(np.full((1, 65536), 3.0)), 5 * 3 * 65536)
    for wrong in (np.ones((1, 65537)), np.full((1, 2), np.inf)):
        with pytest.raises(ValueError, match="int8"):
            Dense([Linear(wrong)], weights="int8")


def test_layouts_and_types() -> None:
    model = Dense(network(37, 50, 20))
    x = normal(45, 37)
    wanted = bits(model.predict(x))
    wide = np.zeros((90, 80), np.float32)
    wide[::2, 1:75:2] = x
    unaligned = np.empty(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    unaligned[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    for other in (
        np.asfortranarray(x),
        x.astype(np.float64),
        np.asfortranarray(x.astype(np.float64)),
        wide[::2, 1:75:2],
        x[::-1].copy()[::-1],
        unaligned,
        read_only,
    ):
        assert bits(model.predict(other)) == wanted
        assert bits(np.concatenate([model.predict(other[i : i + 3]) for i in range(0, 45, 3)])) == wanted
    torch = pytest.importorskip("torch")
    assert bits(model.predict(torch.from_numpy(x))) == wanted
    assert model.predict(x[:0]).shape == (0, 20)


def test_first_affine_takes_float64_as_it_is() -> None:
    x = 1e9 + np.arange(8.0).reshape(8, 1)
    model = Dense([Affine(np.ones(1), np.full(1, -1e9))])
    assert model.predict(x).reshape(-1).tolist() == list(range(8))


def test_nan_and_infinity_stay_in_their_row(isa: str) -> None:
    model = Dense(network(20, 40, 9))
    x = normal(16, 20)
    clean = model.predict(x)
    x[3, 4] = np.nan
    x[7, 0] = np.inf
    x[8, 1] = -np.nan
    got = model.predict(x)
    others = [row for row in range(16) if row not in (3, 7, 8)]
    assert bits(got[others]) == bits(clean[others])
    assert (got[[3, 8]].view(np.uint32) == 0x7FC00000).all()


def test_out() -> None:
    model = Dense(network(5, 9, 3))
    x = normal(11, 5)
    out = np.full((11, 3), 7, np.float32)
    assert model.predict(x, out=out) is out
    assert bits(out) == bits(model.predict(x))
    for wrong in (np.empty((11, 4), np.float32), np.empty((11, 3)), np.empty((22, 3), np.float32)[::2]):
        with pytest.raises(ValueError, match="out: expected a contiguous array of float32"):
            model.predict(x, out=wrong)
    same = np.zeros((4, 4), np.float32)
    with pytest.raises(ValueError, match="memory of its own"):
        Dense([Linear(np.eye(4))]).predict(same, out=same)


def test_what_does_not_fit_is_refused() -> None:
    model = Dense(network(5, 9, 3))
    with pytest.raises(ValueError, match="X: expected rows x 5 features"):
        model.predict(normal(3, 6))
    with pytest.raises(ValueError, match="X: expected rows x 5 features"):
        model.predict(normal(5))
    with pytest.raises(TypeError):
        model.predict(np.array([["a"] * 5]))
    with pytest.raises(ValueError, match="num_threads"):
        model.predict(normal(3, 5), num_threads=0)
    with pytest.raises(ValueError, match="a model of probabilities, got one of values"):
        model.predict_proba(normal(3, 5))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "one or more"),
        ([Linear(np.ones((3, 2))), Linear(np.ones((2, 4)))], r"layers\[1\].weight: .* 3 inputs"),
        ([Linear(np.ones((3, 2)), np.ones(2))], r"layers\[0\].bias: expected 3, got 2"),
        ([Linear(np.ones(3))], r"layers\[0\].weight: expected 2 axes"),
        ([Linear(np.ones((0, 3)))], r"layers\[0\].weight"),
        ([Linear(np.array([["a"]]))], "expected numbers"),
        ([Linear(np.ones((1, 1))), Activation("swoosh")], r"layers\[1\]: expected one of"),
        ([Linear(np.ones((1, 1))), Activation("elu", np.nan)], "finite"),
        ([Activation("relu")], "how many inputs"),
        ([Affine(np.ones(2), np.ones(3))], r"layers\[0\].shift"),
        ([BatchNorm(np.ones(2), np.array([1.0, -1.0]))], r"layers\[0\].variance"),
        ([LayerNorm(np.ones(2), np.ones(2), -1.0)], r"layers\[0\].epsilon"),
    ],
)
def test_layers_that_do_not_fit(layers: list[Layer], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dense(layers)


def test_other_refusals() -> None:
    with pytest.raises(TypeError, match=r"layers\[0\]: expected a layer"):
        Dense(["relu"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="weights"):
        Dense(network(2, 2), weights="int4")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="classes: expected 3"):
        Dense(DenseDescription(layers=tuple(network(2, 3)), kind="multiclass", classes=np.arange(2)))
    with pytest.raises(ValueError, match="one output"):
        Dense(DenseDescription(layers=tuple(network(2, 3)), kind="binary"))


def test_callers_at_once() -> None:
    model = Dense(network(64, 200, 10))
    x = normal(300, 64)
    wanted = model.predict(x)
    wrong: list[int] = []

    def call(size: int) -> None:
        for i in range(0, 300 - size, 7):
            if bits(model.predict(x[i : i + size])) != bits(wanted[i : i + size]):
                wrong.append(size)

    threads = [threading.Thread(target=call, args=(size,)) for size in (1, 5, 64, 250)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_saved_and_pickled(tmp_path: Path, weights: Any) -> None:
    model = Dense(all_layers(), weights=weights)
    x = normal(9, 37)
    model.save(tmp_path / "model")
    for again in (load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert isinstance(again, Dense)
        assert bits(again.predict(x)) == bits(model.predict(x))
        assert repr(again) == repr(model)


def test_classes(tmp_path: Path) -> None:
    x = normal(40, 6)
    labels = np.array(["no", "yes"])
    binary = Dense(
        DenseDescription(
            layers=(Linear(normal(1, 6)), Activation("sigmoid")), kind="binary", classes=labels, flat=True
        )
    )
    proba = binary.predict_proba(x)
    assert proba.shape == (40, 2)
    assert np.allclose(proba.sum(axis=1), 1)
    assert (binary.predict(x) == labels[(proba[:, 1] > 0.5).astype(int)]).all()
    out = np.empty((40, 2), np.float32)
    assert binary.predict_proba(x, out=out) is out
    assert bits(out) == bits(proba)
    many = Dense(
        DenseDescription(
            layers=(Linear(normal(3, 6)), Activation("softmax")),
            kind="multiclass",
            classes=np.array([4, 7, 9]),
        )
    )
    assert (many.predict(x) == np.array([4, 7, 9])[many.predict_proba(x).argmax(axis=1)]).all()
    for model in (binary, many):
        model.save(tmp_path / "model")
        assert (load(tmp_path / "model").predict(x) == model.predict(x)).all()


@pytest.mark.parametrize(
    "classes",
    [np.array([b"no", b"yes"]), np.array(["no", 3], object), np.array([True, False]), np.array([5, -7])],
    ids=lambda classes: classes.dtype.str,
)
def test_labels_of_any_kind_are_saved(classes: Array, tmp_path: Path) -> None:
    layers = (Linear(normal(2, 6)), Activation("softmax"))
    model = Dense(DenseDescription(layers=layers, kind="multiclass", classes=classes))
    model.save(tmp_path / "model")
    x = normal(40, 6)
    again = load(tmp_path / "model").predict(x)
    assert again.dtype == classes.dtype
    assert again.tolist() == model.predict(x).tolist()


def test_out_of_two_probabilities() -> None:
    layers = (Linear(normal(1, 6)), Activation("sigmoid"))
    model = Dense(DenseDescription(layers=layers, kind="binary", flat=True))
    x = normal(4, 6)
    expected = model.predict_proba(x)
    torch = pytest.importorskip("torch")
    out = torch.empty(4, 2)
    model.predict_proba(x, out=out)
    assert bits(out.numpy()) == bits(expected)
    for wrong in (np.empty((4, 2)), np.empty((8, 2), np.float32)[::2], np.empty((4, 1), np.float32)):
        with pytest.raises(ValueError, match="out: expected a contiguous array of float32"):
            model.predict_proba(x, out=wrong)
    with pytest.raises(TypeError, match="out: expected an array"):
        model.predict_proba(x, out=[1.0])  # type: ignore[arg-type]


_WIDE = """
import resource, sys
import numpy as np
from pyscale.infer import Dense, Linear

ones = np.full((1 << 20, 1), 0.5, np.float32)
model = Dense([Linear(ones), Linear(ones.T)])
x = np.ones((60, 1), np.float32)
model.raw(x[:1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert (model.raw(x) == 1 << 18).all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_wide_layers_take_little_memory_for_many_rows() -> None:
    run = subprocess.run([sys.executable, "-c", _WIDE], capture_output=True, text=True, check=True)
    kib = int(run.stdout) // (1024 if sys.platform == "darwin" else 1)
    assert kib < 100 << 10  # 60 rows of numbers between the layers are 240 MiB
