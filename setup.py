"""Builds the native modules with CMake; everything else is in pyproject.toml."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ROOT = Path(__file__).resolve().parent


class CMakeBuild(build_ext):
    """Configure, build and install the CMake project, into the source tree for an editable install."""

    def run(self) -> None:
        """Do all of it, for all modules at once."""
        # One folder for each Python, kept between calls, so that a rebuild compiles what changed and no more.
        build = ROOT / "build" / f"{sys.implementation.cache_tag}-{'debug' if self.debug else 'release'}"
        prefix = ROOT if self.inplace else Path(self.build_lib).resolve()
        # The tools of this Python come first, also where its environment was not activated.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])

        def cmake(*arguments: str) -> None:
            command = [shutil.which("cmake", path=path) or "cmake", *arguments]
            progress = None if "--build" in arguments else subprocess.DEVNULL
            if subprocess.run(command, stdout=progress).returncode != 0:
                raise CompileError(f"{' '.join(command)} failed, see above")

        cmake(
            f"-S{ROOT}",
            f"-B{build}",
            "-GNinja",
            f"-DCMAKE_BUILD_TYPE={'Debug' if self.debug else 'Release'}",
            f"-DCMAKE_MAKE_PROGRAM={shutil.which('ninja', path=path)}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            "-DPYSCALE_TESTS=OFF",
            *shlex.split(os.environ.get("CMAKE_ARGS", "")),
        )
        cmake("--build", str(build))
        cmake("--install", str(build), "--prefix", str(prefix))


setup(ext_modules=[Extension("pyscale._core", sources=[])], cmdclass={"build_ext": CMakeBuild})
