"""What each rank reads, by torch's protocol of samplers: the order of an epoch, seen by one rank."""

from pyscale.data.samplers.balanced import BalancedBatchSampler
from pyscale.data.samplers.batches import ShardedBatchSampler
from pyscale.data.samplers.sharded import ShardedSampler

__all__ = ["BalancedBatchSampler", "ShardedBatchSampler", "ShardedSampler"]
