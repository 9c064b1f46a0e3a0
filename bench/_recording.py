"""What a program of a benchmark measured, kept as JSON.

It runs in the peers' environments, so it needs NumPy alone.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True)
class Figure:
    """One contestant at one task: what each round gave. Only figures of one run and task are compared."""

    task: str  # what all contestants did: "epoch of 1,000,003"
    contestant: str
    quantity: str  # "seconds", "bytes", or what `rounds` counts
    rounds: list[float]
    amount: float = 1  # of `unit`, in a round
    unit: str = ""  # "indices", "rows": then the rate tells more than the time
    wrong: str = ""  # what was wrong with the answer
    run: str = ""  # the program and peer in whose process it was measured

    @property
    def median(self) -> float:
        """Median of the rounds."""
        return float(np.median(self.rounds))

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.amount / self.median


@dataclass(frozen=True, slots=True)
class Note:
    """Something found out that is no figure."""

    text: str


@dataclass(slots=True)
class Recording:
    """All that one run of a program gave."""

    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    failed: str = ""

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read what `main` wrote."""
        record = json.loads(path.read_text())
        record["figures"] = [Figure(**figure) for figure in record["figures"]]
        return cls(**record)


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Tell which versions of these packages are installed here, of those that are."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def quantity(figure: Figure) -> str:
    """Write a figure with its unit, as people do."""
    if figure.quantity == "bytes":  # the kernel counts pages in heaps
        return f"{figure.median / 1e6:,.1f} MB" if figure.median >= 5e5 else "< 0.5 MB"
    if figure.quantity != "seconds":
        return f"{figure.median:.3g} {figure.quantity}"
    if figure.unit:
        rate = figure.rate
        scale, prefix = next((s, p) for s, p in ((1e6, "M "), (1e3, "k "), (1, "")) if rate >= s or s == 1)
        return f"{rate / scale:,.3g} {prefix}{figure.unit}/s"
    spent = figure.median
    scale, unit = next((s, u) for s, u in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")) if spent >= s or u == "µs")
    return f"{spent / scale:,.3g} {unit}"


def main(
    what: str | None,
    measure: Callable[[argparse.Namespace], Iterator[Figure | Note]],
    subjects: Sequence[str],
    name: str = "peer",
) -> None:
    """Run one of these programs: measure beside a peer, print, and write the JSON that was asked for.

    What is named on the command line can be something else than a peer: a model.
    """
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(name, choices=subjects, help=f"which {name}, of those that this environment has")
    parser.add_argument("--quick", action="store_true", help="smaller, and fewer rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="where the flights lie")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was measured is written
    run = f"{Path(sys.argv[0]).stem} {getattr(options, name)}"
    recording = Recording(versions=versions(_PACKAGES))
    try:
        for found in measure(options):
            if isinstance(found, Note):
                recording.notes.append(found.text)
                print(f"# {found.text}", flush=True)
                continue
            recording.figures.append(Figure(**{**asdict(found), "run": run}))
            flaw = f"  WRONG: {found.wrong}" if found.wrong else ""
            print(f"{found.task:<58}{found.contestant:<44}{quantity(found):>20}{flaw}", flush=True)
    except BaseException:
        recording.failed = traceback.format_exc()
        raise
    finally:  # what came before a failure is kept
        if options.json:
            options.json.write_text(json.dumps(asdict(recording), indent=1) + "\n")


_PACKAGES = (
    "numpy",
    "pyarrow",
    "torch",
    "torchdata",
    "grain",
    "mosaicml-streaming",
    "webdataset",
    "xgboost-cpu",
    "lightgbm",
    "scikit-learn",
    "scikit-learn-intelex",
    "onnxruntime",
    "onnxmltools",
    "skl2onnx",
    "treelite",
    "tl2cgen",
    "lleaves",
    "ydf",
    "openvino",
    "faiss-cpu",
)
