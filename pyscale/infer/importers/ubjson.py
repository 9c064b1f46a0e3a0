"""The part of UBJSON that XGBoost writes its models in."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from pyscale.infer.importers.reading import refuse

__all__ = ["read_ubjson"]

_SCALARS = {
    b"i": struct.Struct(">b"),
    b"U": struct.Struct(">B"),
    b"I": struct.Struct(">h"),
    b"l": struct.Struct(">i"),
    b"L": struct.Struct(">q"),
    b"d": struct.Struct(">f"),
    b"D": struct.Struct(">d"),
}
_ARRAYS = {
    key: np.dtype(name)
    for key, name in zip(_SCALARS, ("i1", "u1", ">i2", ">i4", ">i8", ">f4", ">f8"), strict=True)
}
_CONSTANTS = {b"Z": None, b"T": True, b"F": False}
# XGBoost's models nest eight levels deep, and each of their lists and objects has a key of some bytes.
_DEPTH = 64
_SPARSE = 1000


def read_ubjson(content: bytes) -> Any:
    """
    Read a UBJSON document of objects, counted arrays, typed arrays, strings, numbers and constants.

    Nothing is made for more than the bytes that are there: counts are checked before they are used, and
    typed arrays stay in the bytes of the document.

    Parameters
    ----------
    content : bytes
        The document.

    Returns
    -------
    object
        dict, list, str, int, float, bool or None; of a typed array a read-only `numpy.ndarray` in the
        document's byte order.

    Raises
    ------
    ValueError
        If it is cut off, has what is not read here, nests too deeply, or goes on after its end.
    """
    reader = _Reader(content)
    value = reader.value(0)
    if reader.at != len(content):
        refuse(f"byte {reader.at}", "the end of the document", content[reader.at : reader.at + 8])
    return value


class _Reader:
    """A place in a document, and what follows there."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0
        self.containers = 0

    def value(self, depth: int) -> Any:
        """Whatever comes next."""
        marker = self.take(1, "a value")
        if marker in _SCALARS:
            return self.scalar(marker)
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker == b"S":
            return self.text()
        if marker == b"C":
            return self.take(1, "a character")[0]
        if marker not in (b"{", b"["):
            refuse(f"byte {self.at - 1}", "the marker of a value", marker)
        self.containers += 1
        if depth >= _DEPTH or self.containers > _SPARSE + len(self.content) // 8:
            refuse(f"byte {self.at - 1}", "fewer lists and objects in each other, or for its size", marker)
        return self.pairs(depth + 1) if marker == b"{" else self.array(depth + 1)

    def take(self, size: int, what: str) -> bytes:
        """Give the next bytes; refuses a document that ends before them."""
        if not 0 <= size <= len(self.content) - self.at:
            refuse(f"byte {self.at}", f"{what} of {size} bytes", f"{len(self.content) - self.at} bytes")
        self.at += size
        return self.content[self.at - size : self.at]

    def scalar(self, marker: bytes) -> Any:
        """Give the number of a marker's type."""
        form = _SCALARS[marker]
        return form.unpack(self.take(form.size, "a number"))[0]

    def count(self, what: str, size: int) -> int:
        """How many things of at least `size` bytes follow."""
        if self.take(1, "a length") != b"L":
            refuse(f"byte {self.at - 1}", "the marker L of a length", self.content[self.at - 1 : self.at])
        count = int(self.scalar(b"L"))
        if not 0 <= count <= (len(self.content) - self.at) // size:
            left = len(self.content) - self.at
            refuse(f"byte {self.at - 8}", f"a number of {what} that {left} bytes can hold", count)
        return count

    def text(self) -> str:
        """Give a string, its marker already read."""
        start = self.at
        try:
            return self.take(self.count("letters", 1), "a string").decode()
        except UnicodeDecodeError:
            refuse(f"byte {start}", "UTF-8", self.content[start + 9 : self.at])

    def pairs(self, depth: int) -> dict[str, Any]:
        """Give an object, its marker already read."""
        found: dict[str, Any] = {}
        while self.content[self.at : self.at + 1] != b"}":
            key = self.text()
            found[key] = self.value(depth)
        self.at += 1
        return found

    def array(self, depth: int) -> Any:
        """Give a list or a typed array, its marker already read."""
        match self.content[self.at : self.at + 1]:
            case b"$":
                marker, sign = self.take(3, "an array's type")[1:2], self.content[self.at - 1 : self.at]
                if marker not in _ARRAYS or sign != b"#":
                    refuse(f"byte {self.at - 2}", "a type of numbers and a count", marker + sign)
                dtype = _ARRAYS[marker]
                count = self.count("numbers", dtype.itemsize)
                self.at += count * dtype.itemsize
                return np.frombuffer(self.content, dtype, count, self.at - count * dtype.itemsize)
            case b"#":
                self.at += 1
                return [self.value(depth) for _ in range(self.count("values", 1))]
        values = []
        while self.content[self.at : self.at + 1] != b"]":
            values.append(self.value(depth))
        self.at += 1
        return values
