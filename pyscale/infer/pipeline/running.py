"""Stages that hand rows on, as functions of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from pyscale.infer.dense.dense import Dense
from pyscale.infer.forest.forest import Forest
from pyscale.infer.pipeline.columns import runner
from pyscale.infer.pipeline.fusing import Stage
from pyscale.infer.pipeline.stages import Columnwise

__all__ = ["runners"]

Run = Callable[[Any, int | None], NDArray[Any]]  # of rows, and of how many threads, at most


def runners(stages: Sequence[Stage]) -> list[Run]:
    """Make functions of stages: one of all columnwise ones that follow each other."""
    found: list[Run] = []
    group: list[Columnwise] = []
    for stage in stages:
        if isinstance(stage, Columnwise):
            group.append(stage)
            continue
        if group:
            found.append(_columnwise(group))
            group = []
        assert isinstance(stage, Dense | Forest)
        found.append(_handing_on(stage))
    return [*found, _columnwise(group)] if group else found


def _columnwise(group: list[Columnwise]) -> Run:
    one = runner(group)
    return lambda x, num_threads: one(x)


def _handing_on(model: Dense | Forest) -> Run:
    def run(x: Any, num_threads: int | None) -> NDArray[Any]:
        raw = model.raw(x, num_threads=num_threads)
        return raw if raw.ndim == 2 else raw[:, None]

    return run
