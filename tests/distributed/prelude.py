"""Runs a program as one rank of a job that `launch.py` started: `python prelude.py program.py [arguments]`.

It writes down the rank's process id, catches its output in files of its own, and dumps its stacks on SIGUSR1.
"""

import faulthandler
import os
import runpy
import signal
import sys
import time
from pathlib import Path


def rank_in_environment() -> int:
    for name in ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID"):
        if name in os.environ:
            return int(os.environ[name])
    return 0


def hide_death_of(rank: int, folder: Path) -> None:
    """Go on as a child process, so that MPI's launcher does not see how this rank ends, and end the others.

    The parent stands for the rank until all ranks have ended.
    """
    child = os.fork()
    if child == 0:
        return
    _, status = os.waitpid(child, 0)
    (folder / f"status.{rank}.new").write_text(str(os.waitstatus_to_exitcode(status)))
    (folder / f"status.{rank}.new").rename(folder / f"status.{rank}")  # mpirun may end this process any time
    ranks = int(os.environ.get("PMI_SIZE", "1"))
    while not all((folder / f"status.{other}").exists() for other in range(ranks)):
        time.sleep(0.01)
    os._exit(0)


def main() -> None:
    rank = rank_in_environment()
    folder = Path(os.environ["PYSCALE_TEST_FOLDER"])
    if os.environ.get("PYSCALE_TEST_HIDE_DEATHS"):
        hide_death_of(rank, folder)
    for stream, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(folder / f"{name}.{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, stream)
        os.close(file)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, file=(folder / f"stacks.{rank}").open("w"))
    (folder / f"pid.{rank}.new").write_text(str(os.getpid()))
    (folder / f"pid.{rank}.new").rename(folder / f"pid.{rank}")  # readers see all of it or nothing
    if os.environ.get("PYSCALE_TEST_WITHOUT_MPI4PY"):
        sys.modules["mpi4py"] = None  # type: ignore[assignment]  # makes importing it an ImportError
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
