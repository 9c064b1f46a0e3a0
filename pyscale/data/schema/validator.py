"""Validation of a pass over data: batch by batch, and over all ranks at the end."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from pyscale.comm import Communicator
from pyscale.data.schema.column import Schema
from pyscale.data.schema.judge import Judge, key_of
from pyscale.data.schema.profile import merged
from pyscale.data.schema.report import Report
from pyscale.data.schema.tally import Place, Subject, Tally
from pyscale.data.schema.values import Batch
from pyscale.data.tables.arrow import as_stream


class Validator:
    """Validates a pass over data: `add` each batch, and `finish` at the end.

    Made by `Schema.validator`. Memory does not grow with the data, but by 8 to 16 bytes a row for each column
    that must be unique.
    """

    def __init__(self, schema: Schema, *, examples: int = 5, limit: int = 1000) -> None:
        if examples < 0 or limit < 1:
            raise ValueError(f"validator: expected examples >= 0 and limit >= 1, got {examples} and {limit}")
        self.schema = schema
        self._judge = Judge(schema, Tally(examples, limit))
        self._next_rows: dict[str, int] = {}
        self._is_finished = False

    def add(
        self,
        data: Any,
        *,
        file: str | os.PathLike[str] | None = None,
        row_group: int | None = None,
        first_row: int | None = None,
    ) -> None:
        """Look at some rows. What is wrong with them is for `finish` to tell.

        Parameters
        ----------
        data : pyarrow.RecordBatch, Table or RecordBatchReader, dict of arrays, …
        file, row_group : optional
            Where the rows are from, for the report.
        first_row : int, optional
            The number of the first of them in the file; None goes on after those added last from there.
        """
        self.add_as(data, os.fspath(file) if file is not None else "", row_group, first_row, format=None)

    def add_as(
        self, data: Any, file: str, row_group: int | None, first_row: int | None, *, format: str | None
    ) -> None:
        """Look at some rows, of a file whose format may have other types than the schema."""
        self._check_unfinished()
        stream = as_stream(data, "add")
        place = _place(file, row_group)
        row = self._next_rows.get(file, 0) if first_row is None else first_row
        self._judge.look_at_names(stream.schema, place, format=format)
        for batch in stream.batches:
            if len(batch):
                self._judge.look_at(Batch(batch, place, row), format=format)
            row += len(batch)
        self._next_rows[file] = row

    def add_failure(self, check: str, file: str, row_group: int | None, detail: str, rows: int = 0) -> None:
        """Note what is wrong with a file itself."""
        self._check_unfinished()
        self._judge.tally.add(Subject(-1, 0, None, check), _place(file, row_group), rows, detail=detail)

    def finish(self, comm: Communicator | None = None) -> Report:
        """Return what was found, by all ranks of `comm`, the same on each. Collective.

        Raises
        ------
        ValueError
            Ranks have different schemas; on every rank.
        """
        self._check_unfinished()
        self._is_finished = True
        self._check_same_schema(comm)
        mine = self._judge.tally
        for subject, repeats in self._judge.repeats.items():
            if mixed := repeats.mixed(comm):
                detail = f"expected values of one type, got {'; '.join(mixed)}"
                mine.add(subject, _place("", None), 0, detail=detail)
                continue
            for place, rows in repeats.find(comm):
                examples = [(row, None) for row in rows[: mine.examples].tolist()]
                mine.add(subject, place, len(rows), examples)
        tally = _of_all_ranks(mine, comm)
        distributions = merged(self._judge.distributions, comm)
        for subject, check in self._judge.likenesses():
            found = distributions.get(key_of(subject))
            if found is not None and (detail := check.too_far(found)):
                tally.add(subject, _place("", None), 0, detail=detail)
        return tally.report()

    def _check_unfinished(self) -> None:
        if self._is_finished:
            raise ValueError("validator: expected one that is not finished, got one that is: make another")

    def _check_same_schema(self, comm: Communicator | None) -> None:
        if comm is None or comm.size == 1:
            return
        checks = [*self.schema.checks, *(c for column in self.schema.columns.values() for c in column.checks)]
        described = "\n".join(check.description for check in checks)
        digest = hashlib.blake2b(described.encode(errors="surrogatepass")).hexdigest()[:16]
        told = comm.all_gather_object(f"{self.schema!r}\nwith checks {digest}")
        for rank, theirs in enumerate(told):
            if theirs != told[0]:
                raise ValueError(
                    f"finish: expected the same schema on every rank, got on rank 0 {told[0]}\n"
                    f"and on rank {rank} {theirs}"
                )


def _place(file: str, row_group: int | None) -> Place:
    return Place(file, -1 if row_group is None else row_group)


def _of_all_ranks(mine: Tally, comm: Communicator | None) -> Tally:
    if comm is None or comm.size == 1:
        return mine
    total = Tally(mine.examples, mine.limit)
    for root in range(comm.size):  # one at a time: so the memory does not grow with the number of ranks
        total.merge(comm.broadcast_object(mine, root))
    return total
