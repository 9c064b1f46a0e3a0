"""Validation of columns: in one pass, over all ranks, with all failures collected."""

from pyscale.data.schema.checks import Check
from pyscale.data.schema.column import Column, Schema
from pyscale.data.schema.distribution import Distribution
from pyscale.data.schema.over_files import validate
from pyscale.data.schema.profile import Profile
from pyscale.data.schema.report import Example, Failure, Report, SchemaError
from pyscale.data.schema.validator import Validator

__all__ = [
    "Check",
    "Column",
    "Distribution",
    "Example",
    "Failure",
    "Profile",
    "Report",
    "Schema",
    "SchemaError",
    "Validator",
    "validate",
]
