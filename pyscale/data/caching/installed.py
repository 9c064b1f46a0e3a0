"""What is installed, with Python or as a package: its fingerprint is its name and version."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import pickle
import site
import sys
import sysconfig
import types
from typing import Any

import numpy as np

from pyscale.data.caching.graph import digest

# The kinds of things that are code, or hold some.
BUILT_IN = (types.BuiltinFunctionType, types.MethodWrapperType)
DESCRIPTORS = (
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
WRAPPERS = (staticmethod, classmethod)
LRU_CACHE = type(functools.lru_cache(len))
CODE = (
    *BUILT_IN,
    *DESCRIPTORS,
    *WRAPPERS,
    LRU_CACHE,
    types.FunctionType,
    types.MethodType,
    types.ModuleType,
    types.CodeType,
    type,
    property,
    np.ufunc,
)
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE


def installed(value: Any) -> bytes | None:
    """Return the fingerprint of something by its name and version, if by that name it is installed.

    What has only copied its name from there, as `functools.wraps` does, is something else.
    """
    if isinstance(value, types.ModuleType):
        return None if is_own_module(value) else name_and_version(value.__name__, "")
    module, name = _name_of(value)
    if not isinstance(module, str) or not isinstance(name, str) or not is_installed(module):
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    same = found is value
    if isinstance(value, (types.MethodType, types.BuiltinFunctionType)):
        same = type(found) is type(value) and found == value
    # Types of C that no name leads to, such as that of generators
    same = same or (isinstance(value, type) and not value.__flags__ & _HEAP_TYPE)
    return name_and_version(module, name) if same else None


def _name_of(value: Any) -> tuple[Any, Any]:
    of = value if isinstance(value, type) else type(value)
    if isinstance(value, np.ufunc):
        return pickle.whichmodule(value, value.__name__), value.__name__  # type: ignore[attr-defined]
    if isinstance(value, (types.MethodType, types.BuiltinFunctionType)):
        owner = value.__self__
        if not isinstance(owner, types.ModuleType | type | None):
            return type(owner).__module__, value.__name__  # random.shuffle and the like
    if not issubclass(type(value), CODE) and not hasattr(of, "__call__"):  # noqa: B004  # how it is called
        return None, None
    module = getattr(value, "__module__", None)
    return module, getattr(value, "__qualname__", None) or getattr(value, "__name__", None)


def name_and_version(module: str, name: str) -> bytes:
    """Return the fingerprint of something installed, in a module by its name, or of that module."""
    return digest("installed", module.encode(), name.encode(), _version(module.partition(".")[0]).encode())


def _version(top: str) -> str:
    version = getattr(sys.modules.get(top), "__version__", None)
    return _version_of_package(top) if version is None else str(version)


@functools.cache
def _version_of_package(top: str) -> str:
    if top in sys.stdlib_module_names:  # the version of Python counts anyway
        return ""
    packages = importlib.metadata.packages_distributions().get(top, ())
    return " ".join(f"{package} {importlib.metadata.version(package)}" for package in sorted(set(packages)))


@functools.cache
def _real(path: str) -> str:
    return os.path.realpath(path)


@functools.cache
def _installation() -> tuple[str, ...]:
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = [sysconfig.get_paths()[kind] for kind in kinds]
    folders += [*site.getsitepackages(), site.getusersitepackages()]
    return tuple({os.path.realpath(folder) + os.sep for folder in folders})


def is_own_module(value: Any) -> bool:
    """Return whether a value is a module of the user's program."""
    if not isinstance(value, types.ModuleType):
        return False
    return not is_installed(value.__name__) or sys.modules[value.__name__] is not value


def is_installed(module: str) -> bool:
    """Return whether a module belongs to Python or a package, and not to the user's program."""
    if module.partition(".")[0] == "pyscale":
        return True
    found = sys.modules.get(module)
    if found is None or module == "__main__":
        return False
    file: str | None = getattr(found, "__file__", None)
    if file is None:
        if hasattr(found, "__path__"):
            return False  # a namespace package is the user's
        if above := module.rpartition(".")[0]:
            return is_installed(above)  # part of an extension
        return module in sys.builtin_module_names or module in sys.stdlib_module_names
    return _real(file).startswith(_installation())


def will_be_installed(top: str) -> bool:
    """Return whether a module that is not imported yet is installed."""
    spec = importlib.util.find_spec(top)
    if spec is None:
        raise ModuleNotFoundError(top)
    if spec.origin is None:
        return False  # a namespace package
    return not spec.has_location or _real(spec.origin).startswith(_installation())


def is_scope_of_installed(scope: dict[str, Any]) -> bool:
    """Return whether globals are those of an installed module; a function's `__module__` may be copied."""
    name = scope.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    return module is not None and vars(module) is scope and is_installed(module.__name__)
