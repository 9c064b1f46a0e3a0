"""Blocks that satisfy a schema, looked at when they are read: what is wrong is never delivered."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from pyscale.data.schema import Schema
from pyscale.data.schema.checks import Likeness
from pyscale.data.tables.blocks import Block
from pyscale.data.tables.formats import Reading, format_of


def check_schema(schema: Any) -> None:
    """Raise TypeError or ValueError for a schema that cannot be checked block by block."""
    if schema is None:
        return
    if not isinstance(schema, Schema):
        raise TypeError(f"schema: expected a Schema, got {type(schema).__name__}")
    columns = schema.columns.items()
    whole = [f"unique {name!r}" for name, column in columns if column.unique]
    whole += [f"unique {', '.join(names)}" for names in schema.unique]
    whole += [
        f"{c.name} of {name!r}" for name, column in columns for c in column.checks if isinstance(c, Likeness)
    ]
    if whole:
        raise ValueError(
            f"schema: expected checks that a row group can be asked for, got {whole[0]}, which takes "
            "all data: validate does that"
        )


def check_columns(schema: Schema | None, names: Collection[str]) -> None:
    """Raise ValueError where columns that a schema requires are not read."""
    for name, column in {} if schema is None else schema.columns.items():
        if column.required and name not in names:
            raise ValueError(
                f"schema: expected columns that are read, {list(names)}, got {name!r}: read it, or "
                "leave it out with schema.select"
            )


class Checked:
    """Looks at each block once, whichever epoch or stream it is read for.

    Parameters
    ----------
    schema : Schema or None
    blocks : sequence of Block
        All of them, file by file and in the order of each.
    """

    def __init__(self, schema: Schema | None, blocks: Sequence[Block]) -> None:
        self._schema = schema
        self._first_rows: dict[tuple[str, int], int] = {}
        self._done: set[Block] = set()  # is added to by threads, of which two may look at a block
        ends: dict[str, int] = {}
        for block in blocks:
            first = ends.get(block.file, 0)
            self._first_rows[block.file, block.number] = first
            ends[block.file] = first + block.rows

    def look_at(self, block: Block, table: Any) -> None:
        """Raise SchemaError, which says all that is wrong with a block."""
        if self._schema is None or block in self._done:
            return
        format = format_of(block.file, Reading())
        group = block.number if format == "parquet" else None
        first = self._first_rows[block.file, block.number]
        validator = self._schema.validator()  # of its own: threads read side by side
        validator.add_as(table, block.file, group, first, format=format)
        validator.finish().raise_if_failed()
        self._done.add(block)
