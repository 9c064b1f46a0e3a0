"""What each rank reads: the order of an epoch, and who has which part of it."""

from pyscale.data.permutation import Permutation
from pyscale.data.rows import gather_columns, gather_rows, scatter_rows

__all__ = ["Permutation", "gather_columns", "gather_rows", "scatter_rows"]
