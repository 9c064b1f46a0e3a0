"""The one door for arrays, with NumPy and objects that need no library of their own."""

import array
import ctypes
import io
import mmap
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pyscale.arrays import DTYPES, view

Array = np.ndarray[Any, np.dtype[Any]]


def same_memory(a: Array, b: Array) -> bool:
    return a.__array_interface__["data"][0] == b.__array_interface__["data"][0] and a.strides == b.strides


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_is_seen_without_a_copy(name: str) -> None:
    x = np.arange(12).reshape(3, 4).astype(DTYPES[name])
    v = view(x, writable=True)
    assert v.dtype == name
    assert v.array.dtype == DTYPES[name]
    assert same_memory(v.array, x)
    fresh = np.zeros(3, DTYPES[name])
    assert v.like(fresh) is fresh


def test_the_thirteen_dtypes() -> None:
    assert list(DTYPES) == [
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "bfloat16", "float32", "float64"),
    ]


def test_two_names_of_one_c_type() -> None:
    assert view(np.zeros(2, "q")).dtype == view(np.zeros(2, "l")).dtype == "int64"


@given(data=st.data())
def test_any_strides_are_kept(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(list(DTYPES.values())))
    shape = data.draw(npst.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5))
    base = np.zeros(shape, dtype)
    x = base.transpose(data.draw(st.permutations(range(base.ndim))))
    if x.ndim:
        index = data.draw(npst.basic_indices(x.shape, allow_newaxis=True))
        x = x[*index, ...] if isinstance(index, tuple) and ... not in index else x[index]
        x = x if isinstance(x, np.ndarray) else base  # a lone integer took the only axis away
    v = view(x, writable=True)
    assert v.array.shape == x.shape
    assert same_memory(v.array, x)


@given(
    shape=npst.array_shapes(max_dims=3, max_side=4),
    strides=st.lists(st.integers(-6, 6), min_size=3, max_size=3),
)
def test_no_output_that_overlaps_itself_passes(shape: tuple[int, ...], strides: list[int]) -> None:
    memory = np.zeros(200, np.uint8)
    x = np.lib.stride_tricks.as_strided(memory[100:], shape, strides[: len(shape)])
    addresses = {sum(i * s for i, s in zip(at, x.strides, strict=True)) for at in np.ndindex(*shape)}
    try:
        view(x, writable=True)
    except ValueError:
        return
    assert len(addresses) == x.size


def test_broadcast_is_an_input_but_no_output() -> None:
    x = np.broadcast_to(np.arange(3.0), (4, 3))
    assert view(x).array.strides == (0, 8)
    x = np.lib.stride_tricks.as_strided(np.zeros(3), (4, 3), (0, 8))
    with pytest.raises(ValueError, match=r"share no memory, got shape \(4, 3\) with strides \(0, 8\)"):
        view(x, writable=True)
    view(x[:1], writable=True)  # one row overlaps nothing
    view(x[:0], writable=True)


def test_misaligned_is_copied_as_input_and_refused_as_output() -> None:
    x = np.zeros(17, np.uint8)[1:].view(np.float64)
    x[:] = [1.5, -2.0]
    v = view(x)
    assert v.array.flags.aligned
    assert v.array.tolist() == [1.5, -2.0]
    with pytest.raises(ValueError, match="out: expected an aligned array"):
        view(x, writable=True, what="out")


def test_read_only() -> None:
    x = np.zeros(3)
    x.flags.writeable = False
    assert same_memory(view(x).array, x)
    with pytest.raises(ValueError, match="got a read-only one"):
        view(x, writable=True)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros(2, object),
        np.zeros(2, complex),
        np.zeros(2, "datetime64[s]"),
        np.zeros(2, "timedelta64[s]"),
        np.zeros(2, [("a", "f4"), ("b", "i4")]),
        np.zeros(2, "U3"),
        np.zeros(2, "S3"),
        np.zeros(2, np.longdouble),
        np.zeros(2, ml_dtypes.float8_e4m3fn),
        np.zeros(2, ml_dtypes.int4),
    ],
    ids=lambda x: str(x.dtype),
)
def test_other_dtypes_are_refused(x: Array) -> None:
    with pytest.raises(TypeError, match=r"x: expected elements of type bool, int8, .*, got "):
        view(x)


def test_byte_swapped_is_refused() -> None:
    with pytest.raises(TypeError, match="expected native byte order, got >f4"):
        view(np.zeros(2, ">f4"))
    assert view(np.zeros(2, ">u1")).dtype == "uint8"  # one byte has no order


@pytest.mark.parametrize(
    ("x", "name"),
    [
        (1.0, "float"),
        (1, "int"),
        (True, "bool"),
        (1j, "complex"),
        (None, "NoneType"),
        ("abc", "str"),
        ([1.0, 2.0], "list"),
        ((1.0,), "tuple"),
        ({}, "dict"),
        (range(3), "range"),
        (Path(), "pathlib.PosixPath"),
    ],
    ids=lambda x: str(x),
)
def test_what_is_no_array_is_refused(x: object, name: str) -> None:
    with pytest.raises(TypeError, match=rf"grads\[3\]: expected an array \(NumPy, .*, got {name}$"):
        view(x, what="grads[3]")


