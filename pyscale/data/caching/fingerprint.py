"""Fingerprints of values and files: 128 bits that change when what they stand for does.

Equal fingerprints mean equal things. Equal things may have different ones, such as dictionaries of another
order; and what has no fingerprint is refused. Numbers, text, bytes, lists, tuples, dicts, sets, arrays and
tables count by their content, code as `code.py` says, and all else by its class and by what pickle would keep
of it: a class that leaves something out of its pickles leaves it out here. What can be read only once has no
fingerprint, nor has ``object()``, of which pickle keeps nothing.
"""

from __future__ import annotations

import contextlib
import copyreg
import enum
import functools
import hashlib
import io
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pyscale.comm import Communicator
from pyscale.data.caching import code
from pyscale.data.caching.graph import Child, Graph, Mode, Place, Work, digest, of_parts
from pyscale.data.caching.installed import installed
from pyscale.data.tables.arrow import arrow, as_table, is_stream

_LONGEST_PATH = 4096
# Of which repr says all
_WRITTEN_OUT = frozenset({type(None), bool, complex, type(Ellipsis), type(NotImplemented)})
_LEAVES = _WRITTEN_OUT | {int, float, str, bytes, bytearray}


class Fingerprints:
    """Fingerprints of values, and of the code among them.

    Parameters
    ----------
    files : {"stat", "content"}
        Whether a file is its path, size and time of change, or its content, wherever it is.
    """

    def __init__(self, files: str) -> None:
        self._files = files
        self._graph = Graph(self._start)

    def of(self, value: Any, what: str) -> bytes:
        """Return the fingerprint of a value, which errors call `what`.

        Raises
        ------
        TypeError
            The value, or something in it, has none.
        FileNotFoundError
            It is a path where nothing is.
        """
        return self._graph.of(Child(value, Place(what), Mode(strict=True, files=True)))

    def _start(self, child: Child) -> bytes | Work:
        """Begin the fingerprint of a value; refuse it where it has none, or take its type for it."""
        value, mode = child.value, child.mode
        try:
            if type(value) in _LEAVES:
                return self._leaf(value, mode)
            found = code.work_on_code(child) if code.is_code(value) else self._begin(child)
        except MemoryError:
            raise
        except Exception as error:  # anything may be wrong in a class of the user's own
            if mode.strict and isinstance(error, OSError):
                raise
            return _refuse(child, error)
        return _refuse(child, None) if found is None else found

    def _leaf(self, value: Any, mode: Mode) -> bytes:
        kind = type(value)
        if kind is int:
            return digest("int", hex(value).encode())
        if kind is float:
            return digest("float", value.hex().encode())
        if kind is str:
            # The path of a file may be written as text: then it is the file that counts.
            file = b""
            if mode.files and len(value) < _LONGEST_PATH and os.path.isfile(value):
                try:
                    file = self._file(Path(value))
                except OSError:
                    if mode.strict:
                        raise
            return digest("str", value.encode(errors="surrogatepass"), file)
        return digest(kind.__name__, value if kind in (bytes, bytearray) else repr(value).encode())

    def _begin(self, child: Child) -> bytes | Work | None:
        value = child.value
        kind = type(value)
        if kind in (list, tuple) and all(type(item) in _LEAVES for item in value):
            return digest(kind.__name__, *(self._leaf(item, child.mode) for item in value))
        if kind in (list, tuple, dict, set, frozenset):
            return self._container(child)
        if kind in (np.ndarray, np.memmap):
            return _array(child)
        if issubclass(kind, enum.Enum):
            return of_parts(child, "enum", kind, code.state_of_member(value))
        if issubclass(kind, set | frozenset):  # which pickle would write in an order that hashes decide
            base: Any = set if issubclass(kind, set) else frozenset
            return of_parts(child, "set", kind, base(base.__iter__(value)), code.attributes(value))
        if kind is types.MappingProxyType:
            return of_parts(child, "mappingproxy", dict(value))
        if kind is memoryview:
            return of_parts(child, "memoryview", value.format, value.shape, value.tobytes())
        if issubclass(kind, Path):
            file = self._file(value) if child.mode.files else digest("path", os.fsencode(value))
            return file if installed(kind) is not None else _reduced(child, file)
        if (found := installed(value)) is not None:
            return found
        if kind.__module__ == "torch" and kind.__name__ == "Tensor":
            return _tensor(child)
        if installed(kind) is not None:
            if kind is object or isinstance(value, Iterator | Communicator):
                return None
            if kind.__module__.startswith("pyarrow.") and (found := _arrow(value)) is not None:
                return found
            if _is_frame(value):
                try:
                    return _frame(child)
                except arrow().ArrowException:  # a column of Python objects
                    pass
        return _reduced(child)

    def _container(self, child: Child) -> Work:
        value, place, mode = child.value, child.place, child.mode
        found = []
        for i, item in enumerate(value):
            if type(item) in _LEAVES:
                found.append(self._leaf(item, mode))
            else:
                said = f"[{i}]" if isinstance(value, list | tuple) else ": key"
                found.append((yield Child(item, place.then(said), mode)))
        if isinstance(value, dict):
            for key, item in value.items():
                if type(item) in _LEAVES:
                    found.append(self._leaf(item, mode))
                else:
                    said = repr(key) if type(key) is str else type(key).__qualname__
                    found.append((yield Child(item, place.then(f"[{said}]"), mode)))
        if isinstance(value, set | frozenset):
            found.sort()
        return digest(type(value).__name__, *found)

    def _file(self, path: Path) -> bytes:
        if path.is_dir():
            return digest("folder", *self._folder(path, "", {}))
        if self._files == "content":
            with path.open("rb") as file:
                return digest("content", hashlib.file_digest(file, "blake2b").digest())
        facts = path.stat()
        place = os.fsencode(os.path.abspath(path))
        return digest("file", place, repr((facts.st_size, facts.st_mtime_ns)).encode())

    def _folder(self, path: Path, inside: str, met: dict[tuple[int, int], str]) -> Iterator[bytes]:
        """Yield what tells a folder's files, those behind links too; of a folder met before, where."""
        facts = path.stat()
        if (before := met.setdefault((facts.st_dev, facts.st_ino), inside)) != inside:
            yield digest("again", os.fsencode(inside), os.fsencode(before))
            return
        for item in sorted(path.iterdir()):
            name = os.path.join(inside, item.name)
            if item.is_dir():
                yield from self._folder(item, name, met)
            elif item.is_file():
                yield digest("in", os.fsencode(name), self._file(item))


