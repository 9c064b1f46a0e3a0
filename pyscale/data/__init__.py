"""What each rank reads: the order of an epoch, and who has which part of it."""

from pyscale.data.balance import balance
from pyscale.data.cache import Cached, cache
from pyscale.data.loader import Loader
from pyscale.data.mixture import Mixture, Stratified
from pyscale.data.order import Order, Sequential
from pyscale.data.parquet import to_parquet
from pyscale.data.permutation import Permutation, Shuffled
from pyscale.data.rows import gather_columns, gather_rows, scatter_rows
from pyscale.data.samplers import BalancedBatchSampler, ShardedBatchSampler, ShardedSampler
from pyscale.data.schema import (
    Check,
    Column,
    Distribution,
    Example,
    Failure,
    Profile,
    Report,
    Schema,
    SchemaError,
    Validator,
    validate,
)
from pyscale.data.shards import ParquetShards
from pyscale.data.verify import EpochError, Seen, verify_epoch
from pyscale.data.weighted import Weighted
from pyscale.data.window import Window

__all__ = [
    "BalancedBatchSampler",
    "Cached",
    "Check",
    "Column",
    "Distribution",
    "EpochError",
    "Example",
    "Failure",
    "Loader",
    "Mixture",
    "Order",
    "ParquetShards",
    "Permutation",
    "Profile",
    "Report",
    "Schema",
    "SchemaError",
    "Seen",
    "Sequential",
    "ShardedBatchSampler",
    "ShardedSampler",
    "Shuffled",
    "Stratified",
    "Validator",
    "Weighted",
    "Window",
    "balance",
    "cache",
    "gather_columns",
    "gather_rows",
    "scatter_rows",
    "to_parquet",
    "validate",
    "verify_epoch",
]
