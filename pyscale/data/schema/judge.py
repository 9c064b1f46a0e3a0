"""A batch against a schema: what fails goes into a tally, and what only the whole can tell is collected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pyscale.data.schema.casts import castable
from pyscale.data.schema.checks import Check, Likeness, Rows
from pyscale.data.schema.column import Column, Schema
from pyscale.data.schema.distribution import Distribution
from pyscale.data.schema.repeats import Repeats
from pyscale.data.schema.tally import Place, Subject, Tally
from pyscale.data.schema.types import Array, in_parquet, logical, plain, shown
from pyscale.data.schema.values import Batch, Values, without_nulls
from pyscale.data.tables.arrow import arrow
from pyscale.data.tables.formats import in_words

# The order of a report within a column; a column's own checks come between these.
_TYPE, _NULL, _NAN, _CHECKS, _UNIQUE = 0, 1, 2, 3, 1 << 20


class Judge:
    """Looks at batches.

    Attributes
    ----------
    tally : Tally
        What failed.
    repeats : dict of Subject to Repeats
        The rows of what must be unique, collected.
    distributions : dict of str to Distribution
        The values of what must be distributed as others, collected: by `key_of` the check.
    """

    def __init__(self, schema: Schema, tally: Tally) -> None:
        self.schema = schema
        self.tally = tally
        self.distributions: dict[str, Distribution] = {}
        self.repeats = {subject: Repeats() for subject in _unique_subjects(schema)}

    def look_at_names(self, schema: Any, place: Place, *, format: str | None) -> None:
        """Look at which columns there are, and of which types: facts of the whole file, of some format."""
        place = Place(place.file, -1)
        known = [name for name in schema.names if name in self.schema.columns]
        for number, (name, column) in enumerate(self.schema.columns.items()):
            count = known.count(name)
            if count == 0 and column.required:
                self.tally.add(Subject(number, _TYPE, name, "required"), place, 0, detail="not there")
            elif count > 1:
                self.tally.add(
                    Subject(number, _TYPE, name, "one column"), place, 0, detail=f"{count} of them"
                )
            elif count == 1:
                found = schema.field(name).type
                if not (_is_type(column, found) or _is_cast(column, found, format)):
                    self._fail_type(number, name, column, place, found)
        if self.schema.strict and (others := [name for name in schema.names if name not in known]):
            self.tally.add(Subject(-1, 1, None, "no other columns"), place, 0, detail=", ".join(others))
        if self.schema.ordered and known != [name for name in self.schema.columns if name in known]:
            self.tally.add(Subject(-1, 2, None, "order of columns"), place, 0, detail=", ".join(known))

    def look_at(self, batch: Batch, *, format: str | None) -> None:
        """Look at the values of a batch."""
        self.tally.rows += len(batch.data)
        counts = Counter(batch.data.schema.names)
        judged = {}
        for number, (name, column) in enumerate(self.schema.columns.items()):
            if counts[name] == 1:
                values = self._typed(batch, number, name, column, format)
                if values is not None:
                    judged[name] = values
                    self._look_at_values(batch, number, name, column, values)
        for subject, repeats in self.repeats.items():
            names = self._names(subject)
            if all(name in judged for name in names):
                self._collect_rows(batch, subject, repeats, [judged[name] for name in names])
        for subject, check in _checks(len(self.schema.columns), 0, None, self.schema.checks):
            self._run(batch, subject, check, Values(batch.data))

    def likenesses(self) -> Iterator[tuple[Subject, Likeness]]:
        """Yield the checks of distributions."""
        for number, (name, column) in enumerate(self.schema.columns.items()):
            for subject, check in _checks(number, _CHECKS, name, column.checks):
                if isinstance(check, Likeness):
                    yield subject, check

    def _typed(
        self, batch: Batch, number: int, name: str, column: Column, format: str | None
    ) -> Values | None:
        """Return a column's values in its type, without nulls; None where they are of another type."""
        array = plain(batch.data.column(name))
        failed = np.zeros(len(array), bool)
        if not _is_type(column, array.type):
            if not _is_cast(column, array.type, format):
                return None
            try:
                cast, failed = castable(array, logical(column.type))
            except arrow().ArrowNotImplementedError:
                self._fail_type(number, name, column, batch.place, array.type)
                return None
            subject = Subject(number, _TYPE, name, f"castable to {column.type}")
            self._fail(batch, subject, np.flatnonzero(failed), array)
            array = cast
        if array.null_count and not column.nullable:
            rows = np.flatnonzero(np.asarray(array.is_null()) & ~failed)
            self._fail(batch, Subject(number, _NULL, name, "not null"), rows)
        return without_nulls(array)

    def _look_at_values(self, batch: Batch, number: int, name: str, column: Column, values: Values) -> None:
        numbers = values
        if arrow().types.is_floating(values.array.type):
            is_nan = arrow().compute.is_nan(values.array)
            if is_nan.true_count:
                numbers = values.where(arrow().compute.invert(is_nan))
                if not column.nan:
                    rows = values.rows_of(np.flatnonzero(is_nan))
                    self._fail(batch, Subject(number, _NAN, name, "not NaN"), rows)
        for subject, check in _checks(number, _CHECKS, name, column.checks):
            if isinstance(check, Likeness):
                self._collect_values(batch, subject, check, values)
            else:
                self._run(batch, subject, check, numbers if check.skip_nan else values)

    def _run(self, batch: Batch, subject: Subject, check: Check, values: Values) -> None:
        if not len(values.array):
            return
        try:
            failing = check.failing(values.array)
        except Exception as error:  # the user's own code, or a check that the type has not
            self.tally.add(subject, batch.place, len(values.array), detail=in_words(error))
            return
        rows = values.rows_of(failing)
        column = None if subject.column is None else batch.data.column(subject.column)
        self._fail(batch, subject, rows, column)

    def _fail(self, batch: Batch, subject: Subject, rows: Rows, column: Array | None = None) -> None:
        """Count rows of a batch, of which the first are shown with the values that a column has there."""
        if not rows.size:
            return
        first = rows[: self.tally.examples]
        values = [None] * len(first) if column is None else shown(column, first.tolist())
        examples = zip((batch.first_row + first).tolist(), values, strict=True)
        self.tally.add(subject, batch.place, len(rows), examples)

    def _fail_type(self, number: int, name: str, column: Column, place: Place, found: Any) -> None:
        subject = Subject(number, _TYPE, name, f"{'castable to ' * column.castable}{column.type}")
        self.tally.add(subject, Place(place.file, -1), 0, detail=f"got {found}")

    def _collect_values(self, batch: Batch, subject: Subject, check: Likeness, values: Values) -> None:
        distribution = self.distributions.setdefault(key_of(subject), check.distribution.empty())
        try:
            distribution.add(values.array)
            distribution.add_nulls(len(batch.data) - len(values.array))
        except (TypeError, ValueError) as error:
            self.tally.add(subject, batch.place, len(values.array), detail=in_words(error))

    def _collect_rows(self, batch: Batch, subject: Subject, repeats: Repeats, columns: list[Values]) -> None:
        try:
            repeats.add(batch, columns)
        except TypeError as error:
            self.tally.add(subject, batch.place, len(batch.data), detail=in_words(error))

    def _names(self, subject: Subject) -> tuple[str, ...]:
        if subject.column is not None:
            return (subject.column,)
        return self.schema.unique[subject.check_place - len(self.schema.checks)]


