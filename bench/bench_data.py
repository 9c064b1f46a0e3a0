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
from pathlib import Path
from typing import Any

import _comparison
import _data_report
from _data_environments import ENVIRONMENTS, FOLDER
from _data_report import Measured
from _environments import BUILD, ROOT, BenchmarkFailed, run
from _progress import Progress
from _python_environment import variables
from _report import fill
from _runs import Run, environments, load_all, read_about, start_all, version_lines, write_about

_HOMES = {"webdataset": "torch"}  # peers in the environment of another
_PROGRAMS = ("data_permutation", "data_sampler", "data_resume", "data_loader")
_MODULES = {
    "bench_rows": 1,
    "bench_exchange": 2,
    "bench_balance": 1,
}  # with a measure(quick), and on how many ranks


def _beside(program: str, peer: str, timeout: float) -> Run:
    environment = ENVIRONMENTS.get(_HOMES.get(peer, peer))
    return Run(program, peer, environment, timeout, ("--data", str(FOLDER / "files")))


RUNS = (
    _beside("data_permutation", "alone", 900),
    _beside("data_permutation", "torch", 600),
    _beside("data_permutation", "grain", 900),
    _beside("data_permutation", "mosaic", 600),
    _beside("data_sampler", "torch", 600),
    _beside("data_sampler", "grain", 600),
    _beside("data_resume", "torch", 900),
    _beside("data_resume", "grain", 300),
    _beside("data_resume", "mosaic", 1200),
    _beside("data_loader", "torch", 1800),
    _beside("data_loader", "mosaic", 2400),
    _beside("data_loader", "webdataset", 2400),
    _beside("data_loader", "grain", 2400),
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
    progress = Progress(len(environments(runs)) + len(runs) + len(modules))
    yield from start_all(runs, results, options.quick, progress)
    for name in modules:
        progress.step(name)
        try:
            call_module(name, results, options.quick)
        except BenchmarkFailed as failure:
            progress.say(str(failure))
            yield f"{name} failed"


def write_page(results: Path, quick: bool) -> Path:
    """Fill in docs/benchmarks_data.md, or a copy of it where quick; prints how the bars fared."""
    recordings = load_all(RUNS, results)
    about = read_about(results)
    records: dict[str, list[dict[str, Any]]] = {
        name: json.loads(file.read_text()) for name in _MODULES if (file := results / f"{name}.json").exists()
    }
    bars = list(_data_report.bars(Measured(recordings, records)))
    sections = {
        "machine": [
            *about.get("machine", []),
            *version_lines(recordings),
        ],
        "bars": bars,
        **{name: list(_data_report.table(recordings, name)) for name in _PROGRAMS},
        **{
            name: list(_data_report.records(records[name])) if name in records else ["Not measured."]
            for name in _MODULES
        },
        "losses": list(_comparison.losses({**recordings, **_data_report.in_figures(records)})),
        "found": [*_comparison.found(recordings), *(f"- {failure}." for failure in about.get("failed", []))],
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
        write_about(results, failed)
    print(os.path.relpath(write_page(results, options.quick)), "is written")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
