"""How long MPI tries to send to a rank that is gone.

MPICH tries for ever, inside MPI_Isend, and holds the lock that all its other calls need. It gives up after a
number of turns where a control variable says how many, on communicators that ask for it. The variable is set
through MPI's tools interface, which mpi4py does not wrap: the environment is read when MPI starts, which is
often before pyscale.
"""

from __future__ import annotations

import ctypes
from typing import Any

_VARIABLE = b"MPIR_CVAR_CH4_OFI_MAX_EAGAIN_RETRY"
_TURNS = 20_000  # about half a second where a connection is refused


def duplicate(mpi: Any) -> Any:
    """Return a communicator of the same ranks on which sends that cannot be issued fail. Collective."""
    from mpi4py import MPI

    own = mpi.Dup()
    if MPI.Get_library_version().startswith("MPICH") and _limit_turns(MPI.__file__):
        info = MPI.Info.Create({"eagain": "true"})
        own.Set_info(info)
        info.Free()
    return own


def _limit_turns(library: str) -> bool:
    """Set the variable; false where this MPICH has none."""
    tools = ctypes.CDLL(library)  # mpi4py's module, and with it the library that it has loaded
    level, index, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    handle, turns = ctypes.c_void_p(), ctypes.c_int(_TURNS)
    try:
        return bool(
            tools.MPI_T_init_thread(0, ctypes.byref(level)) == 0
            and tools.MPI_T_cvar_get_index(_VARIABLE, ctypes.byref(index)) == 0
            and tools.MPI_T_cvar_handle_alloc(index, None, ctypes.byref(handle), ctypes.byref(count)) == 0
            and tools.MPI_T_cvar_write(handle, ctypes.byref(turns)) == 0
        )
    except AttributeError:
        return False
