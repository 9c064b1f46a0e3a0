"""Turns what was measured beside the peers of `pyscale.data` into the parts of docs/benchmarks_data.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import _comparison
from _comparison import Bar, Group, Recordings, Share, best, is_ours, pick, ratio_text, times
from _recording import Figure, Recording, quantity

Records = Sequence[Mapping[str, Any]]  # as measure() of a module returns them


@dataclass(frozen=True)
class Measured:
    """All that was."""

    recordings: Recordings
    records: Mapping[str, Records]  # by module: "bench_rows"


Rule = Callable[[Measured], Share]


def _sooner(run: str, task: str, ours: str, peers: Sequence[str], least: float) -> Rule:
    """Return a function to the least ratio of the best of these peers' time to ours over such tasks."""

    def measured(found: Measured) -> Share:
        ratios = []
        for own in pick(found.recordings, run, task, ours):
            rivals = [figure for peer in peers for figure in pick(found.recordings, run, own.task, peer)]
            rival = best(figure for figure in rivals if figure.task == own.task)
            if rival and not own.wrong:
                ratios.append((times(rival, own), f"{rival.contestant}; {own.task}"))
        if not ratios:
            return None
        ratio, where = min(ratios)
        return ratio / least, f"{ratio_text(ratio)} ({where})"

    return measured


def _rate(contestant: str, sizes: Callable[[int], bool], least: float) -> Rule:
    """Return a function to the least rate over these sizes."""

    def measured(found: Measured) -> Share:
        figures = pick(found.recordings, "data_permutation alone", "rate at n = ", contestant)
        within = [f for f in figures if sizes(int(f.task.removeprefix("rate at n = ").replace(",", "")))]
        if not within:
            return None
        worst = min(within, key=lambda figure: figure.rate)
        return worst.rate / least, f"{quantity(worst)} ({worst.task.removeprefix('rate at ')})"

    return measured


def _neighbours(found: Measured) -> Share:
    ratios = []
    for slowest in pick(found.recordings, "data_permutation alone", "near ", "pyscale, slowest"):
        [fastest] = pick(found.recordings, "data_permutation alone", slowest.task, "pyscale, fastest")
        ratios.append((times(slowest, fastest), slowest.task))
    if not ratios:
        return None
    ratio, where = max(ratios)
    return 1.3 / ratio, f"{ratio:.2f} ({where})"


def _most(run: str, task: str, ours: str, what: str, most: float) -> Rule:
    """Return a function to the most that was taken at any such task."""

    def measured(found: Measured) -> Share:
        taken = pick(found.recordings, run, task, ours, what)
        if not taken:
            return None
        worst = max(taken, key=lambda figure: figure.median)
        return most / max(worst.median, 1e-12), quantity(worst)

    return measured


def _record(
    module: str, name: str, least: float, where: Callable[[Mapping[str, Any]], bool], label: Sequence[str]
) -> Rule:
    """Return a function to the least of a ratio over these records of a module."""

    def measured(found: Measured) -> Share:
        rows = [row for row in found.records.get(module, ()) if row.get(name) is not None and where(row)]
        if not rows:
            return None
        worst = min(rows, key=lambda row: float(row[name]))
        place = ", ".join(f"{key.replace('_', ' ')} {worst[key]:,}" for key in label)
        return worst[name] / least, f"{ratio_text(worst[name])} ({place})"

    return measured


def _large(row: Mapping[str, Any]) -> bool:
    return row.get("what") == "gather" and row["row"] >= 256


def _balanced(found: Measured, name: str, most: float, text: str) -> Share:
    """Return the most of the balanced lengths of the bar."""
    rows = [
        row[name]
        for row in found.records.get("bench_balance", ())
        if (row["method"], row["n"], row["ranks"]) == ("pyscale", 4096, 32) and "lognormal" in row["workload"]
    ]
    return (most / max(rows), text.format(max(rows))) if rows else None


