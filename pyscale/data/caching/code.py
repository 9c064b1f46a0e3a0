"""Fingerprints of code: what a function does, as far as that can be told.

A function is its compiled code (not its text, which may have changed since it was loaded, nor its comments),
its defaults, attributes, the values in its closure, and what the global names in it stand for: functions and
classes, in the same way; the attributes of modules that the code names; modules, where they are passed on or
imported in a function's body (which imports them here, too); other values. What is installed, as a package or
with Python, is its name and version; what is made of it, such as a decorated function, its state besides.

Not seen: what is reached by other ways than names in the code (`getattr` with a computed name, registries);
globals and attributes of classes that have no fingerprint, such as locks and open files, of which the type
counts; `__annotations__`; virtual subclasses; an installed package whose version stays the same, even if the
program has put something of its own in it; compiled extensions that are not installed; files whose path a
global says; the environment; random numbers.
"""

from __future__ import annotations

import dis
import enum
import functools
import gc
import importlib
import importlib.metadata
import importlib.util
import os
import pickle
import site
import sys
import sysconfig
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from pyscale.data.caching.graph import Child, Mode, Work, digest, of_parts

NAMED = Mode(strict=False, files=False)  # A global that is a path may well say where something is written.

_BUILT_IN = (types.BuiltinFunctionType, types.MethodWrapperType)
_DESCRIPTORS = (
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
_WRAPPERS = (staticmethod, classmethod)
_LRU_CACHE = type(functools.lru_cache(len))
_CODE = (
    *_BUILT_IN,
    *_DESCRIPTORS,
    *_WRAPPERS,
    _LRU_CACHE,
    types.FunctionType,
    types.MethodType,
    types.ModuleType,
    types.CodeType,
    type,
    property,
    np.ufunc,
)
# What wrappers have from the function
_NOT_OF_A_WRAPPER = {*functools.WRAPPER_ASSIGNMENTS, "__wrapped__", "cache_parameters"}
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
    "__slotnames__",  # which comes with the first pickle
}
# The members, of which more are made as they are looked up
_NOT_OF_AN_ENUM = {
    "_member_map_",
    "_value2member_map_",
    "_hashable_values_",
    "_unhashable_values_",
    "_unhashable_values_map_",
}
_NOT_OF_A_MEMBER = {"__objclass__", "_sort_order_", "_inverted_"}
_NOT_OF_A_MODULE = {
    "__name__",
    "__doc__",
    "__package__",
    "__loader__",
    "__spec__",
    "__path__",
    "__file__",
    "__cached__",
    "__builtins__",
    "__annotations__",
    "__warningregistry__",
}
_LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
_NOTHING = {"EXTENDED_ARG", "CACHE", "PUSH_NULL", "NOP", "PRECALL"}
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE


def is_code(value: Any) -> bool:
    """Return whether `work_on_code` knows how to look at a value, whatever `__class__` pretends it is."""
    return issubclass(type(value), _CODE)


def work_on_code(child: Child) -> bytes | Work | None:
    """Begin the digest of code; None where it has none."""
    value = child.value
    if (found := installed(value)) is not None:
        return found
    if isinstance(value, types.ModuleType):
        return _module(child)
    if isinstance(value, type):
        return _class(child)
    if isinstance(value, types.FunctionType):
        return _function(child)
    if isinstance(value, types.CodeType):
        return _compiled(value)
    if isinstance(value, types.MethodType):
        return of_parts(bound(child), "method", value.__func__, value.__self__)
    if isinstance(value, _WRAPPERS):
        return of_parts(child, "wrapper", type(value), value.__func__, _own(value))
    if isinstance(value, property):
        return of_parts(child, "property", type(value), value.fget, value.fset, value.fdel, attributes(value))
    if isinstance(value, _LRU_CACHE):
        return of_parts(child, "lru_cache", value.__wrapped__, value.cache_parameters(), _own(value))
    if isinstance(value, _DESCRIPTORS):
        return of_parts(child, "descriptor", type(value), value.__objclass__, value.__name__)
    if isinstance(value, np.ufunc):
        hidden = hidden_code(value)  # of numpy.frompyfunc
        return of_parts(child, "ufunc", value.nin, value.nout, value.identity, hidden) if hidden else None
    if value.__self__ is None or isinstance(value.__self__, types.ModuleType):
        return _name_and_version(value.__module__ or "builtins", value.__qualname__)
    return of_parts(bound(child), "method", value.__name__, value.__self__)


def bound(child: Child) -> Child:
    """Return code in the mode of what is bound to it: files count."""
    return child._replace(mode=Mode(child.mode.strict, files=True))


