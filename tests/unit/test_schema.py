"""Schemas: every value that fails is counted, whatever the batches, and nothing else is."""

from __future__ import annotations

import datetime
import decimal
import math
import operator
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyscale.data import Check, Column, Failure, Profile, Report, Schema, SchemaError
from pyscale.data.schema.casts import castable, check_castable
from pyscale.errors import PyscaleError

pa = pytest.importorskip("pyarrow")


def report_of(schema: Schema, *tables: Any, **where: Any) -> Report:
    validator = schema.validator()
    for table in tables:
        validator.add(table, **where)
    return validator.finish()


def failures(report: Report) -> dict[tuple[str | None, str], Failure]:
    found = {(failure.column, failure.check): failure for failure in report.failures}
    assert len(found) == len(report.failures)
    return found


def rows(failure: Failure) -> list[int | None]:
    return [example.row for example in failure.examples]


def fails(check: Check, values: Sequence[Any], kind: Any = None) -> list[int]:
    """The rows at which a check of a column fails."""
    validator = Schema({"x": Column(None, check, nullable=True, nan=True)}).validator(examples=1000)
    validator.add(pa.table({"x": pa.array(values, kind)}))
    found = validator.finish().failures
    assert all(failure.detail == "" for failure in found), found
    return [row for failure in found for row in rows(failure) if row is not None]


# ------------------------------------------------------------------------------------- comparisons

COMPARISONS: list[tuple[Callable[[Any], Check], Callable[[Any, Any], bool]]] = [
    (Check.eq, operator.eq),
    (Check.ne, operator.ne),
    (Check.ge, operator.ge),
    (Check.gt, operator.gt),
    (Check.le, operator.le),
    (Check.lt, operator.lt),
]
INTEGERS = ["int8", "uint8", "int32", "int64", "uint64"]


@given(st.sampled_from(COMPARISONS), st.sampled_from(INTEGERS), st.data())
def test_integers_compare_exactly_with_any_bound(
    comparison: tuple[Callable[[Any], Check], Callable[[Any, Any], bool]], kind: str, data: st.DataObject
) -> None:
    """A bound of another sign, with a fraction, or beyond the type, or that float64 would round."""
    check, compare = comparison
    info = np.iinfo(kind)
    edges = st.sampled_from([info.min, info.min + 1, 0, info.max - 1, info.max])
    values = data.draw(st.lists(st.integers(int(info.min), int(info.max)) | edges, max_size=8))
    bounds = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | edges | st.integers(-3, 3)
    bound = data.draw(bounds | (st.sampled_from(values) if values else st.just(0)))
    expected = [i for i, value in enumerate(values) if not compare(value, bound)]
    assert fails(check(bound), [int(value) for value in values], pa.type_for_alias(kind)) == expected


@given(st.sampled_from(COMPARISONS), st.lists(st.floats() | st.none()), st.floats(allow_nan=False))
def test_floats_compare_but_not_nan_nor_null(
    comparison: tuple[Callable[[Any], Check], Callable[[Any, Any], bool]],
    values: list[float | None],
    bound: float,
) -> None:
    check, compare = comparison
    real = [(i, x) for i, x in enumerate(values) if x is not None and not math.isnan(x)]
    assert fails(check(bound), values, pa.float64()) == [i for i, x in real if not compare(x, bound)]


def test_floats_of_32_bits_compare_with_the_bound_as_one_of_them() -> None:
    values = np.array([0.1, 0.2, 3e38], np.float32)
    assert fails(Check.le(0.1), values) == [1, 2]  # type: ignore[arg-type]
    assert fails(Check.isin([0.1, 0.2]), values) == [2]  # type: ignore[arg-type]
    assert fails(Check.lt(1e300), values) == []  # type: ignore[arg-type]


def test_other_types_compare() -> None:
    days = [datetime.date(2013, 1, 1), datetime.date(2014, 1, 1)]
    assert fails(Check.lt("2013-06-01"), days) == [1]
    assert fails(Check.ge(datetime.date(2013, 6, 1)), days) == [0]
    times = np.array(["2013-01-01T05", "2013-01-02T05"], "datetime64[ns]")
    assert fails(Check.lt(np.datetime64("2013-01-02")), times) == [1]  # type: ignore[arg-type]
    assert fails(Check.ge("b"), ["a", "b", None]) == [0]
    assert fails(Check.le(decimal.Decimal("1.5")), [decimal.Decimal("1.50"), decimal.Decimal("1.51")]) == [1]
    assert fails(Check.eq(True), [True, False]) == [1]


def test_moments_compare_whatever_the_zone() -> None:
    noon = [datetime.datetime(2020, 1, 1, 12, tzinfo=datetime.UTC)]
    offset = datetime.timezone(datetime.timedelta(hours=1))
    for zone in ("UTC", "Europe/Berlin", "America/New_York"):
        kind = pa.timestamp("s", zone)
        assert fails(Check.eq(noon[0].astimezone(offset)), noon, kind) == []
        assert fails(Check.gt(noon[0] - datetime.timedelta(microseconds=1)), noon, kind) == []
        assert fails(Check.lt(datetime.datetime(2020, 1, 1, 13, tzinfo=offset)), noon, kind) == [0]


