"""What pyscale was built with and what it runs on."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyscale import _core

__all__ = ["config", "num_cores", "num_threads", "show_config"]

_ARRAY_LIBRARIES = {
    "numpy": ("numpy",),
    "ml_dtypes": ("ml_dtypes",),
    "torch": ("torch",),
    "jax": ("jax",),
    "cupy": ("cupy-cuda13x", "cupy-cuda12x", "cupy"),
}

# Where launchers say how many ranks they started on this node: MPICH and Intel MPI, Open MPI, MVAPICH.
_LOCAL_SIZE_VARIABLES = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE")


def num_cores() -> int:
    """
    Count the cores that this process may use.

    Returns
    -------
    int
        The cores of its affinity mask or the whole cores of its cgroup's CPU quota, whichever is less; at
        least 1.
    """
    return max(1, int(min(len(os.sched_getaffinity(0)), cgroup_quota())))


def num_threads() -> int:
    """
    Count the threads that a parallel kernel uses where the caller does not say.

    Returns
    -------
    int
        ``OMP_NUM_THREADS`` where it is set; else this process's share of the cores, at least 1: those it may
        use, divided by the ranks that the MPI launcher started on this node.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # a list: one for each nesting
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    return max(1, num_cores() // _local_size())


def config() -> dict[str, Any]:
    """
    Say what pyscale was built with and what it runs on.

    No array library is imported, and MPI is not initialized.

    Returns
    -------
    dict
        ``version``, ``python``, ``machine``, ``compiler``, ``openmp``, ``isa_compiled``,
        ``isa_available`` (on this machine), ``isa`` (in use), ``threads``, ``cores``, ``numa_nodes``, ``mpi``
        (the library's version, or None) and ``arrays`` (library -> version, or None where it is not
        installed).

    Examples
    --------
    >>> import pyscale as ps
    >>> ps.config()["isa"] in ps.config()["isa_available"]
    True
    """
    from pyscale import __version__

    return {
        "version": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "compiler": _core.compiler,
        "openmp": _core.openmp,
        "isa_compiled": _core.compiled_isas(),
        "isa_available": _core.available_isas(),
        "isa": _core.isa(),
        "threads": num_threads(),
        "cores": num_cores(),
        "numa_nodes": _numa_nodes(),
        "mpi": _mpi_library(),
        "arrays": {name: _version(*distributions) for name, distributions in _ARRAY_LIBRARIES.items()},
    }


def show_config() -> None:
    """Print :func:`config` as a table."""
    for key, value in config().items():
        if isinstance(value, dict):
            text = ", ".join(f"{name} {version}" for name, version in value.items() if version)
        elif isinstance(value, list):
            text = ", ".join(value)
        elif isinstance(value, bool):
            text = "yes" if value else "no"
        else:
            text = "not found" if value is None else str(value)
        print(f"{key:<14} {text}")


def _local_size() -> int:
    for name in _LOCAL_SIZE_VARIABLES:
        value = os.environ.get(name, "")
        if value.isdecimal() and int(value) > 0:
            return int(value)
    return 1


def cgroup_quota(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """Cores that the tightest of this process's cgroups may use; infinite where none is limited."""
    quota = math.inf
    for group, version in _cgroups("cpu", proc, root):
        files = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        words = " ".join(_read(group / file) for file in files).split()
        if len(words) == 2 and words[0].isdecimal():  # else "max" or -1: unlimited
            quota = min(quota, int(words[0]) / int(words[1]))
    return quota


def free_memory(
    meminfo: Path = Path("/proc/meminfo"),
    proc: Path = Path("/proc/self/cgroup"),
    root: Path = Path("/sys/fs/cgroup"),
) -> float:
    """Bytes that this process can get without the kernel ending one for them; infinite where nobody says.

    What is used for files that were read counts as free, of the machine and of each of its cgroups.
    """
    free = math.inf
    for line in _read(meminfo).splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    for group, version in _cgroups("memory", proc, root):
        limit, used, cached = (
            ("memory.max", "memory.current", "inactive_file")
            if version == 2
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )
        words = [_read(group / file).strip() for file in (limit, used)]
        if all(word.isdecimal() for word in words):
            stat = dict(line.split() for line in _read(group / "memory.stat").splitlines())
            free = min(free, int(words[0]) - int(words[1]) + int(stat.get(cached, 0)))
    return max(free, 0)


def _cgroups(controller: str, proc: Path, root: Path) -> Iterator[tuple[Path, int]]:
    """List the cgroups of this process that may limit it, each before its parents, with their version."""
    for line in _read(proc).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, version = root, 2
        elif controller in controllers.split(","):
            mount, version = root / controller, 1
        else:
            continue
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):  # a limit on a parent binds its children
            yield folder, version
            if folder == mount:
                break


def _numa_nodes(online: Path = Path("/sys/devices/system/node/online")) -> int:
    """Count the nodes of a list such as ``0-1,4``; 1 where the kernel does not say."""
    nodes = 0
    for part in filter(None, _read(online).strip().split(",")):
        first, _, last = part.partition("-")
        nodes += int(last or first) - int(first) + 1
    return nodes or 1


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _version(*distributions: str) -> str | None:
    from importlib import metadata

    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _mpi_library() -> str | None:
    """Name the MPI library behind mpi4py. Another process loads it if need be: no MPI_Init here."""
    if _version("mpi4py") is None:
        return None
    if "mpi4py.MPI" in sys.modules:
        text: str = sys.modules["mpi4py.MPI"].Get_library_version()
    else:
        import subprocess

        code = (
            "import mpi4py; mpi4py.rc.initialize = False\n"
            "from mpi4py import MPI; print(MPI.Get_library_version())"
        )
        try:
            run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
        except subprocess.TimeoutExpired:
            return None
        text = run.stdout
    # MPICH writes a page, "MPICH Version:      4.3.0" first; the others one line.
    return " ".join(text.strip("\0\n ").partition("\n")[0].replace("Version:", "").split()) or None
