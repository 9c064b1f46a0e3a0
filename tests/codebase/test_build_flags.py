"""One build for every machine, and the same bits on each."""

import re
from pathlib import Path

import pytest
from tree import ROOT, cpp_files

BUILD_FILES = [
    ROOT / name for name in ("CMakeLists.txt", "CMakePresets.json", "setup.py", "pyproject.toml", "Makefile")
]
# -m… flags for an instruction set would reach inline functions that baseline code shares.
FORBIDDEN = re.compile(
    r"-march=|-mtune=|-mcpu=|-mavx|-mfma|-mf16c|-msse|-ffast-math|-Ofast|-funsafe-math|-fassociative-math"
    r"|-ffinite-math-only|-ffp-contract=fast|fast-math|\bGLOB\b"
)


def without_comments(text: str) -> str:
    return re.sub(r"#.*", "", text)


@pytest.mark.parametrize("path", BUILD_FILES, ids=lambda path: path.name)
def test_no_flag_that_changes_bits_or_needs_a_machine(path: Path) -> None:
    assert FORBIDDEN.findall(without_comments(path.read_text())) == []


@pytest.mark.parametrize("path", cpp_files(), ids=lambda path: str(path.relative_to(ROOT / "csrc")))
def test_no_pragma_that_changes_bits(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"fast-math|associative-math|fp-contract=fast|FP_CONTRACT\s+ON|clang fp", text)
    # target_clones leaves OpenMP bodies and templates at the baseline under Clang, silently.
    assert "target_clones" not in text


def test_contraction_is_off() -> None:
    assert "-ffp-contract=off" in without_comments((ROOT / "CMakeLists.txt").read_text())
