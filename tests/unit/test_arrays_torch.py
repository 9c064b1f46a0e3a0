"""The one door for arrays, with torch."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from pyscale.arrays import DTYPES, view

torch: Any = pytest.importorskip("torch", reason="torch is not installed")


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_both_ways(name: str) -> None:
    x = torch.arange(6).to(getattr(torch, name)).reshape(2, 3)
    v = view(x, writable=True)
    assert (v.dtype, v.array.dtype, v.array.shape) == (name, DTYPES[name], (2, 3))
    assert v.array.ctypes.data == x.data_ptr()
    assert v.array.astype(np.float32).tolist() == x.float().tolist()
    fresh = np.ones((4, 2), DTYPES[name])
    y = v.like(fresh)
    assert (y.dtype, y.shape) == (x.dtype, (4, 2))
    assert y.data_ptr() == fresh.ctypes.data
    assert y.float().tolist() == [[1.0, 1.0]] * 4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "cut",
    [lambda x: x.T, lambda x: x[::2], lambda x: x[:, 1], lambda x: x[1, 2], lambda x: x[2:2]],
    ids=["transposed", "every second row", "column", "0-d", "no rows"],
)
def test_strides(dtype: str, cut: Any) -> None:
    x = cut(torch.arange(24.0, dtype=getattr(torch, dtype)).reshape(6, 4))
    v = view(x, writable=True)
    assert v.array.shape == tuple(x.shape)
    if v.array.size:
        assert [s // v.array.itemsize for s in v.array.strides] == list(x.stride())
    v.array[...] = 5
    assert (x == 5).all()


def test_0d_results() -> None:
    for dtype in ("float32", "bfloat16"):
        v = view(torch.tensor(2.0, dtype=getattr(torch, dtype)))
        y = v.like(np.full((), 3, v.array.dtype))
        assert (y.shape, y.item()) == ((), 3.0)


def test_requires_grad() -> None:
    leaf = torch.nn.Parameter(torch.zeros(3))
    v = view(leaf)
    assert v.array.ctypes.data == leaf.data_ptr()
    assert not v.like(np.ones(3)).requires_grad
    for x in (leaf, leaf * 2):
        with pytest.raises(ValueError, match=r"out: .*got one that requires grad: use torch.no_grad\(\)"):
            view(x, writable=True, what="out")
    with torch.no_grad():
        view(leaf, writable=True).array[:] = 4
    assert leaf.tolist() == [4, 4, 4]


def test_backward_notices_a_saved_tensor_that_was_overwritten() -> None:
    weight = torch.ones(3, requires_grad=True)
    saved = torch.ones(3)
    loss = (weight * saved).sum()
    view(saved, writable=True).array[:] = 9
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_inference_tensors() -> None:
    with torch.inference_mode():
        x = torch.zeros(3)
    view(x, writable=True).array[:] = 2
    assert x.tolist() == [2, 2, 2]


def test_expanded_is_an_input_but_no_output() -> None:
    x = torch.arange(3.0).expand(4, 3)
    assert view(x).array.tolist() == [[0, 1, 2]] * 4
    with pytest.raises(ValueError, match="share no memory"):
        view(x, writable=True)


def test_lazily_negated() -> None:
    x = torch.complex(torch.zeros(2), torch.tensor([1.0, 2.0])).conj().imag
    assert x.is_neg()
    assert view(x).array.tolist() == [-1, -2]
    with pytest.raises(ValueError, match="lazily negated"):
        view(x, writable=True)


def test_no_memory_of_its_own() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        x = torch.zeros(3)
    with pytest.raises(TypeError, match=r"with memory of its own, got .*FakeTensor"):
        view(x)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.eye(3).to_sparse(), "expected a dense torch tensor, got a sparse_coo one"),
        (lambda: torch.eye(3).to_sparse_csr(), "expected a dense torch tensor, got a sparse_csr one"),
        (lambda: torch.eye(3).to_mkldnn(), "expected a dense torch tensor, got a mkldnn one"),
        (lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]), "got a nested one"),
        (lambda: torch.zeros(3, device="meta"), "got a torch tensor on meta"),
        (lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8), "got torch.qint8"),
        (lambda: torch.zeros(3, dtype=torch.complex64), "got torch.complex64"),
        (lambda: torch.zeros(3, dtype=torch.float8_e4m3fn), "got torch.float8_e4m3fn"),
    ],
)
def test_other_kinds_are_refused(make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        view(make())


def test_bfloat16_bits() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    x = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16)
    v = view(x)
    assert v.array.dtype == ml_dtypes.bfloat16
    assert (v.array.view(np.uint16) == bits).all()
    assert (v.like(v.array).view(torch.int16).numpy().view(np.uint16) == bits).all()
