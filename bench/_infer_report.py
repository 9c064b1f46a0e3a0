"""Turns what was measured of `pyscale.infer` and its peers into the parts of docs/benchmarks_inference.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from _comparison import Bar, Recordings, Share, best, is_ours, pick, ratio_text, times
from _recording import Figure, quantity
from _results import geometric_mean

THREADS = (1, 2)
LARGE = (64, 1024, 65536)  # batches that the bars of throughput are for


@dataclass(frozen=True)
class Shape:
    """What the report has to know of a model."""

    title: str
    shallow: bool


@dataclass(frozen=True)
class Measured:
    """All that was."""

    recordings: Recordings
    models: Mapping[str, Shape]
    cores: int
    networks: Sequence[str] = ()


@dataclass(frozen=True)
class Point:
    """Where pyscale stands beside the best of its peers: one model, threads and batch."""

    ratio: float
    where: str


def _batch(figure: Figure) -> int:
    return int(figure.task.rpartition("batches of ")[2].replace(",", ""))


def spent(recordings: Recordings, run: str, what: str = "") -> dict[int, list[Figure]]:
    """Collect the times of all contestants at such tasks of a run, by batch."""
    found: dict[int, list[Figure]] = {}
    for figure in pick(recordings, run, what, ""):
        found.setdefault(_batch(figure), []).append(figure)
    return found


def _of_forest(measured: Measured, model: str, threads: int) -> dict[int, list[Figure]]:
    return spent(measured.recordings, f"infer_forests {model}-{threads}", "batches of ")


def beside(figures: Sequence[Figure]) -> tuple[Figure, Figure] | None:
    """Return ours and the best of the peers."""
    ours = best(figure for figure in figures if is_ours(figure))
    rival = best(figure for figure in figures if not is_ours(figure))
    return (ours, rival) if ours and rival else None


def points(measured: Measured, models: Sequence[str], batches: Sequence[int]) -> list[Point]:
    """Compare with the best peer everywhere."""
    found: list[Point] = []
    for model in models:
        for threads in THREADS:
            found += compared(_of_forest(measured, model, threads), batches)
    return found


def compared(by: Mapping[int, Sequence[Figure]], batches: Sequence[int]) -> Iterator[Point]:
    """Compare with the best peer at these batches."""
    for batch, figures in by.items():
        pair = beside(figures) if batch in batches else None
        if pair:
            ours, rival = pair
            yield Point(times(rival, ours), f"{rival.contestant}; {ours.task}")


def least(points: Sequence[Point], bar: float) -> Share:
    """Tell where we stand lowest."""
    if not points:
        return None
    worst = min(points, key=lambda point: point.ratio)
    return worst.ratio / bar, f"{ratio_text(worst.ratio)} ({worst.where})"


def _least(
    batches: Sequence[int], bar: float, taken: Callable[[str, Shape], bool]
) -> Callable[[Measured], Share]:
    def measured(found: Measured) -> Share:
        names = [name for name, shape in found.models.items() if taken(name, shape)]
        return least(points(found, names, batches), bar)

    return measured


def _mean(least: float, taken: Callable[[str, Shape], bool]) -> Callable[[Measured], Share]:
    def measured(found: Measured) -> Share:
        names = [name for name, shape in found.models.items() if taken(name, shape)]
        ratios = [point.ratio for point in points(found, names, LARGE)]
        if not ratios:
            return None
        mean = geometric_mean(ratios)
        return mean / least, f"{ratio_text(mean)} (of {len(ratios)})"

    return measured


def _same_sums(found: Measured) -> Share:
    figures = [
        figure
        for run in found.recordings
        for figure in pick(found.recordings, run, "", "pyscale", "other sums")
    ]
    if not figures:
        return None
    other, all_sums = sum(figure.median for figure in figures), sum(figure.amount for figure in figures)
    return float(not other), f"{other:,.0f} of {all_sums:,.0f}"


def _farthest(found: Measured) -> Share:
    figures = [
        figure for run in found.recordings for figure in pick(found.recordings, run, "", "pyscale", "ulp")
    ]
    if not figures:
        return None
    worst = max(figures, key=lambda figure: figure.median)
    return 1.0, f"{worst.median:.3g} ulp ({worst.task})"


CALLERS = 4


def _callers(found: Measured) -> Share:
    shares = []
    for run in found.recordings:
        for late in pick(found.recordings, run, f"{CALLERS} threads at once, 99%", "pyscale"):
            alone_task = late.task.replace(f"{CALLERS} threads at once, 99%", "alone, median")
            for alone in pick(found.recordings, run, alone_task, "pyscale"):
                over = late.median / alone.median
                shares.append((2 * CALLERS / found.cores / over, f"{over:.3g} times ({quantity(late)})"))
    return min(shares) if shares else None


def _large(found: Measured) -> Share:
    loaded = pick(found.recordings, "infer_large 5000x8", "import and load", "pyscale")
    return (1 / loaded[0].median, quantity(loaded[0])) if loaded else None


def _shallow(name: str, shape: Shape) -> bool:
    return shape.shallow


def _deep(name: str, shape: Shape) -> bool:
    return not shape.shallow


BARS: tuple[Bar[Measured], ...] = (
    Bar(
        "trees of up to 64 leaves, batches of 64 and more: best peer / pyscale, geometric mean",
        "4",
        _mean(4, _shallow),
    ),
    Bar("the same, the least", "1.2", _least(LARGE, 1.2, _shallow)),
    Bar(
        "deeper trees, batches of 64 and more: best peer / pyscale, geometric mean", "1.5", _mean(1.5, _deep)
    ),
    Bar("the same, the least", "1", _least(LARGE, 1, _deep)),
    Bar("a row, 50 trees: best peer / pyscale", "3", _least([1], 3, lambda name, _: name == "xgb50")),
    Bar("a row, 500 trees: best peer / pyscale", "3", _least([1], 3, lambda name, _: name == "xgb500")),
    Bar("a row, any model: best peer / pyscale", "-", _least([1], 1, lambda name, _: True)),
    Bar("batches of 8, any model: best peer / pyscale", "-", _least([8], 1, lambda name, _: True)),
    Bar("sums that are not the library's to the bit", "0", _same_sums),
    Bar("probabilities, the most by which they differ from the library's", "-", _farthest),
    Bar(
        f"a row, {CALLERS} threads at once: 99% of calls over the median of one alone",
        f"at most 2 x {CALLERS} / cores",
        _callers,
    ),
    Bar("import pyscale and load 5,000 trees of depth 8", "1 s", _large),
)


def contestants(figures: Sequence[Figure]) -> list[str]:
    """Name who took part, pyscale first."""
    names = dict.fromkeys(figure.contestant for figure in figures)
    return sorted(names, key=lambda name: not name.startswith("pyscale"))


def row(cells: Sequence[str]) -> str:
    """Write a row of a table."""
    return "| " + " | ".join(cells) + " |"


def head(names: Sequence[str], left: int = 1) -> Iterator[str]:
    """Write the head of a table, of whose columns the first ones are text."""
    yield row(names)
    yield "|" + "---|" * left + "--:|" * (len(names) - left)


def forests(measured: Measured) -> Iterator[str]:
    """Set out the times of all, a table for each model."""
    for model, shape in measured.models.items():
        by_threads = {threads: _of_forest(measured, model, threads) for threads in THREADS}
        yield from by_batch(f"**{shape.title}** (`{model}`)", by_threads)


def by_batch(
    title: str, of: Mapping[Any, Mapping[int, Sequence[Figure]]], what: str = "threads"
) -> Iterator[str]:
    """Set out the times of all contestants, a row for each number of threads, or what else, and batch."""
    everything = [figure for by in of.values() for figures in by.values() for figure in figures]
    if not everything:
        return
    names = contestants(everything)
    yield title
    yield ""
    yield from head([what, "rows a call", *names, "best peer / pyscale"], 2)
    for one, by in of.items():
        for batch, figures in by.items():
            cells = {figure.contestant: cell(figure) for figure in figures}
            pair = beside(figures)
            ratio = f"{times(pair[1], pair[0]):.2f}" if pair else ""
            yield row([str(one), f"{batch:,}", *(cells.get(name, "-") for name in names), ratio])
    yield ""


def cell(figure: Figure) -> str:
    """Write what was measured, and whether the answer was wrong."""
    return f"({quantity(figure)}, wrong)" if figure.wrong else quantity(figure)


def differences(measured: Measured) -> Iterator[str]:
    """Set out the most by which anybody's probabilities differ from those of the library itself."""
    found: dict[str, dict[str, list[Figure]]] = {}
    for model in measured.models:
        for threads in THREADS:
            for kind in ("difference", "ulp"):
                for figure in pick(
                    measured.recordings, f"infer_forests {model}-{threads}", "batches of", "", kind
                ):
                    found.setdefault(model, {}).setdefault(figure.contestant, []).append(figure)
    if not found:
        yield "Not measured."
        return
    names = list(dict.fromkeys(name for by in found.values() for name in by))
    yield from head(["model", *names])
    for model, by in found.items():
        yield row([f"`{model}`", *(_difference(by.get(name, [])) for name in names)])


