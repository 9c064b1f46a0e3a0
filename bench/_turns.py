"""Contestants that take turns in one process."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")


def seconds(call: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turn(contestants: Mapping[K, Callable[[], T]], rounds: int) -> dict[K, list[T]]:
    """Call all of them `rounds` times, in turn, and each round from another one on: A B C, B C A, C A B.

    What disturbs the machine for a while then disturbs all alike.
    """
    names = list(contestants)
    found: dict[K, list[T]] = {name: [] for name in names}
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            for k in range(len(names)):
                name = names[(turn + k) % len(names)]
                found[name].append(contestants[name]())
                gc.collect()
    finally:
        gc.enable()
    return found
