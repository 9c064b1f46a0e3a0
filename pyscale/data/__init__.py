"""What each rank reads: the order of an epoch, and who has which part of it; and what is in it."""

from pyscale.data.cache import Cached, cache
from pyscale.data.parquet import to_parquet
from pyscale.data.permutation import Permutation
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

__all__ = [
    "Cached",
    "Check",
    "Column",
    "Distribution",
    "Example",
    "Failure",
    "Permutation",
    "Profile",
    "Report",
    "Schema",
    "SchemaError",
    "Validator",
    "cache",
    "to_parquet",
    "validate",
]
