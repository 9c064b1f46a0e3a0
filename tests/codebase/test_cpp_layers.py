"""C++: core <- kernels <- shm <- bindings, and Python in the bindings alone."""

import re
from pathlib import Path

import pytest
from tree import CSRC, ROOT, cpp_files

LAYERS = ("core", "kernels", "shm", "bindings")
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
NOT_BELOW_BINDINGS = ("pybind11", "Python.h", "numpy/", "mpi.h")


def layer(path: Path) -> str:
    return path.relative_to(CSRC).parts[0]


def test_every_folder_has_its_place() -> None:
    assert {layer(path) for path in cpp_files()} <= {*LAYERS, "tests"}


@pytest.mark.parametrize("path", cpp_files(), ids=lambda path: str(path.relative_to(CSRC)))
def test_includes(path: Path) -> None:
    here = layer(path)
    allowed = LAYERS[: LAYERS.index(here) + 1] if here in LAYERS else (*LAYERS[:-1], "tests")
    for own, foreign in INCLUDE.findall(path.read_text()):
        if own and own == "check.h" and here == "tests":
            continue
        if own:
            assert "/" in own, f'#include "{own}": expected a path from csrc, such as "core/{own}"'
            assert (CSRC / own).is_file(), f'#include "{own}": no such file in csrc'
            assert own.split("/")[0] in allowed, (
                f'{here} includes "{own}": expected one of {", ".join(allowed)}'
            )
        elif here != "bindings":
            assert not foreign.startswith(NOT_BELOW_BINDINGS), f"{here} includes <{foreign}>"


@pytest.mark.parametrize(
    "path",
    [path for path in cpp_files() if path.suffix == ".h"],
    ids=lambda path: str(path.relative_to(CSRC)),
)
def test_headers_are_included_once(path: Path) -> None:
    # for_each_isa.h is re-included on purpose: once a level.
    assert path.name == "for_each_isa.h" or "#pragma once" in path.read_text()


def test_every_source_is_built() -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text()
    for path in cpp_files():
        if path.suffix == ".cpp" and layer(path) != "tests":
            assert f"    {path.relative_to(ROOT)}\n" in cmake, (
                f"CMakeLists.txt does not list {path.relative_to(ROOT)}"
            )
    for path in (CSRC / "tests").glob("test_*.cpp"):
        name = path.stem.removeprefix("test_")
        assert f"        {name}\n" in cmake, f"CMakeLists.txt does not list the test {name}"
