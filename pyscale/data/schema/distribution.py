"""How the values of a column are distributed: counted in one pass, compared with those of another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyscale.data.schema.distances import (
    deciles,
    kolmogorov_smirnov,
    population_stability_index,
    total_variation,
)
from pyscale.data.schema.hashing import hashes
from pyscale.data.schema.sketch import Keys, Sketch, aligned, floats_of_keys, keys_of_floats
from pyscale.data.schema.types import Array, Type, in_python, is_comparable, logical, nearest, plain
from pyscale.data.tables.arrow import arrow

BUCKETS = 4096
_LENGTH = 80  # of the name of a category


@dataclass(eq=False)
class Distribution:
    """The distribution of one column.

    Numbers, dates and times are counted in buckets of their value, and all else by category. As long as there
    are no more than `buckets` different ones, that is exact, but that numbers are taken as float64, which has
    not all integers beyond 2^53 (nanoseconds of dates among them) nor all decimals. Beyond, neighbouring
    numbers share a bucket, and so do unrelated categories: `ks` and `total_variation` then are lower bounds,
    and never too large, while `psi` is that of bins whose edges were moved by less than a bucket. It does not
    depend on the order of the values, nor on how they were split over ranks or files.

    Attributes
    ----------
    kind : {"number", "category"}
    type : str
        Of the values: ``"number"``, or as pyarrow calls it. Those of integers, floats and decimals compare.
    rows, nulls, nans : int
        The number of rows, and of those that have null and NaN.
    low, high : float
        The least and the greatest number; for dates and times, as their integers; NaN for none.
    """

    kind: str
    type: str
    buckets: int = BUCKETS
    rows: int = 0
    nulls: int = 0
    nans: int = 0
    low: float = np.nan
    high: float = np.nan
    sketch: Sketch = field(init=False)
    names: dict[int, str] = field(default_factory=dict)  # of the categories, while each has its own bucket

    def __post_init__(self) -> None:
        self.sketch = Sketch(self.buckets)

    @classmethod
    def for_type(cls, kind: Type, *, as_category: bool = False, buckets: int = BUCKETS) -> Distribution:
        """Return the distribution of no values yet.

        Raises
        ------
        TypeError
            For lists, structs, maps and intervals.
        """
        types, kind = arrow().types, logical(kind)
        if not is_comparable(kind):
            raise TypeError(f"Distribution: expected values that can be compared, got {kind}")
        if as_category or not (types.is_temporal(kind) or _is_number(kind)):
            return cls("category", "integer" if types.is_integer(kind) else str(kind), buckets)
        return cls("number", "number" if _is_number(kind) else str(kind), buckets)

    def __repr__(self) -> str:
        return f"<Distribution of {self.rows} rows of {self.type}, as {self.kind}>"

    def empty(self) -> Distribution:
        """Return one of the same kind that has counted nothing."""
        return Distribution(self.kind, self.type, self.buckets)

    def add(self, array: Array) -> None:
        """Count the values of a pyarrow array of this distribution's type."""
        self._check_kind(Distribution.for_type(array.type, as_category=self.kind == "category"))
        array = plain(array)  # in which the nulls of dictionaries and runs are its own
        self.rows += len(array)
        self.nulls += array.null_count
        values = array.drop_null()
        if arrow().types.is_floating(array.type):
            is_nan = arrow().compute.is_nan(values)
            self.nans += is_nan.true_count
            values = values.filter(arrow().compute.invert(is_nan))
        if len(values):
            (self._add_numbers if self.kind == "number" else self._add_categories)(values)

    def add_nulls(self, count: int) -> None:
        """Count rows that have null."""
        self.rows += count
        self.nulls += count

    def _add_numbers(self, values: Array) -> None:
        floats = _floats(values)
        lowest, highest = floats.min() + 0.0, floats.max() + 0.0  # -0.0 becomes 0.0, as in the keys
        self.low, self.high = np.fmin(self.low, lowest), np.fmax(self.high, highest)
        self.sketch.add(keys_of_floats(floats))

    def _add_categories(self, values: Array) -> None:
        coded = values.dictionary_encode()
        counts = np.bincount(coded.indices.to_numpy(), minlength=len(coded.dictionary))
        keys = _keys(coded.dictionary)
        if self.sketch.shift == 0:
            unnamed = [i for i, key in enumerate(keys.tolist()) if key not in self.names]
            for i in unnamed:
                self.names[int(keys[i])] = _name(in_python(coded.dictionary[i]), int(keys[i]))
        self.sketch.add(keys, counts)
        self._forget_names()

    def _forget_names(self) -> None:
        if self.sketch.shift:
            self.names.clear()

    def merge(self, other: Distribution) -> None:
        """Count what another of the same kind, type and `buckets` has counted."""
        self._check_kind(other)
        if self.buckets != other.buckets:
            raise ValueError(f"Distribution: expected one of {self.buckets} buckets, got {other.buckets}")
        self.rows += other.rows
        self.nulls += other.nulls
        self.nans += other.nans
        self.low, self.high = np.fmin(self.low, other.low), np.fmax(self.high, other.high)
        self.names |= other.names
        self.sketch.merge(other.sketch)
        self._forget_names()

    def quantile(self, q: float) -> float:
        """Return the number below which a share `q` of the numbers lies, to the width of its bucket."""
        if self.kind != "number" or not self.sketch.total:
            raise ValueError(f"quantile: expected numbers, got {self!r}")
        if not 0 <= q <= 1:
            raise ValueError(f"quantile: expected a share from 0 to 1, got {q}")
        sketch = self.sketch
        place = np.searchsorted(np.cumsum(sketch.counts), q * (sketch.total - 1), side="right")
        first = sketch.buckets[min(int(place), len(sketch.buckets) - 1)] << sketch.shift
        # Within the numbers that there are: beyond infinity, a bucket has keys of NaN.
        lowest, highest = keys_of_floats(np.array([self.low, self.high])).tolist()
        middle = min(max(int(first) + (1 << sketch.shift >> 1), lowest), highest)
        return float(floats_of_keys(np.array([middle]))[0])

    def categories(self) -> dict[str, int]:
        """Return how often each category is there, the most frequent first; of numbers and too many, {}.

        The names of long ones are cut off and end with a hash.
        """
        counts = zip(self.sketch.buckets.tolist(), self.sketch.counts.tolist(), strict=True)
        named = [(self.names[key], count) for key, count in counts if key in self.names]
        return dict(sorted(named, key=lambda item: (-item[1], item[0])))

    def in_words(self) -> str:
        """Return it in a few words: the quartiles, or the most frequent categories."""
        if self.kind == "number" and self.sketch.total:
            return "quartiles " + ", ".join(f"{self.quantile(q):.4g}" for q in (0.25, 0.5, 0.75))
        named = list(self.categories().items())[:3]
        return (
            ", ".join(f"{name!r} {100 * count / self.rows:.1f}%" for name, count in named) or "other values"
        )

    def psi(self, reference: Distribution) -> float:
        """Return the population stability index against a reference.

        Over ten bins that hold equal shares of the reference's numbers, or over the categories; nulls and NaN
        are bins of their own, and so is a number that is more than one of the reference's deciles. Infinite
        if one of both has no rows. 0.1 is commonly taken for a small change, and 0.25 for a large one [1]_.
        For n rows of the same distribution, and many more of the reference, about (bins - 1) / n is expected.

        References
        ----------
        .. [1] N. Siddiqi, "Credit Risk Scorecards", Wiley, 2006.
        """
        _, expected, found = self._aligned(reference)
        if self.kind == "number" and len(expected):
            starts = deciles(expected)
            expected, found = np.add.reduceat(expected, starts), np.add.reduceat(found, starts)
        return population_stability_index(*self._with_missing(reference, expected, found))

    def ks(self, reference: Distribution) -> float:
        """Return the Kolmogorov-Smirnov distance of the numbers to a reference's: from 0 to 1."""
        if self.kind != "number":
            raise ValueError(f"ks: expected numbers, which have an order, got {self!r}")
        _, expected, found = self._aligned(reference)
        return kolmogorov_smirnov(expected, found)

    def total_variation(self, reference: Distribution) -> float:
        """Return the total variation distance of the categories, null among them, to a reference's.

        From 0 to 1: the part of the rows that would have to change.
        """
        if self.kind != "category":
            raise ValueError(f"total_variation: expected categories, got {self!r}")
        _, expected, found = self._aligned(reference)
        return total_variation(*self._with_missing(reference, expected, found))

    def _aligned(self, reference: Distribution) -> tuple[Any, Any, Any]:
        self._check_kind(reference)
        return aligned(reference.sketch, self.sketch)

    def _with_missing(self, reference: Distribution, expected: Any, found: Any) -> tuple[Any, Any]:
        """Add bins for null and for NaN, if there are any."""
        missing = np.array([[one.nulls, one.nans] for one in (reference, self)])
        missing = missing[:, missing.any(axis=0)]
        return np.append(expected, missing[0]), np.append(found, missing[1])

    def _check_kind(self, other: Distribution) -> None:
        if (self.kind, self.type) != (other.kind, other.type):
            raise ValueError(
                f"Distribution: expected {self.type} as {self.kind}, got {other.type} as {other.kind}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return it as what `json` takes."""
        sketch = self.sketch
        return {
            "kind": self.kind,
            "type": self.type,
            "rows": self.rows,
            "nulls": self.nulls,
            "nans": self.nans,
            "low": repr(float(self.low)),
            "high": repr(float(self.high)),
            "limit": sketch.limit,
            "shift": sketch.shift,
            "first": sketch.buckets[:1].tolist(),
            "steps": np.diff(sketch.buckets.view(np.uint64)).tolist(),
            "counts": sketch.counts.tolist(),
            "names": {str(key): name for key, name in sorted(self.names.items())},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Distribution:
        """Return the distribution that `to_json` made this of."""
        if data["kind"] not in ("number", "category"):
            raise ValueError(f"expected a kind of number or category, got {data['kind']!r}")
        made = cls(
            kind=data["kind"],
            type=data["type"],
            buckets=data["limit"],
            rows=data["rows"],
            nulls=data["nulls"],
            nans=data["nans"],
            low=float(data["low"]),
            high=float(data["high"]),
            names={int(key): name for key, name in data["names"].items()},
        )
        first = np.array(data["first"], np.int64).view(np.uint64)
        steps = np.cumsum(np.array(data["steps"], np.uint64), dtype=np.uint64)
        made.sketch.shift = data["shift"]
        made.sketch.buckets = np.concatenate([first, first[:1] + steps]).view(np.int64)
        made.sketch.counts = np.array(data["counts"], np.int64)
        if made.sketch.buckets.shape != made.sketch.counts.shape:
            raise ValueError(f"expected {len(made.sketch.buckets)} counts, got {len(made.sketch.counts)}")
        return made


def _name(value: Any, key: int) -> str:
    """Return a category in words: a long one cut off, with its hash instead of what others may share."""
    text = str(value + 0.0 if isinstance(value, (float, np.floating)) else value)  # -0.0 becomes 0.0
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 18]}… {key & (2**64 - 1):016x}"


def _keys(categories: Array) -> Keys:
    """Return the hashes of categories, those of large integers by their text: -1 has that of 2**64 - 1."""
    pa = arrow()
    keys = hashes(categories).first
    if pa.types.is_uint64(categories.type):
        large = categories.to_numpy() >> np.uint64(63) == 1
        keys[large] = hashes(categories.filter(pa.array(large)).cast(pa.string())).first
    return keys.view(np.int64)


def _is_number(kind: Type) -> bool:
    types = arrow().types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _floats(values: Array) -> Any:
    """Return numbers, dates and times as float64."""
    pa = arrow()
    if pa.types.is_temporal(values.type):
        values = values.view(pa.int32() if values.type.bit_width == 32 else pa.int64())
    return nearest(values, pa.float64()).cast(pa.float64(), safe=False).to_numpy()
