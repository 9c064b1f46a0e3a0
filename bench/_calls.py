"""Calls that take turns, short ones many at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from _turns import in_turn, seconds
from numpy.typing import NDArray

_TURN = 0.02  # seconds, at least


def take_turns(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, NDArray[Any]]:
    """Return the seconds of a call in each round."""
    turns = {name: partial(_per_call, call, _count(call)) for name, call in calls.items()}
    return {name: np.array(found) for name, found in in_turn(turns, rounds).items()}


def _per_call(call: Callable[[], Any], count: int) -> float:
    def many() -> None:
        for _ in range(count):
            call()

    return seconds(many) / count


def _count(call: Callable[[], Any]) -> int:
    count = 1
    while (spent := _per_call(call, count)) * count < _TURN / 4:
        count *= 2
    return max(1, round(_TURN / spent))
