"""EmbeddingBag beside plain loops and torch's; any layout and number of threads; files; what is refused."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import pyscale as ps
from pyscale.infer import Batcher, EmbeddingBag, convert, files, load
from pyscale.infer.embedding.embedding import MODES

Array = NDArray[Any]


def normal(*shape: int, seed: int = 0) -> Array:
    """Draw float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def reference(table: Array, bags: list[Array], mode: str, padding: int | None = None) -> Array:
    """Add in order, in float32."""
    out = np.zeros((len(bags), table.shape[1]), np.float32)
    for bag, to in zip(bags, out, strict=True):
        rows = table[bag[bag != padding] if padding is not None else bag].astype(np.float32)
        for row in rows:
            to += row if mode != "max" else 0
        if mode == "max" and len(rows):
            to[:] = rows.max(0)
        if mode == "mean" and len(rows):
            to /= np.float32(len(rows))
    return out


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_bags_are_added_in_order(data: Any) -> None:
    rows, columns = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 150))
    mode = data.draw(st.sampled_from(MODES))
    dtype = data.draw(st.sampled_from((np.float32, np.float16, ml_dtypes.bfloat16)))
    padding = data.draw(st.sampled_from((None, 0, rows - 1)))
    sizes = data.draw(st.lists(st.integers(0, 30), max_size=12))
    last = data.draw(st.booleans())
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    table = random.normal(size=(rows, columns)).astype(dtype)
    indices = random.integers(0, rows, sum(sizes)).astype(data.draw(st.sampled_from((np.int64, np.int32))))
    ends = np.cumsum([0, *sizes])
    model = EmbeddingBag(table, mode=mode, padding_idx=padding, include_last_offset=last)
    got = model.predict(indices, ends if last else ends[:-1], num_threads=data.draw(st.integers(1, 3)))
    bags = [indices[begin:end] for begin, end in itertools.pairwise(ends)]
    assert got.tobytes() == reference(table, bags, mode, padding).tobytes()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", [None, 2, -1])
def test_it_gives_what_torch_gives(mode: Any, padding: int | None) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.EmbeddingBag(30, 20, mode=mode, padding_idx=padding)
    module.weight.data = torch.from_numpy(normal(30, 20))
    model = convert(module)
    assert isinstance(model, EmbeddingBag)
    random = np.random.default_rng(1)
    indices, offsets = random.integers(0, 30, 100), np.array([0, 0, 7, 30, 30, 31, 99, 100])
    with torch.inference_mode():
        wanted = module(torch.from_numpy(indices), torch.from_numpy(offsets)).numpy()
        square = module(torch.from_numpy(indices.reshape(20, 5))).numpy()
    assert np.abs(model.predict(indices, offsets) - wanted).max() < 1e-5
    assert np.abs(model.predict(indices.reshape(20, 5)) - square).max() < 1e-5
    assert np.abs(model.predict(torch.from_numpy(indices), torch.from_numpy(offsets)) - wanted).max() < 1e-5
    if mode == "max":
        assert (model.predict(indices, offsets) == wanted).all()


def test_other_embedding_bags_are_not_taken_for_torchs() -> None:
    torch = pytest.importorskip("torch")
    other = type("EmbeddingBag", (torch.nn.Module,), {"__module__": "torch.ao.nn.quantized"})  # as it is
    with pytest.raises(ValueError, match="got EmbeddingBag"):
        convert(other())


def test_weights_as_torch_has_them() -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.EmbeddingBag(30, 17, mode="sum", include_last_offset=True)
    model = convert(module)
    indices, offsets = np.random.default_rng(1).integers(0, 30, 100), np.array([0, 40, 40, 100])
    weights = normal(100)
    with torch.inference_mode():
        wanted = module(*map(torch.from_numpy, (indices, offsets, weights))).numpy()
    got = model.predict(indices, offsets, per_sample_weights=weights)
    assert np.abs(got - wanted).max() < 1e-4
    square = model.predict(indices.reshape(2, 50), per_sample_weights=weights.reshape(2, 50))
    sums = (model._table()[indices] * weights[:, None]).reshape(2, 50, 17).sum(1)
    assert np.abs(square - sums).max() < 1e-4


def test_modules_that_are_more_are_refused() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="max_norm"):
        convert(torch.nn.EmbeddingBag(3, 2, max_norm=1.0))
    hooked = torch.nn.EmbeddingBag(3, 2)
    hooked.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="hooks"):
        convert(hooked)
    with pytest.raises(TypeError, match="table: expected one of"):
        convert(torch.nn.EmbeddingBag(3, 2, dtype=torch.float64))


@pytest.mark.parametrize("isa", ps._core.available_isas())
def test_bits_do_not_depend_on_the_instruction_set(isa: str) -> None:
    model, best = EmbeddingBag(normal(40, 77), mode="sum"), ps._core.isa()
    indices = np.random.default_rng(1).integers(0, 40, (9, 13))
    weights = normal(9, 13, seed=2)
    wanted = model.predict(indices, per_sample_weights=weights)
    try:
        ps._core.set_isa(isa)
        assert model.predict(indices, per_sample_weights=weights).tobytes() == wanted.tobytes()
    finally:
        ps._core.set_isa(best)


