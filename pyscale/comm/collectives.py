"""The communicator of all ranks, as functions: `all_reduce(x)` is `world().all_reduce(x)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pyscale.comm.bootstrap import world
from pyscale.comm.communicator import Communicator
from pyscale.comm.transports.base import Array
from pyscale.comm.work import Work

F = TypeVar("F", bound=Callable[..., Any])


def _on_the_world(function: F) -> F:
    """Give a function the documentation of the communicator's method of its name."""
    function.__doc__ = getattr(Communicator, function.__name__).__doc__
    return function


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


@_on_the_world
def all_reduce(x: Any, op: str = "sum", out: Any = None) -> Any:
    return world().all_reduce(x, op, out)


@_on_the_world
def all_reduce_async(x: Any, op: str = "sum", out: Any = None) -> Work:
    return world().all_reduce_async(x, op, out)


@_on_the_world
def reduce_scatter(x: Any, op: str = "sum", out: Any = None) -> Any:
    return world().reduce_scatter(x, op, out)


@_on_the_world
def all_gather(x: Any, out: Any = None) -> Any:
    return world().all_gather(x, out)


@_on_the_world
def broadcast(x: Any, root: int = 0, out: Any = None) -> Any:
    return world().broadcast(x, root, out)


@_on_the_world
def all_to_all(
    x: Any,
    send_counts: Sequence[int] | None = None,
    recv_counts: Sequence[int] | None = None,
    out: Any = None,
) -> Any:
    return world().all_to_all(x, send_counts, recv_counts, out)


@_on_the_world
def barrier() -> None:
    world().barrier()


@_on_the_world
def broadcast_object(obj: Any, root: int = 0) -> Any:
    return world().broadcast_object(obj, root)


@_on_the_world
def all_gather_object(obj: Any) -> list[Any]:
    return world().all_gather_object(obj)


@_on_the_world
def empty(shape: int | Sequence[int], dtype: npt.DTypeLike = np.float32) -> Array:
    return world().empty(shape, dtype)