NANOSECOND = np.datetime64("2020-01-01T00:00:00.000000001")
UTC = datetime.UTC
DAY = datetime.date(2020, 1, 1)
NOON, MIDNIGHT = datetime.datetime(2020, 1, 1, 12), datetime.datetime(2020, 1, 1)
EQUALS: list[tuple[Any, Any, list[Any]]] = [
    ([0.0, -0.0, 1.0, 0.5], "float64", [0, 0.0, -0.0, True, decimal.Decimal("0.5"), 1e300, 10**400]),
    ([0.1, 0.5, 2.0**53], "float64", [0.1, 2**53, 2**53 + 1, decimal.Decimal("0.1")]),
    ([0.0, -0.0, 0.1, 2.0], "float16", [0, -0.0, 0.1, 2, 2.5, 1e300]),
    ([0.1, 3e38, -0.0], "float32", [0.1, 0.0, np.float32(0.1), 1e300]),
    ([0, 1, 2], "int64", [True, False, 1.0, 1.5, decimal.Decimal(2), decimal.Decimal("0.5"), 2**80]),
    ([2**64 - 1, 0], "uint64", [2**64 - 1, -1, 0.0]),
    ([True, False], "bool", [True, 1, 0.0, 0.5, 2]),
    ([decimal.Decimal(x) for x in ("0.10", "1", "2.5")], "decimal128(38, 10)", [0.1, 1, True, 2.5, 10**40]),
    (
        [decimal.Decimal("1.5")],
        "decimal128(10, 2)",
        [decimal.Decimal("1.500"), decimal.Decimal("1.501")],
    ),
    (np.array([NANOSECOND, NANOSECOND + 1]), None, [NANOSECOND, pa.scalar(NANOSECOND)]),
    ([MIDNIGHT, NOON], "timestamp[us]", [NOON, DAY, "2020-01-01 12:00:00", np.datetime64(NOON), NANOSECOND]),
    ([DAY], "date32", [DAY, NOON, MIDNIGHT, "2020-01-01"]),
    ([NOON], "timestamp[us, tz=UTC]", [NOON.replace(tzinfo=UTC), "2020-01-01 12:00:00Z"]),
    (["a", "b"], "string", ["a", "c", pa.scalar("b"), np.str_("b")]),
]


@pytest.mark.parametrize(("values", "kind", "members"), EQUALS)
def test_members_are_what_values_equal(values: Any, kind: Any, members: list[Any]) -> None:
    array = pa.array(np.asarray(values, np.float16) if kind == "float16" else values, Column(kind).type)
    unequal = {i: fails(Check.eq(member), array) for i, member in enumerate(members)}
    for i, member in enumerate(members):
        assert fails(Check.isin([member]), array) == unequal[i], member
        assert fails(Check.ne(member), array) == fails(Check.notin([member]), array), member
        assert sorted(fails(Check.ne(member), array) + unequal[i]) == list(range(len(array)))
    assert fails(Check.isin(members), array) == sorted(set(range(len(array))).intersection(*unequal.values()))


def test_numbers_compare_with_bounds_of_any_kind() -> None:
    halves = np.array([1, 1.5, np.nan], np.float16)
    assert fails(Check.ge(1.5), halves) == fails(Check.isin([1.5, 2]), halves) == [0]  # type: ignore[arg-type]
    assert fails(Check.lt(10**400), [1.0, -1.0]) == fails(Check.gt(-(10**400)), [1, 2]) == []
    assert fails(Check.gt(10**400), [1.0, -1.0]) == [0, 1]
    assert fails(Check.gt(0.5), [True, False]) == [1]
    prices = [decimal.Decimal("1.50"), decimal.Decimal("-1.50")]
    for kind in (pa.decimal128(10, 2), pa.decimal128(38, 10), pa.decimal256(76, 2)):
        assert fails(Check.ge(decimal.Decimal("1.4999999999999")), prices, kind) == [1]
        assert fails(Check.lt(1.5), prices, kind) == [0]
        assert fails(Check.in_range(-(10**90), math.inf), prices, kind) == []
        assert fails(Check.le(decimal.Decimal("Infinity")), prices, kind) == []
        assert fails(Check.isin([math.inf, decimal.Decimal("-Infinity"), 1.5]), prices, kind) == [1]


@given(
    st.lists(st.integers(-9, 9)),
    st.integers(-9, 9),
    st.integers(-9, 9),
    st.booleans(),
    st.booleans(),
)
def test_ranges(values: list[int], low: int, high: int, include_min: bool, include_max: bool) -> None:
    check = Check.in_range(low, high, include_min=include_min, include_max=include_max)
    lower, upper = (
        operator.ge if include_min else operator.gt,
        operator.le if include_max else operator.lt,
    )
    expected = [i for i, x in enumerate(values) if not (lower(x, low) and upper(x, high))]
    assert fails(check, values, pa.int16()) == expected


def test_sets() -> None:
    assert fails(Check.isin([1, 2.5, 3.0, "4", 2**80, None]), [1, 2, 3, 4, None], pa.int8()) == [1, 3]
    assert fails(Check.notin([2, 4]), [1, 2, None, 4]) == [1, 3]
    assert fails(Check.isin({"a", "b"}), ["a", "c", None]) == [1]
    assert fails(Check.isin([1, 2]), ["1", "2"]) == [0, 1]
    assert fails(Check.isin(np.array([1, 2])), np.array([1, 3])) == [1]  # type: ignore[arg-type]
    assert fails(Check.isin(["2013-01-01"]), [datetime.date(2013, 1, 1), datetime.date(2013, 1, 2)]) == [1]
    assert fails(Check.isin([1.0]), [1.0, math.nan, None, 2.0]) == [3]
    assert fails(Check.notin([1.0]), [1.0, math.nan]) == [0]
    assert str(Check.isin(range(20))) == "Check(in {0, 1, 2, 3, 4, 5, 6, 7, … 20 in all})"