def test_layouts_types_and_out() -> None:
    model = EmbeddingBag(np.asfortranarray(normal(40, 6)))
    indices = np.random.default_rng(1).integers(0, 40, (8, 10))
    wanted = model.predict(indices)
    for other in (np.asfortranarray(indices), indices.astype(np.uint8), indices[::-1][::-1]):
        assert (model.predict(other) == wanted).all()
    assert (model.predict(indices[:, ::2]) == model.predict(indices[:, ::2].copy())).all()
    out = np.empty((8, 6), np.float32)
    assert model.predict(indices, out=out) is out
    assert (out == wanted).all()
    assert (model.predict(indices[:, :0]) == np.zeros((8, 6))).all()
    assert model.predict(indices[:0]).shape == (0, 6)


def test_nothing_is_written_where_an_index_is_no_row() -> None:
    model = EmbeddingBag(normal(40, 6))
    out = np.full((2, 6), 7, np.float32)
    for wrong in (40, -1, 2**40):
        with pytest.raises(IndexError, match=f"indices: expected 0 to 39, got {wrong} at position 3"):
            model.predict(np.array([[0, 1], [2, wrong]]), out=out)
    assert (out == 7).all()


def test_what_does_not_fit_is_refused() -> None:
    table = normal(10, 3)
    with pytest.raises(TypeError, match="table: expected one of float32"):
        EmbeddingBag(table.astype(np.float64))
    with pytest.raises(ValueError, match="table: expected rows x columns"):
        EmbeddingBag(table.reshape(-1))
    with pytest.raises(ValueError, match="table: expected 1 row"):
        EmbeddingBag(table[:0])
    with pytest.raises(ValueError, match="mode: expected one of"):
        EmbeddingBag(table, mode="min")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="padding_idx: expected a row of 10, got 10"):
        EmbeddingBag(table, padding_idx=10)
    with pytest.raises(TypeError, match="padding_idx: expected a whole number"):
        EmbeddingBag(table, padding_idx=True)
    model, flat, two = EmbeddingBag(table), np.arange(10), np.arange(10).reshape(5, 2)
    for indices, offsets, message in (
        (flat, None, "offsets: expected some"),
        (two, flat[:3], "offsets: expected none"),
        (flat.reshape(1, 2, 5), None, "indices: expected one or two axes"),
        (flat, np.array([1, 2]), "offsets: expected 0, got 1 at position 0"),
        (flat, np.array([0, 5, 4]), "offsets: expected 5 to 10, got 4 at position 2"),
        (flat, np.array([0, 11]), "offsets: expected 0 to 10, got 11 at position 1"),
        (flat, two, "offsets: expected some on one axis"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(indices, offsets)
    with pytest.raises(TypeError, match="indices: expected whole numbers"):
        model.predict(flat.astype(np.float32), flat[:1])
    with pytest.raises(TypeError, match="offsets: expected whole numbers"):
        model.predict(flat, np.zeros(1))
    with pytest.raises(ValueError, match="per_sample_weights: expected none with mode mean"):
        model.predict(two, per_sample_weights=np.ones((5, 2), np.float32))
    adding = EmbeddingBag(table, mode="sum", include_last_offset=True)
    with pytest.raises(ValueError, match=r"per_sample_weights: expected shape \(5, 2\)"):
        adding.predict(two, per_sample_weights=np.ones(10, np.float32))
    with pytest.raises(TypeError, match="per_sample_weights: expected one of"):
        adding.predict(two, per_sample_weights=np.ones((5, 2)))
    with pytest.raises(ValueError, match="offsets: expected 1 or more"):
        adding.predict(flat, flat[:0])
    shared = np.zeros(6, np.int64)
    with pytest.raises(ValueError, match="out: expected memory of its own, got some of offsets'"):
        model.predict(flat, shared[:4], out=shared.view(np.float32).reshape(4, 3))
    for out in (np.empty((5, 3)), np.empty((4, 3), np.float32), np.empty((3, 5), np.float32).T):
        with pytest.raises(ValueError, match="out: expected a contiguous"):
            model.predict(two, out=out)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_files_and_pickles_keep_the_bits(dtype: Any, tmp_path: Path) -> None:
    model = EmbeddingBag(normal(20, 9).astype(dtype), mode="sum", padding_idx=-2, include_last_offset=True)
    indices, offsets = np.arange(20), np.array([0, 4, 20])
    wanted = model.predict(indices, offsets)
    model.save(tmp_path / "m")
    for again in (load(tmp_path / "m"), pickle.loads(pickle.dumps(model))):
        assert isinstance(again, EmbeddingBag)
        assert (again.padding_idx, again.table_dtype, again.mode) == (18, np.dtype(dtype), "sum")
        assert again.predict(indices, offsets).tobytes() == wanted.tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "bfloat16"}, "table: expected an array of bfloat16"),
        ({"dtype": "float64"}, "dtype: expected one of"),
        ({"dtype": ["float32"]}, "dtype: expected one of"),
        ({"mode": {}}, "mode and include_last_offset"),
        ({"include_last_offset": 1}, "mode and include_last_offset"),
        ({"padding_idx": 1.0}, "padding_idx: expected a whole number"),
        ({"padding_idx": 9}, "padding_idx: expected a row"),
    ],
)
def test_files_that_contradict_themselves(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    EmbeddingBag(normal(4, 2)).save(tmp_path / "m")
    header, arrays = files.read(tmp_path / "m")
    files.write(tmp_path / "n", {**header, **change}, arrays)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "n")


def test_a_batcher_gives_each_request_its_bags() -> None:
    model = EmbeddingBag(normal(100, 16))
    indices = np.random.default_rng(1).integers(0, 100, (60, 8))
    with Batcher(model, max_delay_ms=1) as batcher:
        futures = [batcher.submit(indices[at : at + 3]) for at in range(0, 60, 3)]
        got = np.concatenate([future.result(10) for future in futures])
    assert (got == model.predict(indices)).all()
