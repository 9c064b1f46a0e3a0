"""What users install: a wheel from the sdist, in an environment that has nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tree import ROOT

pytestmark = pytest.mark.slow

PROGRAM = """
import numpy as np
import pyscale as ps
ps.show_config()
ps.init()
assert ps.world_size() == 1
assert ps.all_reduce(np.arange(3.0)).tolist() == [0.0, 1.0, 2.0]
"""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build an sdist, and a wheel from what is in it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder)
    (path,) = folder.glob("*.whl")
    return path


def test_holds_what_it_should(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"pyscale/__init__.py", "pyscale/_core.pyi", "pyscale/py.typed"} <= set(names)
    assert any(name.startswith("pyscale/_core.") and name.endswith(".so") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"pyscale", "pyscale_ml"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_links_system_libraries_only(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        modules = [name for name in archive.namelist() if name.endswith(".so")]
        archive.extractall(tmp_path, modules)
    assert {name.split(".")[0] for name in modules} == {"pyscale/_core", "pyscale/_iterate"}
    lines = run("readelf", "--dynamic", *(tmp_path / name for name in modules)).splitlines()
    needed = {line.split("[")[1].split(".")[0] for line in lines if "(NEEDED)" in line}
    assert needed <= {
        "libstdc++",
        "libm",
        "libgcc_s",
        "libc",
        "libpthread",
        "libatomic",
        "ld-linux-x86-64",
    }


def test_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", wheel)
    print(run(python, "-I", "-c", PROGRAM, cwd=tmp_path))
