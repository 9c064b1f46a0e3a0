"""Starts a program on several ranks, ends it within a hard time limit, and sees that nothing is left behind.

In the tests:

    job = run("worker.py", 4, "--option", timeout=30)
    job.ranks[2].result, job.ranks[2].stderr

    with start("worker.py", 4) as running:      # to interfere with it
        os.kill(running.pid(2), signal.SIGKILL)
        job = running.wait(timeout=10)

In the program: `report(value)` hands a value (JSON) to the test, `note(name)` leaves a mark that
`running.wait_for(name)` waits for.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prelude import rank_in_environment

HERE = Path(__file__).parent
_libc = ctypes.CDLL(None)
SHM = Path("/dev/shm")
JOB = "PYSCALE_TEST_JOB"  # in the environment of every process of a job, by which it is found again
FOLDER = "PYSCALE_TEST_FOLDER"
MPI_FILES = (
    "mpich_shm_",
    "vader_segment.",
    "sm_segment.",
    "Intel_MPI_",
)  # MPI's own: not pyscale's to remove
GRACE = 3.0  # seconds that a job may take to go away after mpirun has ended


class JobFailedError(AssertionError):
    """A job that hung, failed or left something behind; says all that is known of it."""


# -------------------------------------------------------------------------------- in the program


def report(value: Any) -> None:
    """Hand a value to the test; the last one counts."""
    folder, rank = Path(os.environ[FOLDER]), rank_in_environment()
    (folder / f"result.{rank}.new").write_text(json.dumps(value))
    (folder / f"result.{rank}.new").rename(folder / f"result.{rank}")


def note(name: str) -> None:
    """Leave a mark that the test can wait for."""
    (Path(os.environ[FOLDER]) / f"note.{name}").touch()


# -------------------------------------------------------------------------------- in the tests


@dataclass(frozen=True)
class Rank:
    stdout: str
    stderr: str
    result: Any  # None where nothing was reported
    status: int | None  # how it ended, negative: by which signal; known with `hide_deaths` only


@dataclass(frozen=True)
class Job:
    returncode: int
    seconds: float
    ranks: list[Rank]
    output: str  # of mpirun itself

    @property
    def stderr(self) -> str:
        """What a user sees on the terminal: of all ranks and of mpirun."""
        return "".join(rank.stderr for rank in self.ranks) + self.output

    @property
    def results(self) -> list[Any]:
        return [rank.result for rank in self.ranks]

    def __str__(self) -> str:
        lines = [f"exit status {self.returncode} after {self.seconds:.1f} s"]
        for i, rank in enumerate(self.ranks):
            for name, text in (("stdout", rank.stdout), ("stderr", rank.stderr)):
                if text.strip():
                    lines += [f"--- rank {i} {name}", text.rstrip()[-6000:]]
        if self.output.strip():
            lines += ["--- mpirun", self.output.rstrip()[-4000:]]
        return "\n".join(lines)


def mpirun() -> str | None:
    """The mpirun of this environment, or else the machine's."""
    beside = Path(sys.executable).parent / "mpirun"
    return str(beside) if beside.exists() else shutil.which("mpirun")


def run(
    program: str,
    ranks: int | None,
    *arguments: str,
    timeout: float = 60,
    env: dict[str, str] | None = None,
    hide_deaths: bool = False,
    wrapper: Sequence[str] = (),
    check: bool = True,
) -> Job:
    """Run a program of this folder on `ranks` ranks (None: as one process, without mpirun) to its end.

    `wrapper` is put before the whole command. With `check`, an exit status other than 0 raises, as a time-out
    does.
    """
    with start(program, ranks, *arguments, env=env, hide_deaths=hide_deaths, wrapper=wrapper) as running:
        job = running.wait(timeout)
    if check and job.returncode != 0:
        raise JobFailedError(f"{running.command}: {job}")
    return job


@contextlib.contextmanager
def start(
    program: str,
    ranks: int | None,
    *arguments: str,
    env: dict[str, str] | None = None,
    hide_deaths: bool = False,
    wrapper: Sequence[str] = (),
) -> Iterator[Running]:
    """Start a program as `run` does. What is left of it at the end of the block is killed, and an error."""
    command = [sys.executable, str(HERE / "prelude.py"), str(HERE / program), *arguments]
    if ranks is not None:
        starter = mpirun()
        assert starter is not None, "expected mpirun (pip install mpich), found none"
        command = [starter, "-n", str(ranks), *command]
    with tempfile.TemporaryDirectory(prefix="pyscale-test-") as name:
        env = {**(env or {}), **({"PYSCALE_TEST_HIDE_DEATHS": "1"} if hide_deaths else {})}
        running = Running([*wrapper, *command], ranks or 1, Path(name), env)
        try:
            yield running
        except BaseException:
            running.kill()
            raise
        running.check_nothing_is_left()


