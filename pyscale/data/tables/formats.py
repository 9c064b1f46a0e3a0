"""Files of columns, one format after the other: what is in a file, and its record batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pyscale.data.tables.arrow import arrow

ENDINGS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".arrow": "ipc",
    ".arrows": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
}
BATCH_ROWS = 1 << 16


@dataclass(frozen=True)
class Unit:
    """What is read at a time: a row group of a Parquet file, or a whole file of another format."""

    file: str
    row_group: int | None
    first_row: int  # in the file
    size: int  # bytes


@dataclass(frozen=True)
class Contents:
    """What is in a file, or why that cannot be told."""

    file: str
    schema: Any = None
    units: tuple[Unit, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Parameters
    ----------
    format : str, optional
        That of all files; None goes by their endings.
    columns : sequence of str, optional
        Those to read, of which a file may lack some; None reads all.
    types : dict
        pyarrow types, text of any encoding as ``string``. CSV files give these columns as text, which is then
        cast value by value; pyarrow guesses the types of others from the first block.
    nulls : sequence of str, optional
        What stands for null in CSV files. None: pyarrow's list, in `types` other than text.
    on_bad_row : callable
        Is given pyarrow's InvalidRow of each row of a CSV file that has too few or too many cells.
    """

    format: str | None = None
    columns: Sequence[str] | None = None
    types: dict[str, Any] = field(default_factory=dict)
    nulls: Sequence[str] | None = None
    on_bad_row: Callable[[Any], None] = lambda row: None

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Return which columns of a file to read."""
        return [name for name in names if self.columns is None or name in self.columns]


def format_of(file: str, reading: Reading) -> str:
    """Return the format of a file."""
    if reading.format is not None:
        return reading.format
    for ending, found in ENDINGS.items():
        if file.lower().endswith(ending):
            return found
    raise ValueError(f"expected an ending of {', '.join(ENDINGS)}, or format=, got {Path(file).name!r}")


def look_into(file: str, reading: Reading) -> Contents:
    """Return what is in a file. What is wrong with it is part of that, and not raised."""
    look = {"parquet": _look_into_parquet, "ipc": _look_into_ipc, "csv": _look_into_csv}
    try:
        return look[format_of(file, reading)](file, reading)
    except Exception as error:  # pyarrow's, the system's: what may be wrong with a file has many forms
        return Contents(file, error=in_words(error))


def read(unit: Unit, reading: Reading) -> Iterator[tuple[int, Any]]:
    """Yield the record batches of a unit, each with the number of its first row in the file."""
    batches = {"parquet": _read_parquet, "ipc": _read_ipc, "csv": _read_csv}
    first_row = unit.first_row
    for batch in batches[format_of(unit.file, reading)](unit, reading):
        yield first_row, batch
        first_row += len(batch)


def in_words(error: Exception) -> str:
    """Return an exception in a line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _look_into_parquet(file: str, reading: Reading) -> Contents:
    with arrow().parquet.ParquetFile(file) as parquet:
        groups = [parquet.metadata.row_group(i) for i in range(parquet.metadata.num_row_groups)]
        starts = np.cumsum([0] + [group.num_rows for group in groups]).tolist()
        units = (Unit(file, i, starts[i], group.total_byte_size) for i, group in enumerate(groups))
        return Contents(file, parquet.schema_arrow, tuple(units))


def _read_parquet(unit: Unit, reading: Reading) -> Iterator[Any]:
    with arrow().parquet.ParquetFile(unit.file, page_checksum_verification=True) as parquet:
        columns = reading.chosen(parquet.schema_arrow.names)
        yield from parquet.iter_batches(BATCH_ROWS, row_groups=[unit.row_group], columns=columns)


@contextmanager
def _open_ipc(file: str) -> Iterator[tuple[Any, Iterator[Any]]]:
    """Open an IPC file or stream; read and not mapped, since a mapped file that is cut off kills."""
    pa = arrow()
    with ExitStack() as stack:
        try:
            source = stack.enter_context(pa.OSFile(file))
            reader = stack.enter_context(pa.ipc.open_file(source))
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        except pa.ArrowInvalid:
            source = stack.enter_context(pa.OSFile(file))
            reader = stack.enter_context(pa.ipc.open_stream(source))
            batches = iter(reader)
        yield reader.schema, batches


def _look_into_ipc(file: str, reading: Reading) -> Contents:
    with _open_ipc(file) as (schema, _):
        sound(schema.empty_table().rename_columns(schema.names))  # which are text, and sizes from 0
        return Contents(file, schema, (Unit(file, None, 0, os.path.getsize(file)),))


def _read_ipc(unit: Unit, reading: Reading) -> Iterator[Any]:
    with _open_ipc(unit.file) as (schema, batches):
        columns = reading.chosen(schema.names) or schema.names  # without any, a batch has no length
        for batch in batches:
            narrow = sound(batch.select(columns))
            for start in range(0, len(narrow), BATCH_ROWS):
                yield narrow[start : start + BATCH_ROWS]


def sound(rows: Any) -> Any:
    """Return a table or record batch of a file of Arrow, whose reader trusts sizes and offsets.

    Raises where one leads out of its buffer: whoever follows it is killed.
    """
    rows.validate(full=True)
    return rows


def _open_csv(file: str, reading: Reading, on_bad_row: Callable[[Any], None], columns: list[str]) -> Any:
    csv = arrow().csv

    def skip(row: Any) -> str:
        on_bad_row(row)
        return "skip"

    convert = csv.ConvertOptions(
        include_columns=columns,  # none are all
        column_types=dict.fromkeys(reading.types, arrow().string()),
        strings_can_be_null=reading.nulls is not None,
    )
    if reading.nulls is not None:
        convert.null_values = list(reading.nulls)
    return csv.open_csv(
        file,
        read_options=csv.ReadOptions(use_threads=False),  # only then, rows have numbers
        parse_options=csv.ParseOptions(invalid_row_handler=skip, newlines_in_values=True),
        convert_options=convert,
    )


def _look_into_csv(file: str, reading: Reading) -> Contents:
    with closing(_open_csv(file, reading, lambda row: None, [])) as reader:
        return Contents(file, reader.schema, (Unit(file, None, 0, os.path.getsize(file)),))


def _read_csv(unit: Unit, reading: Reading) -> Iterator[Any]:
    pa = arrow()
    spellings = pa.array(pa.csv.ConvertOptions().null_values)
    columns = reading.chosen(_look_into_csv(unit.file, reading).schema.names)
    with closing(_open_csv(unit.file, reading, reading.on_bad_row, columns)) as reader:
        for batch in reader:
            for i, name in enumerate(batch.schema.names if reading.nulls is None else ()):
                if name in reading.types and reading.types[name] != pa.string():
                    text = batch.column(i)
                    missing = pa.compute.is_in(text, spellings)
                    text = pa.compute.if_else(missing, pa.scalar(None, pa.string()), text)
                    batch = batch.set_column(i, name, text)
            yield batch
