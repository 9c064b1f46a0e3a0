"""The source tree as the tests in this folder see it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
PACKAGE = ROOT / "pyscale"


def cpp_files() -> list[Path]:
    """Return every C++ file of csrc."""
    return sorted(path for path in CSRC.rglob("*") if path.suffix in {".cpp", ".h", ".inc"})


def python_files() -> list[Path]:
    """Return every Python file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


@dataclass(frozen=True)
class Import:
    """One name that a file imports."""

    module: str  # absolute
    name: str | None  # of "from module import name"
    line: int
    lazy: bool  # inside a function, so not done by importing the file
    typing_only: bool  # under "if TYPE_CHECKING:"


def imports(path: Path, source: str | None = None) -> Iterator[Import]:
    """Find all imports of a file of the package, wherever they stand in it."""
    package = path.relative_to(ROOT).parent.parts

    def visit(node: ast.AST, lazy: bool, typing_only: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, None, node.lineno, lazy, typing_only)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(module, alias.name, node.lineno, lazy, typing_only)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.body:
                yield from visit(statement, lazy, True)
            for statement in node.orelse:
                yield from visit(statement, lazy, typing_only)
        else:
            inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, inside, typing_only)

    yield from visit(ast.parse(source if source is not None else path.read_text()), False, False)
