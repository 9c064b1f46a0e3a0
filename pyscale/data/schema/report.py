"""What validation has found, on all ranks the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pyscale.errors import PyscaleError

_LINES = 60  # of the table in words
_HEADER = ("column", "check", "file", "row group", "rows", "examples")


class SchemaError(PyscaleError, ValueError):
    """Data does not satisfy a schema. Says what `Report` says; `report` is the report itself."""

    def __init__(self, report: Report) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        return str(self.report)


class Example(NamedTuple):
    """A value that failed, and its row in the file; None where it is not one row's, or not known."""

    row: int | None
    value: Any

    def __str__(self) -> str:
        if self.row is None:
            return str(self.value)
        return f"row {self.row}" + ("" if self.value is None else f": {self.value!r}")


@dataclass(frozen=True)
class Failure:
    """A check that failed in a row group.

    Attributes
    ----------
    column : str or None
        None for what is of the file or of whole rows.
    check : str
        The check's name.
    file : str or None
        None for what was found in no file of its own, such as a distribution.
    row_group : int or None
        None for what is of the whole file, and in files that have none.
    count : int
        Rows that failed; 0 for what is of no row, such as a missing column.
    examples : tuple of Example
        The first few of them.
    detail : str
        More, in words.
    """

    column: str | None
    check: str
    file: str | None
    row_group: int | None
    count: int
    examples: tuple[Example, ...] = ()
    detail: str = ""

    def __str__(self) -> str:
        return "  ".join(cell for cell in self._cells() if cell)

    def _cells(self) -> tuple[str, ...]:
        said = (
            ", ".join(map(str, self.examples)) + ("; " if self.examples and self.detail else "") + self.detail
        )
        group = "" if self.row_group is None else str(self.row_group)
        rows = f"{self.count:,}" if self.count else ""
        cells = (self.column or "", self.check, self.file or "", group, rows, said)
        return tuple(map(_printable, cells))


@dataclass(frozen=True)
class Report:
    """All failures of a pass over data.

    Attributes
    ----------
    failures : tuple of Failure
        By column, check, file and row group, in the order of the schema's columns and checks.
    rows : int
        Rows that were looked at, on all ranks.
    omitted : int
        Rows of failures that are not in the list, which is bounded.
    """

    failures: tuple[Failure, ...]
    rows: int
    omitted: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing has failed."""
        return not self.failures

    def raise_if_failed(self) -> None:
        """Raise SchemaError if anything has failed."""
        if self.failures:
            raise SchemaError(self)

    def __str__(self) -> str:
        if self.ok:
            return f"schema: {self.rows:,} rows, nothing has failed"
        checks = {(failure.column, failure.check) for failure in self.failures}
        title = f"schema: {self.rows:,} rows, failures of {len(checks)} check{'s' * (len(checks) != 1)}"
        table = _table([failure._cells() for failure in self.failures[:_LINES]])
        hidden = self.omitted + sum(failure.count for failure in self.failures[_LINES:])
        more = [f"… and {hidden:,} more rows in other places"] if hidden else []
        return "\n".join([title, *table, *more])


def _printable(text: str) -> str:
    """Return text with what is no character of a line escaped: names may hold anything."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, cells)) for cells in zip(_HEADER, *rows, strict=True)]
    numbers = {_HEADER.index("row group"), _HEADER.index("rows")}
    return [
        "  ".join(
            cell.rjust(width) if i in numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in (_HEADER, *rows)
    ]
