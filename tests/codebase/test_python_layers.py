"""Python: who may import whom, and what ``import pyscale`` may need."""

import sys
from pathlib import Path

import pytest
from tree import PACKAGE, ROOT, Import, imports, python_files

# A part sees itself and the lines above it; never its neighbours, never what is below.
LAYERS = (
    {"_core", "_iterate", "errors"},
    {"config"},
    {"arrays"},
    {"ops"},
    {"comm"},
    {"data", "train", "infer"},
    {"serve", "monitor"},
)
# measure sees the rest through worker processes only.
APART = {"measure": {"_core", "errors", "config"}}

NEEDED = {"numpy", "ml_dtypes"}
# Top-level module -> the extra that installs it.
OPTIONAL = {
    "mpi4py": "mpi",
    "torch": "torch",
    "jax": "jax",
    "cupy": "gpu",
    "pyarrow": "data",
    "xgboost": "infer",
    "lightgbm": "infer",
    "sklearn": "infer",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "pytest": "measure",
    "pytest_benchmark": "measure",
    "scipy": "measure",
    "matplotlib": "measure",
}


def part(path: Path) -> str:
    """Name the part that a file belongs to: ``comm`` for pyscale/comm/node.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def allowed(name: str) -> set[str]:
    if name in APART:
        return {name} | APART[name]
    below: set[str] = set()
    for layer in LAYERS:
        if name in layer:
            return below | {name}
        below |= layer
    raise AssertionError(f"pyscale/{name} has no place in LAYERS")


def imported_part(found: Import) -> str | None:
    """Name the part of pyscale that an import means; ``""``: the package itself; None: another package."""
    top, *rest = found.module.split(".")
    if top != "pyscale":
        return None
    if rest:
        return rest[0]
    # Without config: "from pyscale import config" gives the function.
    parts = {path.name.split(".")[0] for path in PACKAGE.iterdir()} - {"config"}
    return found.name if found.name in parts else ""


def violations(path: Path, source: str | None = None) -> list[str]:
    """List what a file imports against the rules."""
    here = part(path)
    wrong = []
    for found in imports(path, source):
        what = f"{found.module}.{found.name}" if found.name else found.module
        at = f"{path.relative_to(ROOT)}:{found.line}: imports {what}"
        target = imported_part(found)
        if target is None:
            top = found.module.split(".")[0]
            if top in sys.stdlib_module_names | NEEDED or found.typing_only:
                continue
            if top not in OPTIONAL:
                wrong.append(f"{at}: expected a module of an extra of pyproject.toml")
            elif not found.lazy and here != "measure":
                wrong.append(f"{at}: expected inside the function that needs it, since it is optional")
        elif here == "__init__":
            continue
        elif target == "":
            if found.name != "__version__":
                wrong.append(f"{at}: expected the module that defines it")
        elif target not in allowed(here):
            wrong.append(f"{at}: expected one of {', '.join(sorted(allowed(here)))}")
    return wrong


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports(path: Path) -> None:
    assert violations(path) == []


@pytest.mark.parametrize(
    ("file", "source", "message"),
    [
        ("arrays.py", "from pyscale.comm import world", "expected one of"),
        ("arrays.py", "def f():\n    import pyscale.train", "expected one of"),
        ("arrays.py", "import torch", "inside the function"),
        ("arrays.py", "try:\n    import jax\nexcept ImportError:\n    pass", "inside the function"),
        ("arrays.py", "def f():\n    import tensorflow", "of an extra"),
        ("data/loader.py", "from pyscale.train import step", "expected one of"),
        ("comm/node.py", "from ..data import loader", "expected one of"),
        ("comm/node.py", "from pyscale import rank", "the module that defines it"),
    ],
)
def test_the_rules_bite(file: str, source: str, message: str) -> None:
    (wrong,) = violations(PACKAGE / file, source)
    assert message in wrong


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("arrays.py", "def f():\n    import torch"),
        ("arrays.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("comm/node.py", "from . import bootstrap\nfrom .transports import shm\nfrom pyscale import _core"),
        ("data/loader.py", "from pyscale.comm import world\nimport numpy.typing"),
    ],
)
def test_the_rules_let_through(file: str, source: str) -> None:
    assert violations(PACKAGE / file, source) == []
