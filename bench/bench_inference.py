"""Compares the forests of `pyscale.infer` with their peers, and writes the page docs/benchmarks_inference.md.

    python bench/bench_inference.py [--quick] [--only RUN ...] [--report]

All peers are in one virtual environment, build/bench/infer. For each model, and for 1 and 2 threads, one
program lets pyscale and all peers that take the model predict in turn; only figures of one run are divided by
each other. What was measured stays in build/bench/inference/results, where a run replaces what it measured
before: so some can be done again, and the page is written from all of them. Trained models and what was made
of them stay in build/bench/inference; without that folder all is made anew.

About 20 minutes on two cores (5 with --quick), and 5 more the first time; the machine should do nothing else.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

import _comparison
import _infer_report
import _infer_report_batcher
import _infer_report_networks
import _infer_report_search
import _infer_report_tables
from _environments import BUILD, ROOT
from _infer_environment import FOLDER, FORESTS
from _infer_environment import NETWORKS as NETWORKS_ENVIRONMENT
from _infer_models import MODELS
from _infer_networks import NETWORKS
from _infer_report import THREADS, Measured, Shape
from _progress import Progress
from _report import fill
from _runs import Run, environments, load_all, read_about, start_all, version_lines, write_about
from infer_batcher import SUBJECTS as BATCHED
from infer_collect import KINDS as COLLECTED
from infer_embedding import TABLES
from infer_tables import SUBJECTS as FROM_TABLES
from infer_topk import SUBJECTS as MATRICES

from pyscale.config import num_cores

TEMPLATE = ROOT / "docs" / "benchmarks_inference.md"
_LOADED = ("xgb500", "lgb2000", "hist300", "rf200", "xgb300d10")  # of the models; most of it is importing
_ONE = {"OMP_NUM_THREADS": "1"}

PREPARE = {model: Run("infer_prepare", model, FORESTS, 3600) for model in MODELS}
RUNS = (
    *(
        Run(
            "infer_forests",
            model,
            FORESTS,
            1200,
            variables={"OMP_NUM_THREADS": str(threads)},
            label=f"-{threads}",
        )
        for model in MODELS
        for threads in THREADS
    ),
    *(
        Run(
            "infer_dense",
            network,
            NETWORKS_ENVIRONMENT,
            1200,
            variables={
                "OMP_NUM_THREADS": str(threads),
                "TORCHINDUCTOR_CACHE_DIR": str(FOLDER / "inductor"),
            },
            label=f"-{threads}",
        )
        for network in NETWORKS
        for threads in THREADS
    ),
    *(
        Run(
            "infer_topk",
            matrix,
            NETWORKS_ENVIRONMENT,
            600,
            variables={"OMP_NUM_THREADS": str(threads)},
            label=f"-{threads}",
        )
        for matrix in MATRICES
        for threads in THREADS
    ),
    *(Run("infer_embedding", table, NETWORKS_ENVIRONMENT, 300, variables=_ONE) for table in TABLES),
    *(Run("infer_loading", model, FORESTS, 600, variables=_ONE) for model in _LOADED),
    *(Run("infer_tables", model, FORESTS, 600, variables=_ONE) for model in FROM_TABLES),
    Run("infer_callers", "xgb500", FORESTS, 300, variables=_ONE),
    *(Run("infer_batcher", subject, FORESTS, 300, variables=_ONE) for subject in BATCHED),
    *(Run("infer_collect", kind, FORESTS, 100, variables=_ONE) for kind in COLLECTED),
    Run("infer_large", "5000x8", FORESTS, 300, variables=_ONE),
)


def write_page(results: Path, quick: bool) -> Path:
    """Fill in docs/benchmarks_inference.md, or a copy of it where quick; prints how the bars fared."""
    recordings = load_all(RUNS, results)
    shapes = {name: Shape(model.title, model.shallow) for name, model in MODELS.items()}
    measured = Measured(recordings, shapes, num_cores(), tuple(NETWORKS))
    about = read_about(results)
    bars = list(
        _comparison.bars(
            (
                *_infer_report.BARS,
                *_infer_report_networks.BARS,
                *_infer_report_search.BARS,
                *_infer_report_batcher.BARS,
            ),
            measured,
        )
    )
    everything = {**load_all(list(PREPARE.values()), results), **recordings}
    sections = {
        "machine": [*about.get("machine", []), *version_lines(recordings)],
        "bars": bars,
        "search": list(_infer_report_search.search(measured)) or ["Not measured."],
        "bags": list(_infer_report_search.bags(measured)),
        "networks": list(_infer_report_networks.networks(measured)) or ["Not measured."],
        "forests": list(_infer_report.forests(measured)) or ["Not measured."],
        "differences": list(_infer_report.differences(measured)),
        "tables": list(_infer_report_tables.tables(measured)) or ["Not measured."],
        "batcher": list(_infer_report_batcher.batcher(measured)),
        "callers": list(_infer_report.callers(measured)),
        "loading": list(_infer_report.loading(measured)),
        "large": list(_infer_report.large(measured)),
        "losses": list(_comparison.losses(recordings)),
        "found": [*_comparison.found(everything), *(f"- {failure}." for failure in about.get("failed", []))],
    }
    page = BUILD / TEMPLATE.name if quick else TEMPLATE
    page.write_text(fill(TEMPLATE.read_text(), sections))
    print(*bars, sep="\n")
    return page


def main() -> int:
    """Install, train, measure, write. The exit status is 1 where a run failed."""
    names = [one.name for one in RUNS]
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
        chosen = [one for one in RUNS if one.name in options.only]
        # In processes of their own, so that nothing of it is left in a timed one.
        before = [PREPARE[name] for name in dict.fromkeys(one.subject for one in chosen) if name in PREPARE]
        runs = [*before, *chosen]
        progress = Progress(len(environments(runs)) + len(runs))
        failed = list(start_all(runs, results, options.quick, progress))
        write_about(results, failed)
    print(os.path.relpath(write_page(results, options.quick)), "is written")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
