"""The text that bench/allreduce.py prints: nccl-tests' columns with the peers beside them, or OSU's two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from _results import Result, ratio

PLACEMENTS = ("out-of-place", "in-place")


class NcclTable:
    """A row a size and kind of buffer: time, algbw, busbw, #wrong and the peers, in both placements."""

    def __init__(self, peers: Sequence[str], buffers: Sequence[str]) -> None:
        self._peers, self._buffers = peers, buffers

    def header(self) -> Iterator[str]:
        """Lines before the first row."""
        width = 35 + 18 * len(self._peers)
        yield "#" + " " * 46 + "".join(f"{name:^{width}}" for name in PLACEMENTS)
        names = f"{'time':>10}{'algbw':>9}{'busbw':>9}{'#wrong':>7}"
        names += "".join(f"{peer:>10}{'ratio':>8}" for peer in self._peers)
        units = f"{'(us)':>10}{'(GB/s)':>9}{'(GB/s)':>9}{'':>7}" + f"{'(us)':>10}{'(x)':>8}" * len(
            self._peers
        )
        yield f"#{'size':>11}{'count':>11}{'type':>9}{'redop':>6}{'buffer':>10}" + names * 2
        yield f"#{'(B)':>11}{'(elements)':>11}{'':>25}" + units * 2

    def rows(self, results: Mapping[tuple[str, str], Result]) -> Iterator[str]:
        """Rows of one size; `results` by contestant and placement."""
        for buffers in self._buffers:
            ours = {placement: results[f"pyscale-{buffers}", placement] for placement in PLACEMENTS}
            point = ours[PLACEMENTS[0]]
            row = f"{point.size:>12}{point.count:>11}{point.dtype:>9}{point.op:>6}{buffers:>10}"
            for placement, own in ours.items():
                row += f"{_time(own)}{own.algbw:>9.2f}{own.busbw:>9.2f}{own.wrong:>7}"
                for peer in self._peers:
                    row += _beside(results.get((peer, placement)), own)
            yield row


def _time(result: Result) -> str:
    value = result.microseconds
    return f"{value:>10.2f}" if value < 1e4 else f"{value:>10.0f}"


def _beside(peer: Result | None, own: Result) -> str:
    if peer is None:
        return f"{'-':>10}{'-':>8}"
    times = ratio(peer, own)
    return _time(peer) + ("   WRONG" if times is None else f"{times:>8.2f}")


def osu_text(results: Sequence[Result], contestants: Sequence[str]) -> Iterator[str]:
    """OSU micro-benchmarks' latency text, a block for each contestant, out of place."""
    for name in contestants:
        rows = [
            result for result in results if result.contestant == name and result.placement == PLACEMENTS[0]
        ]
        if not rows:
            continue
        yield f"# OSU MPI Allreduce Latency Test, by {name}"
        yield f"# Datatype: {rows[0].dtype}, operation: {rows[0].op}, ranks: {rows[0].ranks}."
        yield f"{'# Size':<10}{'Avg Latency(us)':>18}"
        yield from (f"{row.size:<10}{row.microseconds:>18.2f}" for row in rows)
