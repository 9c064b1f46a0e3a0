"""The contestants: pyscale on each kind of buffer, MPI through mpi4py, Gloo through torch.

A contestant turns two arrays into a call without arguments, prepared as far as its library allows, or says
by `None` that it has no such dtype or operation. Source and target are the same array where the reduction
is in place.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from _values import Array

if TYPE_CHECKING:
    from pyscale.comm import Communicator

Call = Callable[[], object]


class Contestant(Protocol):
    """One all-reduce to be timed."""

    name: str
    buffers: str  # "shared" or "ordinary": which arrays it is given

    def bind(self, source: Array, target: Array, op: str) -> Call | None:
        """Prepare the all-reduce of `source` into `target`."""


class Pyscale:
    """`Communicator.all_reduce` on arrays of `Communicator.empty` (shared) or of `numpy.empty` (ordinary)."""

    def __init__(self, communicator: Communicator, buffers: str) -> None:
        self.name, self.buffers = f"pyscale-{buffers}", buffers
        self._all_reduce = communicator.all_reduce

    def bind(self, source: Array, target: Array, op: str) -> Call:
        """Prepare the all-reduce of `source` into `target`."""
        return partial(self._all_reduce, source, op=op, out=target)


class Mpi:
    """`Allreduce` of the MPI library that runs this process."""

    name, buffers = "mpi", "ordinary"
    # MPIX_BFLOAT16 and MPIX_C_BF16, for which mpi4py has no name; Open MPI has no such type
    _BFLOAT16_HANDLES = {"MPICH": 0x4C00024C, "Intel MPI": 0x4C000247}  # noqa: RUF012

    def __init__(self, communicator: Communicator) -> None:
        self._comm = communicator.mpi

    def _datatype(self, dtype: np.dtype[np.generic]) -> Any:
        from mpi4py import MPI

        if dtype == np.float16:
            return MPI.FLOAT16_T
        if dtype.name == "bfloat16":
            handle = self._BFLOAT16_HANDLES.get(MPI.get_vendor()[0])
            return None if handle is None else MPI.Datatype.fromhandle(handle)
        return MPI.Datatype.fromcode(dtype.char)

    def bind(self, source: Array, target: Array, op: str) -> Call | None:
        """Prepare the all-reduce of `source` into `target`."""
        from mpi4py import MPI

        datatype = self._datatype(source.dtype)
        if self._comm is None or datatype is None:
            return None
        mpi_op = {"sum": MPI.SUM, "mean": MPI.SUM, "min": MPI.MIN, "max": MPI.MAX, "prod": MPI.PROD}[op]
        # A prepared buffer, count and datatype is the form on which mpi4py spends least.
        output = [MPI.buffer(target.view(np.uint8)), target.size, datatype]
        inputs: Any = MPI.IN_PLACE
        if source is not target:
            inputs = [MPI.buffer(source.view(np.uint8)), source.size, datatype]
        reduce = partial(self._comm.Allreduce, inputs, output, mpi_op)
        if op != "mean":
            return reduce

        def mean(target: Any = target, size: int = self._comm.size) -> None:
            reduce()
            target /= size

        return mean


class Gloo:
    """`torch.distributed.all_reduce` with the Gloo backend.

    torch has it in place only; out of place, a copy comes first.
    """

    name, buffers = "gloo", "ordinary"

    def __init__(self, communicator: Communicator) -> None:
        import socket
        from datetime import timedelta

        try:
            self._torch: Any = importlib.import_module("torch")
        except ImportError as error:
            raise ImportError("gloo: expected torch, got none; pip install torch==2.13.0") from error
        self._dist: Any = importlib.import_module("torch.distributed")
        self._size = communicator.size
        # Ranks that share cores must not start a thread a core each.
        self._torch.set_num_threads(max(1, (os.cpu_count() or 1) // communicator.size))
        port = None
        if communicator.rank == 0:
            with socket.create_server(("127.0.0.1", 0)) as server:
                port = server.getsockname()[1]
        self._dist.init_process_group(
            "gloo",
            init_method=f"tcp://127.0.0.1:{communicator.broadcast_object(port)}",
            rank=communicator.rank,
            world_size=communicator.size,
            timeout=timedelta(seconds=300),
        )

    def _tensor(self, array: Array) -> Any:
        if array.dtype.name == "bfloat16":
            return self._torch.from_numpy(array.view(np.int16)).view(self._torch.bfloat16)
        return self._torch.from_numpy(array)

    def bind(self, source: Array, target: Array, op: str) -> Call | None:
        """Prepare the all-reduce of `source` into `target`."""
        try:
            given, output = self._tensor(source), self._tensor(target)
        except TypeError:
            return None
        reduce_op = getattr(self._dist.ReduceOp, {"mean": "SUM", "prod": "PRODUCT"}.get(op, op.upper()))
        all_reduce, in_place, size = self._dist.all_reduce, source is target, self._size

        def call() -> None:
            if not in_place:
                output.copy_(given)
            all_reduce(output, reduce_op)
            if op == "mean":
                output.div_(size)

        return call


PEERS: dict[str, Callable[[Communicator], Contestant]] = {"mpi": Mpi, "gloo": Gloo}