def state_of_member(member: enum.Enum) -> dict[str, Any]:
    """Return the attributes of a member of an enum, but not those that Python gives it."""
    return {name: value for name, value in vars(member).items() if name not in _NOT_OF_A_MEMBER}


def hidden_code(value: Any) -> list[Any]:
    """Return the code that an object holds, whether or not it shows it."""
    return [item for item in gc.get_referents(value) if callable(item) and not isinstance(item, type)]


def attributes(value: Any) -> Any:
    """Return the attributes of an object, those in slots too, as pickle would write them."""
    return object.__getstate__(value)


def installed(value: Any) -> bytes | None:
    """Return the fingerprint of something by its name and version, if by that name it is installed.

    What has only copied its name from there, as `functools.wraps` does, is something else.
    """
    if isinstance(value, types.ModuleType):
        return None if _is_own_module(value) else _name_and_version(value.__name__, "")
    module, name = _name_of(value)
    if not isinstance(module, str) or not isinstance(name, str) or not _is_installed(module):
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    same = found is value
    if isinstance(value, (types.MethodType, types.BuiltinFunctionType)):
        same = type(found) is type(value) and found == value
    # Types of C that no name leads to, such as that of generators
    same = same or (isinstance(value, type) and not value.__flags__ & _HEAP_TYPE)
    return _name_and_version(module, name) if same else None


def _name_of(value: Any) -> tuple[Any, Any]:
    of = value if isinstance(value, type) else type(value)
    if isinstance(value, np.ufunc):
        return pickle.whichmodule(value, value.__name__), value.__name__  # type: ignore[attr-defined]
    if isinstance(value, (types.MethodType, types.BuiltinFunctionType)):
        owner = value.__self__
        if not isinstance(owner, types.ModuleType | type | None):
            return type(owner).__module__, value.__name__  # random.shuffle and the like
    if not isinstance(value, _CODE) and not hasattr(of, "__call__"):  # noqa: B004  # how it is called
        return None, None
    module = getattr(value, "__module__", None)
    return module, getattr(value, "__qualname__", None) or getattr(value, "__name__", None)


def _module(child: Child) -> Work:
    found = []
    for name, value in _content_of_module(child.value, None, "", set()):
        found.append(digest(name, (yield Child(value, child.place.then(f".{name}"), NAMED))))
    return digest("module", *found)


def _function(child: Child) -> Work:
    function, place, mode = child.value, child.place, bound(child).mode
    name = function.__qualname__
    scope = function.__globals__
    code = function.__code__
    if is_of_installed := _is_scope_of_installed(scope):
        parts = [_name_and_version(scope["__name__"], code.co_qualname)]
    else:
        parts = [_compiled(code)]
    own = dict(vars(function))
    if is_of_installed and callable(own.get("dispatch")) and "registry" in own:
        # Of functools.singledispatch, whose closure has what it found for the types it met, too
        cases = [item for case in own["registry"].items() for item in case]
        parts.append((yield Child(cases, place.then(f": registry of {name}"), mode)))
        return digest("singledispatch", *parts)
    for said, value in (("defaults", function.__defaults__), ("defaults", function.__kwdefaults__)):
        parts.append((yield Child(value, place.then(f": {said} of {name}"), mode)))
    for free, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        value = _content(cell)
        parts.append(digest(free, (yield Child(value, place.then(f": {free} of {name}"), mode))))
    for attribute, value in sorted(own.items()):
        found = yield Child(value, place.then(f": attribute {attribute} of {name}"), mode)
        parts.append(digest(attribute, found))
    if not is_of_installed:
        for used, value in sorted(_used(code, scope), key=lambda pair: pair[0]):
            parts.append(digest(used, (yield Child(value, place.then(f": {used}"), NAMED))))
    return digest("function", *parts)


def _class(child: Child) -> Work:
    kind, place = child.value, child.place
    parts = [kind.__qualname__.encode()]
    for base in (type(kind), *kind.__bases__):
        parts.append((yield Child(base, place, NAMED)))
    content = {name: value for name, value in vars(kind).items() if name not in _NOT_OF_A_CLASS}
    if issubclass(kind, enum.Enum):
        # Without a way back from the members, of which any may be the first that is met
        members = [(name, state_of_member(member)) for name, member in kind.__members__.items()]
        parts.append((yield Child(members, place, NAMED)))
        content = {name: value for name, value in content.items() if name not in _NOT_OF_AN_ENUM}
    for name, value in sorted(content.items()):
        if not isinstance(value, kind) or not isinstance(value, enum.Enum):
            found = yield Child(value, place.then(f": {kind.__qualname__}.{name}"), NAMED)
            parts.append(digest(name, found))
    return digest("class", *parts)


