"""The communicator of all ranks, as functions: `all_reduce(x)` is `world().all_reduce(x)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pyscale.comm.bootstrap import world
from pyscale.comm.transports.base import Array
from pyscale.comm.work import Work


def rank() -> int:
    """Return this process's rank, 0 to ``world_size() - 1``."""
    return world().rank


def world_size() -> int:
    """Return the number of ranks."""
    return world().size


def local_rank() -> int:
    """Return this process's rank among those of its node."""
    return world().local_rank


def local_size() -> int:
    """Return the number of ranks on this node."""
    return world().local_size


def node_rank() -> int:
    """Return the number of this node, 0 to ``num_nodes() - 1``."""
    return world().node_rank


def num_nodes() -> int:
    """Return the number of nodes."""
    return world().num_nodes


def all_reduce(x: Any, op: str = "sum", out: Any = None) -> Any:
    """Combine every rank's array element by element: `Communicator.all_reduce` on the world."""
    return world().all_reduce(x, op, out)


def all_reduce_async(x: Any, op: str = "sum", out: Any = None) -> Work:
    """Start an all-reduce: `Communicator.all_reduce_async` on the world."""
    return world().all_reduce_async(x, op, out)


def reduce_scatter(x: Any, op: str = "sum", out: Any = None) -> Any:
    """Combine every rank's array, and keep this rank's rows: `Communicator.reduce_scatter` on the world."""
    return world().reduce_scatter(x, op, out)


def all_gather(x: Any, out: Any = None) -> Any:
    """Concatenate every rank's array: `Communicator.all_gather` on the world."""
    return world().all_gather(x, out)


def broadcast(x: Any, root: int = 0, out: Any = None) -> Any:
    """Give every rank root's array: `Communicator.broadcast` on the world."""
    return world().broadcast(x, root, out)


def all_to_all(
    x: Any,
    send_counts: Sequence[int] | None = None,
    recv_counts: Sequence[int] | None = None,
    out: Any = None,
) -> Any:
    """Send rows to every rank, and return those received: `Communicator.all_to_all` on the world."""
    return world().all_to_all(x, send_counts, recv_counts, out)


def barrier() -> None:
    """Return once every rank has called it."""
    world().barrier()


def broadcast_object(obj: Any, root: int = 0) -> Any:
    """Give every rank root's object: `Communicator.broadcast_object` on the world."""
    return world().broadcast_object(obj, root)


def all_gather_object(obj: Any) -> list[Any]:
    """Return every rank's object: `Communicator.all_gather_object` on the world."""
    return world().all_gather_object(obj)


def empty(shape: int | Sequence[int], dtype: npt.DTypeLike = np.float32) -> Array:
    """Return an array in shared memory: `Communicator.empty` on the world."""
    return world().empty(shape, dtype)
