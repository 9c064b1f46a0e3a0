"""``_core.pyi`` says what the compiled module has."""

from pathlib import Path

import pytest
from stub import PACKAGE, write_stub

pytest.importorskip(
    "pybind11_stubgen", reason="pybind11-stubgen is not installed: pip install pyscale-ml[dev]"
)


def test_stub_is_up_to_date(tmp_path: Path) -> None:
    write_stub(tmp_path)
    assert (tmp_path / "_core.pyi").read_text() == (PACKAGE / "_core.pyi").read_text(), (
        "run make stub, and commit"
    )