def test_text() -> None:
    words = ["ab", "aab", "ba", "", None, "äöü", "a\nb"]
    assert fails(Check.str_matches("a+b"), words) == [2, 3, 5, 6]
    assert fails(Check.str_matches("a|b"), words) == [3, 5]
    assert fails(Check.str_contains("b"), words) == [3, 5]
    assert fails(Check.str_startswith("a"), words) == [2, 3, 5]
    assert fails(Check.str_endswith("b"), words) == [2, 3, 5]
    assert fails(Check.str_length(2, 3), words) == [3]
    assert fails(Check.str_length(most=2), words) == [1, 5, 6]
    assert fails(Check.str_length(3), words) == [0, 2, 3]


ENCODINGS: list[Callable[[Any], Any]] = [
    lambda array: array.cast(pa.large_string()),
    lambda array: array.dictionary_encode(),
    lambda array: pa.compute.run_end_encode(array),
    lambda array: array.cast(pa.string_view()),
]


@pytest.mark.parametrize("encode", ENCODINGS)
def test_strings_of_any_encoding_are_strings(encode: Callable[[Any], Any]) -> None:
    pytest.importorskip("pyarrow.compute")
    try:
        array = encode(pa.array(["a", "b", None, "b", "ccc"]))
    except pa.ArrowNotImplementedError:
        pytest.skip("not in this version of pyarrow")
    checks = (Check.isin(["a", "b"]), Check.str_matches("[abc]$"), Check.str_length(most=1), Check.ge("b"))
    found = failures(report_of(Schema({"x": Column(str, *checks, unique=True)}), pa.table({"x": array})))
    assert {check: failure.count for (_, check), failure in found.items()} == {
        "not null": 1,
        "in {'a', 'b'}": 1,
        "matches '[abc]$'": 1,
        "length in [0, 1]": 1,
        ">= 'b'": 1,
        "unique": 2,
    }


# ------------------------------------------------------------------------------ one's own checks


def test_checks_of_ones_own() -> None:
    def is_even(values: Any) -> Any:
        return np.asarray(values) % 2 == 0

    given: list[int] = []

    def all_positive(values: Any) -> bool:
        given.append(len(values))
        return bool((np.asarray(values) > 0).all())

    assert fails(Check(is_even), [2, 3, None, 5]) == [1, 3]
    assert fails(Check(lambda x: pa.compute.equal(x, 2)), [2, 3, None]) == [1]
    assert fails(Check(all_positive), [1, None, 2]) == []
    assert fails(Check(all_positive), [1, None, -2]) == [0, 2]
    assert given == [2, 2]
    assert Check(is_even).name.endswith("is_even")
    assert Check(is_even, name="even").name == "even"


def test_nan_is_given_unless_it_is_skipped() -> None:
    values = [1.0, math.nan, None]
    assert fails(Check(lambda x: np.isfinite(np.asarray(x))), values) == [1]
    assert fails(Check(lambda x: np.isfinite(np.asarray(x)), skip_nan=True), values) == []


def test_checks_of_rows() -> None:
    schema = Schema(
        {"a": Column(), "b": Column()},
        Check(lambda batch: pa.compute.less_equal(batch.column("a"), batch.column("b")), name="a <= b"),
        Check(lambda batch: batch.num_columns == 3, name="three columns"),
    )
    table = pa.table({"a": [1, 2, None, 4], "b": [1, 1, 1, 5], "c": [0] * 4})
    failure = failures(report_of(schema, table))[None, "a <= b"]
    assert (failure.count, rows(failure)) == (1, [1])
    assert not report_of(schema, table.drop_columns(["c"])).ok


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (lambda x: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda x: x, "TypeError: expected an array of booleans, or one, from the check, got int64"),
        (lambda x: [True], "TypeError: expected an array of booleans, or one, from the check, got list"),
        (lambda x: np.ones(5, bool), "ValueError: expected 2 booleans from the check, got shape (5,)"),
        (lambda x: pa.array([True]), "ValueError: expected 2 booleans from the check, got shape (1,)"),
    ],
)
def test_a_check_that_cannot_tell_fails(test: Callable[[Any], Any], said: str) -> None:
    report = report_of(Schema({"x": Column(None, Check(test, name="mine"))}), {"x": [1, 2]})
    [failure] = report.failures
    assert (failure.check, failure.count, failure.detail) == ("mine", 2, said)


def test_a_check_that_a_type_has_not_fails() -> None:
    found = failures(report_of(Schema({"x": Column(None, Check.str_matches("a"))}), {"x": [1]}))
    assert "ArrowNotImplementedError" in found["x", "matches 'a'"].detail


# ------------------------------------------------------------------------------- nulls, NaN, types