def _array(child: Child) -> Work:
    array: np.ndarray[Any, Any] = child.value
    if array.dtype.names is not None:  # field by field, for what lies between them is anything
        return of_parts(
            child, "fields", array.dtype, array.shape, [array[name] for name in array.dtype.names]
        )
    if array.dtype.hasobject:
        return of_parts(child, "objects", array.dtype, array.shape, array.reshape(-1).tolist())
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return of_parts(child, "array", array.dtype, array.shape, digest("data", data))


def _tensor(child: Child) -> Work:
    """Begin the fingerprint of a torch.Tensor, whose pickles have addresses in them."""
    tensor = child.value
    kinds = (str(tensor.dtype), str(tensor.device), tensor.requires_grad)
    flat = tensor.detach().cpu().reshape(-1).contiguous()
    data = flat.view(sys.modules["torch"].uint8).numpy().data
    return of_parts(child, "tensor", kinds, tuple(tensor.shape), digest("data", data), vars(tensor))


def _reduced(child: Child, more: bytes = b"") -> bytes | Work | None:
    """Begin the fingerprint of an object by its class and what pickle would keep of it."""
    value = child.value
    kind = type(value)
    reduce = copyreg.dispatch_table.get(kind)
    reduced: Any = value.__reduce_ex__(4) if reduce is None else reduce(value)
    if isinstance(reduced, str):  # the name where it is found
        module = str(getattr(value, "__module__", kind.__module__))
        return of_parts(child, "named", kind, module, reduced) if installed(kind) is not None else None
    call, args, *optional = reduced
    state, items, pairs, set_state = [*optional, None, None, None, None][:4]
    listed = [None if each is None else list(each) for each in (items, pairs)]
    lost = code.attributes(value) if reduce is None and _may_lose_attributes(kind) else None
    if isinstance(value, functools.partial):
        child = code.bound(child)
    return of_parts(child, "object", kind, call, args, state, *listed, set_state, lost, more)


