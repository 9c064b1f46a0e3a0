"""Figures of several contestants beside each other: who was best, the bars, the losses, what was wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from _recording import Figure, Recording, quantity

M = TypeVar("M")  # all that was measured
Recordings = Mapping[str, Recording]  # by program and subject: "data_loader torch"
Group = list[Figure]  # of one run, task and quantity
Share = tuple[float, str] | None  # how many times what the bar asks, and the figure in words


def is_ours(figure: Figure) -> bool:
    """Tell whether pyscale did it."""
    return figure.contestant.startswith("pyscale")


def groups(recordings: Recordings) -> Iterator[Group]:
    """Figures that may be compared: of one run, at one task."""
    for recording in recordings.values():
        found: dict[tuple[str, str], Group] = {}
        for figure in recording.figures:
            found.setdefault((figure.task, figure.quantity), []).append(figure)
        yield from found.values()


def best(figures: Iterable[Figure]) -> Figure | None:
    """Return the least of those whose answer was right."""
    right = [figure for figure in figures if not figure.wrong]
    return min(right, key=lambda figure: figure.median, default=None)


def times(peer: Figure, ours: Figure) -> float:
    """Tell how many times as much the peer took."""
    return peer.median / ours.median if ours.median else math.inf


def ratio_text(value: float) -> str:
    """Write a ratio as people do."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.4g}"


@dataclass(frozen=True)
class Bar(Generic[M]):
    """Something that we ask of ourselves."""

    what: str
    bar: str
    measured: Callable[[M], Share]


def pick(recordings: Recordings, run: str, task: str, contestant: str, what: str = "seconds") -> Group:
    """Figures whose task has this in its name, and whose contestant begins so."""
    figures = recordings[run].figures if run in recordings else []
    return [
        figure
        for figure in figures
        if figure.quantity == what and task in figure.task and figure.contestant.startswith(contestant)
    ]


def bars(asked: Sequence[Bar[M]], measured: M) -> Iterator[str]:
    """Set out the bars and where we stand."""
    yield "| | bar | measured | |"
    yield "|---|---|---|---|"
    for bar in asked:
        found = bar.measured(measured)
        text, verdict = ("not measured", "") if found is None else (found[1], _verdict(found[0], bar.bar))
        yield f"| {bar.what} | {bar.bar} | {text} | {verdict} |"


def _verdict(share: float, bar: str) -> str:
    if bar == "-":
        return "" if share >= 1 else "slower"
    return "reached" if share >= 1 else "**missed**"


def losses(recordings: Recordings) -> Iterator[str]:
    """Everything at which a peer that was right took less than the best of ours."""
    lost = []
    for group in groups(recordings):
        if group[0].quantity not in ("seconds", "bytes"):
            continue
        ours = best(figure for figure in group if is_ours(figure))
        rivals = [figure for figure in group if not is_ours(figure) and not figure.wrong]
        if ours:
            lost += [(times(rival, ours), rival, ours) for rival in rivals if rival.median < ours.median]
    if not lost:
        yield "None: no peer took less of anything."
        return
    yield "| task | peer | | pyscale | | peer / pyscale |"
    yield "|---|---|--:|---|--:|--:|"
    for ratio, rival, ours in sorted(lost, key=lambda loss: loss[0]):
        cells = (
            rival.task,
            rival.contestant,
            quantity(rival),
            ours.contestant,
            quantity(ours),
            f"{ratio:.2f}",
        )
        yield "| " + " | ".join(cells) + " |"


def found(recordings: Recordings) -> Iterator[str]:
    """List whose answers were wrong, what was noted, and what failed."""
    for run, recording in recordings.items():
        wrong = {
            f"{figure.contestant}, {figure.task}": figure.wrong
            for figure in recording.figures
            if figure.wrong
        }
        yield from (f"- {what}: {flaw}." for what, flaw in wrong.items())
        yield from (f"- {note}" for note in recording.notes)
        if recording.failed:
            yield f"- `{run}` failed: {recording.failed.strip().splitlines()[-1]}"
