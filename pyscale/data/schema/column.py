"""What a table must be: its columns, their types, and the checks of their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyscale.data.schema.checks import Check, Likeness
from pyscale.data.schema.types import check_chosen, check_names, is_comparable, plain, type_of
from pyscale.data.tables.arrow import arrow, as_table

if TYPE_CHECKING:
    from pyscale.data.schema.validator import Validator


class Column:
    """What a column must be.

    Parameters
    ----------
    type : pyarrow.DataType, numpy dtype, type or str, optional
        Such as ``"int32"``, ``np.float64``, ``str``, ``"timestamp[us]"``. Strings of any encoding are one
        type. ``"float"`` is refused, since it means 32 bits to pyarrow and 64 to NumPy. None takes any.
    *checks : Check
        Of the values, and of their distribution.
    nullable, nan : bool
        Whether null, and whether NaN, may be among the values. They are told apart, and no check of values
        is given null.
    unique : bool
        Whether all values, of all ranks, must differ. Nulls are not compared; NaN equals NaN. Without a type,
        values of types that have not the same hashes for the same values, such as int64 and float64, fail.
    required : bool
        Whether the column must be there.
    castable : bool
        Whether the data may be of another type, as long as each value can be cast without loss: so that
        the same comes back, where it is not text that is parsed.
    """

    def __init__(
        self,
        type: Any = None,
        *checks: Check,
        nullable: bool = False,
        nan: bool = False,
        unique: bool = False,
        required: bool = True,
        castable: bool = False,
    ) -> None:
        for check in checks:
            if not isinstance(check, Check):
                raise TypeError(f"Column: expected checks of type Check, got {check!r}")
        self.type = None if type is None else type_of(type)
        self.checks = checks
        self.nullable = nullable
        self.nan = nan
        self.unique = unique
        self.required = required
        self.castable = castable
        if castable and self.type is None:
            raise ValueError("Column: expected a type to cast to, got None")
        if unique and self.type is not None and not is_comparable(self.type):
            raise TypeError(f"Column: expected unique values of a type that can be compared, got {self.type}")

    def __repr__(self) -> str:
        options = [name for name in ("nullable", "nan", "unique", "castable") if getattr(self, name)]
        options += [] if self.required else ["optional"]
        return f"Column({', '.join([str(self.type), *(check.name for check in self.checks), *options])})"


class Schema:
    """What a table must be.

    Parameters
    ----------
    columns : dict of str to Column
    *checks : Check
        Of rows: given whole record batches.
    unique : sequence of str, or of sequences of str
        Columns whose values must differ together, on all ranks; several such, if it is several sequences.
        Rows with a null among them are not compared.
    strict : bool
        Whether other columns are failures.
    ordered : bool
        Whether the columns must come in this order.

    Examples
    --------
    >>> flights = Schema({
    ...     "carrier": Column(str, Check.isin(["AA", "UA"])),
    ...     "delay": Column("float64", Check.in_range(-120, 1440), nullable=True),
    ... })
    >>> report = validate("flights/", flights)
    >>> report.raise_if_failed()
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        *checks: Check,
        unique: Sequence[str] | Sequence[Sequence[str]] = (),
        strict: bool = False,
        ordered: bool = False,
    ) -> None:
        for name, column in columns.items():
            if not isinstance(name, str) or not isinstance(column, Column):
                raise TypeError(f"Schema: expected columns by name, got {name!r}: {column!r}")
        for check in checks:
            if not isinstance(check, Check):
                raise TypeError(f"Schema: expected checks of type Check, got {check!r}")
            if isinstance(check, Likeness):
                raise TypeError(f"Schema: expected checks of rows, got one of a column: {check!r}")
        self.columns = dict(columns)
        self.checks = checks
        self.unique = _combinations(unique)
        self.strict = strict
        self.ordered = ordered
        for name in (name for names in self.unique for name in names):
            if name not in self.columns:
                raise ValueError(f"Schema: expected unique columns of {list(self.columns)}, got {name!r}")

    def __repr__(self) -> str:
        """Return all that ranks must agree about, a column a line."""
        lines = [f"  {name!r}: {column!r}" for name, column in self.columns.items()]
        lines += [f"  {check.name}" for check in self.checks]
        lines += [f"  unique: {', '.join(names)}" for names in self.unique]
        lines += [f"  {name}" for name in ("strict", "ordered") if getattr(self, name)]
        return "\n".join(["Schema", *lines])

    def select(self, columns: Sequence[str]) -> Schema:
        """Return the schema of some of the columns; checks of whole rows, and of other columns, go away."""
        check_chosen(columns, "select")
        for name in columns:
            if name not in self.columns:
                raise ValueError(f"select: expected columns of {list(self.columns)}, got {name!r}")
        kept = {name: column for name, column in self.columns.items() if name in columns}
        unique = [names for names in self.unique if set(names) <= set(kept)]
        return Schema(kept, unique=unique, ordered=self.ordered)

    def validator(self, *, examples: int = 5, limit: int = 1000) -> Validator:
        """Return what validates a pass over data, batch by batch.

        Parameters
        ----------
        examples : int
            The most rows that a failure names.
        limit : int
            The most failures that the report lists.
        """
        from pyscale.data.schema.validator import Validator

        return Validator(self, examples=examples, limit=limit)

    @classmethod
    def infer(cls, data: Any) -> Schema:
        """Return a schema that a table satisfies: its types, and null and NaN allowed where it has them.

        Raises
        ------
        ValueError
            Columns have the same name.
        """
        table = as_table(data, "Schema.infer")
        check_names(table.schema.names, "Schema.infer")
        columns = {}
        for field, values in zip(table.schema, table.columns, strict=True):
            chunks = [
                plain(chunk) for chunk in values.chunks
            ]  # in which the nulls of dictionaries are its own
            has_null = any(chunk.null_count for chunk in chunks)
            columns[field.name] = Column(field.type, nullable=has_null, nan=any(map(_has_nan, chunks)))
        return cls(columns)

    @classmethod
    def from_pandera(cls, schema: Any) -> Schema:
        r"""Return the schema that a pandera DataFrameSchema says.

        Its dtypes, nullable, unique, required, coerce, strict and ordered, and the checks of `Check` that are
        pandera's too. pandera's null is both null and NaN. Its regular expressions are Python's; those of
        RE2's syntax mean the same but for ``\d``, ``\w``, ``\s`` and ``\b``, which are of ASCII here, and
        ``$``, which is not before a last line break.

        Raises
        ------
        ValueError
            With a list of all that has no counterpart here, such as checks that are functions.
        """
        from pyscale.data.schema.pandera import converted

        return converted(schema)


def _has_nan(array: Any) -> bool:
    pa = arrow()
    return bool(pa.types.is_floating(array.type) and pa.compute.is_nan(array).true_count)


def _combinations(unique: Sequence[str] | Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    if isinstance(unique, str):
        raise TypeError(f"Schema: expected unique to be a sequence of columns, got {unique!r}")
    names = [name for name in unique if isinstance(name, str)]
    if names and len(names) != len(unique):
        raise TypeError(f"Schema: expected unique to be columns or sequences of them, got {unique!r}")
    combinations = (tuple(names),) if names else tuple(tuple(columns) for columns in unique)
    if not all(combinations):
        raise ValueError(f"Schema: expected unique columns, got none in {unique!r}")
    return combinations
