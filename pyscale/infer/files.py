"""Models in files of pyscale's own: a header in JSON, then arrays, as a mapping of the file has them."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.reading import refuse

__all__ = ["MAGIC", "Saved", "read", "write"]

Array = NDArray[Any]

#: What a model's file begins with.
MAGIC = b"pyscale model\n\x00\x01"
_VERSION = 1
_ALIGNMENT = 64
_PREAMBLE = len(MAGIC) + 8
_MOST_HEADER = 1 << 26
_MOST_AXES = 8
# Numbers by their sizes: "q" is long long, whose numbers are no np.int64.
_CODES = ("?", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")
_DTYPES = {dtype.str: dtype for dtype in map(np.dtype, _CODES)}


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
        Name -> array of bool, whole numbers, or float16 to float64.

    Raises
    ------
    OSError
        The file cannot be written; what was there before is still there.
    ValueError
        An array is of another type; nothing is written.
    """
    target = Path(path)
    written = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    listed = []
    offset = 0
    for name, array in written.items():
        if array.dtype.newbyteorder("<").str not in _DTYPES:
            refuse(name, f"one of {', '.join(_DTYPES)}", array.dtype.str)
        written[name] = array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        listed.append({"name": name, "dtype": array.dtype.str, "shape": list(array.shape), "at": offset})
        offset += _aligned(array.nbytes)
    text = json.dumps({"version": _VERSION, "header": header, "arrays": listed, "bytes": offset}).encode()
    start = _aligned(_PREAMBLE + len(text))
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(MAGIC + len(text).to_bytes(8, "little") + text)
            file.write(b"\0" * (start - _PREAMBLE - len(text)))
            for array in written.values():
                file.write(array.reshape(-1).view(np.uint8))
                file.write(b"\0" * (-array.nbytes % _ALIGNMENT))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


class Saved:
    """A model whose file is what `_packed` gives: a header and arrays."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """
        Write the model to a file that :func:`pyscale.infer.load` reads.

        Parameters
        ----------
        path : path
            Where; a file that is there is replaced once the new one is complete.

        Raises
        ------
        OSError
            The file cannot be written.
        ValueError
            Labels are neither numbers nor text; or a graph's weights are in other files.
        """
        self._check_saved()
        write(path, *self._packed())

    def _check_saved(self) -> None:
        """Raise ValueError where what `_packed` gives is not all of the model."""

    def _packed(self) -> tuple[dict[str, Any], dict[str, Array]]:
        raise NotImplementedError


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
        The file is not one of these, is of a later version, was cut off, or contradicts itself; the message
        says where.
    OSError
        It cannot be read.
    """
    size = Path(path).stat().st_size
    if size < _PREAMBLE:
        refuse("the file", f"at least {_PREAMBLE} bytes", size)
    data: Array = np.memmap(path, np.uint8, "r")
    if bytes(data[: len(MAGIC)]) != MAGIC:
        refuse("the file", "a model that pyscale saved", "another kind of file")
    length = int.from_bytes(bytes(data[len(MAGIC) : _PREAMBLE]), "little")
    if length > min(size - _PREAMBLE, _MOST_HEADER):
        refuse("the file", f"a header of {length} bytes", f"{size} bytes in all: it was cut off")
    document = _document(bytes(data[_PREAMBLE : _PREAMBLE + length]))
    if document["version"] != _VERSION:
        refuse("version", f"{_VERSION}", document["version"])
    start, total = _aligned(_PREAMBLE + length), document["bytes"]
    if size != start + total:
        refuse("the file", f"{start} + {total} bytes", f"{size}: it was cut off, or added to")
    arrays: dict[str, Array] = {}
    offset = 0
    for place, entry in enumerate(document["arrays"]):
        where = f"arrays[{place}]"
        name, dtype, shape = _listed(entry, where)
        if name in arrays or entry["at"] != offset:
            refuse(where, f"another array's name, and {offset} as its place", entry)
        count = math.prod(shape)
        if count > (total - offset) // dtype.itemsize:
            refuse(f"{where}.shape", f"at most {total - offset} bytes of {name}", shape)
        begin = start + offset
        arrays[name] = (
            data[begin : begin + count * dtype.itemsize].view(np.ndarray).view(dtype).reshape(shape)
        )
        offset += _aligned(count * dtype.itemsize)
    if offset != total:
        refuse("bytes", f"{offset}, as the arrays say", total)
    return document["header"], arrays


def _document(text: bytes) -> dict[str, Any]:
    # Empty lists take thirty times the memory of their text; no header is made of little else.
    if text.count(b"[") + text.count(b"{") > 1000 + len(text) // 32:
        refuse("the header", "fewer lists and objects for its size", f"{len(text)} bytes")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        refuse("the header", "JSON", str(error))
    if not isinstance(found, dict):
        refuse("the header", "an object", found)
    for name, kind in (("version", int), ("header", dict), ("arrays", list), ("bytes", int)):
        if type(found.get(name)) is not kind:
            refuse(name, f"a value of type {kind.__name__}", found.get(name))
    return found


def _listed(entry: Any, where: str) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
    """Give an array's name, type and shape, as the header has them."""
    if not isinstance(entry, dict) or set(entry) != {"name", "dtype", "shape", "at"}:
        refuse(where, "name, dtype, shape and at", entry)
    name, dtype, shape, at = (entry[key] for key in ("name", "dtype", "shape", "at"))
    if not isinstance(name, str) or type(at) is not int:
        refuse(where, "a name that is text and a place that is a number", entry)
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        refuse(f"{where}.dtype", f"one of {', '.join(_DTYPES)}", dtype)
    if not isinstance(shape, list) or len(shape) > _MOST_AXES:
        refuse(f"{where}.shape", f"a list of at most {_MOST_AXES} numbers", shape)
    if not all(type(n) is int and 0 <= n < 2**48 for n in shape):
        refuse(f"{where}.shape", "whole numbers from 0 on", shape)
    if 0 in shape and math.prod(max(n, 1) for n in shape) >= 2**48:
        refuse(f"{where}.shape", "a shape that can be", shape)
    return name, _DTYPES[dtype], tuple(shape)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