def test_null_and_nan_are_told_apart() -> None:
    table = pa.table({"x": pa.array([1.0, None, math.nan, -1.0, math.nan])})
    for nullable, nan in ((False, False), (True, False), (False, True), (True, True)):
        column = Column("float64", Check.ge(0), nullable=nullable, nan=nan)
        found = failures(report_of(Schema({"x": column}), table))
        assert rows(found.pop(("x", ">= 0"))) == [3]
        assert (rows(found.pop(("x", "not null"))) if not nullable else [1]) == [1]
        assert (rows(found.pop(("x", "not NaN"))) if not nan else [2, 4]) == [2, 4]
        assert not found


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("int32", "int32"),
        (np.int16, "int16"),
        (np.dtype("f4"), "float"),
        (float, "double"),
        (int, "int64"),
        (bool, "bool"),
        ("double", "double"),
        (str, "string"),
        ("str", "string"),
        ("U", "string"),
        (bytes, "binary"),
        (datetime.date, "date32[day]"),
        (datetime.datetime, "timestamp[us]"),
        ("datetime64[ms]", "timestamp[ms]"),
        ("timedelta64[s]", "duration[s]"),
        ("datetime64[ns, UTC]", "timestamp[ns, tz=UTC]"),
        ("timestamp[us, tz=Europe/Berlin]", "timestamp[us, tz=Europe/Berlin]"),
        ("decimal128(10, 2)", "decimal128(10, 2)"),
    ],
)
def test_names_of_types(spec: Any, kind: str) -> None:
    assert str(Column(spec).type) == kind


@pytest.mark.parametrize("spec", ["float", "object", object, "number", "c16", "category", 7])
def test_names_that_are_no_types(spec: Any) -> None:
    with pytest.raises(TypeError, match="expected"):
        Column(spec)


def test_another_type_is_a_failure_of_the_file_and_its_values_are_not_looked_at() -> None:
    schema = Schema({"x": Column("int64", Check.ge(10)), "y": Column("int64")})
    report = report_of(schema, {"x": np.array([1], np.int32), "y": np.array([1])}, file="f")
    [failure] = report.failures
    assert failure == Failure("x", "int64", "f", None, 0, (), "got int32")


CASTS = [
    (["1", "x", None, "-7", "300", "1.5"], "int8", [1, 4, 5]),
    (["1e3", "nan", "", "abc"], "float64", [2, 3]),
    ([1, 300, None, -1], "uint8", [1, 3]),
    ([1.0, 1.5, math.nan, None, 1e300], "int64", [1, 2, 4]),
    (["2013-01-01", "yesterday"], "date32", [1]),
    ([2**53, 2**53 + 1], "float64", [1]),
]


@pytest.mark.parametrize(("values", "kind", "wrong"), CASTS)
def test_castable_columns(values: list[Any], kind: str, wrong: list[int]) -> None:
    column = Column(kind, nullable=True, nan=True, castable=True)
    for repeat in (1, 50):
        report = report_of(Schema({"x": column}), pa.table({"x": values * repeat}))
        [failure] = report.failures
        assert failure.check == f"castable to {column.type}"
        assert failure.count == len(wrong) * repeat
        assert rows(failure)[: len(wrong)] == wrong
        assert [example.value for example in failure.examples][:1] == [values[wrong[0]]] or math.isnan(
            values[wrong[0]]
        )


str_ = pa.string()
LOSSES: list[tuple[Any, Any, Any, list[int] | None]] = [
    ([0.1, 0.5, 1e300, math.nan, math.inf, 2.0**100], None, "float32", [0, 2]),
    ([0.1, 0.5, 1e5, math.nan, math.inf], None, "float16", [0, 2]),
    ([0.1, 0.5, math.nan], pa.float32(), "float16", [0]),
    ([0.1, 0.5, math.nan], pa.float32(), "float64", []),
    ([1.0, 1.5, math.nan], pa.float16(), "int8", [1, 2]),
    ([0.1234, 0.12, 5.0, math.nan], None, "decimal128(5, 2)", [0, 3]),
    ([decimal.Decimal("0.12"), decimal.Decimal("1.00")], None, "int64", [0]),
    ([decimal.Decimal(2**53), decimal.Decimal(2**53 + 1)], None, "float64", [1]),
    ([0, 1, 5, -1], None, bool, [2, 3]),
    ([0.0, 1.0, 1.7, math.nan], None, bool, [2, 3]),
    ([True, False], None, "int8", []),
    ([2**24, 2**24 + 1], None, "float32", [1]),
    ([NOON, MIDNIGHT], None, "date32", [0]),
    ([NOON, MIDNIGHT], None, "timestamp[s]", []),
    ([NOON.replace(microsecond=1), MIDNIGHT], None, "timestamp[ms]", [0]),
    ([NOON.date()], None, "timestamp[s]", []),
    ([NOON], None, "time64[us]", None),
    ([NOON], pa.timestamp("us", "UTC"), "timestamp[us]", None),
    ([NOON], pa.timestamp("us", "UTC"), "date32", None),
    ([NOON], pa.timestamp("us", "UTC"), pa.timestamp("us", "Europe/Berlin"), []),
    (["0.10", "7", "x", "1e400", "-1e400", "inf", "-Infinity", "1e-400"], None, "float64", [2, 3, 4]),
    (["1e38", "1e39"], None, "float32", [1]),
    ([1.5, 0.1], None, str, []),
    ([[0.5, 0.1], [], [0.5], [1e300]], None, pa.list_(pa.float32()), [0, 3]),
    ([[0.1], [0.5]], pa.list_(pa.float64(), 1), pa.list_(pa.float32(), 1), [0]),
    ([[NOON]], pa.list_(pa.timestamp("us", "UTC")), pa.list_(pa.timestamp("us")), None),
    ([{"a": 0.1}, {"a": 0.5}], None, pa.struct({"a": pa.float32()}), [0]),
    (
        [[("a", 0.5)], [("a", 0.1)]],
        pa.map_(pa.string(), pa.float64()),
        pa.map_(pa.string(), pa.float32()),
        [1],
    ),
    ([{"a": 1, "b": 2}], None, pa.struct({"a": pa.int8()}), None),
]


