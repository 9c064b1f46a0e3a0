"""Turns what was measured of networks into their part of docs/benchmarks_inference.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from _comparison import Bar, Share, is_ours
from _infer_report import THREADS, Measured, Point, by_batch, compared, least, spent
from _recording import Figure

FEW, MANY = (1, 8, 64), (1024, 8192, 65536)  # rows a call, as the bars have them
OWN = "float32 of pyscale"  # the contestant beside int8


def _by_threads(measured: Measured, network: str, what: str) -> dict[int, dict[int, list[Figure]]]:
    runs = {threads: f"infer_dense {network}-{threads}" for threads in THREADS}
    return {threads: spent(measured.recordings, run, f"{network}, {what}, ") for threads, run in runs.items()}


def _points(measured: Measured, what: str, batches: Sequence[int]) -> list[Point]:
    return [
        point
        for network in measured.networks
        for by in _by_threads(measured, network, what).values()
        for point in compared(by, batches)
    ]


def _least(what: str, batches: Sequence[int], bar: float) -> Callable[[Measured], Share]:
    return lambda measured: least(_points(measured, what, batches), bar)


def _int8(beside_own: bool, bar: float) -> Callable[[Measured], Share]:
    """Compare int8 with our own float32, or with the peers' int8."""

    def measured(found: Measured) -> Share:
        points: list[Point] = []
        for network in found.networks:
            for by in _by_threads(found, network, "int8").values():
                chosen = {
                    batch: [
                        figure
                        for figure in figures
                        if is_ours(figure) or (figure.contestant == OWN) == beside_own
                    ]
                    for batch, figures in by.items()
                }
                points += compared(chosen, FEW + MANY)
        return least(points, bar)

    return measured


BARS: tuple[Bar[Measured], ...] = (
    Bar(
        "networks, float32, batches of 1 to 64: best peer / pyscale, least",
        "1.5",
        _least("float32", FEW, 1.5),
    ),
    Bar("the same, batches of 1,024 and more", "1", _least("float32", MANY, 1)),
    Bar("networks, int8, any batch: own float32 / int8, least", "1.5", _int8(True, 1.5)),
    Bar("networks, int8, any batch: best peer's int8 / pyscale's, least", "-", _int8(False, 1)),
)


def networks(measured: Measured) -> Iterator[str]:
    """Set out the times of all, two tables for each network."""
    for network in measured.networks:
        for what in ("float32", "int8"):
            yield from by_batch(f"**{network}, {what}**", _by_threads(measured, network, what))
