"""Three seconds of random files a format, or PYSCALE_FUZZ_SECONDS of each, as `make fuzz` has it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import check_model
import fuzzer
import pytest
from seeds import FORMATS

SECONDS = float(os.environ.get("PYSCALE_FUZZ_SECONDS", "3"))
SEED = int(os.environ.get("PYSCALE_FUZZ_SEED", "1"))


@pytest.fixture(scope="module")
def reports() -> Iterator[dict[str, Future[fuzzer.Report]]]:
    """Fuzz all formats, a process each and as many at a time as there are cores."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield {format: pool.submit(fuzzer.fuzz, format, SECONDS, SEED) for format in FORMATS}
        pool.shutdown(cancel_futures=True)


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_random_files(format: str, reports: dict[str, Future[fuzzer.Report]]) -> None:
    report = reports[format].result()
    print(report.text)
    if report.ended == fuzzer.NOT_HERE:
        pytest.skip(report.text)
    names = {-signal.SIGVTALRM: f"more than {fuzzer.SECONDS} s for a file"}
    assert report.ended == 0, f"{names.get(report.ended, report.ended)}: {report.file}\n{report.text}"


PLANTED = {
    "another error": ("raise KeyError(1)", 1, "KeyError"),
    "a crash": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
    "a hang": ("while True: pass", -signal.SIGVTALRM, ""),
    "memory": ("bytearray(3 << 29)", None, "MemoryError|allocation-size-too-big"),
    "no model": ("raise ValueError", 1, "the seeds are no models"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body, ended, text = PLANTED[name]
    monkeypatch.setattr(fuzzer, "FINDINGS", tmp_path / "findings")
    seeds_too = "True" if name == "no model" else "number[0] > 20"
    (tmp_path / "check_model.py").write_text(
        "import os, signal\nnumber = [0]\n\ndef check(format, path):\n"
        f"    number[0] += 1\n    if {seeds_too}:\n        {body}\n"
    )
    report = fuzzer.fuzz("lightgbm", 5, 1, tmp_path)
    assert report.ended == ended if ended is not None else report.ended != 0
    assert re.search(text, report.text)
    assert report.file is not None
    assert report.file.read_bytes()


@pytest.mark.parametrize("text", ["x: expected 1, got 2", "truth value of an array is ambiguous"])
def test_errors_that_say_nothing_are_findings(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **_more: Any) -> None:
        raise ValueError(text)

    monkeypatch.setattr(check_model, "load", load)
    with pytest.raises(ValueError if "expected" in text else AssertionError):
        check_model.check("onnx", Path("none"))
