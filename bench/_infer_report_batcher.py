"""Turns what was measured of the batcher into its part of docs/benchmarks_inference.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from _comparison import Bar, Recordings, Share, pick, times
from _infer_report import Measured, head, row
from _recording import Figure, quantity

GOAL = 0.02  # seconds
_LATE = ", 99% of requests"


def _pairs(recordings: Recordings) -> Iterator[tuple[Figure, Figure]]:
    """Give ours and what asks a request at a time, for each task."""
    for run in recordings:
        if run.startswith("infer_batcher "):
            for ours in pick(recordings, run, "", "pyscale"):
                alone = pick(recordings, run, ours.task, "a request at a time")
                yield ours, next(one for one in alone if one.task == ours.task)


def _gain(clients: str) -> Callable[[Measured], Share]:
    def measured(found: Measured) -> Share:
        for ours, alone in _pairs(found.recordings):
            if ours.task.startswith("XGBoost") and ours.task.endswith(clients):
                gain = times(alone, ours)
                return gain / 5, f"{gain:.3g} times ({quantity(ours)})"
        return None

    return measured


def _late(found: Measured) -> Share:
    late = [
        ours
        for ours, _ in _pairs(found.recordings)
        if ours.task.startswith("XGBoost") and ours.task.endswith(_LATE)
    ]
    if not late:
        return None
    worst = max(late, key=lambda figure: figure.median)
    return GOAL / worst.median, f"{quantity(worst)} ({worst.task})"


BARS: tuple[Bar[Measured], ...] = (
    Bar(
        "XGBoost's own predict behind the batcher, 64 threads: rows/s, times those of a request at a time",
        "5",
        _gain("64 threads"),
    ),
    Bar("the same, 64 coroutines", "5", _gain("64 coroutines")),
    Bar("the same, 99% of requests, of threads and of coroutines", "20 ms, the goal", _late),
)


def batcher(measured: Measured) -> Iterator[str]:
    """Set out rows a second and latencies, with the batcher and without."""
    pairs = list(_pairs(measured.recordings))
    if not pairs:
        yield "Not measured."
        return
    late = {
        ours.task.removesuffix(_LATE): (ours, alone) for ours, alone in pairs if ours.task.endswith(_LATE)
    }
    yield from head(["", "a request at a time", "99% within", "batcher", "99% within", "times the rows/s"])
    for ours, alone in pairs:
        if ours.task in late:
            slow_ours, slow_alone = late[ours.task]
            cells = [quantity(alone), quantity(slow_alone), quantity(ours), quantity(slow_ours)]
            yield row([ours.task, *cells, f"{times(alone, ours):.2f}"])
    together = [
        (ours, rival)
        for run in measured.recordings
        if run.startswith("infer_collect ")
        for ours, rival in zip(
            pick(measured.recordings, run, "", "pyscale"),
            pick(measured.recordings, run, "", "NumPy"),
            strict=True,
        )
    ]
    if together:
        yield ""
        yield from head(["", "NumPy's concatenate", "pyscale"])
        yield from (row([ours.task, quantity(rival), quantity(ours)]) for ours, rival in together)
