"""Turns the results of all peers into the tables, the list of losses and the plot of docs/benchmarks.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from _results import Result, geometric_mean, merge, ratio
from _sizes import human_size
from _table import PLACEMENTS

BUFFERS = ("shared", "ordinary")
# dtype and buffers to the least ratio at any size and the least geometric mean that we ask of ourselves
BARS = {
    ("float32", "shared"): (1.5, 5.0),
    ("float32", "ordinary"): (1.0, 3.0),
    ("float16", "shared"): (None, 8.0),
    ("float16", "ordinary"): (None, 8.0),
    ("bfloat16", "shared"): (None, 8.0),
    ("bfloat16", "ordinary"): (None, 8.0),
}


@dataclass(frozen=True, slots=True)
class Point:
    """Where pyscale stands beside the best of its peers: one size, in one setting."""

    ranks: int
    dtype: str
    buffers: str
    placement: str
    size: int
    ratio: float  # of the best peer that was right, each against pyscale in its own run
    best: str  # that peer's title


class Comparison:
    """The results of all peers, merged over the repetitions."""

    def __init__(self, runs: Mapping[str, Iterable[Result]]) -> None:
        """Take the results by the peer's title, of any number of repetitions each."""
        self.titles = list(runs)
        # peer -> what is measured of whom -> result
        self._runs = {
            title: {result.key: result for result in merge(results)} for title, results in runs.items()
        }
        everything = [result for results in self._runs.values() for result in results.values()]
        self.ranks = sorted({result.ranks for result in everything})
        self.dtypes = [
            dtype for dtype in ("float32", "float16", "bfloat16") if any(r.dtype == dtype for r in everything)
        ]
        self.sizes = sorted({result.size for result in everything})

    def peer(self, title: str, placement: str, ranks: int, size: int, dtype: str) -> Result | None:
        """Look up what the peer itself took."""
        for name in ("mpi", "gloo"):
            found = self._runs[title].get((name, placement, ranks, size, dtype, "sum"))
            if found:
                return found
        return None

    def ours(
        self, title: str, buffers: str, placement: str, ranks: int, size: int, dtype: str
    ) -> Result | None:
        """Look up what pyscale took in the peer's run."""
        return self._runs[title].get((f"pyscale-{buffers}", placement, ranks, size, dtype, "sum"))

    def typical(self, buffers: str, placement: str, ranks: int, size: int, dtype: str) -> Result | None:
        """Take the median of pyscale's times over the peers' runs."""
        found = [self.ours(title, buffers, placement, ranks, size, dtype) for title in self.titles]
        return next(iter(merge(result for result in found if result)), None)

    def point(self, buffers: str, placement: str, ranks: int, size: int, dtype: str) -> Point | None:
        """Find the best peer, or None where no peer was right."""
        ratios = {}
        for title in self.titles:
            own = self.ours(title, buffers, placement, ranks, size, dtype)
            times = ratio(self.peer(title, placement, ranks, size, dtype), own)
            if times is not None:
                ratios[title] = times
        if not ratios:
            return None
        best = min(ratios, key=lambda title: ratios[title])
        return Point(ranks, dtype, buffers, placement, size, ratios[best], best)

    def against(self, title: str, buffers: str, dtype: str) -> float | None:
        """Take the geometric mean of one peer's time over pyscale's, where the peer was right."""
        ratios = [
            ratio(
                self.peer(title, placement, ranks, size, dtype),
                self.ours(title, buffers, placement, ranks, size, dtype),
            )
            for ranks in self.ranks
            for size in self.sizes
            for placement in PLACEMENTS
        ]
        found = [value for value in ratios if value is not None]
        return geometric_mean(found) if found else None

    def points(self, dtype: str, buffers: str, ranks: Sequence[int]) -> list[Point]:
        """All points of a setting."""
        found = (
            self.point(buffers, placement, count, size, dtype)
            for count in ranks
            for size in self.sizes
            for placement in PLACEMENTS
        )
        return [point for point in found if point]

    def wrong(self) -> Iterator[str]:
        """Who gave wrong answers, and where."""
        for title, results in self._runs.items():
            bad = [result for result in results.values() if result.wrong]
            for contestant, dtype in dict.fromkeys((result.contestant, result.dtype) for result in bad):
                who = title if contestant in ("mpi", "gloo") else f"{contestant} beside {title}"
                count = sum((result.contestant, result.dtype) == (contestant, dtype) for result in bad)
                yield f"{who}, {dtype}: wrong at {count} points"


def bars(comparison: Comparison) -> Iterator[str]:
    """Set out the bars and where we stand, over both placements and all sizes."""
    yield "| dtype | buffers | | bar | " + " | ".join(f"{n} ranks" for n in comparison.ranks) + " | all |"
    yield "|---|---|---|---|" + "---|" * (len(comparison.ranks) + 1)
    for (dtype, buffers), (least, mean) in BARS.items():
        columns = [comparison.points(dtype, buffers, [n]) for n in comparison.ranks]
        if not all(columns):
            continue
        columns.append([point for column in columns for point in column])
        worst = [min(column, key=lambda point: point.ratio) for column in columns]
        cells = [
            f"{point.ratio:.2f} ({human_size(point.size)}, {point.placement}, {point.best})"
            for point in worst
        ]
        yield f"| {dtype} | {buffers} | least | {least or '-'} | " + " | ".join(cells) + " |"
        cells = [f"{geometric_mean([point.ratio for point in column]):.2f}" for column in columns]
        yield f"| {dtype} | {buffers} | geometric mean | {mean} | " + " | ".join(cells) + " |"


