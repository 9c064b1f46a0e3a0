"""What each rank reads: the order of an epoch, and who has which part of it."""

from pyscale.data.balance import balance
from pyscale.data.permutation import Permutation
from pyscale.data.verify import EpochError, Seen, verify_epoch

__all__ = ["EpochError", "Permutation", "Seen", "balance", "verify_epoch"]
