"""The globals that code names, and what it imports."""

from __future__ import annotations

import dis
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any

from pyscale.data.caching.installed import is_installed, is_own_module, name_and_version, will_be_installed

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


def used_by(code: types.CodeType, scope: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the globals that code uses, and what it imports, by name; each once."""
    found: dict[str, Any] = {}
    names = frozenset(_names(code))
    for part in _codes(code):
        steps = [step for step in dis.get_instructions(part) if step.opname not in _NOTHING]
        for at, step in enumerate(steps):
            if step.opname in _LOADS and step.argval in scope:
                path = [step.argval]
                value = scope[step.argval]
                while is_own_module(value) and at + len(path) < len(steps):
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
    if is_own_module(value):
        yield from content_of_module(value, names, f"{name}.", set())
    else:
        yield name, value


def content_of_module(
    module: types.ModuleType, names: frozenset[str] | None, prefix: str, seen: set[int]
) -> Iterator[tuple[str, Any]]:
    """Yield what is in a module, and in those of its modules that are among the names (None: in all)."""
    seen.add(id(module))
    for name, value in sorted(vars(module).items()):
        if name in _NOT_OF_A_MODULE:
            continue
        if not is_own_module(value):
            yield prefix + name, value
        elif (names is None or name in names) and id(value) not in seen:
            yield from content_of_module(value, names, f"{prefix}{name}.", seen)


def _imported(
    name: str, level: int, listed: tuple[str, ...], scope: dict[str, Any], names: frozenset[str]
) -> Iterator[tuple[str, Any]]:
    """Yield what an import in the body of a function brings, as `from` or as a module."""
    try:
        name = importlib.util.resolve_name("." * level + name, scope.get("__package__"))
        top = name.partition(".")[0]
        if is_installed(top) if top in sys.modules else will_be_installed(top):
            yield f"import {name}", name_and_version(name, "")
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
