"""
A fuzzer of what reads models: files are changed at random, and what still is a model predicts.

Only ValueError may come out, in little time and memory; and every engine must give the plain walk's bits.
As a program it is a worker that ends badly at a finding, also one that ends the process: `fuzz` starts one
and says what it found.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).resolve().parent
FINDINGS = HERE.parent.parent / "build" / "fuzz-findings"
ADDRESSES = 1 << 28  # bytes that an input may take beyond what the process has
SANITIZED = "PYSCALE_FUZZ_PACKAGE" in os.environ  # where a package with a sanitized module is
SECONDS = 20.0 if SANITIZED else 2.0  # of the processor's time that an input may take
MOST_KEPT = 500


@dataclass(frozen=True)
class Report:
    """What a run did: how it ended, its last lines, and the file that ended it."""

    ended: int
    text: str
    file: Path | None


def fuzz(format: str, seconds: float, seed: int, check: Path = HERE) -> Report:
    """Run a worker with the `check_model` of a folder; what it did last is kept where it ended badly."""
    root = HERE.parent.parent
    package = os.environ.get("PYSCALE_FUZZ_PACKAGE", str(root))
    paths = [str(check), package, str(root / "tests" / "unit"), str(HERE)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    if SANITIZED:
        environment |= sanitizers()
    with tempfile.TemporaryDirectory() as folder:
        current = Path(folder) / "current"
        command = [sys.executable, __file__, format, str(seconds), str(seed), str(current)]
        # One that hangs where no timer ends it is ended from here.
        try:
            done = subprocess.run(
                command, env=environment, text=True, capture_output=True, timeout=4 * seconds + 120
            )
            ended, text = done.returncode, done.stdout[-1000:] + done.stderr[-6000:]
        except subprocess.TimeoutExpired:
            ended, text = -signal.SIGKILL, "it hangs"
        if ended in (0, NOT_HERE):
            return Report(ended, text, None)
        FINDINGS.mkdir(parents=True, exist_ok=True)
        kept = FINDINGS / f"{format}-{seed}-{time.time_ns()}"
        kept.write_bytes(current.read_bytes() if current.exists() else b"")
        return Report(ended, text, kept)


def sanitizers() -> dict[str, str]:
    """Give what lets a Python that knows nothing of them load a module that was built with sanitizers."""
    compiler = os.environ.get("CXX", "g++")
    names = ("libasan.so", "libstdc++.so")  # the second, so that the first finds its exceptions
    asked = [[compiler, f"-print-file-name={name}"] for name in names]
    found = [subprocess.run(command, text=True, capture_output=True, check=True) for command in asked]
    return {
        "LD_PRELOAD": " ".join(done.stdout.strip() for done in found),
        # Python keeps what it made to the end; what is larger than an input may take ends the worker.
        "ASAN_OPTIONS": f"detect_leaks=0:max_allocation_size_mb={ADDRESSES >> 20}",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


NOT_HERE = 77  # how a worker ends that lacks a package


def tried(format: str, content: bytes, path: Path) -> str:
    """Read a file and let it predict; give where it was refused, or that it was not."""
    import check_model  # of the folder that was asked for

    path.write_bytes(content)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        check_model.check(format, path)
    except ValueError as error:
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        frames = traceback.extract_tb(first.__traceback__)
        return " ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return "a model"


def work(format: str, seconds: float, seed: int, path: Path) -> None:
    """Change files until the time is over; inputs that end in new places are changed further."""
    from seeds import mutated, seeds

    warnings.simplefilter("ignore")
    random = Random(seed)
    try:
        corpus = seeds(format)
        places = {tried(format, content, path) for content in corpus}
    except ImportError as error:
        print(error)
        sys.exit(NOT_HERE)
    if places != {"a model"}:
        sys.exit(f"the seeds are no models: {places}")
    if not SANITIZED:  # the sanitizer has all addresses, and a limit of its own
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + ADDRESSES, resource.RLIM_INFINITY))
    first = len(corpus)
    count = models = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        base = random.choice(corpus) if random.random() < 0.7 else corpus[random.randrange(first)]
        content = mutated(format, base, random.choice(corpus), random)
        if len(content) > 1 << 16:
            continue
        place = tried(format, content, path)
        count += 1
        models += place == "a model"
        if place not in places or (place == "a model" and random.random() < 0.05):
            places.add(place)
            corpus.append(content)
            if len(corpus) > MOST_KEPT:
                del corpus[random.randrange(first, len(corpus))]
    print(
        f"{format}: {count} files, {models} of them models, refused in {len(places) - 1} places; seed {seed}"
    )


def arguments() -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    parser.add_argument("format")
    parser.add_argument("seconds", type=float)
    parser.add_argument("seed", type=int)
    parser.add_argument("path", type=Path)
    return vars(parser.parse_args())


if __name__ == "__main__":
    sys.path.pop(0)  # this folder: it is in PYTHONPATH, at its place
    work(**arguments())
