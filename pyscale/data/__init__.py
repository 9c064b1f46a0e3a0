"""What each rank reads: the order of an epoch, and who has which part of it."""

from pyscale.data.caching.cache import Cached, cache
from pyscale.data.loading.loader import Loader
from pyscale.data.orders.mixture import Mixture, Stratified
from pyscale.data.orders.order import Order, Sequential
from pyscale.data.orders.permutation import Permutation, Shuffled
from pyscale.data.orders.weighted import Weighted
from pyscale.data.orders.window import Window
from pyscale.data.rows.exchange import exchange
from pyscale.data.rows.gather import gather_columns, gather_rows, scatter_rows
from pyscale.data.rows.node_cache import NodeCache
from pyscale.data.rows.shuffle import shuffle_in_memory
from pyscale.data.samplers import BalancedBatchSampler, ShardedBatchSampler, ShardedSampler
from pyscale.data.samplers.balance import balance
from pyscale.data.samplers.verify import EpochError, Seen, verify_epoch
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
from pyscale.data.tables.parquet import to_parquet
from pyscale.data.tables.shards import ParquetShards

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
    "NodeCache",
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
    "exchange",
    "gather_columns",
    "gather_rows",
    "scatter_rows",
    "shuffle_in_memory",
    "to_parquet",
    "validate",
    "verify_epoch",
]
