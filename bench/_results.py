"""What was measured, as records that go to JSON and come back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Result:
    """One contestant at one size."""

    contestant: str  # "pyscale-shared", "pyscale-ordinary", "mpi", "gloo"
    placement: str  # "out-of-place" or "in-place"
    ranks: int
    size: int  # bytes a rank
    count: int  # elements a rank
    dtype: str
    op: str
    seconds: float  # median over the batches of the slowest rank's time a call
    batches: list[float]
    iterations: int  # calls a batch
    wrong: int  # elements, over all ranks, that differed from the known answer

    @property
    def microseconds(self) -> float:
        """Time a call."""
        return self.seconds * 1e6

    @property
    def algbw(self) -> float:
        """Bytes of one rank over time, GB/s."""
        return self.size / self.seconds / 1e9

    @property
    def busbw(self) -> float:
        """`algbw` times 2(n-1)/n, GB/s, as nccl-tests defines it."""
        return self.algbw * 2 * (self.ranks - 1) / self.ranks

    @property
    def key(self) -> tuple[str, str, int, int, str, str]:
        """All that a repetition has in common."""
        return self.contestant, self.placement, self.ranks, self.size, self.dtype, self.op


def geometric_mean(values: Sequence[float]) -> float:
    """Exp of the mean logarithm."""
    return math.exp(float(np.mean(np.log(values))))


def ratio(peer: Result | None, ours: Result | None) -> float | None:
    """How many times as long the peer took; None unless both were measured and the peer was right."""
    return None if peer is None or ours is None or peer.wrong else peer.seconds / ours.seconds


def save(path: Path, results: Iterable[Result], **about: Any) -> None:
    """Write `results` and what they are about."""
    path.write_text(json.dumps({**about, "results": [asdict(result) for result in results]}, indent=1) + "\n")


def load(path: Path) -> list[Result]:
    """Read what `save` wrote."""
    return [Result(**record) for record in json.loads(path.read_text())["results"]]


def merge(repetitions: Iterable[Result]) -> list[Result]:
    """One result for each key: the median of the repetitions, and every wrong element of any."""
    groups: dict[object, list[Result]] = {}
    for result in repetitions:
        groups.setdefault(result.key, []).append(result)
    return [
        replace(
            group[0],
            seconds=float(np.median([result.seconds for result in group])),
            batches=[seconds for result in group for seconds in result.batches],
            wrong=sum(result.wrong for result in group),
        )
        for group in groups.values()
    ]
