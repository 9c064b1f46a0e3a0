"""Validation of files, shared out over ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pyscale.comm import Communicator
from pyscale.comm.together import together
from pyscale.data.schema.column import Schema
from pyscale.data.schema.report import Example, Failure, Report
from pyscale.data.schema.types import logical, shown
from pyscale.data.schema.validator import Validator
from pyscale.data.tables.files import Paths, find_files, look_into_all, spread
from pyscale.data.tables.formats import ENDINGS, Contents, Reading, Unit, format_of, in_words, read

_LOOKED_UP = 16  # failures whose values are read again


def validate(
    paths: Paths,
    schema: Schema,
    *,
    comm: Communicator | None = None,
    columns: Sequence[str] | None = None,
    format: str | None = None,
    nulls: Sequence[str] | None = None,
    examples: int = 5,
    limit: int = 1000,
) -> Report:
    """Validate files in one pass, each rank its share, and return the report, the same on every rank.

    Collective where there is a `comm`. Ranks share out the row groups of Parquet files, and whole files of
    other formats, by size. Files that are missing, cut off or not what they seem are failures of the check
    ``"readable"``, and the pass goes on.

    Parameters
    ----------
    paths : path or sequence of paths
        Files, or folders, of which all files are taken whose names end in ``.parquet``, ``.pq``, ``.csv``,
        ``.csv.gz``, ``.arrow``, ``.arrows``, ``.feather`` or ``.ipc``. The same on every rank.
    schema : Schema
        The same on every rank.
    comm : Communicator, optional
        The ranks; None: this process alone.
    columns : sequence of str, optional
        The columns to look at; None looks at all of the schema.
    format : {"parquet", "csv", "ipc"}, optional
        That of all files; None goes by their endings.
    nulls : sequence of str, optional
        What stands for null in CSV files. None: what pyarrow takes for null, such as an empty cell and
        ``NA``, in all columns that are not text.
    examples, limit : int
        As in `Schema.validator`.

    Returns
    -------
    Report
        With the values of the first repeated rows, which are read again for that.

    Raises
    ------
    ValueError, TypeError
        Arguments of any rank, or ranks have different paths or schemas; on every rank.

    Notes
    -----
    Columns of CSV files are read as text and cast value by value to the type of the schema; and so are those
    of Parquet files whose type Parquet has not, such as ``timestamp[s]``, from what it has instead. Rows of a
    CSV file are numbered without those that have too few or too many cells.
    """
    with together(comm, "validate"):
        if not isinstance(schema, Schema):
            raise TypeError(f"validate: expected a Schema, got {type(schema).__name__}")
        schema = schema if columns is None else schema.select(columns)
        reading = _reading(schema, format, nulls)
        validator = schema.validator(examples=examples, limit=limit)
    files = find_files(paths, comm)
    contents = look_into_all(files, reading, comm)
    rank, size = (0, 1) if comm is None else (comm.rank, comm.size)
    units = [unit for one in contents for unit in one.units]
    with together(comm, "validate"):
        if rank == 0 and not files:
            validator.add_failure("readable", "", None, "expected files, got none")
        for one in contents[rank::size]:
            _look_at_contents(one, validator, reading)
        for i in spread([unit.size for unit in units], size)[rank]:
            _look_at_unit(units[i], validator, reading)
    return _with_values(validator.finish(comm), units, reading, comm)


def _reading(schema: Schema, format: str | None, nulls: Sequence[str] | None) -> Reading:
    if format is not None and format not in ENDINGS.values():
        raise ValueError(
            f"format: expected one of {', '.join(sorted(set(ENDINGS.values())))}, got {format!r}"
        )
    return Reading(
        format=format,
        columns=None if schema.checks else list(schema.columns),  # checks of rows may want any
        types={
            name: logical(column.type) for name, column in schema.columns.items() if column.type is not None
        },
        nulls=nulls,
    )


def _look_at_contents(contents: Contents, validator: Validator, reading: Reading) -> None:
    if contents.error:
        validator.add_failure("readable", contents.file, None, contents.error)
    else:
        found = format_of(contents.file, reading)
        validator.add_as(contents.schema.empty_table(), contents.file, None, None, format=found)


def _look_at_unit(unit: Unit, validator: Validator, reading: Reading) -> None:
    file, group = unit.file, unit.row_group
    bad_rows: list[str] = []

    def on_bad_row(row: Any) -> None:
        said = f"line {row.number}: {row.actual_columns} cells, expected {row.expected_columns}"
        validator.add_failure("cells of a row", file, group, said if not bad_rows else "", rows=1)
        bad_rows.append("")

    found = format_of(file, reading)
    batches = _readable(unit, replace(reading, on_bad_row=on_bad_row), validator)
    for first_row, batch in batches:
        validator.add_as(batch, file, group, first_row, format=found)


def _readable(unit: Unit, reading: Reading, validator: Validator) -> Iterator[tuple[int, Any]]:
    """Yield the batches of a unit up to where it can no longer be read."""
    batches = read(unit, reading)
    while True:
        try:
            first_row, batch = next(batches)
        except StopIteration:
            return
        except Exception as error:  # pyarrow's, the system's: what may be wrong with a file has many forms
            validator.add_failure("readable", unit.file, unit.row_group, in_words(error))
            return
        yield first_row, batch


def _with_values(
    report: Report, units: Sequence[Unit], reading: Reading, comm: Communicator | None
) -> Report:
    """Fill in the values of the first repeated rows. Collective."""
    wanted = [
        i
        for i, failure in enumerate(report.failures)
        if failure.check == "unique" and failure.column is not None and failure.file
    ][:_LOOKED_UP]
    rank, size = (0, 1) if comm is None else (comm.rank, comm.size)
    places = {(unit.file, unit.row_group): unit for unit in units}
    found = {}
    for i in wanted[rank::size]:
        failure = report.failures[i]
        unit = places.get((failure.file or "", failure.row_group))
        if unit is not None and failure.column is not None:
            found[i] = _looked_up(failure, failure.column, unit, reading)
    told = [found] if comm is None or size == 1 else comm.all_gather_object(found)
    failures = list(report.failures)
    for part in told:
        for i, failure in part.items():
            failures[i] = failure
    return replace(report, failures=tuple(failures))


def _looked_up(failure: Failure, column: str, unit: Unit, reading: Reading) -> Failure:
    values: dict[int, Any] = {}
    rows = [example.row for example in failure.examples if example.row is not None]
    try:
        for first_row, batch in read(unit, replace(reading, columns=[column])):
            here = [row for row in rows if first_row <= row < first_row + len(batch)]
            found = shown(batch.column(column), [row - first_row for row in here])
            values |= dict(zip(here, found, strict=True))
            if len(values) == len(rows):
                break
    except Exception:  # the file has changed meanwhile: the rows are known without their values
        return failure
    return replace(failure, examples=tuple(Example(row, values.get(row)) for row in rows))
