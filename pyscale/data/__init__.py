"""What each rank reads: the order of an epoch, and who has which part of it."""

from pyscale.data.loader import Loader
from pyscale.data.mixture import Mixture, Stratified
from pyscale.data.order import Order, Sequential
from pyscale.data.permutation import Permutation, Shuffled
from pyscale.data.samplers import ShardedBatchSampler, ShardedSampler
from pyscale.data.shards import ParquetShards
from pyscale.data.weighted import Weighted
from pyscale.data.window import Window

__all__ = [
    "Loader",
    "Mixture",
    "Order",
    "ParquetShards",
    "Permutation",
    "Sequential",
    "ShardedBatchSampler",
    "ShardedSampler",
    "Shuffled",
    "Stratified",
    "Weighted",
    "Window",
]
