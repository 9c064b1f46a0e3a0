"""Turns what was measured of searches and embedding bags into their part of docs/benchmarks_inference.md."""

from __future__ import annotations

from collections.abc import Iterator

from _comparison import Bar, Share, pick, times
from _infer_report import (
    THREADS,
    Measured,
    Point,
    beside,
    by_batch,
    cell,
    compared,
    contestants,
    head,
    least,
    row,
    spent,
)

_MATRICES = ("64-inner_product", "384-inner_product", "64-l2", "384-cosine")
_TABLES = ("10000x64", "1000000x64", "200000x256")
_QUERIES = (1, 8, 64, 1024)


def _tasks(measured: Measured, matrix: str) -> list[str]:
    """Name what was searched for, without the threads and batches."""
    names = {
        figure.task.rpartition(", batches")[0].rpartition(", ")[0]: None
        for threads in THREADS
        for figure in pick(measured.recordings, f"infer_topk {matrix}-{threads}", "top ", "")
    }
    return list(names)


def _points(measured: Measured) -> list[Point]:
    return [
        point
        for matrix in _MATRICES
        for threads in THREADS
        for task in _tasks(measured, matrix)
        for point in compared(
            spent(measured.recordings, f"infer_topk {matrix}-{threads}", f"{task}, "), _QUERIES
        )
    ]


def _least(measured: Measured) -> Share:
    return least(_points(measured), 1)


BARS: tuple[Bar[Measured], ...] = (Bar("searches: best peer / pyscale, least", "-", _least),)


def search(measured: Measured) -> Iterator[str]:
    """Set out the times of searches, a table for each matrix and number of best rows."""
    for matrix in _MATRICES:
        for task in _tasks(measured, matrix):
            runs = {threads: f"infer_topk {matrix}-{threads}" for threads in THREADS}
            yield from by_batch(
                f"**{task}**",
                {threads: spent(measured.recordings, run, f"{task}, ") for threads, run in runs.items()},
            )


def bags(measured: Measured) -> Iterator[str]:
    """Set out the times of embedding bags."""
    figures = [
        figure
        for table in _TABLES
        for figure in pick(measured.recordings, f"infer_embedding {table}", " bags ", "")
    ]
    if not figures:
        yield "Not measured."
        return
    names = contestants(figures)
    yield from head(["", *names, "best peer / pyscale"])
    for task in dict.fromkeys(figure.task for figure in figures):
        some = [figure for figure in figures if figure.task == task]
        cells = {figure.contestant: cell(figure) for figure in some}
        pair = beside(some)
        ratio = f"{times(pair[1], pair[0]):.2f}" if pair else ""
        yield row([task, *(cells.get(name, "-") for name in names), ratio])
