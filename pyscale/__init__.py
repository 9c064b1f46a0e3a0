"""Machine learning from one core to a cluster: the same answer everywhere, and proof that it scaled."""

from importlib import import_module
from types import ModuleType

from pyscale.comm import (
    Communicator,
    Work,
    all_gather,
    all_gather_object,
    all_reduce,
    all_reduce_async,
    all_to_all,
    barrier,
    broadcast,
    broadcast_object,
    empty,
    init,
    is_initialized,
    local_rank,
    local_size,
    node_rank,
    num_nodes,
    rank,
    reduce_scatter,
    shutdown,
    world,
    world_size,
)
from pyscale.config import config, show_config
from pyscale.errors import CommError, CommMismatch, CommTimeout, DataError, PyscaleError

__version__ = "0.1.0"

_PARTS = ("data", "infer")  # loaded when they are first used


def __getattr__(name: str) -> ModuleType:
    if name in _PARTS:
        return import_module(f"pyscale.{name}")
    raise AttributeError(f"module 'pyscale' has no attribute {name!r}")


__all__ = [
    "CommError",
    "CommMismatch",
    "CommTimeout",
    "Communicator",
    "DataError",
    "PyscaleError",
    "Work",
    "__version__",
    "all_gather",
    "all_gather_object",
    "all_reduce",
    "all_reduce_async",
    "all_to_all",
    "barrier",
    "broadcast",
    "broadcast_object",
    "config",
    "empty",
    "init",
    "is_initialized",
    "local_rank",
    "local_size",
    "node_rank",
    "num_nodes",
    "rank",
    "reduce_scatter",
    "show_config",
    "shutdown",
    "world",
    "world_size",
]
