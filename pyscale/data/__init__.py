"""What each rank reads: the order of an epoch, and who has which part of it."""

from pyscale.data.exchange import exchange
from pyscale.data.node_cache import NodeCache
from pyscale.data.permutation import Permutation
from pyscale.data.shuffle import shuffle_in_memory

__all__ = ["NodeCache", "Permutation", "exchange", "shuffle_in_memory"]
