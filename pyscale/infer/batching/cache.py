"""Answers that were given, for rows that come again."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

__all__ = ["Answers", "Key"]

# The model's name and version, and the rows' type, shape and bytes.
Key = tuple[str, int, Any, tuple[int, ...], bytes]


class Answers:
    """The answers used last, each for a time. Callers exclude each other."""

    def __init__(self, size: int, nanoseconds: float) -> None:
        self._size = size
        self._nanoseconds = nanoseconds
        self._kept: OrderedDict[Key, tuple[float, Any]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key, now: int) -> Any:
        """Return an answer; None if there is none or it is too old."""
        found = self._kept.get(key)
        if found is None:
            return None
        until, answer = found
        if now >= until:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return answer

    def put(self, key: Key, answer: Any, now: int) -> None:
        """Keep an answer; the one that was not used for longest makes room."""
        self._kept[key] = (now + self._nanoseconds, answer)
        self._kept.move_to_end(key)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def forget(self, model: str) -> None:
        """Forget the answers of a model, whose name is the first of their keys."""
        self._kept = OrderedDict(item for item in self._kept.items() if item[0][0] != model)
