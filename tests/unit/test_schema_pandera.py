"""pandera's schemas: taken where they map, by duck typing; and with pandera itself, where it is installed."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from pyscale.data import Schema

pa = pytest.importorskip("pyarrow")


def check(name: str, **statistics: Any) -> Any:
    options = {"element_wise": False, "ignore_na": True, "raise_warning": False, "groupby": None}
    return SimpleNamespace(name=name, statistics=statistics, **options)


def column(dtype: Any = None, *checks: Any, **options: Any) -> Any:
    given = {
        "nullable": False,
        "unique": False,
        "coerce": False,
        "required": True,
        "regex": False,
        "default": None,
        "parsers": [],
        "drop_invalid_rows": False,
    } | options
    return SimpleNamespace(dtype=dtype, checks=list(checks), **given)


def schema(columns: dict[Any, Any], **options: Any) -> Any:
    given = {
        "checks": [],
        "index": None,
        "dtype": None,
        "strict": False,
        "ordered": False,
        "unique": None,
        "coerce": False,
        "parsers": [],
        "drop_invalid_rows": False,
        "add_missing_columns": False,
    } | options
    return SimpleNamespace(columns=columns, **given)


CHECKS = [
    (check("equal_to", value=1), "== 1"),
    (check("not_equal_to", value=1), "!= 1"),
    (check("greater_than", min_value=1), "> 1"),
    (check("greater_than_or_equal_to", min_value=1), ">= 1"),
    (check("less_than", max_value=1), "< 1"),
    (check("less_than_or_equal_to", max_value=1), "<= 1"),
    (check("in_range", min_value=1, max_value=2, include_min=True, include_max=False), "in [1, 2)"),
    (check("isin", allowed_values=frozenset({1, 2})), "in {1, 2}"),
    (check("notin", forbidden_values=[1, 2]), "not in {1, 2}"),
    (check("str_matches", pattern="a+"), "matches 'a+'"),
    (check("str_contains", pattern=re.compile("a+")), "contains 'a+'"),
    (check("str_startswith", string="a"), "starts with 'a'"),
    (check("str_endswith", string="a"), "ends with 'a'"),
    (check("str_length", min_value=1, max_value=3, exact_value=None), "length in [1, 3]"),
    (check("str_length", min_value=None, max_value=None, exact_value=3), "length in [3, 3]"),
]


@pytest.mark.parametrize(("theirs", "name"), CHECKS)
def test_checks(theirs: Any, name: str) -> None:
    made = Schema.from_pandera(schema({"x": column(None, theirs)}))
    assert [found.name for found in made.columns["x"].checks] == [name]


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("int64", "int64"),
        ("Int32", "int32"),
        ("UInt8", "uint8"),
        ("Float64", "double"),
        ("boolean", "bool"),
        ("bool", "bool"),
        ("str", "string"),
        ("string[python]", "string"),
        ("string[pyarrow]", "string"),
        ("datetime64[ns]", "timestamp[ns]"),
        ("datetime64[ns, UTC]", "timestamp[ns, tz=UTC]"),
        ("timedelta64[ns]", "duration[ns]"),
        ("int64[pyarrow]", "int64"),
    ],
)
def test_dtypes(dtype: str, kind: str) -> None:
    assert str(Schema.from_pandera(schema({"x": column(dtype)})).columns["x"].type) == kind


def test_options() -> None:
    columns = {
        "a": column("int64", nullable=True),
        "b": column("int64", unique=True, required=False),
        "c": column("int64", coerce=True),
        "d": column(),
    }
    made = Schema.from_pandera(schema(columns, strict=True, ordered=True, unique=["b", "c"]))
    assert repr(made).splitlines() == [
        "Schema",
        "  'a': Column(int64, nullable, nan)",
        "  'b': Column(int64, unique, optional)",
        "  'c': Column(int64, castable)",
        "  'd': Column(None)",
        "  unique: b, c",
        "  strict",
        "  ordered",
    ]
    coerced = Schema.from_pandera(schema({"a": column("int64"), "b": column()}, coerce=True))
    assert (coerced.columns["a"].castable, coerced.columns["b"].castable) == (True, False)


def test_all_that_does_not_map_is_listed() -> None:
    odd = check("greater_than", min_value=0)
    odd.element_wise = True
    columns = {
        "a": column("category"),
        "b": column("object", check("<lambda>"), check("str_matches", pattern="(?=a)")),
        "c": column("int64", odd, nullable=True, unique=True),
        "d_.*": column("int64", regex=True, default=0),
        "e": column(None, check("str_matches", pattern=re.compile("a", re.IGNORECASE))),
        "f": column(None, check("isin")),
        "g": column(
            None, check("str_matches", pattern="a{,3}"), check("str_contains", pattern="[[:digit:]]")
        ),
        7: column(),
    }
    with pytest.raises(ValueError, match="expected what has a counterpart") as caught:
        Schema.from_pandera(
            schema(columns, index="an index", checks=[check("any")], strict="filter", unique=["a", "c"])
        )
    for said in (
        "schema: index='an index'",
        "schema: checks=",
        "schema: strict='filter'",
        "column 'a': dtype category",
        "column 'b': dtype object",
        "column 'b': check <lambda>",
        "column 'b': check str_matches (Check: expected a regular expression of RE2's syntax",
        "column 'c': unique and nullable",
        "column 'c': check greater_than: element_wise=True",
        "column 'd_.*': default=0",
        "column 'd_.*': regex=True",
        "column 'e': check str_matches (a pattern with flags)",
        "column 'f': check isin ('allowed_values')",
        "column 'g': check str_matches (a pattern with {,3}, which means another thing in RE2)",
        "column 'g': check str_contains (a pattern with [:, which means another thing in RE2)",
        "column 7: a name of type int",
        "schema: unique with 'c', which is nullable",
    ):
        assert said in str(caught.value), str(caught.value)


def test_what_is_no_schema() -> None:
    with pytest.raises(TypeError, match="expected a pandera DataFrameSchema, got dict"):
        Schema.from_pandera({"a": "int64"})


def test_pandera_itself_agrees() -> None:
    """The same rows fail, for the same checks."""
    pandera = pytest.importorskip("pandera.pandas")
    pandas = pytest.importorskip("pandas")
    theirs = pandera.DataFrameSchema(
        {
            "id": pandera.Column("int64", pandera.Check.ge(0), unique=True),
            "x": pandera.Column(float, [pandera.Check.in_range(0, 1), pandera.Check.ne(0.5)], nullable=True),
            "s": pandera.Column(str, [pandera.Check.str_matches("a|b"), pandera.Check.str_length(1, 2)]),
            "k": pandera.Column(int, pandera.Check.isin([1, 2]), required=False),
        },
        strict=True,
    )
    frame = pandas.DataFrame(
        {
            "id": [1, 2, 2, -4],
            "x": [0.5, float("nan"), 2.0, 1.0],
            "s": ["a", "bbb", "c", "ab"],
            "k": [1, 2, 3, 1],
        }
    )
    validator = Schema.from_pandera(theirs).validator()
    validator.add(frame)
    ours = {(f.column, e.row) for f in validator.finish().failures for e in f.examples}
    with pytest.raises(pandera.errors.SchemaErrors) as caught:
        theirs.validate(frame, lazy=True)
    cases = caught.value.failure_cases
    assert ours == set(zip(cases["column"], cases["index"], strict=True))
    with pytest.raises(ValueError, match="check <lambda>"):
        Schema.from_pandera(
            pandera.DataFrameSchema({"x": pandera.Column(float, pandera.Check(lambda x: x > 0))})
        )
