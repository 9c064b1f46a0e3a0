"""Builds the native modules with CMake; everything else is in pyproject.toml."""

import os
import subprocess
import sys
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class CMakeBuild(build_ext):
    """Configure, build and install the CMake project, into the source tree for an editable install."""

    def run(self) -> None:
        # One folder for each Python, kept between calls, so that a rebuild compiles what changed and no more.
        build = ROOT / "build" / f"{sys.implementation.cache_tag}-{'debug' if self.debug else 'release'}"
        prefix = ROOT if self.inplace else Path(self.build_lib).resolve()
        configure = [
            "cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja",
            f"-DCMAKE_BUILD_TYPE={'Debug' if self.debug else 'Release'}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            "-DPYSCALE_TESTS=OFF",
            *os.environ.get("CMAKE_ARGS", "").split(),
        ]  # fmt: skip
        self._cmake(configure)
        self._cmake(["cmake", "--build", str(build), "--parallel", str(len(os.sched_getaffinity(0)))])
        self._cmake(["cmake", "--install", str(build), "--prefix", str(prefix)])

    def _cmake(self, command: list[str]) -> None:
        self.announce(" ".join(command), level=2)
        subprocess.run(command, check=True)


setup(ext_modules=[Extension("pyscale._core", sources=[])], cmdclass={"build_ext": CMakeBuild})
