"""Fingerprints of code: what a function does, as far as that can be told.

A function is its compiled code (not its text, which may have changed since it was loaded, nor its comments),
its defaults, the values in its closure, and what the global names in it stand for: functions and classes, in
the same way; modules, by name, and their attributes that the code names; other values. What is installed, as
a package or with Python, is its name and version.

Not seen: what is reached by other ways than names in the code (`getattr`, registries), globals that have no
fingerprint, compiled extensions that are not installed, files whose path a global says, environment
variables, random numbers.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

_WRAPPERS = (staticmethod, classmethod)
_BUILT_IN = (
    types.BuiltinFunctionType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.MethodWrapperType,
    np.ufunc,
)
_NOT_OF_A_CLASS = {
    "__dict__",
    "__weakref__",
    "__module__",
    "__doc__",
    "__annotations__",
    "__annotate_func__",
    "__annotations_cache__",
    "__firstlineno__",
    "__static_attributes__",
    "__abstractmethods__",
    "_abc_impl",
}


def digest(label: str, *parts: bytes | memoryview) -> bytes:
    """Return 16 bytes for a label and parts, whose borders count."""
    found = hashlib.blake2b(digest_size=16)
    for part in (label.encode(), *parts):
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.digest()


class Code:
    """Fingerprints of functions, classes and modules.

    Parameters
    ----------
    of_bound : callable
        Returns the fingerprint of a value that is bound to code, which errors call by a name; TypeError for
        one that has none.
    of_global : callable
        The same for what code has and names by itself: constants and globals.
    """

    def __init__(self, of_bound: Callable[[Any, str], bytes], of_global: Callable[[Any, str], bytes]) -> None:
        self._of_bound = of_bound
        self._of_global = of_global
        self._met: dict[
            int, int
        ] = {}  # what was met on the way, and as the how many-th: code may be recursive
        self._kept: list[Any] = []  # so that no other object gets the id of one that was met

    def knows(self, value: Any) -> bool:
        """Return whether a value is code."""
        kinds = (types.FunctionType, types.MethodType, types.ModuleType, functools.partial, type, property)
        return isinstance(value, (*kinds, *_WRAPPERS, *_BUILT_IN)) or _wrapped(value) is not None

    def of(self, value: Any, what: str) -> bytes:
        """Return the fingerprint of code, which errors call `what`."""
        if isinstance(value, functools.partial):
            bound = (value.func, value.args, value.keywords)
            return digest("partial", *(self._of_bound(part, what) for part in bound))
        if isinstance(value, types.MethodType):
            return digest("method", self.of(value.__func__, what), self._of_bound(value.__self__, what))
        if isinstance(value, property):
            functions = (value.fget, value.fset, value.fdel)
            return digest("property", *(self._of_bound(function, what) for function in functions))
        if isinstance(value, types.ModuleType):
            return _installed(value.__name__, "")
        if id(value) in self._met:
            return digest("met", str(self._met[id(value)]).encode())
        module = getattr(value, "__module__", None) or "builtins"
        if isinstance(value, _BUILT_IN) or _is_installed(module):
            return _installed(module, getattr(value, "__qualname__", None) or value.__name__)
        self._met[id(value)] = len(self._met)
        self._kept.append(value)
        if (inner := _wrapped(value)) is not None and not isinstance(value, types.FunctionType):
            return digest(type(value).__name__, self.of(inner, what))
        return self._class(value, what) if isinstance(value, type) else self._function(value, what)

    def _function(self, function: types.FunctionType, what: str) -> bytes:
        name = function.__qualname__
        values = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        closure = [self._of_bound(_content(cell), f"{what}: {free} of {name}") for free, cell in values]
        defaults = (function.__defaults__, function.__kwdefaults__)
        return digest(
            "function",
            self._compiled(function.__code__, what),
            *(self._of_bound(value, f"{what}: defaults of {name}") for value in defaults),
            *closure,
            *self._globals(function, what),
        )

    def _compiled(self, code: types.CodeType, what: str) -> bytes:
        constants = (
            self._compiled(item, what) if isinstance(item, types.CodeType) else self._of_global(item, what)
            for item in code.co_consts
        )
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        facts = repr((counts, names)).encode()
        return digest("code", facts, code.co_code, code.co_exceptiontable, *constants)

    def _globals(self, function: types.FunctionType, what: str) -> Iterator[bytes]:
        names = sorted(set(_names(function.__code__)))
        for name in names:
            if name in function.__globals__:
                value = function.__globals__[name]
                yield digest(name, self._global(value, f"{what}: {name}"))
                if isinstance(value, types.ModuleType) and not _is_installed(value.__name__):
                    for attribute in names:
                        if attribute in vars(value):
                            found = self._global(vars(value)[attribute], f"{what}: {name}.{attribute}")
                            yield digest(attribute, found)

    def _global(self, value: Any, what: str) -> bytes:
        try:
            return self._of_global(value, what)
        except (TypeError, OSError):  # a logger, a lock, a connection
            return digest("global", type(value).__qualname__.encode())

    def _class(self, kind: type, what: str) -> bytes:
        parts = [digest(kind.__qualname__, *(self.of(base, what) for base in kind.__bases__))]
        for name, value in sorted(vars(kind).items()):
            if name not in _NOT_OF_A_CLASS:
                parts.append(digest(name, self._global(value, f"{what}: {kind.__qualname__}.{name}")))
        return digest("class", *parts)


def _wrapped(value: Any) -> Any:
    """Return the function in a wrapper, such as that of `functools.lru_cache`."""
    if isinstance(value, _WRAPPERS):
        return value.__func__
    inner = getattr(value, "__wrapped__", None) if callable(value) else None
    return inner if isinstance(inner, types.FunctionType) else None


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet assigned
        return None


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for item in code.co_consts:
        if isinstance(item, types.CodeType):
            yield from _names(item)


def _installed(module: str, name: str) -> bytes:
    top = sys.modules.get(module.partition(".")[0])
    version = getattr(top, "__version__", None)
    return digest("installed", module.encode(), name.encode(), str(version).encode())


@functools.cache
def _installation() -> tuple[str, ...]:
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({os.path.realpath(sysconfig.get_paths()[kind]) + os.sep for kind in kinds})


def _is_installed(module: str) -> bool:
    """Return whether a module belongs to Python or a package, and not to the user's program."""
    if module.partition(".")[0] == "pyscale":
        return True
    found = sys.modules.get(module)
    if found is None or module == "__main__":
        return False
    file: str | None = getattr(found, "__file__", None)
    if file is None:
        return not hasattr(found, "__path__")  # built in; a namespace package is the user's
    return os.path.realpath(file).startswith(_installation())
