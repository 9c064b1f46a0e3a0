"""Ten seconds of random files a format; PYSCALE_FUZZ_SECONDS in all under `make fuzz`."""

from __future__ import annotations

import os
import signal

import fuzzer
import pytest

FORMATS = ("pyscale", "xgboost_json", "xgboost_ubj", "lightgbm", "onnx")
TOTAL = float(os.environ.get("PYSCALE_FUZZ_SECONDS", "50"))
SEED = int(os.environ.get("PYSCALE_FUZZ_SEED", "1"))


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_random_files(format: str) -> None:
    report = fuzzer.fuzz(format, TOTAL / len(FORMATS), SEED)
    print(report.text)
    if report.ended == fuzzer.NOT_HERE:
        pytest.skip(report.text)
    names = {-signal.SIGVTALRM: f"more than {fuzzer.SECONDS} s for a file"}
    assert report.ended == 0, f"{names.get(report.ended, report.ended)}: {report.file}\n{report.text}"
