"""The programs of a benchmark: started in turn in their environments, each into a file of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _comparison import Recordings
from _environments import ROOT, BenchmarkFailed, run
from _machine import machine
from _progress import Progress
from _python_environment import Environment, variables
from _recording import Recording


@dataclass(frozen=True)
class Run:
    """A program beside one peer, or with one model: a subject."""

    program: str
    subject: str
    environment: Environment | None  # None: the one that runs this program
    timeout: float  # seconds
    options: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict, hash=False)
    label: str = ""  # tells runs of one subject apart

    @property
    def name(self) -> str:
        """As on the command line and in the files."""
        return f"{self.program}-{self.subject}{self.label}"

    def start(self, results: Path, quick: bool) -> None:
        """Measure, into a file of `results`."""
        python = self.environment.python if self.environment else sys.executable
        command = [str(python), "-W", "ignore", str(ROOT / "bench" / f"{self.program}.py"), self.subject]
        command += ["--json", str(results / f"{self.name}.json"), *self.options]
        given = {**variables(), **self.variables}
        run([*command, *(["--quick"] if quick else [])], given, self.timeout)


def environments(runs: Sequence[Run]) -> list[Environment]:
    """Those that these runs need, each once."""
    return list(dict.fromkeys(one.environment for one in runs if one.environment))


def start_all(runs: Sequence[Run], results: Path, quick: bool, progress: Progress) -> Iterator[str]:
    """Install what is needed and run all; yields what failed."""
    missing = set()
    for environment in environments(runs):
        progress.step(f"environment of {environment.name}")
        try:
            environment.install(progress.say)
        except BenchmarkFailed as failure:
            progress.say(str(failure))
            missing.add(environment)
            yield f"the environment of {environment.name} could not be installed"
    for one in runs:
        progress.step(one.name)
        if one.environment in missing:
            continue
        try:
            one.start(results, quick)
        except BenchmarkFailed as failure:
            progress.say(str(failure))
            yield f"{one.name} failed"


def load_all(runs: Sequence[Run], results: Path) -> dict[str, Recording]:
    """Read what was measured, by program and subject."""
    return {
        f"{one.program} {one.subject}{one.label}": Recording.load(file)
        for one in runs
        if (file := results / f"{one.name}.json").exists()
    }


def version_lines(recordings: Recordings) -> Iterator[str]:
    """List the versions of what took part."""
    versions: dict[str, str] = {}
    for recording in recordings.values():
        versions = {**recording.versions, **versions}
    yield from (f"- {name} {version}" for name, version in versions.items())


def write_about(results: Path, failed: Sequence[str]) -> None:
    """Keep what the figures were measured on, and which runs failed."""
    (results / "about").write_text(json.dumps({"machine": list(machine()), "failed": failed}))


def read_about(results: Path) -> dict[str, Any]:
    """Read what `write_about` kept: empty where nothing was."""
    file = results / "about"
    return dict(json.loads(file.read_text())) if file.exists() else {}
