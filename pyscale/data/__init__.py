"""What each rank reads: the order of an epoch, and who has which part of it."""

from pyscale.data.exchange import exchange
from pyscale.data.permutation import Permutation

__all__ = ["Permutation", "exchange"]