@pytest.mark.parametrize(("values", "of", "kind", "wrong"), LOSSES)
def test_a_cast_loses_nothing(values: list[Any], of: Any, kind: Any, wrong: list[int] | None) -> None:
    """And what can be cast as a whole only with a loss, is of another type."""
    array = pa.array([None, *values], of)
    column = Column(kind, nullable=True, nan=True, castable=True)
    found = report_of(Schema({"x": column}), pa.table({"x": array})).failures
    table, target = pa.table({"x": pa.chunked_array([array])}), pa.schema({"x": column.type})
    if wrong is None:
        assert [(failure.check, failure.count) for failure in found] == [(f"castable to {column.type}", 0)]
        with pytest.raises(TypeError, match="expected a type that can be cast"):
            check_castable(table, target)
    elif wrong:
        assert [(failure.check, rows(failure)) for failure in found] == [
            (f"castable to {column.type}", [row + 1 for row in wrong])
        ]
        with pytest.raises(ValueError, match="'x': expected values that can be cast"):
            check_castable(table, target)
    else:
        assert not found
        check_castable(table, target)


@pytest.mark.parametrize("kind", ["decimal32", "decimal64", "decimal128", "decimal256"])
def test_text_of_more_digits_than_a_decimal_has_is_no_decimal(kind: str) -> None:
    """pyarrow keeps the low bits of such numbers."""
    bits = max(64, int(kind.removeprefix("decimal")))
    fit = ["12.50", "-0.7e1", f"{17:080}"]
    texts = [*fit, str(2**bits + 17), f"-{3 * 2**bits}", f"{2**bits + 50}e-1", f"{2**bits}e2", "1e-400"]
    cast, failed = castable(pa.array(texts), getattr(pa, kind)(9, 2))
    assert cast.drop_null().to_pylist() == [decimal.Decimal(text) for text in fit]
    assert failed.tolist() == [text not in fit for text in texts]


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_a_decimal_becomes_the_nearest_float(kind: str) -> None:
    """Whatever its scale; pyarrow's own cast makes 1.5000000000000002 of 1.50000."""
    column = Column(kind, Check.isin([1.5, 2.25, -0.125]), castable=True)
    values = [decimal.Decimal(text) for text in ("1.5", "2.25", "-0.125")]
    for scale in (3, 5, 20):
        table = pa.table({"x": pa.array(values, pa.decimal128(38, scale))})
        assert report_of(Schema({"x": column}), table).ok


@pytest.mark.parametrize("of", [pa.timestamp("s"), pa.timestamp("s", "UTC"), pa.date32()])
def test_times_that_python_has_not_are_shown(of: Any) -> None:
    array = pa.array([1 << 30 if of == pa.date32() else 1 << 55]).cast(f"int{of.bit_width}").view(of)
    schema = Schema({"x": Column(of, Check(lambda values: False))})
    assert [failure.count for failure in report_of(schema, pa.table({"x": array})).failures] == [1]


SPELLED = ["int8", "uint64", "float64", "float32", "decimal128(9, 2)", bool, "date32", "timestamp[us]"]
SPELLINGS = ["0x1F", "-0x1", "+1", "1.", ".5", "-.5e3", "1E+2", "nan(1)", "-inf", "INFINITY", "TRUE", "t"]
SPELLINGS += ["no", "", " 1", "1\n", "1e", "--1", "1_0", "300", "-1", "20130101", "05:00", "-2013-01-01"]
SPELLINGS += ["2013-01-01", "2013-01-01 05:00", "2013-01-01T05:00:00.5", "2013-13-01"]
TEXT = st.sampled_from(SPELLINGS) | st.text("0123456789.eE+-x:T nif", max_size=8)
NUMERIC = ["int8", "uint8", "int64", "uint64", "float32", "float64"]


def alone(array: Any, kind: Any) -> list[bool]:
    """Which values pyarrow does not cast one by one."""

    def fails_alone(row: int) -> bool:
        try:
            array.slice(row, 1).cast(kind)
        except pa.ArrowInvalid:
            return True
        return False

    return [fails_alone(row) for row in range(len(array))]


@given(
    st.lists(TEXT),
    st.sampled_from(SPELLED),
)
@example(["1e100", "-1E39", "1e38"], "float32")
def test_text_is_cast_as_it_is_value_by_value(values: list[str], spec: Any) -> None:
    array, kind = pa.array(values, pa.string()), Column(spec).type

    def is_too_large(text: str) -> bool:
        found = pa.array([text]).cast(kind)[0].as_py()
        return isinstance(found, float) and math.isinf(found) and "inf" not in text.lower()

    _, failed = castable(array, kind)
    for text, one, wrong in zip(values, failed.tolist(), alone(array, kind), strict=True):
        assert one == (wrong or is_too_large(text))


@given(st.sampled_from(NUMERIC), st.sampled_from(NUMERIC), st.data())
def test_numbers_are_cast_as_they_are_value_by_value(of: str, to: str, data: st.DataObject) -> None:
    edges = [x + d for n in (0, 7, 8, 24, 31, 53, 63, 64) for x in (2**n, -(2**n)) for d in (-1, 0, 1)]
    dtype, kind = np.dtype(of), Column(to).type
    inside = [x for x in edges if dtype.kind == "f" or np.iinfo(of).min <= x <= np.iinfo(of).max]
    numbers = data.draw(st.lists(st.sampled_from(inside) | st.just(0)))
    more = data.draw(st.lists(st.floats(width=32))) if dtype.kind == "f" else []
    array = pa.array(np.array([*numbers, *more], dtype))
    cast, _ = castable(array, kind)
    for value, one, alike in zip(array.to_pylist(), cast.to_pylist(), alone(array, kind), strict=True):
        assert (one is None) >= alike
        if one is None:
            assert alike or np.dtype(to).kind == "f"
        else:
            assert one == value or math.isnan(value)


