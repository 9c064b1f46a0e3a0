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

import enum
import functools
import gc
import types
from typing import Any

import numpy as np

from pyscale.data.caching.graph import Child, Mode, Work, digest, of_parts
from pyscale.data.caching.installed import (
    CODE,
    DESCRIPTORS,
    LRU_CACHE,
    WRAPPERS,
    installed,
    is_scope_of_installed,
    name_and_version,
)
from pyscale.data.caching.names import content_of_module, used_by

NAMED = Mode(strict=False, files=False)  # A global that is a path may well say where something is written.

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


def is_code(value: Any) -> bool:
    """Return whether `work_on_code` knows how to look at a value, whatever `__class__` pretends it is."""
    return issubclass(type(value), CODE)


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
    if isinstance(value, WRAPPERS):
        return of_parts(child, "wrapper", type(value), value.__func__, _own(value))
    if isinstance(value, property):
        return of_parts(child, "property", type(value), value.fget, value.fset, value.fdel, attributes(value))
    if isinstance(value, LRU_CACHE):
        return of_parts(child, "lru_cache", value.__wrapped__, value.cache_parameters(), _own(value))
    if isinstance(value, DESCRIPTORS):
        return of_parts(child, "descriptor", type(value), value.__objclass__, value.__name__)
    if isinstance(value, np.ufunc):
        hidden = hidden_code(value)  # of numpy.frompyfunc
        return of_parts(child, "ufunc", value.nin, value.nout, value.identity, hidden) if hidden else None
    if value.__self__ is None or isinstance(value.__self__, types.ModuleType):
        return name_and_version(value.__module__ or "builtins", value.__qualname__)
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


def _module(child: Child) -> Work:
    found = []
    for name, value in content_of_module(child.value, None, "", set()):
        found.append(digest(name, (yield Child(value, child.place.then(f".{name}"), NAMED))))
    return digest("module", *found)


def _function(child: Child) -> Work:
    function, place, mode = child.value, child.place, bound(child).mode
    name = function.__qualname__
    scope = function.__globals__
    code = function.__code__
    if is_of_installed := is_scope_of_installed(scope):
        parts = [name_and_version(scope["__name__"], code.co_qualname)]
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
        for used, value in sorted(used_by(code, scope), key=lambda pair: pair[0]):
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
