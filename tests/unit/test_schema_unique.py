"""Hashes and uniqueness: equal values are found, in whatever encoding, and no others are."""

from __future__ import annotations

import datetime
import decimal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyscale.data.schema import unique
from pyscale.data.schema.hashing import Hashes, combined, hashes
from pyscale.data.schema.unique import Seen

pa = pytest.importorskip("pyarrow")
pc = pytest.importorskip("pyarrow.compute")


def words(array: Any) -> list[tuple[int, ...]]:
    first, second = hashes(array)
    if second is None:
        return [(x,) for x in first.tolist()]
    return list(zip(first.tolist(), second.tolist(), strict=True))


# ------------------------------------------------------------------------------------------ hashes

# Lengths about those of words, and beyond which a value is hashed by itself.
LENGTHS = st.sampled_from([0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 511, 512, 513, 2000])
BYTES = st.binary(max_size=20) | st.builds(lambda n, b: b * n, LENGTHS, st.binary(min_size=1, max_size=1))


@given(st.lists(BYTES, max_size=20), st.data())
def test_a_hash_is_of_the_value_alone(values: list[bytes], data: st.DataObject) -> None:
    array = pa.array(values, pa.binary())
    found = words(array)
    assert len(set(found)) == len(set(values))
    assert len({first for first, *_ in found}) == len(set(values))
    assert found == [words(pa.array([value], pa.binary()))[0] for value in values]
    for other in (array.cast(pa.large_binary()), array.dictionary_encode()):
        assert words(other) == found
    start = data.draw(st.integers(0, len(values)))
    assert words(array.slice(start)) == found[start:]


def test_zeros_at_the_end_are_a_part_of_the_value() -> None:
    """Every value of one byte with up to 20 zeros after it: their words are equal, their lengths are not."""
    values = [bytes([first]) + bytes(zeros) for first in range(256) for zeros in range(21)]
    for lane in hashes(pa.array([b"", *values], pa.binary())):
        assert lane is not None
        assert len(np.unique(lane)) == 1 + len(values)


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_integers_never_collide(values: list[int]) -> None:
    found = words(pa.array(values, pa.int64()))
    assert all(len(word) == 1 for word in found)
    assert len(set(found)) == len(set(values))


def test_equal_values_of_other_widths_have_equal_hashes() -> None:
    for kind in (pa.int8(), pa.uint8(), pa.int32(), pa.uint64()):
        assert words(pa.array([0, 1, 100], kind)) == words(pa.array([0, 1, 100], pa.int64()))
    for kind in (pa.float16(), pa.float32()):
        assert words(pa.array(np.array([0.5, -2], np.float16)).cast(kind)) == words(pa.array([0.5, -2.0]))
    assert words(pa.array(["ä", ""])) == words(pa.array(["ä", ""], pa.large_string()))


def test_floats_that_are_equal() -> None:
    quiet = np.array([0x7FF8000000000001, 0xFFF8000000000000], np.uint64).view(np.float64)
    zero, minus_zero, nan, *others = words(pa.array([0.0, -0.0, np.nan, *quiet]))
    assert zero == minus_zero
    assert others == [nan, nan]
    assert nan != zero


TIMES = [
    pa.date32(),
    pa.date64(),
    pa.timestamp("s"),
    pa.timestamp("ns", "UTC"),
    pa.time32("s"),
    pa.time64("us"),
    pa.duration("ms"),
]


@pytest.mark.parametrize("kind", TIMES, ids=str)
def test_dates_and_times(kind: Any) -> None:
    day = 86_400_000 if kind == pa.date64() else 1
    integers = pa.array([0, day, 2 * day, day], pa.int32() if kind.bit_width == 32 else pa.int64())
    found = words(integers.view(kind))
    assert len(set(found)) == 3
    assert found == words(integers)


