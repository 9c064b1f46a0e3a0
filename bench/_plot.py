"""Latency and bandwidth over size against the peers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from _results import Result
from _sizes import human_size

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Line by line: what is ours in full colour, peers in the colours that remain legible to colour-blind eyes
_OURS = {"pyscale-shared": ("#0b3c8c", "o"), "pyscale-ordinary": ("#4a90d9", "s")}
_PEER_COLOURS = ("#d55e00", "#e69f00", "#009e73", "#cc79a7", "#7f7f7f", "#8c564b")


def draw(path: Path, panels: Mapping[str, Mapping[str, list[Result]]]) -> None:
    """Write a figure with a column for each of `panels`: lines by name, each the results of one contestant.

    Parameters
    ----------
    path
        File to write; its suffix says which format.
    panels
        Title of the column to lines; every column shows latency (µs) above and bus bandwidth (GB/s) below.
    """
    figure, axes = plt.subplots(
        2, len(panels), figsize=(1.5 + 4.2 * len(panels), 7), sharex=True, sharey="row", squeeze=False
    )
    peers = list(dict.fromkeys(name for lines in panels.values() for name in lines if name not in _OURS))
    colours = dict(zip(peers, _PEER_COLOURS * 2, strict=False))
    for column, (title, lines) in enumerate(panels.items()):
        above, below = axes[:, column]
        for name, results in lines.items():
            points = sorted(results, key=lambda result: result.size)
            sizes = [point.size for point in points]
            colour, marker = _OURS.get(name) or (colours[name], "")
            style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 3, "label": name}
            style["linewidth"] = 2 if name in _OURS else 1.2
            above.plot(sizes, [point.microseconds for point in points], **style)
            below.plot(sizes, [point.busbw for point in points], **style)
        above.set_title(title)
        above.set_yscale("log")
        above.set_xscale("log", base=2)
        below.set_xlabel("bytes a rank")
        ticks = [4 * 16**k for k in range(7)]
        below.set_xticks(ticks, [human_size(tick) for tick in ticks])
        for axis in (above, below):
            axis.grid(True, alpha=0.3)
            axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("time a call (µs)")
    axes[1, 0].set_ylabel("bus bandwidth (GB/s)")
    columns = 3 if len(panels) == 1 else 8
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=columns, frameon=False)
    figure.tight_layout(rect=(0, 0.035 * (1 + -(-len(labels) // columns)), 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)
