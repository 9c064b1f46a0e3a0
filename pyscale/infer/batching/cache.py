"""Answers that were given, for rows that come again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

__all__ = ["Answers"]


class Answers:
    """The answers used last, each for a time. Callers exclude each other."""

    def __init__(self, size: int, nanoseconds: float) -> None:
        self._size = size
        self._nanoseconds = nanoseconds
        self._kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, now: int) -> Any:
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

    def put(self, key: Hashable, answer: Any, now: int) -> None:
        """Keep an answer; the one that was not used for longest makes room."""
        self._kept[key] = (now + self._nanoseconds, answer)
        self._kept.move_to_end(key)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
