"""The C++ is right for aarch64 as well, as far as a compiler on another machine can tell."""

import os
import subprocess
import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pybind11
import pytest
from tree import CSRC, ROOT, cpp_files

COMPILERS = (("aarch64-linux-gnu-g++",), ("clang++", "--target=aarch64-linux-gnu"))
FLAGS = ("-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror")


def check(compiler: Sequence[str], source: str, *options: str) -> str:
    """Compile a program, without output; return what the compiler says."""
    command = [*compiler, *FLAGS, *options, "-x", "c++", "-"]
    try:
        done = subprocess.run(command, input=source, capture_output=True, text=True, cwd=ROOT)
    except OSError as error:
        return str(error)
    return done.stderr if done.returncode else ""


@cache
def compiler() -> Sequence[str] | None:
    """Return the first that is there and has its headers."""
    probe = "#include <atomic>\n#include <pthread.h>\n#ifndef __aarch64__\n#error another machine\n#endif\n"
    return next((one for one in COMPILERS if not check(one, probe)), None)


@pytest.mark.slow
@pytest.mark.skipif(compiler() is None, reason="no compiler for aarch64, such as g++-aarch64-linux-gnu")
def test_every_file_compiles() -> None:
    found = compiler()
    assert found is not None
    python = [sysconfig.get_paths()["include"], pybind11.get_include()]
    include = [f"-isystem{folder}" for folder in python] + [f"-I{CSRC}"]

    def errors(path: Path) -> str:
        return check(found, f'#include "{path}"\n', *include)

    # Debian's Python has headers for this machine only.
    without = {"bindings"} if check(found, "#include <Python.h>\n", *include) else set()
    files = [path for path in cpp_files() if path.suffix == ".cpp" and not without.intersection(path.parts)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        wrong = [text for text in pool.map(errors, files) if text]
    assert len(files) > 15
    assert not wrong, "\n".join(wrong)