def test_other_types() -> None:
    numbers = pa.array([decimal.Decimal("1.10"), decimal.Decimal("-1.10"), decimal.Decimal("1.10")])
    for array in (numbers, numbers[1:], numbers.cast(pa.decimal256(40, 2))):
        assert len(set(words(array))) == 2
    fixed = pa.array([b"abc", b"abd", b"abc"], pa.binary(3))
    assert words(fixed)[0] == words(fixed)[2] != words(fixed)[1]
    assert words(fixed[1:]) == words(fixed)[1:]
    assert len(set(words(pa.array([True, False, True])))) == 2
    assert words(pa.array([True, False, True])[1:]) == words(pa.array([False, True]))
    runs = pc.run_end_encode(pa.array([3, 3, 4]))
    assert words(runs) == words(pa.array([3, 3, 4]))
    with pytest.raises(TypeError, match="list"):
        hashes(pa.array([[1]]))
    with pytest.raises(TypeError, match="interval"):
        hashes(pa.array([(1, 2, 3)], pa.month_day_nano_interval()))
    assert hashes(pa.array([], pa.null())).first.size == 0


def test_these_hashes_never_change() -> None:
    """They go from rank to rank, of machines that may differ."""
    assert words(pa.array([0, 1, -1])) == INTEGERS
    assert words(pa.array(["", "a", "pyscale.data", "b" * 600])) == STRINGS
    pair = combined([hashes(pa.array([1])), hashes(pa.array(["a"]))])
    assert (pair.first.tolist(), pair.second.tolist() if pair.second is not None else None) == PAIR


INTEGERS = [(0,), (6238072747940578789,), (13029008266876403067,)]
STRINGS = [
    (16294208416658607535, 17459417773143303033),
    (15724650169172236990, 10518742759383411750),
    (3807838447187887624, 13916012562063509075),
    (4066651359470283614, 1048413650624909110),
]
PAIR = ([4965020202787841243], [6491619611722802678])


def test_bits_are_mixed() -> None:
    """Each bit of a hash changes half the time when one of the value does, and no two do together."""
    values = np.random.default_rng(0).integers(0, 2**63, 4000, dtype=np.int64)
    text = [int(value).to_bytes(8, "little") + b"tail" for value in values]
    for first, second in (hashes(pa.array(values)), hashes(pa.array(text))):
        for hashed in (first, second) if second is not None else (first,):
            bits = np.unpackbits(hashed.view(np.uint8).reshape(-1, 8), axis=1).astype(float)
            correlation = np.corrcoef(bits.T) - np.eye(64)
            assert abs(bits.mean(axis=0) - 0.5).max() < 0.04
            assert abs(correlation).max() < 0.08
    before = hashes(pa.array(values)).first
    for bit in range(63):
        changed = before ^ hashes(pa.array(values ^ np.int64(1 << bit))).first
        assert 31 < np.unpackbits(changed.view(np.uint8)).sum() / len(values) < 33


# -------------------------------------------------------------------------------------- uniqueness


@pytest.fixture(params=[8, 1 << 22])
def slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unique, "SLICE", request.param)


def repeated(batches: Sequence[Hashes]) -> list[bool]:
    seen = Seen()
    for batch in batches:
        seen.add(batch)
    return [bool(x) for mask in seen.repeated(None) for x in mask]


def cut(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))


@pytest.mark.usefixtures("slices")
@pytest.mark.parametrize("make", [int, str, lambda x: datetime.date.fromordinal(x + 1)])
@pytest.mark.parametrize("n", [0, 1, 2, 100, 3000])
def test_repeated_values_are_found(make: Callable[[int], Any], n: int) -> None:
    rng = np.random.default_rng(n)
    for different in (1, n // 2 + 1, 10 * n + 1):
        values = [make(int(x)) for x in rng.integers(0, different, n)]
        counts = Counter(values)
        found = repeated([hashes(pa.array(part)) for part in cut(values, 700)])
        assert found == [counts[value] > 1 for value in values]


@pytest.mark.usefixtures("slices")
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3))),
    st.integers(1, 7),
)
def test_equal_first_words_are_no_proof(pairs: list[tuple[int, int]], size: int) -> None:
    """Not even many of them; and the second alone are none either."""
    batches = [
        Hashes(np.array([a for a, _ in part], np.uint64), np.array([b for _, b in part], np.uint64))
        for part in cut(pairs, size)
    ]
    assert repeated(batches) == [pairs.count(pair) > 1 for pair in pairs]


def test_nothing_is_no_repeat() -> None:
    assert Seen().repeated(None) == []
