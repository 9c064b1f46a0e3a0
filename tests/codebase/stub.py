"""Writes _core.pyi, from the compiled module, into the package or into the folder given."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "pyscale"


def write_stub(folder: Path) -> None:
    """Generate ``folder/_core.pyi``."""
    with tempfile.TemporaryDirectory() as scratch:
        run = [sys.executable, "-m"]
        subprocess.run(
            [*run, "pybind11_stubgen", "pyscale._core", "--exit-code", "--output-dir", scratch],
            check=True,
            capture_output=True,
        )
        stub = Path(scratch) / "pyscale" / "_core.pyi"
        config = PACKAGE.parent / "pyproject.toml"
        subprocess.run([*run, "ruff", "check", "--quiet", "--fix-only", "--config", config, stub], check=True)
        subprocess.run([*run, "ruff", "format", "--quiet", "--config", config, stub], check=True)
        # The value of an attribute is that of the machine it was generated on.
        text = re.sub(r"^([a-z_]+: \w+) = .*$", r"\1", stub.read_text(), flags=re.MULTILINE)
        (folder / "_core.pyi").write_text(text)


if __name__ == "__main__":
    write_stub(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE)
