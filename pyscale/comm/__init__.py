"""Who talks to whom: bootstrap, topology, the communicator and its transports."""

from pyscale.comm.bootstrap import init, is_initialized, shutdown, world
from pyscale.comm.collectives import (
    all_gather,
    all_gather_object,
    all_reduce,
    all_reduce_async,
    all_to_all,
    barrier,
    broadcast,
    broadcast_object,
    empty,
    local_rank,
    local_size,
    node_rank,
    num_nodes,
    rank,
    reduce_scatter,
    world_size,
)
from pyscale.comm.communicator import Communicator
from pyscale.comm.work import Work

__all__ = [
    "Communicator",
    "Work",
    "all_gather",
    "all_gather_object",
    "all_reduce",
    "all_reduce_async",
    "all_to_all",
    "barrier",
    "broadcast",
    "broadcast_object",
    "empty",
    "init",
    "is_initialized",
    "local_rank",
    "local_size",
    "node_rank",
    "num_nodes",
    "rank",
    "reduce_scatter",
    "shutdown",
    "world",
    "world_size",
]