def _compiled(code: types.CodeType) -> bytes:
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    constants = map(_constant, code.co_consts)
    return digest("code", repr((counts, names)).encode(), code.co_code, code.co_exceptiontable, *constants)


def _constant(value: Any) -> bytes:
    kind = type(value).__name__
    if isinstance(value, types.CodeType):
        return _compiled(value)
    if isinstance(value, tuple):
        return digest(kind, *map(_constant, value))
    if isinstance(value, frozenset):
        return digest(kind, *sorted(map(_constant, value)))
    if isinstance(value, slice):
        return digest(kind, *map(_constant, (value.start, value.stop, value.step)))
    if isinstance(value, int):
        return digest(kind, hex(value).encode())
    return digest(kind, repr(value).encode())


def _own(wrapper: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(wrapper).items() if name not in _NOT_OF_A_WRAPPER}


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet assigned
        return None


def _used(code: types.CodeType, scope: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the globals that code uses, and what it imports, by name; each once."""
    found: dict[str, Any] = {}
    names = frozenset(_names(code))
    for part in _codes(code):
        steps = [step for step in dis.get_instructions(part) if step.opname not in _NOTHING]
        for at, step in enumerate(steps):
            if step.opname in _LOADS and step.argval in scope:
                path = [step.argval]
                value = scope[step.argval]
                while _is_own_module(value) and at + len(path) < len(steps):
                    following = steps[at + len(path)]
                    if following.opname not in _ATTRIBUTES or following.argval not in vars(value):
                        break  # passed on
                    value = vars(value)[following.argval]
                    path.append(following.argval)
                found.update(_whole(".".join(path), value, names))
            elif step.opname == "IMPORT_NAME":
                level, listed = steps[at - 2].argval, steps[at - 1].argval
                found.update(_imported(step.argval, level, listed or (), scope, names))
    yield from found.items()


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for item in code.co_consts:
        if isinstance(item, types.CodeType):
            yield from _codes(item)


def _names(code: types.CodeType) -> Iterator[str]:
    for part in _codes(code):
        for name in part.co_names:
            yield from name.split(".")


def _whole(name: str, value: Any, names: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Yield a value; of a module of the program, what is in it."""
    if _is_own_module(value):
        yield from _content_of_module(value, names, f"{name}.", set())
    else:
        yield name, value


def _content_of_module(
    module: types.ModuleType, names: frozenset[str] | None, prefix: str, seen: set[int]
) -> Iterator[tuple[str, Any]]:
    """Yield what is in a module, and in those of its modules that are among the names (None: in all)."""
    seen.add(id(module))
    for name, value in sorted(vars(module).items()):
        if name in _NOT_OF_A_MODULE:
            continue
        if not _is_own_module(value):
            yield prefix + name, value
        elif (names is None or name in names) and id(value) not in seen:
            yield from _content_of_module(value, names, f"{prefix}{name}.", seen)


def _imported(
    name: str, level: int, listed: tuple[str, ...], scope: dict[str, Any], names: frozenset[str]
) -> Iterator[tuple[str, Any]]:
    """Yield what an import in the body of a function brings, as `from` or as a module."""
    try:
        name = importlib.util.resolve_name("." * level + name, scope.get("__package__"))
        top = name.partition(".")[0]
        if _is_installed(top) if top in sys.modules else _will_be_installed(top):
            yield f"import {name}", _name_and_version(name, "")
            return
        module = importlib.import_module(name)
    except Exception:  # which the function may well expect
        yield f"import {name}", "not there"
        return
    for item in listed:
        if item not in vars(module):
            try:
                value = importlib.import_module(f"{name}.{item}")
            except Exception:
                value = module
        else:
            value = vars(module)[item]
        yield from _whole(f"from {name} import {item}", value, names)
    if not listed:
        yield from _whole(f"import {name}", module, names)
        yield from _whole(f"import {top}", sys.modules[top], names)


def _name_and_version(module: str, name: str) -> bytes:
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


def _is_own_module(value: Any) -> bool:
    if not isinstance(value, types.ModuleType):
        return False
    return not _is_installed(value.__name__) or sys.modules[value.__name__] is not value


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
    return _real(file).startswith(_installation())


def _will_be_installed(top: str) -> bool:
    spec = importlib.util.find_spec(top)
    if spec is None:
        raise ModuleNotFoundError(top)
    if spec.origin is None:
        return False  # a namespace package
    return not spec.has_location or _real(spec.origin).startswith(_installation())


def _is_scope_of_installed(scope: dict[str, Any]) -> bool:
    """Return whether globals are those of an installed module; a function's `__module__` may be copied."""
    name = scope.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    return module is not None and vars(module) is scope and _is_installed(module.__name__)
