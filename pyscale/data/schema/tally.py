"""Failures as they are counted: of bounded memory, and the same whoever has seen which rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pyscale.data.schema.report import Example, Failure, Report


class Subject(NamedTuple):
    """A check of a column, or of none in particular, and the place of both in the schema."""

    column_place: int
    check_place: int
    column: str | None
    check: str


class Place(NamedTuple):
    """Where rows are from; ``""`` and -1 for none, so that places have an order."""

    file: str
    row_group: int


@dataclass
class Count:
    """How many rows have failed, and the first of them."""

    rows: int = 0
    examples: list[Example] = field(default_factory=list)
    detail: str = ""

    def add(self, other: Count, examples: int) -> None:
        """Count what another has counted."""
        self.rows += other.rows
        both = set(map(_by_row, self.examples + other.examples))
        self.examples = [example for *_, example in sorted(both, key=lambda item: item[:2])[:examples]]
        details = [detail for detail in (self.detail, other.detail) if detail]
        self.detail = min(details, default="")


def _by_row(example: Example) -> tuple[float, str, Example]:
    return (float("inf") if example.row is None else example.row, repr(example.value), example)


class Tally:
    """The first failures, in the order of the report, and how many rows failed beyond."""

    def __init__(self, examples: int, limit: int) -> None:
        self.examples = examples
        self.limit = limit
        self.rows = 0  # that were looked at
        self._counts: dict[tuple[Subject, Place], Count] = {}
        self._failed = 0

    def add(
        self,
        subject: Subject,
        place: Place,
        rows: int,
        examples: Iterable[tuple[int, Any]] = (),
        detail: str = "",
    ) -> None:
        """Count rows that failed, with the numbers and values of some."""
        self._add(subject, place, Count(rows, [Example(*example) for example in examples], detail))
        self._failed += rows

    def merge(self, other: Tally) -> None:
        """Count what another has counted."""
        for (subject, place), count in other._counts.items():
            self._add(subject, place, count)
        self._failed += other._failed
        self.rows += other.rows

    def _add(self, subject: Subject, place: Place, count: Count) -> None:
        # What is beyond the limit is so for good: what comes before it only becomes more.
        if len(self._counts) > 2 * self.limit:
            self._trim()
        self._counts.setdefault((subject, place), Count()).add(count, self.examples)

    def _trim(self) -> None:
        self._counts = dict(sorted(self._counts.items(), key=lambda item: item[0])[: self.limit])

    def report(self) -> Report:
        """Return the report."""
        self._trim()
        failures = tuple(
            Failure(
                column=subject.column,
                check=subject.check,
                file=place.file or None,
                row_group=None if place.row_group < 0 else place.row_group,
                count=count.rows,
                examples=tuple(count.examples),
                detail=count.detail,
            )
            for (subject, place), count in self._counts.items()
        )
        return Report(failures, self.rows, self._failed - sum(failure.count for failure in failures))
