"""The one door for arrays: a NumPy, torch, JAX, DLPack or buffer object in, a checked `View` out.

No array library but NumPy is imported here: an object of torch's, JAX's or CuPy's can only exist once its
library has been imported, so the library is looked up among the loaded modules.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pyscale import _core

__all__ = ["DTYPES", "View", "view"]

Array = NDArray[Any]
Like = Callable[[Array], Any]

#: The element types that every part of pyscale understands, by name.
DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "bfloat16", "float32", "float64"),
    )
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_core.register_bfloat16(DTYPES["bfloat16"])  # NumPy gives it a number of its own in every process

_ARRAYS = "an array (NumPy, torch or JAX on the CPU, DLPack, or the buffer protocol)"
_DLPACK_CPU_DEVICES = (1, 3)  # kDLCPU, and kDLCUDAHost: pinned host memory
_DLPACK_GPU_DEVICES = (2, 7, 8, 10, 13, 14)  # CUDA, Vulkan, Metal, ROCm, CUDA managed, oneAPI


@dataclass(frozen=True, slots=True)
class View:
    """An array of any library, seen by NumPy.

    Attributes
    ----------
    array : numpy.ndarray
        The elements, in native byte order and aligned. It shares memory with the object it came from, strides
        included; only a misaligned input is copied. bfloat16 is `ml_dtypes.bfloat16`.
    dtype : str
        The element type, one of the names in `DTYPES`.
    like : callable
        Wraps a fresh NumPy array as one of the caller's library, without a copy where that library allows it.
        Objects known by their buffer alone have no library: they get the NumPy array itself.
    """

    array: Array
    dtype: str
    like: Like


def view(x: Any, *, writable: bool = False, what: str = "x") -> View:
    """Open an array of any CPU library, without a copy.

    Parameters
    ----------
    x : array
        NumPy array (or scalar, as a 0-d array), torch CPU tensor, concrete JAX CPU array, DLPack exporter, or
        buffer. Any shape, any strides, any element type of `DTYPES`.
    writable : bool
        Whether the elements will be written: `x` must then be writable, aligned and free of elements that
        share memory. A tensor that requires grad is accepted under `torch.no_grad()` only.
    what : str
        How messages call `x`.

    Returns
    -------
    View

    Raises
    ------
    TypeError
        `x` is no array, is on a GPU, or has elements of another type (also: byte-swapped); or it is to be
        written, but is immutable by nature.
    ValueError
        `x` is to be written, but is read-only, misaligned, requires grad, or overlaps itself.
    """
    array, like = _open(x, writable, what)
    name = _NAMES.get(array.dtype)
    if name is None:
        _refuse_dtype(array.dtype, what)
    if writable:
        _check_output(array, what)
    elif not array.flags.aligned:
        array = array.copy()
    return View(array, name, like)


def _open(x: Any, writable: bool, what: str) -> tuple[Array, Like]:
    if isinstance(x, np.ndarray):
        if isinstance(x, np.ma.MaskedArray):
            raise TypeError(f"{what}: expected an array without a mask, got numpy.ma.MaskedArray")
        return np.asarray(x), _as_it_is
    if isinstance(x, np.generic):
        if writable:
            raise TypeError(f"{what}: expected an array to write to, got a NumPy scalar")
        return np.asarray(x), _as_it_is
    if _is_a(x, "torch", "Tensor"):
        return _open_torch(x, writable, what)
    if _is_a(x, "jax", "Array"):
        return _open_jax(x, writable, what)
    if _is_a(x, "cupy", "ndarray") or hasattr(x, "__cuda_array_interface__"):
        _refuse_gpu(what, _name_of(x))
    if hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__"):
        return _open_dlpack(x, what)
    try:
        buffer = memoryview(x)
    except TypeError:
        raise TypeError(f"{what}: expected {_ARRAYS}, got {_name_of(x)}") from None
    try:
        return np.asarray(buffer), _as_it_is
    except ValueError:  # a format that NumPy has no name for
        _refuse_dtype(f"buffer format {buffer.format!r}", what)


def _open_torch(x: Any, writable: bool, what: str) -> tuple[Array, Like]:
    torch: Any = sys.modules["torch"]
    if x.device.type != "cpu":
        _refuse_gpu(what, f"a torch tensor on {x.device}")
    if x.layout != torch.strided or x.is_nested:
        kind = "nested" if x.is_nested else str(x.layout).removeprefix("torch.").removeprefix("_")
        raise TypeError(f"{what}: expected a dense torch tensor, got a {kind} one")
    name = str(x.dtype).removeprefix("torch.")
    if name not in DTYPES:  # quantized tensors as well
        _refuse_dtype(x.dtype, what)
    if x.is_neg():  # a lazy minus: the memory does not hold the values
        if writable:
            raise ValueError(f"{what}: expected a plain tensor to write to, got a lazily negated view")
        x = x.resolve_neg()
    if writable:
        if x.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"{what}: expected a tensor to write to that autograd does not follow, "
                "got one that requires grad: use torch.no_grad() or .detach()"
            )
        if not x.is_inference():  # so that backward() notices a saved tensor that was overwritten
            torch.autograd.graph.increment_version(x)
    x = x.detach()
    try:
        if name == "bfloat16":  # which NumPy does not know: as bits
            return x.view(torch.int16).numpy().view(ml_dtypes.bfloat16), _like_torch
        return x.numpy(), _like_torch
    except RuntimeError as error:  # fake, functional and distributed tensors
        raise TypeError(
            f"{what}: expected a torch tensor with memory of its own, got {_name_of(x)}: {error}"
        ) from None


def _like_torch(array: Array) -> Any:
    torch: Any = sys.modules["torch"]
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _open_jax(x: Any, writable: bool, what: str) -> tuple[Array, Like]:
    jax: Any = sys.modules["jax"]
    if isinstance(x, jax.core.Tracer):
        raise TypeError(
            f"{what}: expected a concrete JAX array, got a tracer: call this outside jit, grad and vmap"
        )
    devices = x.devices()
    if len(devices) > 1:
        raise TypeError(f"{what}: expected a JAX array on one device, got one on {len(devices)}")
    platform = next(iter(devices)).platform
    if platform != "cpu":
        _refuse_gpu(what, f"a JAX array on {platform}")
    if writable:
        raise TypeError(
            f"{what}: expected an array to write to, got a JAX array, which is immutable: leave it out"
        )
    if not isinstance(x.dtype, np.dtype):  # random keys
        _refuse_dtype(x.dtype, what)

    def like(array: Array) -> Any:
        with jax.enable_x64(True):  # 64-bit elements stay 64-bit, whatever the setting is now
            return jax.device_put(array, x.sharding if x.committed else None)

    return np.asarray(x), like


def _open_dlpack(x: Any, what: str) -> tuple[Array, Like]:
    device = int(x.__dlpack_device__()[0])
    if device in _DLPACK_GPU_DEVICES:
        _refuse_gpu(what, f"{_name_of(x)} on DLPack device {device}")
    if device not in _DLPACK_CPU_DEVICES:
        raise TypeError(
            f"{what}: expected an array in CPU memory, got {_name_of(x)} on DLPack device {device}"
        )
    try:
        array = np.from_dlpack(x)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise TypeError(
            f"{what}: expected {_ARRAYS}, got {_name_of(x)} that NumPy cannot open: {error}"
        ) from error
    namespace = x.__array_namespace__() if hasattr(x, "__array_namespace__") else None
    return array, getattr(namespace, "from_dlpack", _as_it_is)


def _check_output(array: Array, what: str) -> None:
    if not array.flags.writeable:
        raise ValueError(f"{what}: expected an array to write to, got a read-only one")
    if not array.flags.aligned:
        raise ValueError(f"{what}: expected an aligned array to write to, got a misaligned one")
    if not array.flags.forc and _may_overlap_itself(array):
        raise ValueError(
            f"{what}: expected an array to write to whose elements share no memory, "
            f"got shape {array.shape} with strides {array.strides}"
        )


def _may_overlap_itself(array: Array) -> bool:
    """Whether a stride is shorter than what lies inside it; interleaved axes count, also if none collides."""
    if array.size == 0:
        return False
    extent = array.itemsize
    axes = ((abs(stride), length) for stride, length in zip(array.strides, array.shape, strict=True))
    for stride, length in sorted(axes):
        if stride < extent and length > 1:
            return True
        extent += stride * (length - 1)
    return False


def _as_it_is(array: Array) -> Array:
    return array


def _is_a(x: Any, library: str, kind: str) -> bool:
    found = getattr(sys.modules.get(library), kind, None)
    return found is not None and isinstance(x, found)


def _name_of(x: Any) -> str:
    kind = type(x)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _refuse_gpu(what: str, got: str) -> NoReturn:
    raise TypeError(
        f"{what}: expected an array in CPU memory, got {got}: "
        "GPU arrays are not supported yet by this communicator"
    )


def _refuse_dtype(dtype: Any, what: str) -> NoReturn:
    if isinstance(dtype, np.dtype) and dtype.newbyteorder("=") in _NAMES:
        raise TypeError(
            f"{what}: expected native byte order, got {dtype.str}: use x.astype(x.dtype.newbyteorder('='))"
        )
    raise TypeError(f"{what}: expected elements of type {', '.join(DTYPES)}, got {dtype}")
