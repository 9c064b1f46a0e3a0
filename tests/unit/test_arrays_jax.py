"""The one door for arrays, with JAX."""

from typing import Any

import numpy as np
import pytest

from pyscale.arrays import DTYPES, view

jax: Any = pytest.importorskip("jax", reason="JAX is not installed")


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_both_ways(name: str) -> None:
    with jax.enable_x64(True):
        x = jax.numpy.arange(6).astype(DTYPES[name]).reshape(2, 3)
    v = view(x)
    assert (v.dtype, v.array.dtype, v.array.shape) == (name, DTYPES[name], (2, 3))
    assert v.array.ctypes.data == x.unsafe_buffer_pointer()
    y = v.like(np.ones((4, 2), DTYPES[name]))  # 64-bit elements survive while JAX is set to 32 bits
    assert isinstance(y, jax.Array)
    assert (y.dtype, y.shape) == (DTYPES[name], (4, 2))
    assert (np.asarray(y) == 1).all()


def test_0d_and_no_rows() -> None:
    assert view(jax.numpy.float32(2.5)).array.shape == ()
    assert view(jax.numpy.zeros((0, 3))).array.shape == (0, 3)


def test_immutable() -> None:
    x = jax.numpy.zeros(3)
    assert not view(x).array.flags.writeable
    with pytest.raises(TypeError, match=r"out: expected .* to write to, got a JAX array, which is immutable"):
        view(x, writable=True, what="out")


def test_tracers_are_refused() -> None:
    with pytest.raises(TypeError, match="got a tracer: call this outside jit, grad and vmap"):
        jax.jit(lambda x: view(x).array)(jax.numpy.zeros(3))


def test_other_dtypes_are_refused() -> None:
    for x in (jax.random.key(0), jax.numpy.zeros(2, "complex64"), jax.numpy.zeros(2, "float8_e5m2")):
        with pytest.raises(TypeError, match="expected elements of type"):
            view(x)


def test_the_result_goes_where_the_input_was_put() -> None:
    x = jax.numpy.zeros(3)
    assert not view(x).like(np.zeros(3)).committed
    x = jax.device_put(x, jax.devices("cpu")[0])
    assert view(x).like(np.zeros(3)).sharding == x.sharding
