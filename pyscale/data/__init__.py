"""What each rank reads: the order of an epoch, and who has which part of it."""

from pyscale.data.balance import balance
from pyscale.data.loader import Loader
from pyscale.data.mixture import Mixture, Stratified
from pyscale.data.order import Order, Sequential
from pyscale.data.permutation import Permutation, Shuffled
from pyscale.data.samplers import BalancedBatchSampler, ShardedBatchSampler, ShardedSampler
from pyscale.data.shards import ParquetShards
from pyscale.data.verify import EpochError, Seen, verify_epoch
from pyscale.data.weighted import Weighted
from pyscale.data.window import Window

__all__ = [
    "BalancedBatchSampler",
    "EpochError",
    "Loader",
    "Mixture",
    "Order",
    "ParquetShards",
    "Permutation",
    "Seen",
    "Sequential",
    "ShardedBatchSampler",
    "ShardedSampler",
    "Shuffled",
    "Stratified",
    "Weighted",
    "Window",
    "balance",
    "verify_epoch",
]
