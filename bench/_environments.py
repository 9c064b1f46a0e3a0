"""The peers, each in a virtual environment of its own: all the MPI wheels install a `mpirun`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"


class BenchmarkFailed(Exception):
    """A program did not end well; says which, and the end of its output."""


@dataclass(frozen=True)
class Peer:
    """An MPI library or Gloo, and how to start ranks beside it."""

    name: str
    title: str
    environment: str  # folder under build/bench
    packages: tuple[str, ...]
    against: str = "mpi"
    launch: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.against in ("mpi", "gloo")


# Open MPI refuses root, and more ranks than cores, unless told.
_OPENMPI = ("--oversubscribe", *(("--allow-run-as-root",) if os.geteuid() == 0 else ()))

PEERS = (
    Peer("mpich", "MPICH", "mpich", ("mpich",)),
    # MPICH takes its shared-memory collectives only where no two threads call at once; by default mpi4py asks
    # for the contrary.
    Peer(
        "mpich-serialized",
        "MPICH, serialized",
        "mpich",
        ("mpich",),
        variables={"MPI4PY_RC_THREAD_LEVEL": "serialized"},
    ),
    Peer("intel", "Intel MPI", "intel", ("impi-rt",), variables={"I_MPI_FABRICS": "shm"}),
    Peer("openmpi", "Open MPI", "openmpi", ("openmpi",), launch=_OPENMPI),
    Peer(
        "openmpi-xhc",
        "Open MPI, coll/xhc",
        "openmpi",
        ("openmpi",),
        launch=(*_OPENMPI, "--mca", "coll_xhc_priority", "90"),
    ),
    Peer("gloo", "Gloo", "gloo", ("mpich", "torch==2.13.0"), against="gloo"),
)


class Environment:
    """A virtual environment with pyscale and one peer."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.path = BUILD / peer.environment
        self.python = self.path / "bin" / "python"

    def install(self, wheel: Path, say: Callable[[str], None]) -> None:
        """Make it what it should be: the peer's packages once, pyscale's wheel whenever that is new."""
        stamp = self.path / "installed"
        packages = ["numpy", "ml_dtypes", "mpi4py", *self.peer.packages]
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        if not stamp.exists() or stamp.read_text() != " ".join(packages):
            say(f"installing {' '.join(packages)}")
            venv.create(self.path, with_pip=True, clear=True)
            run([*pip, *packages])
            stamp.write_text(" ".join(packages))
        installed = self.path / "pyscale-installed"
        if not installed.exists() or installed.stat().st_mtime < wheel.stat().st_mtime:
            run([*pip, "--force-reinstall", "--no-deps", str(wheel)])
            installed.touch()

    def start(self, ranks: int, script: str, *arguments: str, timeout: float) -> str:
        """Run `bench/<script>` on so many ranks; returns what it printed on the standard output."""
        mpirun = self.path / "bin" / "mpirun"
        command = [
            str(mpirun),
            *self.peer.launch,
            "-n",
            str(ranks),
            str(self.python),
            str(ROOT / "bench" / script),
        ]
        variables = {**os.environ, **self.peer.variables}
        # Intel's mpirun looks for its parts on the path.
        variables["PATH"] = f"{self.path / 'bin'}{os.pathsep}{variables['PATH']}"
        variables.pop("PYTHONPATH", None)
        return run([*command, *arguments], variables, timeout)

    def lacks(self) -> str | None:
        """Why this peer cannot be measured here, or None."""
        if self.peer.name == "openmpi-xhc":
            components = run([str(self.path / "bin" / "ompi_info")], timeout=60)
            if "coll: xhc" not in components:
                return "this build of Open MPI has no coll/xhc"
        return None


def build_wheel() -> Path:
    """Build pyscale's wheel from this source tree; the same one then goes into every environment."""
    folder = BUILD / "wheel"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    run(
        [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "wheel",
            "--quiet",
            "--no-deps",
            "-w",
            str(folder),
            str(ROOT),
        ]
    )
    [wheel] = folder.glob("*.whl")
    return wheel


def run(command: Sequence[str], variables: Mapping[str, str] | None = None, timeout: float = 1800) -> str:
    """Run a program and all it starts, no longer than `timeout` seconds; returns its standard output."""
    with subprocess.Popen(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGTERM)  # mpirun ends its ranks
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise BenchmarkFailed(
                    f"{' '.join(command)}: expected an end within {timeout:.0f} s"
                ) from None
            raise
    if process.returncode:
        tail = "\n".join((output + errors).replace("\r", "\n").splitlines()[-15:])
        raise BenchmarkFailed(f"{' '.join(command)}: exit status {process.returncode}\n{tail}")
    return output
