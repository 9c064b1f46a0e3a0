"""Compares `pyscale.data` with its peers, and writes the page docs/benchmarks_data.md.

    python bench/bench_data.py [--quick] [--only RUN ...] [--report]

Each peer has a virtual environment of its own under build/bench/data. Every run is a program of its own in
one of them, in which pyscale and that peer take turns; only figures of one run are divided by each other.
What was measured stays in build/bench/data/results, where a run replaces what it measured before: so some can
be done again, and the page is written from all of them.

About 40 minutes on two cores (10 with --quick); the machine should do nothing else.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _data_report
from _data_environments import ENVIRONMENTS, FOLDER, variables
from _data_measure import Recording
from _data_report import Measured
from _environments import BUILD, ROOT, BenchmarkFailed, run
from _machine import machine
from _progress import Progress
from _report import fill

_PROGRAMS = ("data_permutation", "data_sampler", "data_resume", "data_loader")
_MODULES = {
    "bench_rows": 1,
    "bench_exchange": 2,
    "bench_balance": 1,
}  # with a measure(quick), and on how many ranks


@dataclass(frozen=True)
class Run:
    """A program beside one peer."""

    program: str
    peer: str
    environment: str | None  # None: the one that runs this program
    timeout: float  # seconds

    @property
    def name(self) -> str:
        """As on the command line and in the files."""
        return f"{self.program}-{self.peer}"

    def start(self, results: Path, quick: bool) -> None:
        """Measure, into a file of `results`."""
        python = ENVIRONMENTS[self.environment].python if self.environment else sys.executable
        command = [str(python), "-W", "ignore", str(ROOT / "bench" / f"{self.program}.py"), self.peer]
        command += ["--json", str(results / f"{self.name}.json"), "--data", str(FOLDER / "files")]
        run([*command, *(["--quick"] if quick else [])], variables(), self.timeout)


RUNS = (
    Run("data_permutation", "alone", None, 900),
    Run("data_permutation", "torch", "torch", 600),
    Run("data_permutation", "grain", "grain", 900),
    Run("data_permutation", "mosaic", "mosaic", 600),
    Run("data_sampler", "torch", "torch", 600),
    Run("data_sampler", "grain", "grain", 600),
    Run("data_resume", "torch", "torch", 900),
    Run("data_resume", "grain", "grain", 300),
    Run("data_resume", "mosaic", "mosaic", 1200),
    Run("data_loader", "torch", "torch", 1800),
    Run("data_loader", "mosaic", "mosaic", 2400),
    Run("data_loader", "webdataset", "torch", 2400),
    Run("data_loader", "grain", "grain", 2400),
)


_CALL = """
import importlib, json, pathlib, sys
bench, module, file, quick = sys.argv[1:]
sys.path.insert(0, bench)
records = importlib.import_module(module).measure(quick == "quick")
if records:  # those of a rank have all
    pathlib.Path(file).write_text(json.dumps(records, indent=1) + "\\n")
"""


def call_module(module: str, results: Path, quick: bool) -> None:
    """Let a module measure, in processes of its own, into a file of `results`."""
    ranks = _MODULES[module]
    command = [] if ranks == 1 else [str(Path(sys.executable).parent / "mpirun"), "-n", str(ranks)]
    command += [sys.executable, "-c", _CALL, str(ROOT / "bench"), module, str(results / f"{module}.json")]
    run([*command, "quick" if quick else "whole"], variables(), 1200)


def measure(options: argparse.Namespace, results: Path) -> Iterator[str]:
    """Install what is needed and run all that was asked for; yields what failed."""
    runs = [one for one in RUNS if one.name in options.only]
    # Those that are in this source tree.
    modules = [name for name in _MODULES if name in options.only and importlib.util.find_spec(name)]
    needed = list(dict.fromkeys(one.environment for one in runs if one.environment))
    progress = Progress(len(needed) + len(runs) + len(modules))
    missing = set()
    for name in needed:
        progress.step(f"environment of {name}")
        try:
            ENVIRONMENTS[name].install(progress.say)
        except BenchmarkFailed as failure:
            progress.say(str(failure))
            missing.add(name)
            yield f"the environment of {name} could not be installed"
    for one in runs:
        progress.step(one.name)
        if one.environment in missing:
            continue
        try:
            one.start(results, options.quick)
        except BenchmarkFailed as failure:
            progress.say(str(failure))
            yield f"{one.name} failed"
    for name in modules:
        progress.step(name)
        try:
            call_module(name, results, options.quick)
        except BenchmarkFailed as failure:
            progress.say(str(failure))
            yield f"{name} failed"


def write_page(results: Path, quick: bool) -> Path:
    """Fill in docs/benchmarks_data.md, or a copy of it where quick; prints how the bars fared."""
    recordings = {
        f"{one.program} {one.peer}": Recording.load(file)
        for one in RUNS
        if (file := results / f"{one.name}.json").exists()
    }
    versions: dict[str, str] = {}
    for recording in recordings.values():
        versions |= {name: version for name, version in recording.versions.items() if name not in versions}
    about = json.loads((results / "about").read_text()) if (results / "about").exists() else {}
    records: dict[str, list[dict[str, Any]]] = {
        name: json.loads(file.read_text()) for name in _MODULES if (file := results / f"{name}.json").exists()
    }
    bars = list(_data_report.bars(Measured(recordings, records)))
    sections = {
        "machine": [
            *about.get("machine", []),
            *(f"- {name} {version}" for name, version in versions.items()),
        ],
        "bars": bars,
        **{name: list(_data_report.table(recordings, name)) for name in _PROGRAMS},
        **{
            name: list(_data_report.records(records[name])) if name in records else ["Not measured."]
            for name in _MODULES
        },
        "losses": list(_data_report.losses(recordings)),
        "found": [*_data_report.found(recordings), *(f"- {failure}." for failure in about.get("failed", []))],
    }
    template = ROOT / "docs" / "benchmarks_data.md"
    page = BUILD / template.name if quick else template
    page.write_text(fill(template.read_text(), sections))
    print(*bars, sep="\n")
    return page


def main() -> int:
    """Install, measure, write. The exit status is 1 where a run failed."""
    names = [*(one.name for one in RUNS), *_MODULES]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="less of everything, and the page into build/bench/ not docs/")
    add("--only", nargs="+", choices=names, default=names, metavar="RUN", help=f"some of {', '.join(names)}")
    add("--report", action="store_true", help="write the page from what was measured before")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    results = FOLDER / ("results-quick" if options.quick else "results")
    failed: list[str] = []
    if not options.report:
        results.mkdir(parents=True, exist_ok=True)
        failed = list(measure(options, results))
        (results / "about").write_text(json.dumps({"machine": list(machine()), "failed": failed}))
    print(os.path.relpath(write_page(results, options.quick)), "is written")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
