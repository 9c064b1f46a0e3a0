"""Models in files of pyscale's own: a header in JSON, then arrays, as a mapping of the file has them."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAGIC", "read", "write"]

Array = NDArray[Any]

#: What a model's file begins with.
MAGIC = b"pyscale model\n\x00\x01"
_VERSION = 1
_ALIGNMENT = 64
_PREAMBLE = len(MAGIC) + 8
_MOST_HEADER = 1 << 26
_DTYPES = {
    dtype.str: dtype
    for dtype in map(np.dtype, ("bool", "int8", "uint8", "int32", "int64", "uint16", "float32", "float64"))
}


def write(path: str | os.PathLike[str], header: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """
    Write a model's file, whole or not at all.

    Parameters
    ----------
    path : path
        Where; a file that is there is replaced once the new one is complete.
    header : mapping
        What JSON can hold.
    arrays : mapping
        Name -> array of bool, a number's type in little-endian order, or text of fixed width.

    Raises
    ------
    OSError
        The file cannot be written; what was there before is still there.
    """
    target = Path(path)
    listed = []
    offset = 0
    for name, array in arrays.items():
        contiguous = np.ascontiguousarray(array)
        if contiguous.dtype.str not in _DTYPES:
            raise ValueError(f"{name}: expected one of {', '.join(_DTYPES)}, got {contiguous.dtype.str}")
        listed.append({"name": name, "dtype": contiguous.dtype.str, "shape": list(array.shape), "at": offset})
        offset += -(-contiguous.nbytes // _ALIGNMENT) * _ALIGNMENT
    text = json.dumps({"version": _VERSION, "header": header, "arrays": listed, "bytes": offset}).encode()
    start = -(-(_PREAMBLE + len(text)) // _ALIGNMENT) * _ALIGNMENT
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(MAGIC + len(text).to_bytes(8, "little") + text)
            file.write(b"\0" * (start - _PREAMBLE - len(text)))
            for array in arrays.values():
                contiguous = np.ascontiguousarray(array)
                file.write(contiguous.tobytes())
                file.write(b"\0" * (-contiguous.nbytes % _ALIGNMENT))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Array]]:
    """
    Open a model's file.

    Parameters
    ----------
    path : path
        What :func:`write` wrote.

    Returns
    -------
    header : dict
        As it was written.
    arrays : dict of numpy.ndarray
        Read-only, in a mapping of the file: nothing is read before it is looked at.

    Raises
    ------
    ValueError
        The file is not one of these, is of a later version, was cut off, or contradicts itself.
    OSError
        It cannot be read.
    """
    size = Path(path).stat().st_size
    if size < _PREAMBLE:
        _refuse(path, f"at least {_PREAMBLE} bytes", f"{size}")
    data = np.memmap(path, np.uint8, "r")
    if bytes(data[: len(MAGIC)]) != MAGIC:
        _refuse(path, "a model that pyscale saved", "another kind of file")
    length = int.from_bytes(bytes(data[len(MAGIC) : _PREAMBLE]), "little")
    if length > min(size - _PREAMBLE, _MOST_HEADER):
        _refuse(path, f"a header of {length} bytes", f"a file of {size}: it was cut off")
    try:
        found = json.loads(bytes(data[_PREAMBLE : _PREAMBLE + length]))
        version, header, listed, total = (found[key] for key in ("version", "header", "arrays", "bytes"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        _refuse(path, "a header with version, header, arrays and bytes", str(error))
    if version != _VERSION:
        _refuse(path, f"version {_VERSION}", repr(version))
    if not isinstance(header, dict) or not isinstance(listed, list):
        _refuse(path, "a header of a model", "something else")
    start = -(-(_PREAMBLE + length) // _ALIGNMENT) * _ALIGNMENT
    if not isinstance(total, int) or size != start + total:
        _refuse(path, f"{start} + {total} bytes", f"{size}: it was cut off, or added to")
    arrays = {}
    for entry in listed:
        name, array = _array(path, entry, data, start)
        arrays[name] = array
    return header, arrays


def _array(path: str | os.PathLike[str], entry: Any, data: Array, start: int) -> tuple[str, Array]:
    try:
        name, shape, at = str(entry["name"]), tuple(entry["shape"]), entry["at"]
        dtype = _DTYPES[entry["dtype"]]
        whole = all(type(n) is int and n >= 0 for n in (*shape, at))
    except (KeyError, TypeError) as error:
        _refuse(path, "name, dtype, shape and at of each array", repr(error))
    count = 1
    for n in shape if whole else ():
        count *= n
    if not whole or at % _ALIGNMENT or start + at + count * dtype.itemsize > len(data):
        _refuse(path, f"array {name!r} within the file", f"shape {shape} at {at}")
    begin = start + at
    return name, data[begin : begin + count * dtype.itemsize].view(dtype).reshape(shape)


def _refuse(path: str | os.PathLike[str], expected: str, got: str) -> NoReturn:
    raise ValueError(f"{os.fspath(path)}: expected {expected}, got {got}") from None