def _may_lose_attributes(kind: type) -> bool:
    """Return whether a class of the program has its pickles from one that knows nothing of its attributes."""
    writer = next(base for base in kind.__mro__ if {"__reduce__", "__reduce_ex__"} & vars(base).keys())
    return writer is not object and installed(writer) is not None and installed(kind) is None


def _arrow(value: Any) -> bytes | None:
    """Return the fingerprint of arrays and tables; None for types, schemas and the like."""
    pa = arrow()
    label = type(value).__qualname__
    if isinstance(value, pa.Scalar):
        value = pa.array([value], value.type)
    if isinstance(value, pa.Array | pa.ChunkedArray):
        value = pa.table({"values": value})
    return _table(value, label) if isinstance(value, pa.Table | pa.RecordBatch) else None


def _is_frame(value: Any) -> bool:
    """Return whether a value is columns of some library: not a series, whose name and index Arrow has not."""
    is_columns = hasattr(value, "__arrow_c_stream__") and not is_stream(value)
    return is_columns and len(getattr(value, "shape", (0, 0))) == 2


def _frame(child: Child) -> bytes | Work:
    """Begin the fingerprint of a frame: by its columns as Arrow's, but for what pandas has beside."""
    frame, kind = child.value, type(child.value)
    label = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__.partition(".")[0] != "pandas":
        return _table(frame, label)
    # Of objects, Arrow has not the types: None or NaN, 1 or 1.0, a tuple or a list
    objects = [i for i, dtype in enumerate(frame.dtypes) if _is_of_objects(dtype)]
    others = frame.iloc[:, np.setdiff1d(np.arange(frame.shape[1]), objects)]
    found = _table(others.set_axis(range(others.shape[1]), axis=1), label)
    beside = [(i, frame.iloc[:, i].array) for i in objects]
    index, names = frame.index, frame.columns
    labels = index.tolist() if any(map(_is_of_objects, index.to_frame().dtypes)) else None
    rows = (labels, getattr(index, "freq", None))
    columns = (names.tolist(), list(names.names), str(names.dtype))
    child = child._replace(mode=child.mode._replace(files=False))
    return of_parts(child, "frame", found, beside, rows, columns, frame.attrs)


def _is_of_objects(dtype: Any) -> bool:
    return "object" in (dtype, getattr(getattr(dtype, "categories", None), "dtype", None))


def _table(value: Any, label: str) -> bytes:
    """Return the fingerprint of a table, which the cuts between its batches do not change."""
    pa = arrow()
    table = as_table(value, label)
    views = [pa.types.is_string_view(kind) or pa.types.is_binary_view(kind) for kind in table.schema.types]
    for i in np.flatnonzero(views):  # which cannot be taken
        column = table.column(int(i))
        of = pa.large_string() if pa.types.is_string_view(column.type) else pa.large_binary()
        table = table.set_column(int(i), table.field(int(i)).with_type(of), column.cast(of))
    # What is taken has nothing of what lies beside a slice or under a null.
    whole = table.combine_chunks().take(pa.array(np.arange(len(table))))
    sink = _Hashed()
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), whole.schema) as writer:
        writer.write_table(whole)  # with the dictionaries, which batches alone do not have
    return digest("table", label.encode(), repr(views).encode(), sink.hash.digest())


class _Hashed(io.RawIOBase):
    """A file that is only hashed."""

    def __init__(self) -> None:
        self.hash = hashlib.blake2b(digest_size=16)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.hash.update(data)
        return len(data)


def _refuse(child: Child, error: Exception | None) -> Work:
    """Refuse what has no fingerprint; or let its class stand for it, and what can be seen in it."""
    value = child.value
    if child.mode.strict:
        kind = type(value).__qualname__
        raise TypeError(
            f"{child.place}: expected a value that has a fingerprint, got one of type {kind}"
        ) from error
    if isinstance(value, str | Path):
        return of_parts(child, "unseen", repr(value).encode())
    attributes = None
    if installed(type(value)) is None:
        with contextlib.suppress(Exception):
            attributes = code.attributes(value)
    return of_parts(child, "unseen", type(value), attributes, code.hidden_code(value))