@given(st.lists(st.floats() | st.floats(width=32) | st.integers(-9, 9).map(float)))
def test_what_is_cast_comes_back(values: list[float]) -> None:
    array = pa.array(values, pa.float64())
    cast, failed = castable(array, pa.float32())
    with np.errstate(over="ignore"):
        back = np.array(values).astype(np.float32).astype(np.float64)
    assert failed.tolist() == [x != y and not math.isnan(x) for x, y in zip(values, back, strict=True)]
    assert cast.is_null().to_pylist() == failed.tolist()


def test_checks_see_cast_values_and_those_that_could_not_be_are_told_once() -> None:
    column = Column("int64", Check.ge(0), castable=True)
    found = failures(report_of(Schema({"x": column}), pa.table({"x": ["5", "-5", "five", None]})))
    assert {check: rows(failure) for (_, check), failure in found.items()} == {
        "castable to int64": [2],
        "not null": [3],
        ">= 0": [1],
    }


def test_a_cast_that_there_is_not() -> None:
    report = report_of(Schema({"x": Column("date32", castable=True)}), pa.table({"x": [[1]]}))
    [failure] = report.failures
    assert (failure.check, failure.count) == ("castable to date32[day]", 0)
    assert failure.detail.startswith("got list<")


# -------------------------------------------------------------------------------- names of columns


def test_which_columns_there_are() -> None:
    schema = Schema({"a": Column(), "b": Column(required=False), "c": Column()}, strict=True, ordered=True)
    assert report_of(schema, {"a": [1], "c": [1]}).ok
    assert report_of(schema, {"a": [1], "b": [2], "c": [1]}).ok
    found = failures(report_of(schema, {"c": [1], "x": [1], "b": [0]}))
    assert set(found) == {("a", "required"), (None, "no other columns"), (None, "order of columns")}
    assert found[None, "no other columns"].detail == "x"
    twice = pa.table([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "a", "c"])
    assert (
        failures(report_of(Schema({"a": Column(unique=True)}), twice))["a", "one column"].detail
        == "2 of them"
    )


def test_a_table_without_rows_is_looked_at() -> None:
    table = pa.table({"x": pa.array([], pa.int32())})
    assert report_of(Schema({"x": Column("int32", Check.ge(0), unique=True)}), table).ok
    assert not report_of(Schema({"x": Column("int64")}), table).ok


# -------------------------------------------------------------------------- batches, files, memory

CELLS = st.none() | st.floats(-4, 4, width=32) | st.just(math.nan)


@given(st.lists(st.tuples(CELLS, st.sampled_from("abc") | st.none()), max_size=40), st.data())
def test_the_report_is_that_of_a_loop_however_the_rows_are_cut(
    cells: list[tuple[float | None, str | None]], data: st.DataObject
) -> None:
    table = pa.table(
        {
            "x": pa.array([x for x, _ in cells], pa.float64()),
            "s": pa.array([s for _, s in cells], pa.string()),
        }
    )
    schema = Schema(
        {
            "x": Column("float64", Check.in_range(-2, 2), unique=True),
            "s": Column(str, Check.isin(["a", "b"]), nullable=True),
        },
        unique=("x", "s"),
    )
    is_nan = [x is not None and math.isnan(x) for x, _ in cells]
    keys = ["nan" if nan else x for (x, _), nan in zip(cells, is_nan, strict=True)]
    pairs = [(key, s) for key, (_, s) in zip(keys, cells, strict=True)]
    expected = {
        "not null": [i for i, key in enumerate(keys) if key is None],
        "not NaN": [i for i, nan in enumerate(is_nan) if nan],
        "in [-2, 2]": [i for i, key in enumerate(keys) if isinstance(key, float) and not -2 <= key <= 2],
        "unique": [i for i, key in enumerate(keys) if key is not None and keys.count(key) > 1],
        "in {'a', 'b'}": [i for i, (_, s) in enumerate(cells) if s == "c"],
        "unique: x, s": [i for i, pair in enumerate(pairs) if None not in pair and pairs.count(pair) > 1],
    }
    reports = []
    for _ in range(2):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(cells)), max_size=4)))
        borders = list(zip([0, *cuts], [*cuts, len(cells)], strict=True))
        parts = data.draw(st.permutations(borders))
        validator = schema.validator(examples=100)
        for start, stop in parts:
            validator.add(table.slice(start, stop - start), file="f", row_group=1, first_row=start)
        reports.append(validator.finish())
    found = {failure.check: rows(failure) for failure in reports[0].failures}
    assert found == {check: where for check, where in expected.items() if where}
    assert all(failure.count == len(failure.examples) for failure in reports[0].failures)
    assert all(failure.row_group == 1 for failure in reports[0].failures)
    assert reports[0] == reports[1]
    assert reports[0].rows == len(cells)


def test_rows_go_on_in_each_file() -> None:
    validator = Schema({"x": Column(None, Check.eq(0))}).validator()
    for file in ("a", "b", "a"):
        validator.add({"x": [0, 1]}, file=file)
    assert [(failure.file, rows(failure)) for failure in validator.finish().failures] == [
        ("a", [1, 3]),
        ("b", [1]),
    ]


