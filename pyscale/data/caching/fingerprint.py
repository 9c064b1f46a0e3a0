"""Fingerprints of values and files: 128 bits that change when what they stand for does.

Equal fingerprints mean equal things. Equal things may have different ones, such as dictionaries of another
order; and what has no fingerprint is refused.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import hashlib
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyscale.data.caching.code import Code, digest
from pyscale.data.tables.arrow import arrow, as_table, is_stream

_LONGEST_PATH = 4096
# Of which repr says all
_WRITTEN_OUT = (
    type(None),
    bool,
    int,
    complex,
    type(Ellipsis),
    range,
    slice,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    datetime.tzinfo,
    decimal.Decimal,
    fractions.Fraction,
    uuid.UUID,
    np.dtype,
)


class Fingerprints:
    """Fingerprints of values, and of the code among them.

    Parameters
    ----------
    files : {"stat", "content"}
        Whether a file is its path, size and time of change, or its content, wherever it is.
    """

    def __init__(self, files: str) -> None:
        self._files = files
        # A global that is a path is no input: it may well say where something is written.
        of_globals = copy.copy(self)
        of_globals._files = "unseen"
        self._code = Code(self.of, of_globals.of)
        of_globals._code = self._code

    def of(self, value: Any, what: str) -> bytes:
        """Return the fingerprint of a value, which errors call `what`.

        Raises
        ------
        TypeError
            The value, or something in it, has none.
        FileNotFoundError
            It is a path where nothing is.
        """
        kind = type(value).__qualname__
        if isinstance(value, np.ndarray | np.generic):
            return self._array(np.asarray(value), what)
        if isinstance(value, enum.Enum):
            return digest(kind, value.name.encode())
        if isinstance(value, _WRITTEN_OUT):
            return digest(kind, repr(value).encode())
        if isinstance(value, float):
            return digest(kind, value.hex().encode())
        if isinstance(value, os.PathLike):
            return self._file(Path(value))
        if isinstance(value, str):
            # The path of a file may be written as text: then it is the file that counts.
            is_file = self._files != "unseen" and len(value) < _LONGEST_PATH and os.path.isfile(value)
            return digest(
                kind, value.encode(errors="surrogatepass"), self._file(Path(value)) if is_file else b""
            )
        if isinstance(value, bytes | bytearray | memoryview):
            return digest(kind, bytes(value))
        if isinstance(value, re.Pattern):
            return digest(kind, repr((value.pattern, value.flags)).encode())
        if self._code.knows(value):
            return self._code.of(value, what)
        return self._compound(value, kind, what)

    def _compound(self, value: Any, kind: str, what: str) -> bytes:
        of_class: Any = type(value)
        if isinstance(value, list | tuple):
            return digest(kind, *(self.of(item, f"{what}[{i}]") for i, item in enumerate(value)))
        if isinstance(value, Mapping):
            keys = (self.of(key, f"{what}: key") for key in value)
            items = (self.of(value[key], f"{what}[{key!r}]") for key in value)
            return digest(kind, *keys, *items)
        if isinstance(value, set | frozenset):
            return digest(kind, *sorted(self.of(item, f"{what}: item") for item in value))
        if of_class.__module__.startswith("pyarrow.") or hasattr(value, "__arrow_c_stream__"):
            return self._arrow(value, what)
        if dataclasses.is_dataclass(value):
            state = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        elif hasattr(value, "__dict__") and of_class.__reduce_ex__ is object.__reduce_ex__:
            state = vars(value)
        else:
            raise TypeError(f"{what}: expected a value that has a fingerprint, got one of type {kind}")
        return digest(kind, self._code.of(of_class, what), self.of(state, what))

    def _array(self, array: np.ndarray[Any, Any], what: str) -> bytes:
        if array.dtype.hasobject:
            return digest("objects", repr(array.shape).encode(), self.of(array.reshape(-1).tolist(), what))
        facts = repr((array.dtype.descr, array.shape)).encode()
        return digest("array", facts, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def _arrow(self, value: Any, what: str) -> bytes:
        """Return the fingerprint of a table, which the cuts between its batches do not change."""
        pa = arrow()
        if is_stream(value):
            raise TypeError(f"{what}: expected data that can be read twice, got a {type(value).__qualname__}")
        if isinstance(value, pa.Scalar):
            value = pa.array([value], value.type)
        if isinstance(value, pa.Array | pa.ChunkedArray):
            value = pa.table({"values": value})
        if hasattr(value, "__arrow_c_stream__") or isinstance(value, pa.RecordBatch):
            table = as_table(value, what)
            # What is taken has nothing of what lies beside a slice or under a null.
            whole = table.combine_chunks().take(pa.array(np.arange(len(table))))
            batches = (batch.serialize() for batch in whole.to_batches())
            return digest("table", table.schema.serialize(), *batches)
        return digest(type(value).__qualname__, str(value).encode())  # a type, a schema, an expression

    def _file(self, path: Path) -> bytes:
        if self._files == "unseen":
            return digest("path", os.fsencode(path))
        if path.is_dir():
            inside = [file for file in sorted(path.rglob("*")) if file.is_file()]
            names = (str(file.relative_to(path)).encode() for file in inside)
            return digest("folder", *names, *map(self._file, inside))
        if self._files == "content":
            with path.open("rb") as file:
                return digest("content", hashlib.file_digest(file, "blake2b").digest())
        facts = path.stat()
        return digest("file", repr((os.path.abspath(path), facts.st_size, facts.st_mtime_ns)).encode())