def _difference(figures: Sequence[Figure]) -> str:
    """Write the most, and in units in the last place where the type is the library's."""
    far, steps = (
        max((figure.median for figure in figures if figure.quantity == kind), default=None)
        for kind in ("difference", "ulp")
    )
    if far is None:
        return "-"
    return "0" if not far else f"{far:.1e}" + (f" ({steps:.0f} ulp)" if steps is not None else "")


def loading(measured: Measured) -> Iterator[str]:
    """Set out the times from file to first answer, and of importing."""
    recordings = measured.recordings
    found = {
        model: pick(recordings, f"infer_loading {model}", "from file to first answer", "")
        for model in measured.models
    }
    everything = [figure for figures in found.values() for figure in figures]
    if not everything:
        yield "Not measured."
        return
    names = contestants(everything)
    yield from head(["model", *names])
    for model, figures in found.items():
        if figures:
            cells = {figure.contestant: quantity(figure) for figure in figures}
            yield row([f"`{model}`", *(cells.get(name, "-") for name in names)])
    imports: dict[str, list[Figure]] = {}
    for model in measured.models:
        for figure in pick(recordings, f"infer_loading {model}", "import", ""):
            imports.setdefault(figure.contestant, []).append(figure)
    least = {name: best(figures) for name, figures in imports.items()}
    yield row(["import alone", *(quantity(one) if (one := least.get(name)) else "-" for name in names)])


def callers(measured: Measured) -> Iterator[str]:
    """Set out calls of a single row, alone and at once."""
    found = [
        figure
        for model in measured.models
        for figure in pick(measured.recordings, f"infer_callers {model}", "a row, ", "")
    ]
    if not found:
        yield "Not measured."
        return
    names = contestants(found)
    yield from head(["", *names])
    for task in dict.fromkeys(figure.task for figure in found):
        cells = {figure.contestant: quantity(figure) for figure in found if figure.task == task}
        yield row([task, *(cells.get(name, "-") for name in names)])


def large(measured: Measured) -> Iterator[str]:
    """Set out the loading of a large model."""
    found = pick(measured.recordings, "infer_large 5000x8", "", "")
    if not found:
        yield "Not measured."
        return
    yield from head(["", "time"])
    yield from (row([figure.task, quantity(figure)]) for figure in found)