def test_what_is_kept_is_bounded_and_the_first_whatever_the_order() -> None:
    numbers = np.random.default_rng(0).permutation(500)

    def failing(order: Sequence[int]) -> Report:
        validator = Schema({"x": Column(None, Check.eq(0))}).validator(limit=10, examples=2)
        for i in order:
            validator.add({"x": np.full(10, i + 1)}, file=f"{i:04}", row_group=7)
            assert len(validator._judge.tally._counts) <= 21
        return validator.finish()

    report = failing(numbers.tolist())
    assert report == failing(range(500))
    assert [failure.file for failure in report.failures] == [f"{i:04}" for i in range(10)]
    assert all((failure.count, len(failure.examples)) == (10, 2) for failure in report.failures)
    assert report.omitted == 4900
    assert "and 4,900 more rows" in str(report)


def test_large_values_are_cut_in_reports() -> None:
    report = report_of(Schema({"x": Column(None, Check.eq("a"))}), {"x": ["b" * 10**6]})
    assert len(report.failures[0].examples[0].value) == 80
    nanoseconds = pa.table({"x": pa.array([1], pa.timestamp("ns"))})
    report = report_of(Schema({"x": Column(None, Check.eq("2013-01-01"))}), nanoseconds)
    assert report.failures[0].examples[0].value == "1970-01-01 00:00:00.000000001"


def test_the_report_in_words() -> None:
    schema = Schema({"delay": Column("float64", Check.ge(0)), "gate": Column(str)})
    report = report_of(schema, {"delay": [1.0, -2.0, None]}, file="day.parquet", row_group=3)
    assert str(report).splitlines() == [
        "schema: 3 rows, failures of 3 checks",
        "column  check     file         row group  rows  examples",
        "delay   not null  day.parquet          3     1  row 2",
        "delay   >= 0      day.parquet          3     1  row 1: -2.0",
        "gate    required  day.parquet                   not there",
    ]
    with pytest.raises(SchemaError, match=r"delay +>= 0 +day\.parquet") as caught:
        report.raise_if_failed()
    assert caught.value.report is report
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, PyscaleError)
    good = report_of(Schema({}), {"delay": [1.0]})
    good.raise_if_failed()
    assert str(good) == "schema: 1 rows, nothing has failed"


def test_a_report_is_of_printable_lines() -> None:
    schema = Schema({"a\nb\x1b[31m": Column(None, Check(lambda x: False, name="\ud800"))})
    report = report_of(schema, {"a\nb\x1b[31m": [1]}, file="\udcff é.parquet")
    assert str(report).splitlines()[2:] == [
        r"a\nb\x1b[31m  \ud800  \udcff é.parquet                1  row 0: 1"
    ]
    assert report.failures[0].column == "a\nb\x1b[31m"


def test_checks_of_one_name_are_told_apart() -> None:
    def check(name: str) -> Check:
        return Check(lambda x: False, name=name)

    schema = Schema({"a": Column(None, check("f"), check("g"), check("f"))}, check("f"), check("f"))
    report = report_of(schema, {"a": [1]})
    assert [failure.check for failure in report.failures] == ["f", "g", "f (2)", "f", "f (2)"]
    assert str(report).startswith("schema: 1 rows, failures of 5 checks\n")


def test_a_column_without_a_name() -> None:
    schema = Schema({"": Column("int64", Check.le(5), unique=True), "b": Column()}, unique=[("", "b")])
    report = report_of(schema, {"": [9, 9], "b": [1, 1]})
    assert [(f.column, f.check, f.count) for f in report.failures] == [
        ("", "<= 5", 2),
        ("", "unique", 2),
        (None, "unique: , b", 2),
    ]
    assert [example.value for example in report.failures[0].examples] == [9, 9]


def test_a_validator_ends_once() -> None:
    validator = Schema({}).validator()
    validator.finish()
    for call in (validator.finish, lambda: validator.add({"x": [1]})):
        with pytest.raises(ValueError, match="not finished"):
            call()


# -------------------------------------------------------------------------------- schemas themselves


def test_a_schema_of_some_columns() -> None:
    schema = Schema(
        {"a": Column(), "b": Column(), "c": Column()},
        Check(lambda batch: False, name="never"),
        unique=[("a", "b"), ("b", "c")],
        strict=True,
    )
    some = schema.select(["b", "a"])
    assert list(some.columns) == ["a", "b"]
    assert some.unique == (("a", "b"),)
    assert report_of(some, {"a": [1], "b": [1], "x": [1]}).ok
    with pytest.raises(ValueError, match="'z'"):
        schema.select(["z"])
    with pytest.raises(TypeError, match="expected a sequence of columns, got 'ab'"):
        schema.select("ab")


def test_inferred() -> None:
    table = pa.table({"a": [1, None], "x": [1.0, math.nan], "y": [1.0, None], "s": ["a", "b"]})
    schema = Schema.infer(table)
    assert report_of(schema, table).ok
    found = failures(report_of(schema, pa.table({"a": [1.5], "x": [None], "y": [math.nan], "s": [None]})))
    assert set(found) == {("a", "int64"), ("x", "double"), ("y", "not NaN"), ("s", "string")}


CODED = {
    "dictionary": lambda values: pa.DictionaryArray.from_arrays(
        pa.array(range(len(values))), pa.array(values)
    ),
    "runs": lambda values: pa.compute.run_end_encode(pa.array(values)),
}