BARS: tuple[Bar[Measured], ...] = (
    Bar(
        "order of a whole epoch, against Grain",
        "1,000 times the rate",
        _sooner("data_permutation grain", "epoch of 1,000,003", "pyscale, in pieces", ["Grain"], 1000),
    ),
    Bar(
        "first index of one of 8 ranks, against DistributedSampler",
        "1,000 times sooner",
        _sooner(
            "data_permutation torch",
            "first index",
            "pyscale ShardedSampler",
            ["torch DistributedSampler"],
            1000,
        ),
    ),
    Bar("order, AVX-512, n < 2^32", "300 M indices/s", _rate("pyscale, avx512", lambda n: n < 1 << 32, 3e8)),
    Bar(
        "order, AVX-512, n >= 2^32",
        "120 M indices/s",
        _rate("pyscale, avx512", lambda n: n >= 1 << 32, 1.2e8),
    ),
    Bar("order, AVX2, n < 2^32", "150 M indices/s", _rate("pyscale, avx2", lambda n: n < 1 << 32, 1.5e8)),
    Bar("order, AVX2, n >= 2^32", "60 M indices/s", _rate("pyscale, avx2", lambda n: n >= 1 << 32, 6e7)),
    Bar("order, the slowest of neighbouring sizes over the fastest", "at most 1.3", _neighbours),
    Bar(
        "iterating over a sampler, whole, against DistributedSampler",
        "1.5 times the rate",
        _sooner("data_sampler torch", "whole part", "pyscale ShardedSampler", ["torch Dist"], 1.5),
    ),
    Bar(
        "the same from the first index on, a ready list there",
        "-",
        _sooner("data_sampler torch", "begun part", "pyscale ShardedSampler", ["torch Dist"], 1),
    ),
    Bar(
        "memory of an iteration at n = 10^12",
        "constant (1 MB)",
        _most("data_sampler torch", "the first", "pyscale", "bytes", 1e6),
    ),
    Bar(
        "resume in the middle of 10^9",
        "1 ms",
        _most("data_resume torch", "resume in the middle of 1,000,000,000", "pyscale", "seconds", 1e-3),
    ),
    Bar(
        "the same, memory",
        "1 MB",
        _most("data_resume torch", "resume in the middle of 1,000,000,000", "pyscale", "bytes", 1e6),
    ),
    Bar(
        "Loader on Parquet, against torch's DataLoader over pyarrow",
        "3 times the best",
        _sooner("data_loader torch", "from files", "pyscale", ["torch"], 3),
    ),
    Bar(
        "the same, against Mosaic streaming",
        "3 times",
        _sooner("data_loader mosaic", "from files", "pyscale", ["Mosaic"], 3),
    ),
    Bar(
        "Loader on columns in memory, against torch's DataLoader",
        "-",
        _sooner("data_loader torch", "in memory", "pyscale", ["torch, batches"], 1),
    ),
    Bar(
        "gather_rows, rows of 256 B and more, against a plain copy in C++",
        "0.8 times",
        _record("bench_rows", "times plain C++", 0.8, _large, ["row", "threads"]),
    ),
    Bar(
        "the same, against numpy.take with out= on 2 threads",
        "2 times",
        _record(
            "bench_rows",
            "times take, raise",
            2,
            lambda row: _large(row) and row["threads"] == 2,
            ["row", "threads"],
        ),
    ),
    Bar(
        "the same, against numpy.take with mode='clip', which has no buffer",
        "2 times",
        _record(
            "bench_rows",
            "times take, clip",
            2,
            lambda row: _large(row) and row["threads"] == 2,
            ["row", "threads"],
        ),
    ),
    Bar(
        "exchange of 1 GB over 2 ranks, against Alltoallv with packing in NumPy",
        "1.5 times",
        _record("bench_exchange", "ratio", 1.5, lambda row: True, ["row_bytes"]),
    ),
    Bar(
        "balance of 4,096 lengths on 32 ranks, imbalance",
        "below 0.1%",
        lambda found: _balanced(found, "imbalance", 1e-3, "{:.4%}"),
    ),
    Bar(
        "the same, time",
        "1 ms",
        lambda found: _balanced(found, "seconds", 1e-3, "{:.2g} s"),
    ),
)


def bars(measured: Measured) -> Iterator[str]:
    """Set out the bars and where we stand."""
    return _comparison.bars(BARS, measured)


_RULERS = ("C++", "in order")  # what the machine can do: no library that anybody could take instead
_AGAIN = ", arrays used again"  # another task, of the same contestants
_PLACES = ("row", "row_bytes", "workload", "n", "ranks", "threads")  # what tells records of a module apart


def in_figures(records: Mapping[str, Records]) -> Recordings:
    """Return the seconds that records of modules have, as figures, to be compared with those of programs."""
    return {
        module: Recording([figure for row in rows for figure in _figures(module, row)])
        for module, rows in records.items()
    }


def _figures(module: str, row: Mapping[str, Any]) -> Iterator[Figure]:
    what = row.get("what", module.removeprefix("bench_"))
    places = (
        f"{name.replace('_', ' ')} {row[name]:,}" if isinstance(row[name], int) else row[name]
        for name in _PLACES
        if name in row
    )
    task = ", ".join([what, *places])
    seconds = row["seconds"] if isinstance(row["seconds"], Mapping) else {row["method"]: row["seconds"]}
    for contestant, taken in seconds.items():
        if not contestant.startswith(_RULERS):
            of_task = task + _AGAIN * contestant.endswith(_AGAIN)
            yield Figure(of_task, contestant.removesuffix(_AGAIN), "seconds", [taken])


def table(recordings: Recordings, program: str) -> Iterator[str]:
    """Set out all figures of a program."""
    yield "| task | | time or rate | memory | pyscale is so many times as fast |"
    yield "|---|---|--:|--:|--:|"
    for run, recording in recordings.items():
        if run.split()[0] != program:
            continue
        tasks = dict.fromkeys(figure.task for figure in recording.figures)
        for task in tasks:
            yield from _rows(task, [figure for figure in recording.figures if figure.task == task])


def _rows(task: str, figures: Group) -> Iterator[str]:
    spent = [figure for figure in figures if figure.quantity == "seconds"]
    memory = {figure.contestant: figure for figure in figures if figure.quantity == "bytes"}
    ours = best(figure for figure in spent if is_ours(figure))
    for figure in spent:
        rise = quantity(memory[figure.contestant]) if figure.contestant in memory else ""
        ratio = "" if ours is None or is_ours(figure) else ratio_text(times(figure, ours))
        if ratio and figure.wrong:
            ratio = f"(wrong: {figure.wrong})"
        yield f"| {task} | {figure.contestant} | {quantity(figure)} | {rise} | {ratio} |"
        task = ""


def records(rows: Records) -> Iterator[str]:
    """Set out records as tables, one for those of the same keys, a column a key."""
    tables: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in map(_flat, rows):
        tables.setdefault(tuple(row), []).append(row)
    for names, table in tables.items():
        yield "| " + " | ".join(name.replace("_", " ") for name in names) + " |"
        yield "|" + "---|" * len(names)
        for row in table:
            yield "| " + " | ".join(_cell(row[name]) for name in names) + " |"
        yield ""


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Put what is in mappings beside the rest."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        inner = value if isinstance(value, dict) else {}
        flat |= {f"{name}: {key}": item for key, item in inner.items()} or {name: value}
    return flat


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