@dataclass
class Running:
    command: list[str]
    ranks: int
    folder: Path
    env: dict[str, str]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        remove_files_of_dead_mpi_jobs()
        self.shm_before = set(os.listdir(SHM))
        self.started = time.monotonic()
        environment = {**os.environ, **self.env, JOB: self.id, FOLDER: str(self.folder)}
        with (self.folder / "output").open("w") as output:
            self.process = subprocess.Popen(
                self.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def pid(self, rank: int, timeout: float = 30) -> int:
        """The process id of a rank, as soon as it has one."""
        return int(self._wait_for(self.folder / f"pid.{rank}", timeout).read_text())

    def wait_for(self, name: str, timeout: float = 30) -> None:
        """Wait for a `note(name)`."""
        self._wait_for(self.folder / f"note.{name}", timeout)

    def _wait_for(self, file: Path, timeout: float) -> Path:
        end = time.monotonic() + timeout
        while not file.exists():
            if time.monotonic() > end or self.process.poll() is not None:
                self._fail(f"{file.name} did not appear")
            time.sleep(0.005)
        return file

    def wait(self, timeout: float) -> Job:
        """Wait for the whole job's end; one that takes longer is an error, with all ranks' stacks."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._fail(f"still running after {timeout:g} s")
        return self._job()

    def check_nothing_is_left(self) -> None:
        end = time.monotonic() + GRACE
        while left := self._left():
            if time.monotonic() > end:
                self._fail("left behind: " + "; ".join(left))
            time.sleep(0.02)

    def kill(self) -> None:
        end = time.monotonic() + 10
        while time.monotonic() < end and (pids := processes_of(self.id)):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        self.process.wait()

    def _job(self) -> Job:
        def read(name: str) -> str:
            file = self.folder / name
            return file.read_text(errors="replace") if file.exists() else ""

        ranks = [
            Rank(
                read(f"stdout.{i}"),
                read(f"stderr.{i}"),
                json.loads(read(f"result.{i}") or "null"),
                json.loads(read(f"status.{i}") or "null"),
            )
            for i in range(self.ranks)
        ]
        returncode = self.process.returncode if self.process.returncode is not None else -1
        return Job(returncode, time.monotonic() - self.started, ranks, read("output"))

    def _fail(self, reason: str) -> None:
        stacks = self._stacks()
        self.kill()
        raise JobFailedError(f"{' '.join(self.command)}\n{reason}\n{self._job()}\n{stacks}")

    def _stacks(self) -> str:
        """Where each rank is: its Python threads, and what the kernel says of it."""
        alive = processes_of(self.id)
        pids = {i: int(f.read_text()) for i in range(self.ranks) if (f := self.folder / f"pid.{i}").exists()}
        states = {i: _status(pid) for i, pid in pids.items() if pid in alive}
        for i in states:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[i], signal.SIGUSR1)
                os.kill(pids[i], signal.SIGCONT)  # one that was stopped can say nothing
        time.sleep(0.5 if states else 0)
        return "\n".join(
            f"--- rank {i} (process {pids[i]}, {state}) is at\n{(self.folder / f'stacks.{i}').read_text()}"
            for i, state in states.items()
        )

    def _left(self) -> list[str]:
        left = [
            f"process {pid} ({_status(pid)}{', with shared memory' * _has_memory(pid)})"
            for pid in processes_of(self.id)
        ]
        new = {name for name in set(os.listdir(SHM)) - self.shm_before if not name.startswith(MPI_FILES)}
        if (
            new
        ):  # other jobs may be running: only a file that nobody has open or mapped is certainly left over
            left += [f"{SHM}/{name}" for name in sorted(new - _shm_files_in_use())]
        return left


def _die_with_parent() -> None:
    """Let the kernel end mpirun, and it its ranks, when the tests themselves are killed."""
    pr_set_pdeathsig = 1
    _libc.prctl(pr_set_pdeathsig, signal.SIGTERM)


def remove_files_of_dead_mpi_jobs() -> None:
    """Remove what MPI libraries leave when their processes are killed, before /dev/shm is full of it."""
    names = {name for name in os.listdir(SHM) if name.startswith(MPI_FILES)}
    old = set()
    for name in names:
        with contextlib.suppress(OSError):
            if time.time() - (SHM / name).stat().st_ctime > 10:  # not one of a job that is just starting
                old.add(name)
    for name in old - _shm_files_in_use() if old else ():
        with contextlib.suppress(OSError):
            (SHM / name).unlink()


def processes_of(job: str) -> list[int]:
    """The living processes that a job has started, however deep."""
    mark = f"{JOB}={job}".encode()
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if mark in Path(entry.path, "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def _shm_files_in_use() -> set[str]:
    used = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for line in (process / "maps").read_text().splitlines():
                if "/dev/shm/" in line:
                    used.add(line.split("/dev/shm/", 1)[1].split("/")[0].removesuffix(" (deleted)"))
        with contextlib.suppress(OSError):
            for file in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if (target := os.readlink(file)).startswith("/dev/shm/"):
                        used.add(target.removeprefix("/dev/shm/").removesuffix(" (deleted)"))
    return used


def _status(pid: int) -> str:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        place = Path(f"/proc/{pid}/wchan").read_text()
        return f"state {state} in {place or '?'}: {command.strip()[-120:]}"
    except OSError:
        return "gone"


def _has_memory(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "/memfd:pyscale" in Path(f"/proc/{pid}/maps").read_text()
    return False
