"""Compares pyscale's all-reduce with that of every peer, and writes the page docs/benchmarks.md.

Each peer has a virtual environment of its own under build/bench; the same wheel of pyscale goes into all of
them. In each run one peer and pyscale take turns in the same processes, and only ratios of one run are ever
formed. What was measured stays in build/bench/results.

About 45 minutes on two cores (15 with --quick); the machine should do nothing else.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import _bare
import _report
from _environments import BUILD, PEERS, ROOT, BenchmarkFailed, Environment, Peer, build_wheel
from _hosts import two_hosts
from _machine import machine
from _progress import Progress
from _results import Result, load
from _table import PLACEMENTS

_DTYPES = ("float32", "float16", "bfloat16")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    names = [peer.name for peer in PEERS]
    add(
        "--quick",
        action="store_true",
        help="every eighth power of two, and the page into build/bench/ instead of docs/",
    )
    add("--repeat", type=int, default=1, help="occasions on which all is measured; merged by the median (1)")
    add(
        "--peers", nargs="+", choices=names, default=names, metavar="PEER", help=f"some of {', '.join(names)}"
    )
    add("--ranks", nargs="+", type=int, default=[2, 4, 8])
    add("--dtypes", nargs="+", choices=_DTYPES, default=_DTYPES)
    add("--report", action="store_true", help="write the page from what was measured before")
    return parser.parse_args()


def sweep(
    options: argparse.Namespace, environments: list[Environment], folder: Path, progress: Progress
) -> Iterator[str]:
    """Run every peer with every number of ranks and dtype; yields what failed."""
    for repetition in range(options.repeat):
        for ranks in options.ranks:
            for dtype in options.dtypes:
                for environment in environments:
                    peer = environment.peer
                    progress.step(f"{peer.title}, {ranks} ranks, {dtype}")
                    file = folder / f"{peer.name}-{ranks}-{dtype}-{repetition}.json"
                    arguments = [
                        "--dtype",
                        dtype,
                        "--buffers",
                        "both",
                        "--against",
                        peer.against,
                        "--json",
                        str(file),
                    ]
                    arguments += ["--step-factor", "8"] if options.quick else []
                    try:
                        environment.start(ranks, "allreduce.py", *arguments, timeout=900)
                    except BenchmarkFailed as error:
                        progress.say(str(error))
                        yield f"{peer.title}, {ranks} ranks, {dtype}: failed"


def stored(folder: Path, peers: list[Peer]) -> tuple[dict[str, list[Result]], dict[str, str]]:
    """All results by the peer's title, and the version each title stands for."""
    runs: dict[str, list[Result]] = {}
    versions = {}
    for peer in peers:
        files = [file for file in sorted(folder.glob("*.json")) if re.match(rf"{peer.name}-\d", file.name)]
        for file in files:
            runs.setdefault(peer.title, []).extend(load(file))
            versions[peer.title] = json.loads(file.read_text()).get(peer.against, "")
    return runs, versions


def write_page(
    folder: Path, quick: bool, sections: dict[str, list[str]], shares: dict[str, float], notes: list[str]
) -> Path:
    """Fill in docs/benchmarks.md, or a copy of it where quick; prints how the bars fared."""
    runs, versions = stored(folder, list(PEERS))
    comparison = _report.Comparison(runs)
    template = ROOT / "docs" / "benchmarks.md"
    page = BUILD / template.name if quick else template
    image = page.parent / "images" / "allreduce.png"
    image.parent.mkdir(exist_ok=True)
    bars = list(_report.bars(comparison))
    sections = {
        **sections,
        "machine": [*sections["machine"], *(f"- {title}: {version}" for title, version in versions.items())],
        "bars": bars,
        "peers": list(_report.each_peer(comparison)),
        "ceiling": list(_report.ceiling(comparison, shares)),
        "losses": [*_report.losses(comparison), "", *(f"- {note}" for note in (*comparison.wrong(), *notes))],
    }
    for dtype in comparison.dtypes:
        lines: list[str] = []
        for ranks in comparison.ranks:
            for placement in PLACEMENTS:
                lines += [f"### {dtype}, {ranks} ranks, {placement}", ""]
                lines += [*_report.times(comparison, dtype, ranks, placement), ""]
        sections[dtype] = lines
    page.write_text(_report.fill(template.read_text(), sections))
    _report.plot(comparison, image)
    print(*bars, sep="\n")
    return page


def prepare(
    environments: list[Environment], runs: int, progress: Progress
) -> tuple[list[Environment], list[str]]:
    """Build and install everything; returns what can be measured, and why the rest cannot."""
    progress.step("building the wheel")
    wheel = build_wheel()
    present, notes = [], []
    for environment in environments:
        progress.step(f"environment of {environment.peer.title}")
        environment.install(wheel, progress.say)
        lacking = environment.lacks()
        if lacking is None:
            present.append(environment)
        else:
            progress.skip(runs)
            notes.append(f"{environment.peer.title} was not measured: {lacking}")
    return present, notes


def main() -> int:
    """Install, measure, write. The exit status is 1 where a run failed."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    folder = BUILD / ("results-quick" if options.quick else "results")
    saved = folder / "sections"
    failed: list[str] = []
    if options.report:
        sections, shares, notes = json.loads(saved.read_text())
    else:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        environments = [Environment(peer) for peer in PEERS if peer.name in options.peers]
        runs = options.repeat * len(options.ranks) * len(options.dtypes)
        progress = Progress(1 + len(environments) * (1 + runs) + 5)
        environments, notes = prepare(environments, runs, progress)
        failed = list(sweep(options, environments, folder, progress))
        notes += failed
        sections = {}
        progress.step("round trip")
        sections["roundtrip"] = list(_bare.round_trip(environments[0]))
        progress.step("memory bandwidth")
        sections["bandwidth"] = list(_bare.bandwidth(environments[0]))
        progress.step("bare all-reduce")
        shares = _bare.shares(environments[0], options.ranks)
        progress.step("memory")
        sections["memory"] = list(_bare.memory(environments[0], max(options.ranks)))
        progress.step("two simulated hosts")
        sections["hosts"] = list(two_hosts())
        sections["machine"] = list(machine())
        saved.write_text(json.dumps([sections, shares, notes]))
    print(write_page(folder, options.quick, sections, shares, notes), "is written")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