def test_subclasses(tmp_path: Path) -> None:
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=(2, 3))
    v = view(x, writable=True)
    assert type(v.array) is np.ndarray
    assert same_memory(v.array, x)
    v.array[:] = 7
    assert (x == 7).all()
    assert view(np.zeros(3).view(np.recarray)).dtype == "float64"
    with pytest.raises(TypeError, match="without a mask"):
        view(np.ma.masked_array([1.0, 2.0], [True, False]))


def test_scalars_of_numpy_are_inputs() -> None:
    v = view(np.float32(2.5))
    assert (v.dtype, v.array.shape, float(v.array)) == ("float32", (), 2.5)
    assert view(ml_dtypes.bfloat16(2.5)).dtype == "bfloat16"
    with pytest.raises(TypeError, match="out: expected an array to write to, got a NumPy scalar"):
        view(np.float32(2.5), writable=True, what="out")


@pytest.mark.parametrize(
    ("x", "dtype", "shape"),
    [
        (array.array("f", [1, 2, 3]), "float32", (3,)),
        (array.array("q", [1, 2, 3]), "int64", (3,)),
        (bytearray(b"abc"), "uint8", (3,)),
        (memoryview(bytearray(8)).cast("d"), "float64", (1,)),
        (np.zeros((3, 4), np.int16).T.data, "int16", (4, 3)),
        (memoryview(bytearray(8))[::-2], "uint8", (4,)),
        ((ctypes.c_double * 3)(), "float64", (3,)),
        (io.BytesIO(b"abcd").getbuffer(), "uint8", (4,)),
        (mmap.mmap(-1, 16), "uint8", (16,)),
    ],
    ids=lambda x: type(x).__name__,
)
def test_buffers(x: Any, dtype: str, shape: tuple[int, ...]) -> None:
    v = view(x, writable=True)
    assert (v.dtype, v.array.shape) == (dtype, shape)
    v.array[...] = 1
    assert np.asarray(memoryview(x)).sum() == v.array.size
    fresh = np.zeros(2)
    assert v.like(fresh) is fresh


def test_bytes_are_read_only() -> None:
    assert view(b"abc").array.tolist() == [97, 98, 99]
    with pytest.raises(ValueError, match="got a read-only one"):
        view(b"abc", writable=True)


def test_buffers_of_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="expected elements of type"):
        view(memoryview(b"abc").cast("c"))
    with pytest.raises(TypeError, match="got buffer format"):
        view((ctypes.c_void_p * 2)())


class Exporter:
    """Any other library that speaks DLPack."""

    def __init__(self, array: Array, device: int = 1) -> None:
        self.array = array
        self.device = device

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (self.device, 0)


class ArrayApi(Exporter):
    def __array_namespace__(self) -> ModuleType:
        module = ModuleType("library")
        vars(module)["from_dlpack"] = Exporter
        return module


def test_dlpack() -> None:
    x = np.arange(6, dtype=np.int32).reshape(2, 3).T
    v = view(Exporter(x))
    assert v.dtype == "int32"
    assert same_memory(v.array, x)
    fresh = np.zeros(3)
    assert v.like(fresh) is fresh
    made = view(ArrayApi(x)).like(fresh)
    assert isinstance(made, Exporter)
    assert made.array is fresh


def test_dlpack_that_cannot_be_read() -> None:
    with pytest.raises(TypeError, match="Exporter that NumPy cannot open"):
        view(Exporter(np.zeros(2, ml_dtypes.bfloat16)))
    with pytest.raises(TypeError, match="Exporter on DLPack device 2: GPU arrays are not supported yet"):
        view(Exporter(np.zeros(2), device=2))
    with pytest.raises(TypeError, match=r"in CPU memory, got .*Exporter on DLPack device 4"):
        view(Exporter(np.zeros(2), device=4))


def test_gpu_arrays_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cuda:
        __cuda_array_interface__: ClassVar[dict[str, Any]] = {}

    with pytest.raises(TypeError, match="Cuda: GPU arrays are not supported yet by this communicator"):
        view(Cuda())

    cupy = ModuleType("cupy")
    vars(cupy)["ndarray"] = type("ndarray", (), {"__module__": "cupy"})
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(TypeError, match=r"got cupy.ndarray: GPU arrays are not supported yet"):
        view(vars(cupy)["ndarray"]())


def test_a_half_imported_library_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("torch", "jax", "cupy"):
        monkeypatch.setitem(sys.modules, library, ModuleType(library))
    assert view(bytearray(3)).dtype == "uint8"


def test_no_library_is_imported() -> None:
    code = (
        "import sys, numpy; from pyscale.arrays import view; view(numpy.zeros(3)); view(bytearray(2));"
        "assert not {'torch', 'jax', 'cupy', 'mpi4py'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
