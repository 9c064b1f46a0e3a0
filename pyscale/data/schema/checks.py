"""What the values of a column must satisfy, a batch at a time and vectorised."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pyscale.data.schema.compare import Members, compared, is_bound
from pyscale.data.schema.types import Array
from pyscale.data.tables.arrow import arrow

if TYPE_CHECKING:
    from pyscale.data.schema.distribution import Distribution

Rows = npt.NDArray[np.int64]

_SYMBOLS = {"eq": "==", "ne": "!=", "ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


class Check:
    """A test of the values of a column, or of the rows of a batch.

    Parameters
    ----------
    test : callable
        Of a column: is given a pyarrow.Array of some of its values, without nulls (``numpy.asarray`` makes a
        NumPy array of it); returns a boolean a value, in an array of pyarrow's or NumPy's, or one for all of
        them. Of a schema: is given a pyarrow.RecordBatch, and returns a boolean a row. Where it is null,
        nothing is judged. What it raises is a failure of the check.
    name : str, optional
        Its name in reports; None takes the function's.
    skip_nan : bool
        Whether NaN is left out too.

    Attributes
    ----------
    description : str
        What ranks must agree about: the name, or more where that is shortened.

    Notes
    -----
    Batches are of any size, and ranks have different ones: a test must judge each value or row by itself.
    """

    def __init__(
        self, test: Callable[[Any], Any], *, name: str | None = None, skip_nan: bool = False
    ) -> None:
        if not callable(test):
            raise TypeError(f"Check: expected a callable, got {type(test).__name__}")
        self.test = test
        self.name = name if name is not None else getattr(test, "__qualname__", type(test).__qualname__)
        self.skip_nan = skip_nan
        self.description = self.name

    def __repr__(self) -> str:
        return f"Check({self.name})"

    def failing(self, values: Array) -> Rows:
        """Return which values, or rows of a batch, fail.

        Raises
        ------
        TypeError, ValueError
            The test returned something else than it should.
        """
        return _failing(self.test(values), len(values))

    @classmethod
    def eq(cls, value: Any) -> Check:
        """Equal to a value."""
        return _comparison("eq", value)

    @classmethod
    def ne(cls, value: Any) -> Check:
        """Not equal to a value."""
        return _comparison("ne", value)

    @classmethod
    def ge(cls, least: Any) -> Check:
        """Greater than or equal to a bound.

        As all comparisons: not of NaN; and of floats, with the bound rounded to their type, as in NumPy.
        """
        return _comparison("ge", least)

    @classmethod
    def gt(cls, bound: Any) -> Check:
        """Greater than a bound."""
        return _comparison("gt", bound)

    @classmethod
    def le(cls, most: Any) -> Check:
        """Less than or equal to a bound."""
        return _comparison("le", most)

    @classmethod
    def lt(cls, bound: Any) -> Check:
        """Less than a bound."""
        return _comparison("lt", bound)

    @classmethod
    def in_range(cls, least: Any, most: Any, *, include_min: bool = True, include_max: bool = True) -> Check:
        """Between two bounds, which are included or not."""
        for bound in (least, most):
            _check_bound("in_range", bound)
        lower, upper = "ge" if include_min else "gt", "le" if include_max else "lt"
        name = f"in {'[' if include_min else '('}{least!r}, {most!r}{']' if include_max else ')'}"
        pc = arrow().compute

        def test(values: Array) -> Any:
            return pc.and_(compared(lower, values, least), compared(upper, values, most))

        return cls(test, name=name, skip_nan=True)

    @classmethod
    def isin(cls, allowed: Iterable[Any]) -> Check:
        """One of some values: equal to one, as by `eq`."""
        found = Members(allowed)
        check = cls(found.has, name=f"in {found}", skip_nan=True)
        check.description = f"in {found.members!r}"
        return check

    @classmethod
    def notin(cls, forbidden: Iterable[Any]) -> Check:
        """None of some values: equal to none, as by `eq`."""
        found = Members(forbidden)
        check = cls(lambda values: arrow().compute.invert(found.has(values)), name=f"not in {found}")
        check.description = f"not in {found.members!r}"
        return check

    @classmethod
    def str_matches(cls, pattern: str) -> Check:
        """Text that a regular expression matches from its start on, as `re.match`.

        Of the syntax of RE2, which has no look-around and no back references.
        """
        return _of_pattern(f"^(?:{pattern})", f"matches {pattern!r}")

    @classmethod
    def str_contains(cls, pattern: str) -> Check:
        """Text that a regular expression (of RE2's syntax) matches somewhere, as `re.search`."""
        return _of_pattern(pattern, f"contains {pattern!r}")

    @classmethod
    def str_startswith(cls, start: str) -> Check:
        """Text that begins so."""
        return cls(lambda values: arrow().compute.starts_with(values, start), name=f"starts with {start!r}")

    @classmethod
    def str_endswith(cls, end: str) -> Check:
        """Text that ends so."""
        return cls(lambda values: arrow().compute.ends_with(values, end), name=f"ends with {end!r}")

    @classmethod
    def str_length(cls, least: int | None = None, most: int | None = None) -> Check:
        """Text of so many characters (code points)."""
        low, high = 0 if least is None else least, math.inf if most is None else most

        def test(values: Array) -> Any:
            lengths = arrow().compute.utf8_length(values).to_numpy()
            return (lengths >= low) & (lengths <= high)

        return cls(test, name=f"length in [{low}, {high}]")

    @classmethod
    def like(
        cls,
        distribution: Distribution,
        *,
        psi: float | None = None,
        ks: float | None = None,
        total_variation: float | None = None,
    ) -> Check:
        """Distributed as the values of another column, which a `Profile` has kept.

        Parameters
        ----------
        distribution : Distribution
            Such as ``Profile.load(path)["delay"]``.
        psi, ks, total_variation : float, optional
            The largest distance that is allowed, by `Distribution.psi`, `ks` and `total_variation`. Without
            any: a PSI of 0.25 for numbers, a total variation of 0.1 for categories.
        """
        limits = {"psi": psi, "ks": ks, "total_variation": total_variation}
        given = {name: limit for name, limit in limits.items() if limit is not None}
        return Likeness(distribution, given)


class Likeness(Check):
    """A check of a whole column: it collects the distribution, and judges it at the end."""

    def __init__(self, distribution: Distribution, limits: dict[str, float]) -> None:
        is_number = distribution.kind == "number"
        self.limits = limits or ({"psi": 0.25} if is_number else {"total_variation": 0.1})
        wrong = "total_variation" if is_number else "ks"
        if wrong in self.limits:
            raise ValueError(
                f"Check.like: expected psi or {'ks' if is_number else 'total_variation'} for a "
                f"{distribution.kind}, got {wrong}"
            )
        for name, limit in self.limits.items():
            if not limit >= 0:
                raise ValueError(f"Check.like: expected {name} of 0 or more, got {limit}")
        self.distribution = distribution
        bounds = ", ".join(f"{name} <= {limit:g}" for name, limit in self.limits.items())
        super().__init__(lambda values: True, name=f"like the profile ({bounds})")
        self.description = f"like {json.dumps(distribution.to_json())} ({self.limits})"

    def too_far(self, found: Distribution) -> str:
        """Return in words which distances are too large; ``""`` for none, or where there are no values."""
        if not found.rows:
            return ""
        distances = {name: getattr(found, name)(self.distribution) for name in self.limits}
        large = [f"{name} {far:.4g}" for name, far in distances.items() if far > self.limits[name]]
        return f"{', '.join(large)}: {self.distribution.in_words()}, now {found.in_words()}" if large else ""


def _failing(result: Any, length: int) -> Rows:
    pa = arrow()
    if isinstance(result, pa.ChunkedArray):
        result = result.combine_chunks()
    if isinstance(result, pa.BooleanScalar):
        result = result.as_py()
    if result is None or isinstance(result, (bool, np.bool_)):
        return np.arange(0 if result is None or result else length)
    if isinstance(result, pa.BooleanArray):
        if not result.false_count and len(result) == length:
            return np.empty(0, np.int64)
        result = result.fill_null(True).to_numpy(zero_copy_only=False)
    if not isinstance(result, np.ndarray) or result.dtype != bool:
        kind = getattr(result, "dtype", getattr(result, "type", type(result).__name__))
        raise TypeError(f"expected an array of booleans, or one, from the check, got {kind}")
    if result.shape != (length,):
        raise ValueError(f"expected {length} booleans from the check, got shape {result.shape}")
    return np.flatnonzero(~result)


def _comparison(operator: str, bound: Any) -> Check:
    _check_bound(operator, bound)
    name = f"{_SYMBOLS[operator]} {bound!r}"
    return Check(lambda values: compared(operator, values, bound), name=name, skip_nan=True)


def _check_bound(what: str, bound: Any) -> None:
    if not is_bound(bound):
        raise ValueError(f"Check.{what}: expected a value to compare with, got {bound!r}")


def _of_pattern(pattern: str, name: str) -> Check:
    pa = arrow()
    if not isinstance(pattern, str):
        raise TypeError(f"Check: expected a pattern of type str, got {type(pattern).__name__}")
    try:
        pa.compute.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        raise ValueError(f"Check: expected a regular expression of RE2's syntax, got {error}") from None
    return Check(lambda values: arrow().compute.match_substring_regex(values, pattern), name=name)