def each_peer(comparison: Comparison) -> Iterator[str]:
    """Set out the geometric means against every single peer."""
    yield "| dtype | buffers | " + " | ".join(comparison.titles) + " |"
    yield "|---|---|" + "--:|" * len(comparison.titles)
    for dtype, buffers in BARS:
        if dtype in comparison.dtypes:
            means = [comparison.against(title, buffers, dtype) for title in comparison.titles]
            cells = ["-" if mean is None else f"{mean:.2f}" for mean in means]
            yield f"| {dtype} | {buffers} | " + " | ".join(cells) + " |"


def ceiling(comparison: Comparison, shares: Mapping[str, float]) -> Iterator[str]:
    """Set out where a bare C++ program would stand, from its time over pyscale's by ranks."""
    yield "| ranks | bare C++ / pyscale | best peer / pyscale | best peer / bare C++ |"
    yield "|---|--:|--:|--:|"
    for ranks in comparison.ranks:
        ratios = [point.ratio for point in comparison.points("float32", "shared", [ranks])]
        share = shares.get(str(ranks))
        if share is not None and ratios:
            mean = geometric_mean(ratios)
            yield f"| {ranks} | {share:.2f} | {mean:.2f} | {mean / share:.2f} |"


def losses(comparison: Comparison) -> Iterator[str]:
    """Every point where a peer is faster, or where the bar of that size is missed."""
    missed = [
        point
        for (dtype, buffers), (least, _) in BARS.items()
        for point in comparison.points(dtype, buffers, comparison.ranks)
        if point.ratio < (least or 1.0)
    ]
    if not missed:
        yield "None: no peer was faster at any size, and every bar of a single size was reached."
        return
    yield "| dtype | buffers | ranks | size | placement | best peer | peer / pyscale |"
    yield "|---|---|---|---|---|---|---|"
    for point in sorted(missed, key=lambda point: point.ratio):
        size = human_size(point.size)
        row = (
            point.dtype,
            point.buffers,
            point.ranks,
            size,
            point.placement,
            point.best,
            f"{point.ratio:.2f}",
        )
        yield "| " + " | ".join(map(str, row)) + " |"


def times(comparison: Comparison, dtype: str, ranks: int, placement: str) -> Iterator[str]:
    """Set out the times of everybody, by size."""
    titles = [
        title
        for title in comparison.titles
        if any(comparison.peer(title, placement, ranks, size, dtype) for size in comparison.sizes)
    ]
    names = ("size", "pyscale, shared", "pyscale, ordinary", *titles, "best / shared", "best / ordinary")
    yield "| " + " | ".join(names) + " |"
    yield "|---|" + "--:|" * (len(titles) + 4)
    for size in comparison.sizes:
        cells = [
            _microseconds(comparison.typical(buffers, placement, ranks, size, dtype)) for buffers in BUFFERS
        ]
        cells += [_microseconds(comparison.peer(title, placement, ranks, size, dtype)) for title in titles]
        for buffers in BUFFERS:
            point = comparison.point(buffers, placement, ranks, size, dtype)
            cells.append(
                "-"
                if point is None
                else f"**{point.ratio:.2f}**"
                if point.ratio < 1
                else f"{point.ratio:.2f}"
            )
        yield f"| {human_size(size)} | " + " | ".join(cells) + " |"


def _microseconds(result: Result | None) -> str:
    if result is None:
        return "-"
    if result.wrong:
        return "wrong"
    value = result.microseconds
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def plot(comparison: Comparison, path: Path, dtype: str = "float32", placement: str = PLACEMENTS[0]) -> None:
    """Draw latency and bandwidth, a column for each number of ranks."""
    from _plot import draw

    panels: dict[str, dict[str, list[Result]]] = {}
    for ranks in comparison.ranks:
        lines: dict[str, list[Result | None]] = {
            f"pyscale-{kind}": [
                comparison.typical(kind, placement, ranks, size, dtype) for size in comparison.sizes
            ]
            for kind in BUFFERS
        }
        for title in comparison.titles:
            lines[title] = [
                comparison.peer(title, placement, ranks, size, dtype) for size in comparison.sizes
            ]
        found = {name: [result for result in results if result] for name, results in lines.items()}
        panels[f"{dtype}, {ranks} ranks"] = {name: results for name, results in found.items() if results}
    draw(path, panels)


def fill(page: str, sections: Mapping[str, Iterable[str]]) -> str:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->` for each section."""
    for name, lines in sections.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(page):
            raise ValueError(f"page: expected the markers <!-- {name} --> and <!-- /{name} -->")
        text = "\n".join(lines)
        page = pattern.sub(lambda match, text=text: f"{match[1]}\n{text}\n\n{match[2]}", page)  # type: ignore[misc]
    return page
