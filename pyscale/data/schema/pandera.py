"""Schemas of pandera, by what they have and not by what they are: pandera itself is not needed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pyscale.data.schema.checks import Check
from pyscale.data.schema.column import Column, Schema
from pyscale.data.schema.types import type_of

# pandera's name of a check -> this one's, given its statistics
_CHECKS: dict[str, Callable[[dict[str, Any]], Check]] = {
    "equal_to": lambda s: Check.eq(s["value"]),
    "not_equal_to": lambda s: Check.ne(s["value"]),
    "greater_than": lambda s: Check.gt(s["min_value"]),
    "greater_than_or_equal_to": lambda s: Check.ge(s["min_value"]),
    "less_than": lambda s: Check.lt(s["max_value"]),
    "less_than_or_equal_to": lambda s: Check.le(s["max_value"]),
    "in_range": lambda s: Check.in_range(
        s["min_value"],
        s["max_value"],
        include_min=s.get("include_min", True),
        include_max=s.get("include_max", True),
    ),
    "isin": lambda s: Check.isin(s["allowed_values"]),
    "notin": lambda s: Check.notin(s["forbidden_values"]),
    "str_matches": lambda s: Check.str_matches(_pattern(s["pattern"])),
    "str_contains": lambda s: Check.str_contains(_pattern(s["pattern"])),
    "str_startswith": lambda s: Check.str_startswith(s["string"]),
    "str_endswith": lambda s: Check.str_endswith(s["string"]),
    "str_length": lambda s: _str_length(**s),
}
# In Python a number of times, and a set that has brackets in it; in RE2 text, and a class of characters
_ELSEWHERE = re.compile(r"\{,\d*\}|\[:")
# What changes data or the verdict, and has no counterpart: its name, and the value that means nothing
_REFUSED_OF_SCHEMA: dict[str, Any] = {
    "index": None,
    "parsers": [],
    "checks": [],
    "drop_invalid_rows": False,
    "add_missing_columns": False,
    "dtype": None,
}
_REFUSED_OF_COLUMN: dict[str, Any] = {
    "parsers": [],
    "drop_invalid_rows": False,
    "default": None,
    "regex": False,
}
_REFUSED_OF_CHECK: dict[str, Any] = {
    "element_wise": False,
    "ignore_na": True,
    "raise_warning": False,
    "groupby": None,
}


def converted(schema: Any) -> Schema:
    """Return the schema that a pandera DataFrameSchema says; a ValueError lists all that does not map."""
    if not isinstance(getattr(schema, "columns", None), dict):
        raise TypeError(f"from_pandera: expected a pandera DataFrameSchema, got {type(schema).__name__}")
    wrong = _refused(schema, _REFUSED_OF_SCHEMA, "schema")
    if schema.strict not in (True, False):
        wrong.append(f"schema: strict={schema.strict!r}")
    coerce = bool(getattr(schema, "coerce", False))
    columns = {name: _column(name, column, coerce, wrong) for name, column in schema.columns.items()}
    together = tuple(getattr(schema, "unique", None) or ())
    if nullable := [name for name in together if name in columns and columns[name].nullable]:
        wrong.append(
            f"schema: unique with {nullable[0]!r}, which is nullable, where pandera takes nulls for equal"
        )
    if wrong:
        raise ValueError("from_pandera: expected what has a counterpart, got " + "; ".join(wrong))
    return Schema(
        columns,
        unique=together,
        strict=bool(schema.strict),
        ordered=bool(getattr(schema, "ordered", False)),
    )


def _column(name: Any, column: Any, coerce: bool, wrong: list[str]) -> Column:
    what = f"column {name!r}"
    if not isinstance(name, str):
        wrong.append(f"{what}: a name of type {type(name).__name__}")
    wrong += _refused(column, _REFUSED_OF_COLUMN, what)
    nullable, unique = bool(column.nullable), bool(column.unique)
    if nullable and unique:
        wrong.append(f"{what}: unique and nullable, where pandera takes nulls for equal")
    kind = None
    if column.dtype is not None:
        try:
            kind = _type(column.dtype)
        except TypeError:
            wrong.append(f"{what}: dtype {column.dtype}")
    checks = [found for check in column.checks if (found := _check(what, check, wrong)) is not None]
    castable = kind is not None and (coerce or bool(column.coerce))
    return Column(
        kind,
        *checks,
        nullable=nullable,
        nan=nullable,
        unique=unique,
        required=bool(column.required),
        castable=castable,
    )


def _check(what: str, check: Any, wrong: list[str]) -> Check | None:
    convert = _CHECKS.get(check.name)
    if convert is None:
        wrong.append(f"{what}: check {check.name}")
        return None
    wrong += _refused(check, _REFUSED_OF_CHECK, f"{what}: check {check.name}")
    try:
        return convert(check.statistics)
    except (KeyError, TypeError, ValueError) as error:
        wrong.append(f"{what}: check {check.name} ({error})")
        return None


def _refused(thing: Any, options: dict[str, Any], what: str) -> list[str]:
    """List the options that mean something."""
    given = {name: getattr(thing, name, nothing) for name, nothing in options.items()}
    return [
        f"{what}: {name}={value!r}"
        for name, value in given.items()
        if value is not None and value != options[name]
    ]


def _type(dtype: Any) -> Any:
    """Return the type of a pandera dtype, which pandas may call by other names."""
    name = str(dtype)
    if name.startswith("string"):  # "string", "string[python]", "string[pyarrow]"
        return type_of(str)
    name = name.removesuffix("[pyarrow]")
    if name[:4] in ("UInt", "Floa") or name[:3] == "Int" or name == "boolean":  # with nulls of their own
        name = "bool" if name == "boolean" else name.lower()
    return type_of(name)


def _pattern(pattern: Any) -> str:
    """Return a pattern as text: pandera keeps some compiled."""
    text = getattr(pattern, "pattern", pattern)
    if getattr(pattern, "flags", 0) & ~32:  # more than that it is Unicode
        raise ValueError("a pattern with flags")
    if found := _ELSEWHERE.search(str(text)):
        raise ValueError(f"a pattern with {found[0]}, which means another thing in RE2")
    return str(text)


def _str_length(min_value: Any = None, max_value: Any = None, exact_value: Any = None) -> Check:
    if exact_value is not None:
        return Check.str_length(exact_value, exact_value)
    return Check.str_length(min_value, max_value)
