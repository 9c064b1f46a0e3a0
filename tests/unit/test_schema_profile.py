"""Profiles: a histogram that does not depend on who saw what, and distances of two."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyscale.data import Check, Column, Distribution, Profile, Report, Schema
from pyscale.data.schema.sketch import Sketch, floats_of_keys, keys_of_floats

pa = pytest.importorskip("pyarrow")

NUMBERS = st.floats(allow_nan=False) | st.integers(-20, 20).map(float)


def one(values: Any, buckets: int = 4096, categories: Sequence[str] = ()) -> Distribution:
    return Profile.of({"x": values}, categories=categories, buckets=buckets)["x"]


# ------------------------------------------------------------------------------------------ sketch


@given(st.lists(NUMBERS, min_size=2))
def test_keys_have_the_order_of_the_numbers(values: list[float]) -> None:
    floats = np.array(values)
    keys = keys_of_floats(floats)
    in_order = floats[np.argsort(keys, kind="stable")]
    assert (in_order[1:] >= in_order[:-1]).all()
    assert (np.equal.outer(keys, keys) == np.equal.outer(floats, floats)).all()
    assert (floats_of_keys(keys) == floats).all()


def exact(values: Sequence[int], limit: int) -> tuple[int, dict[int, int]]:
    """The sketch as it is defined: the narrowest buckets of which there are few enough."""
    shift = next(s for s in range(64) if len({value >> s for value in values}) <= limit)
    return shift, dict(Counter(value >> shift for value in values))


KEYS = st.integers(-(2**63), 2**63 - 1) | st.integers(-40, 40)


@given(st.lists(KEYS, max_size=60), st.integers(2, 12), st.data())
def test_a_sketch_is_a_function_of_the_values_alone(
    values: list[int], limit: int, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(values))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=3)))
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, len(values)], strict=True):
        part = Sketch(limit)
        middle = data.draw(st.integers(start, stop))
        part.add(np.array(shuffled[start:middle], np.int64))
        part.add(np.array(shuffled[middle:stop], np.int64))
        parts.append(part)
    total = Sketch(limit)
    for part in data.draw(st.permutations(parts)):
        total.merge(part)
    shift, counts = exact(values, limit)
    assert total.shift == shift
    assert dict(zip(total.buckets.tolist(), total.counts.tolist(), strict=True)) == counts
    assert total.total == len(values)


# --------------------------------------------------------------------------------------- distances


def ks(a: Sequence[float], b: Sequence[float]) -> float:
    points = sorted({*a, *b})
    return max(
        abs(sum(x <= point for x in a) / len(a) - sum(x <= point for x in b) / len(b)) for point in points
    )


@given(st.lists(NUMBERS, min_size=1, max_size=30), st.lists(NUMBERS, min_size=1, max_size=30))
def test_kolmogorov_smirnov(a: list[float], b: list[float]) -> None:
    assert one(a).ks(one(b)) == pytest.approx(ks(a, b))
    assert one(a, 4).ks(one(b, 4)) <= ks(a, b) + 1e-12  # in wide buckets


@given(st.lists(st.sampled_from("abcdef"), min_size=1), st.lists(st.sampled_from("abcdef"), min_size=1))
def test_total_variation(a: list[str], b: list[str]) -> None:
    expected = sum(abs(a.count(c) / len(a) - b.count(c) / len(b)) for c in "abcdef") / 2
    assert one(a).total_variation(one(b)) == pytest.approx(expected)
    assert one(a, 2).total_variation(one(b, 2)) <= expected + 1e-12


def psi(expected: Sequence[int], found: Sequence[int]) -> float:
    """Of counts, with half a row in every bin."""
    n, m = sum(expected) + 0.5 * len(expected), sum(found) + 0.5 * len(found)
    pairs = [((p + 0.5) / n, (q + 0.5) / m) for p, q in zip(expected, found, strict=True)]
    return sum((q - p) * math.log(q / p) for p, q in pairs)


@given(st.lists(st.floats(-1e9, 1e9, width=32), min_size=10, max_size=200, unique=True), st.data())
def test_population_stability_index(values: list[float], data: st.DataObject) -> None:
    later = data.draw(st.lists(st.sampled_from(values) | st.floats(-2e9, 2e9), min_size=1, max_size=50))
    ordered = sorted(values)
    # A bin begins with the value below which k tenths of the reference lie.
    starts = [ordered[math.floor(len(values) * k / 10)] for k in range(1, 10)]
    bins = [[float(sum(x >= start for start in starts)) for x in those] for those in (values, later)]
    counts = [[those.count(float(k)) for k in range(10)] for those in bins]
    assert one(later).psi(one(values)) == pytest.approx(psi(counts[0], counts[1]))


def test_population_stability_index_of_what_is_missing_and_of_categories() -> None:
    reference, later = one(["a"] * 6 + ["b"] * 3), one(["a"] * 2 + ["c"] * 2)
    assert later.psi(reference) == pytest.approx(psi([6, 3, 0], [2, 0, 2]))
    reference, later = one(pa.array([1.0] * 4)), one(pa.array([1.0, math.nan, None, None]))
    assert later.psi(reference) == pytest.approx(psi([4, 0, 0], [1, 2, 1]))
    assert one(pa.array(["a", None])).total_variation(one(["a"])) == 0.5


ZEROS = [0.0] * 995 + [1.0] * 5


@pytest.mark.parametrize(
    ("reference", "later"),
    [
        ([5.0] * 1000, [1e6] * 1000),
        ([5.0] * 1000, [-1e6] * 1000),
        ([5.0] * 1000, [5.0] * 500 + [6.0] * 500),
        (ZEROS, [1.0] * 1000),
        ([-x for x in ZEROS], [-1.0] * 1000),
        ([0.0] * 50 + [1.0] * 950, [0.0] * 50 + [1000.0] * 950),
        ([0.0] * 950 + list(range(1, 51)), [10.0] * 1000),
        ([0.0] * 300 + [1.0] * 400 + [2.0] * 300, [0.5] * 300 + [1.0] * 400 + [1.5] * 300),
        ([], [1.0]),
    ],
)
def test_a_number_that_is_often_there_has_a_bin_of_its_own(
    reference: list[float], later: list[float]
) -> None:
    then, now = one(np.array(reference)), one(np.array(later))
    assert now.psi(then) > 0.25
    assert then.psi(then) == now.psi(now) == 0
    for buckets in (2, 8):  # in which all of them may have come to lie together
        assert one(np.array(reference), buckets).psi(one(np.array(reference), buckets)) == 0


def test_no_rows_are_as_far_as_can_be_from_some() -> None:
    assert one(np.array([1.0])).psi(one(np.array([], float))) == math.inf
    assert one(np.array([1.0])).ks(one(np.array([], float))) == 1
    words = pa.array([], pa.string())
    assert one(["a"]).total_variation(one(words)) == 1
    assert one(["a"]).psi(one(words)) == math.inf
    assert one(words).psi(one(words)) == one(words).total_variation(one(words)) == 0


def test_numbers_of_few_values_cause_no_alarm() -> None:
    rng = np.random.default_rng(3)
    for values in ([0, 1], [0] * 9 + [1], range(5), range(40)):
        reference = one(rng.choice(values, 10_000))
        for n in (200, 2000):
            assert one(rng.choice(values, n)).psi(reference) < 0.15


def test_no_alarm_without_a_change_and_one_with() -> None:
    """At the usual limit of 0.25, where a shift by half a standard deviation is one of 0.25 too."""
    rng = np.random.default_rng(7)
    reference = one(rng.normal(size=50_000))
    for n in (500, 5000):
        assert one(rng.normal(size=n)).psi(reference) < 0.05
        assert one(rng.normal(size=n)).ks(reference) < 1.95 / math.sqrt(n)  # 0.1 % beyond, by Kolmogorov
        assert one(rng.normal(1, size=n)).psi(reference) > 0.7
        assert one(rng.normal(0.5, size=n)).psi(reference) == pytest.approx(0.25, abs=0.12)
        assert one(rng.normal(0.5, size=n)).ks(reference) > 0.13


# ------------------------------------------------------------------------------------ distributions


def test_what_is_counted() -> None:
    numbers = one(pa.array([3, None, -1, 7]))
    assert (numbers.kind, numbers.type, numbers.rows, numbers.nulls) == ("number", "number", 4, 1)
    assert (numbers.low, numbers.high) == (-1, 7)
    floats = one(pa.array([math.nan, None, math.inf, -0.0, 0.0], pa.float32()))
    assert (floats.nans, floats.nulls, floats.low, floats.high) == (1, 1, 0, math.inf)
    assert floats.sketch.counts.tolist() == [2, 1]
    words = one(["b", "a", "b"])
    assert words.categories() == {"b": 2, "a": 1}
    assert one([True, False, True]).categories() == {"True": 2, "False": 1}
    months = Profile.of({"x": [1, 2, 1]}, categories=["x"])["x"]
    assert (months.kind, months.categories()) == ("category", {"1": 2, "2": 1})
    times = one(np.array(["2013-01-01", "2014-01-01"], "datetime64[us]"))
    assert (times.kind, times.type) == ("number", "timestamp[us]")
    assert (times.high - times.low) / 86_400e6 == 365
    with pytest.raises(ValueError, match="expected numbers"):
        words.ks(words)
    with pytest.raises(ValueError, match="expected categories"):
        numbers.total_variation(numbers)
    with pytest.raises(ValueError, match="expected number as number, got string as category"):
        numbers.psi(words)


@pytest.mark.parametrize("values", [["a", None, "a", None], [1.5, None, None, math.nan]])
def test_codes_that_stand_for_null_are_null(values: list[Any]) -> None:
    expected = Profile.of({"x": pa.array(values)}).to_json()
    codes = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 3]), pa.array(values))
    runs = pa.compute.run_end_encode(pa.array(values))
    assert Profile.of({"x": codes}).to_json() == Profile.of({"x": runs}).to_json() == expected


def test_long_categories_are_told_apart() -> None:
    words = ["x" * 1000 + end for end in "aab"] + ["x" * 79, "x" * 80]
    found = one(words).categories()
    assert sorted(found.values()) == [1, 1, 1, 2]
    assert max(map(len, found)) == 80
    assert found == one(words[::-1]).categories()
    assert {"x" * 79, "x" * 80} <= set(found)


def test_integers_and_floats_compare() -> None:
    assert one(np.array([1, 2, 3], np.int8)).ks(one(np.array([1.0, 2.0, 3.0]))) == 0


def test_integers_of_the_same_bits_are_other_categories() -> None:
    signed = Profile.of({"x": np.array([-1, 1])}, categories=["x"])["x"]
    unsigned = Profile.of({"x": np.array([2**64 - 1, 1], np.uint64)}, categories=["x"])["x"]
    assert unsigned.total_variation(signed) == 0.5
    unsigned.merge(signed)
    assert unsigned.categories() == {"1": 2, "-1": 1, str(2**64 - 1): 1}


def test_decimals_of_any_scale_compare_with_floats() -> None:
    hundredths = np.arange(-500, 500)
    floats = Profile.of({"x": hundredths / 100})["x"]
    for scale in (2, 5, 20):
        values = [Decimal(int(n)).scaleb(-2) for n in hundredths]
        found = Profile.of(pa.table({"x": pa.array(values, pa.decimal128(38, scale))}))["x"]
        assert found.ks(floats) == 0
        assert found.quantile(1.0) == 4.99


def test_too_many_categories_lose_their_names_and_cause_no_alarm() -> None:
    words = [f"w{i}" for i in range(1000)]
    many = one(words, buckets=100)
    assert many.categories() == {}
    assert len(many.sketch.buckets) <= 100
    assert many.total_variation(one(words[::-1], buckets=100)) == 0
    assert one(words, buckets=1000).categories() == dict.fromkeys(sorted(words), 1)


@given(st.lists(NUMBERS.filter(math.isfinite), min_size=1, max_size=50), st.floats(0, 1))
@example([5.0], 0.5)
def test_quantiles(values: list[float], q: float) -> None:
    assert one(values).quantile(q) == sorted(values)[math.floor(q * (len(values) - 1))]


def test_quantiles_at_infinity() -> None:
    """Whose bucket, if it is wide, has keys of NaN, too."""
    for tail in ([np.inf], [-np.inf], [np.inf, -np.inf], [1.7e308, np.inf]):
        values = np.append(np.random.default_rng(0).normal(size=5000), tail)
        found = one(values, buckets=1024)
        assert found.sketch.shift > 0
        assert found.quantile(0) == pytest.approx(values.min(), rel=0.02)
        assert found.quantile(1) == values.max()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_zeros_are_one_whatever_their_sign_and_order(dtype: str) -> None:
    zeros = np.array([0.0, -0.0], dtype)
    for categories in ([], ["x"]):
        profiles = [Profile.of({"x": x}, categories=categories) for x in (zeros, zeros[::-1])]
        assert profiles[0].to_json() == profiles[1].to_json()


def test_quantiles_in_wide_buckets() -> None:
    values = np.random.default_rng(0).lognormal(0, 3, 100_000)
    found = one(values, buckets=2048)
    assert found.sketch.shift > 0
    for q in (0, 0.01, 0.5, 0.99, 1):
        assert found.quantile(q) == pytest.approx(np.quantile(values, q, method="lower"), rel=0.02)
    with pytest.raises(ValueError, match="from 0 to 1"):
        found.quantile(1.5)
    with pytest.raises(ValueError, match="expected numbers"):
        one(["a"]).quantile(0.5)


# ----------------------------------------------------------------------------------------- profiles

TABLES = st.lists(
    st.tuples(st.none() | st.floats() | st.just(math.nan), st.none() | st.sampled_from(["", "ä", "x" * 99])),
    max_size=30,
)


def table(cells: Sequence[tuple[float | None, str | None]]) -> Any:
    return pa.table(
        {
            "x": pa.array([x for x, _ in cells], pa.float64()),
            "s": pa.array([s for _, s in cells], pa.string()),
        }
    )


@given(TABLES, TABLES, st.sampled_from([3, 4096]))
def test_merged_and_kept(a: Any, b: Any, buckets: int) -> None:
    whole = Profile.of(table(a + b), buckets=buckets)
    merged = Profile.of(table(b), buckets=buckets).merge(Profile.of(table(a), buckets=buckets))
    assert merged.to_json() == whole.to_json()
    again = Profile.from_json(whole.to_json())
    assert again.to_json() == whole.to_json()
    assert again["x"].ks(whole["x"]) == 0
    assert again["s"].total_variation(whole["s"]) == 0


def test_a_profile_is_of_the_columns_that_can_have_one() -> None:
    data = pa.table({"x": [1], "l": [[1]], "s": ["a"]})
    assert list(Profile.of(data)) == ["x", "s"]
    assert repr(Profile.of(data, ["s"])) == "<Profile of s>"
    with pytest.raises(TypeError, match="list"):
        Profile.of(data, ["l"])
    with pytest.raises(KeyError, match="'y'"):
        Profile.of(data, ["y"])
    with pytest.raises(ValueError, match="at least 2"):
        Profile.of(data, buckets=1)
    with pytest.raises(TypeError, match="a sequence of columns, got 'xs'"):
        Profile.of(data, "xs")
    with pytest.raises(TypeError, match="a sequence of columns, got 'xs'"):
        Profile.of(data, categories="xs")
    intervals = data.append_column("i", pa.array([(1, 2, 3)], pa.month_day_nano_interval()))
    assert list(Profile.of(intervals)) == ["x", "s"]
    with pytest.raises(TypeError, match="interval"):
        Profile.of(intervals, ["i"])
    twice = pa.table([[1], [2], [3]], names=["a", "a", "b"])
    assert list(Profile.of(twice, ["b"])) == ["b"]
    for columns in (None, ["a"]):
        with pytest.raises(ValueError, match="expected one column 'a', got 2"):
            Profile.of(twice, columns)
    with pytest.raises(ValueError, match="4096 buckets, got 9"):
        Profile.of(data).merge(Profile.of(data, buckets=9))


def test_files(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    data = pa.table({"x": np.arange(1000), "s": ["a", "b"] * 500})
    for i in range(3):
        parquet.write_table(data, tmp_path / f"{i}.parquet", row_group_size=300)
    profile = Profile.of(tmp_path)
    assert profile.to_json() == Profile.of(pa.concat_tables([data] * 3)).to_json()
    assert Profile.of([tmp_path / "0.parquet"], ["s"])["s"].rows == 1000
    with pytest.raises(OSError, match=r"none\.parquet"):
        Profile.of(tmp_path / "none.parquet")
    profile.save(tmp_path / "profile.json")
    assert Profile.load(tmp_path / "profile.json").to_json() == profile.to_json()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("text", ["[]", "{}", '{"pyscale_profile": 2, "columns": {}}'])
def test_what_is_no_profile(text: str) -> None:
    with pytest.raises(ValueError, match="expected a profile of version 1"):
        Profile.from_json(text)


GOOD = {
    kind: json.dumps(Profile.of({"x": values})["x"].to_json())
    for kind, values in {"number": [1, 2], "category": ["a", "b"]}.items()
}


def profile_of(column: Any) -> str:
    return json.dumps({"pyscale_profile": 1, "columns": {"x": column}})


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("key", json.loads(GOOD["number"]))
def test_a_profile_that_is_damaged(kind: str, key: str) -> None:
    column = json.loads(GOOD[kind])
    for value in (None, "?", [], [None], {"?": 1}, [1.5]):
        with suppress(ValueError):  # a type may have any name
            Profile.from_json(profile_of({**column, key: value})).to_json()
    del column[key]
    with pytest.raises(ValueError, match="Profile: expected a distribution of column 'x', got KeyError"):
        Profile.from_json(profile_of(column))


@pytest.mark.parametrize("columns", ["", ', "columns": []', ', "columns": {"x": []}'])
def test_a_profile_without_columns(columns: str) -> None:
    with pytest.raises(ValueError, match="Profile: expected"):
        Profile.from_json(f'{{"pyscale_profile": 1{columns}}}')


def test_a_profile_is_json() -> None:
    text = Profile.of({"x": np.array([1.0, np.inf])}).to_json()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name))["columns"]["x"]["high"] == "inf"


# ------------------------------------------------------------------------------------------- checks


def test_columns_that_are_distributed_otherwise() -> None:
    rng = np.random.default_rng(1)
    then = {"x": rng.normal(size=10_000), "s": rng.choice(["a", "b"], 10_000)}
    profile = Profile.of(then)

    def failures(x: Any, s: Any) -> list[str]:
        return [failure.check for failure in report(x, s).failures]

    def report(x: Any, s: Any) -> Report:
        schema = Schema(
            {
                "x": Column("float64", Check.like(profile["x"]), Check.like(profile["x"], ks=0.1, psi=9)),
                "s": Column(str, Check.like(profile["s"]), nullable=True),
            }
        )
        validator = schema.validator()
        for start in range(0, len(x), 777):
            validator.add({"x": x[start : start + 777], "s": s[start : start + 777]})
        return validator.finish()

    assert failures(**then) == []
    assert failures(then["x"] + 1, then["s"]) == [
        "like the profile (psi <= 0.25)",
        "like the profile (psi <= 9, ks <= 0.1)",
    ]
    assert failures(then["x"], then["s"].astype(object)[::-1]) == []
    gone = then["s"].astype(object)
    gone[rng.random(10_000) < 0.3] = None
    assert failures(then["x"], gone) == ["like the profile (total_variation <= 0.1)"]
    assert failures(np.array([]), []) == []
    [words] = [failure.detail for failure in report(then["x"], gone).failures]
    assert re.fullmatch(r"total_variation 0\.\d+: 'a' 5\d\.\d%, 'b' 4\d\.\d%, now 'a' 3.*", words), words
    words = report(then["x"] + 1, then["s"]).failures[0].detail
    assert re.fullmatch(r"psi \d\.\d+: quartiles -0\.\d+, -?0\.\d+, 0\.\d+, now quartiles .*", words), words


def test_a_distribution_of_another_type_is_a_failure() -> None:
    check = Check.like(one([1, 2, 3]))
    validator = Schema({"x": Column(None, check)}).validator()
    validator.add({"x": ["a"]})
    [failure] = validator.finish().failures
    assert "expected number as number, got string as category" in failure.detail


def test_bad_limits() -> None:
    with pytest.raises(ValueError, match="psi or ks"):
        Check.like(one([1]), total_variation=0.1)
    with pytest.raises(ValueError, match="psi or total_variation"):
        Check.like(one(["a"]), ks=0.1)
    with pytest.raises(ValueError, match="0 or more"):
        Check.like(one([1]), psi=math.nan)