@pytest.mark.parametrize("code", CODED.values(), ids=CODED)
@pytest.mark.parametrize("values", [[1.0, None, None], [1.0, math.nan], ["a", None], [1.0, 2.0]])
def test_inferred_of_codes_that_stand_for_null(code: Callable[[Any], Any], values: list[Any]) -> None:
    table = pa.table({"x": code(values)})
    schema = Schema.infer(table)
    assert report_of(schema, table).ok
    assert (schema.columns["x"].nullable, schema.columns["x"].nan) == (None in values, math.nan in values)


def test_inferred_of_columns_of_one_name() -> None:
    with pytest.raises(ValueError, match="expected one column 'a', got 2"):
        Schema.infer(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]))


def test_a_schema_says_what_it_is() -> None:
    schema = Schema({"a": Column("int8", Check.ge(0), unique=True)}, strict=True, unique=["a"])
    assert repr(schema) == "Schema\n  'a': Column(int8, >= 0, unique)\n  unique: a\n  strict"


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: Column("int8", "positive"), TypeError),  # type: ignore[arg-type]
        (lambda: Column(castable=True), ValueError),
        (lambda: Column(pa.list_(pa.int8()), unique=True), TypeError),
        (lambda: Column(pa.month_day_nano_interval(), unique=True), TypeError),
        (lambda: Schema({"a": "int8"}), TypeError),  # type: ignore[dict-item]
        (lambda: Schema({1: Column()}), TypeError),  # type: ignore[dict-item]
        (lambda: Schema({"a": Column()}, "check"), TypeError),  # type: ignore[arg-type]
        (lambda: Schema({"a": Column()}, unique="a"), TypeError),
        (lambda: Schema({"a": Column()}, unique=["a", ("a",)]), TypeError),
        (lambda: Schema({"a": Column()}, unique=["b"]), ValueError),
        (lambda: Schema({"a": Column()}, unique=[[]]), ValueError),
        (lambda: Schema({"a": Column()}, Check.like(Profile.of({"a": [1]})["a"])), TypeError),
        (lambda: Schema({}).validator(limit=0), ValueError),
        (lambda: Schema({}).validator(examples=-1), ValueError),
        (lambda: Check(3), TypeError),  # type: ignore[arg-type]
        (lambda: Check.ge(None), ValueError),
        (lambda: Check.le(math.nan), ValueError),
        (lambda: Check.in_range(None, 5), ValueError),
        (lambda: Check.in_range(5, None), ValueError),
        (lambda: Check.in_range(0, math.nan), ValueError),
        (lambda: Check.in_range(np.datetime64("NaT"), 5), ValueError),
        (lambda: Check.eq(pa.scalar(None, pa.int8())), ValueError),
        (lambda: Check.isin("abc"), TypeError),
        (lambda: Check.str_matches("(?=a)"), ValueError),
        (lambda: Check.str_contains(3), TypeError),  # type: ignore[arg-type]
        (lambda: Schema({}).validator().add([1, 2]), TypeError),
        (lambda: Schema({}).validator().add({"a": [1], "b": [1, 2]}), ValueError),
    ],
)
def test_bad_arguments(make: Callable[[], Any], kind: type[Exception]) -> None:
    with pytest.raises(kind, match="expected"):
        make()


UNLIKE: list[tuple[Any, Any, str]] = [
    ([1], [1.0], "floats; integers"),
    (np.array([2**64 - 1], np.uint64), [-1], "integers; uint64"),
    ([decimal.Decimal("1.0")], [decimal.Decimal("1.00")], "decimals of 128 bits and scale 1; .* scale 2"),
    ([datetime.date(2020, 1, 1)], [datetime.datetime(2020, 1, 1)], r"date32\[day\]; timestamp\[us\]"),
    (["a"], [b"a"], "binary; string"),
    ([1], [True], "bool; integers"),
]


@pytest.mark.parametrize(("these", "those", "said"), UNLIKE)
def test_values_of_unlike_types_are_not_compared(these: Any, those: Any, said: str) -> None:
    one, other = ({"x": pa.array(values), "y": pa.array([1])} for values in (these, those))
    schema = Schema({"x": Column(unique=True), "y": Column()}, unique=("x", "y"))
    for failure in report_of(schema, pa.table(one), pa.table(other)).failures:
        assert re.fullmatch(
            f"expected values of one type, got {said}", failure.detail.replace(" and integers", "")
        ), failure.detail
    assert len(report_of(schema, pa.table(one), pa.table(other)).failures) == 2
    nothing = pa.table({"x": pa.nulls(1, pa.array(those).type), "y": [1]})
    assert {f.check for f in report_of(schema, pa.table(one), nothing).failures} == {"not null"}


def test_values_of_like_types_are_compared() -> None:
    schema = Schema({"x": Column(unique=True)})
    for kinds in (("int8", "int64", "uint32"), ("float16", "float64"), ("string", "large_string")):
        one = np.array([1], np.float16) if "float16" in kinds else ["1"] if "string" in kinds else [1]
        tables = [pa.table({"x": pa.array(one).cast(pa.type_for_alias(kind))}) for kind in kinds]
        assert [failure.count for failure in report_of(schema, *tables).failures] == [len(kinds)]


def test_lists_cannot_be_unique() -> None:
    report = report_of(Schema({"x": Column(unique=True)}), pa.table({"x": [[1], [1]]}))
    assert "list<" in report.failures[0].detail


def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'pyscale-ml\[data\]'"):
        Column("int8")