def _is_type(column: Column, found: Any) -> bool:
    return column.type is None or logical(found) == logical(column.type)


def _is_cast(column: Column, found: Any, format: str | None) -> bool:
    """Return whether values of another type stand for those of a column's, as in text or in Parquet."""
    is_stored = format == "parquet" and logical(found) == logical(in_parquet(column.type))
    return column.castable or format == "csv" or is_stored


def key_of(subject: Subject) -> str:
    """Return a text that names a check."""
    return f"{subject.column_place}/{subject.check_place}"


def _checks(
    number: int, first: int, column: str | None, checks: Sequence[Check]
) -> Iterator[tuple[Subject, Check]]:
    """Yield checks with what they are called in the report: those of one name are numbered."""
    names: Counter[str] = Counter()
    for i, check in enumerate(checks):
        names[check.name] += 1
        again = f" ({names[check.name]})" if names[check.name] > 1 else ""
        yield Subject(number, first + i, column, check.name + again), check


def _unique_subjects(schema: Schema) -> Iterator[Subject]:
    for number, (name, column) in enumerate(schema.columns.items()):
        if column.unique:
            yield Subject(number, _UNIQUE, name, "unique")
    for i, names in enumerate(schema.unique):
        yield Subject(len(schema.columns), len(schema.checks) + i, None, f"unique: {', '.join(names)}")
