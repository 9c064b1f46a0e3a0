"""Whether an MPI launcher has started this process, and the communicator of the job."""

from __future__ import annotations

import os
import sys
from typing import Any

from pyscale.errors import PyscaleError

# What launchers tell their processes: how many they are, and which this one is.
_VARIABLES = (
    ("PMI_SIZE", "PMI_RANK"),  # MPICH, Intel MPI, srun with PMI-2
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),  # Open MPI
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),  # MVAPICH
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),  # srun; not sbatch's own shell, which is one process
)


def job(comm: Any = None) -> Any:
    """Return `comm`, or MPI.COMM_WORLD where a launcher, or the program, has started MPI; None elsewhere.

    Raises
    ------
    ImportError
        A launcher has started several processes, and mpi4py is missing.
    PyscaleError
        It has, and MPI knows of one only: the launcher and mpi4py's library are of different MPIs. Or the
        program has MPI loaded, but not running.
    """
    started = _started()
    if comm is None and started < 2 and "mpi4py.MPI" not in sys.modules:
        return None
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError(
            "init: expected mpi4py under an MPI launcher, got none: pip install 'pyscale-ml[mpi]'"
        ) from error
    if not MPI.Is_initialized() or MPI.Is_finalized():
        if started < 2:
            return None
        state = "finalized" if MPI.Is_finalized() else "not initialized"
        raise PyscaleError(f"init: expected MPI to run in the {started} processes of the job, got it {state}")
    if comm is not None and not isinstance(comm, MPI.Intracomm):
        raise TypeError(f"init: expected comm to be an mpi4py.MPI.Intracomm, got {type(comm).__name__}")
    if comm is None or comm == MPI.COMM_WORLD:
        comm = MPI.COMM_WORLD
        if comm.size == 1 and started > 1:
            library = MPI.Get_library_version().splitlines()[0].strip()
            raise PyscaleError(
                f"init: expected the {started} processes that the launcher has started, got 1 in {library}: "
                "the launcher is another MPI's"
            )
    return comm


def _started() -> int:
    """Return how many processes the launcher says it has started; 1 without a launcher."""
    sizes = [os.environ.get(size, "") for size, rank in _VARIABLES if rank in os.environ]
    return max([int(size) for size in sizes if size.isdigit()], default=1)
