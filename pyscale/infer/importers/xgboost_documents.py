"""Models of XGBoost as nested dicts and lists, from JSON or UBJSON, and what is taken out of them."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

from pyscale.infer.importers.reading import refuse
from pyscale.infer.importers.ubjson import read_ubjson

__all__ = ["entry", "load", "whole"]

T = TypeVar("T")
_NAMES: dict[type, str] = {dict: "an object", list: "a list", str: "a string"}


def load(content: bytes) -> dict[str, Any]:
    """Read a JSON or a UBJSON object, told apart by how it begins; refuses all else."""
    if not isinstance(content, bytes):
        refuse("the model", "bytes", type(content).__name__)
    if content[:2] in (b"{L", b"{}"):
        document = read_ubjson(content)
    elif content.lstrip()[:1] == b"{":
        document = _read_json(content)
    else:
        refuse("byte 0", "a model of XGBoost as JSON or UBJSON; its binary format is not read", content[:8])
    if not isinstance(document, dict):
        refuse("the model", "an object", type(document).__name__)
    return document


def _read_json(content: bytes) -> Any:
    # Empty lists take thirty times the memory of their text; no model is made of little else.
    if content.count(b"[") + content.count(b"{") > 1000 + len(content) // 4:
        refuse("the model", "fewer lists and objects for its size", f"{len(content)} bytes")
    try:
        return json.loads(content.decode())
    except RecursionError:
        refuse("the model", "fewer lists and objects in each other", "a nesting too deep to read")
    except ValueError as error:
        raise ValueError(f"the model: expected JSON, got {error}") from None


def entry(parent: dict[str, Any], key: str, where: str, kind: type[T]) -> T:
    """Give what an object of a document has by a key; refuses any other type."""
    path = f"{where}.{key}" if where else key
    if key not in parent:
        refuse(path, _NAMES[kind], "nothing")
    value = parent[key]
    if not isinstance(value, kind):
        refuse(path, _NAMES[kind], type(value).__name__)
    return value


def whole(parent: dict[str, Any], key: str, where: str, *, low: int, high: int, default: int = -1) -> int:
    """Give the whole number that XGBoost wrote as a string; the default, unless it is -1, if it is absent."""
    if default != -1 and key not in parent:
        return default
    text = entry(parent, key, where, str)
    if not re.fullmatch("-?[0-9]{1,10}", text) or not low <= int(text) <= high:
        refuse(f"{where}.{key}", f"a string of a number from {low} to {high}", text)
    return int(text)
