"""What was seen of an epoch: passes where every sample came once, says where it did not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyscale as ps
from pyscale import _core
from pyscale.data import EpochError, Permutation, Seen, verify_epoch

U64 = npt.NDArray[np.uint64]


def hashes(indices: npt.ArrayLike) -> tuple[U64, U64]:
    """Return both hashes of each index: SplitMix64's and MurmurHash3's finalizers."""
    x = np.asarray(indices, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = []
    for shifts, factors in (
        ((30, 27, 31), (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)),
        ((33, 33, 33), (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)),
    ):
        h = x
        for shift, factor in zip(shifts, (*factors, 1), strict=True):
            h = (h ^ h >> np.uint64(shift)) * np.uint64(factor)
        mixed.append(h)
    return mixed[0], mixed[1]


def table(seen: Seen) -> U64:
    import base64

    return np.frombuffer(base64.b64decode(seen.state_dict()["table"]), "<u8").reshape(256, 3)


def seen_of(n: int, *indices: npt.ArrayLike) -> Seen:
    seen = Seen(n)
    for part in indices:
        seen.add(part)
    return seen


@pytest.mark.parametrize("isa", _core.available_isas())
def test_the_table_is_the_references(isa: str) -> None:
    before = _core.isa()
    _core.set_isa(isa)
    try:
        for n in (5, 1000, 10**9, (1 << 63) - 1):
            indices = np.random.default_rng(n).integers(0, n, 1000)
            first, second = hashes(indices)
            ranges = indices // next(1 << shift for shift in range(64) if n <= 256 << shift)
            expected = np.zeros((256, 3), np.uint64)
            for column, values in enumerate((np.ones(1000, np.uint64), first, second)):
                np.add.at(expected[:, column], ranges, values)
            assert (table(seen_of(n, indices)) == expected).all()
    finally:
        _core.set_isa(before)


@given(st.integers(0, 3000), st.integers(1, 5), st.integers(0, 1000))
def test_every_sample_once_passes_in_any_order_and_any_parts(n: int, parts: int, seed: int) -> None:
    order = Permutation(n, seed=seed)
    whole = Seen(n)
    for part in range(parts):
        whole.merge(seen_of(n, order[part::parts]))
    assert whole.count == n
    verify_epoch(None, whole)
    verify_epoch(None, order[:], n)
    verify_epoch(None, whole, n, num_threads=3)


@given(st.integers(1, 3000), st.data())
def test_a_wrong_sample_is_named(n: int, data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, n - 1))
    again = data.draw(st.integers(0, n - 1))
    indices = np.arange(n)
    with pytest.raises(EpochError, match=f"{lost} is missing") as caught:
        verify_epoch(None, np.delete(indices, lost), n)
    assert (caught.value.expected, caught.value.got) == (n, n - 1)
    assert [wrong.sample for wrong in caught.value.ranges] == [lost]
    with pytest.raises(EpochError, match=f"{again} came once too often"):
        verify_epoch(None, np.append(indices, again), n)
    if again != lost:
        indices[lost] = again
        with pytest.raises(EpochError) as caught:
            verify_epoch(None, indices, n)
        assert caught.value.got == n
        for sample in (lost, again):
            assert any(wrong.start <= sample < wrong.stop for wrong in caught.value.ranges)


@given(st.lists(st.integers(0, 40), max_size=60))
def test_only_what_is_exactly_once_passes(indices: list[int]) -> None:
    is_right = sorted(indices) == list(range(41))
    try:
        verify_epoch(None, indices, 41)
    except EpochError as error:
        assert not is_right
        counts = np.bincount(np.array(indices, np.int64), minlength=41)
        covered = {i for wrong in error.ranges for i in range(wrong.start, wrong.stop)}
        assert covered == set(np.flatnonzero(counts != 1).tolist())
    else:
        assert is_right


def test_what_errors_say() -> None:
    def message(indices: Any, n: int) -> str:
        with pytest.raises(EpochError) as caught:
            verify_epoch(None, indices, n)
        return str(caught.value)

    ordered = np.arange(100_000)
    text = message(np.concatenate([ordered[:70_000], [7, 9]]), 100_000)
    assert text.splitlines() == [
        "verify_epoch: expected each of 100000 samples once, got 70002 samples",
        "  samples 0 to 511: expected 512, got 514: 2 too many",
        "  samples 69632 to 70143: expected 512, got 368: 144 too few",
        "  samples 70144 to 99999: expected 29856, got 0: 29856 too few",
    ]
    swapped = np.where(ordered == 600, 700, ordered)
    assert "samples 512 to 1023: expected 512, got 512: some are missing and others" in message(
        swapped, 100_000
    )
    assert "and 188 more ranges" in message(ordered[::2], 100_000)
    assert "got 0 samples\n  samples 0 to 4: expected 5" in message([], 5)
    assert isinstance(EpochError("text"), ps.PyscaleError)


def test_pairs_of_one_sum_are_told_apart_by_every_part_of_a_hash() -> None:
    """16 bits from anywhere in the sums must differ as those of random numbers do."""
    i = np.arange(0, 400_000, 4)
    for h in (hashes(range(400_004))[0], hashes(range(400_004))[1]):
        difference = h[i] + h[i + 3] - h[i + 1] - h[i + 2]
        assert (difference != 0).all()
        for shift in range(0, 64, 16):
            part = (difference >> np.uint64(shift)) & np.uint64(0xFFFF)
            counts = np.bincount(part.astype(np.int64), minlength=1 << 16)
            chi_square = ((counts - len(i) / (1 << 16)) ** 2).sum() / (len(i) / (1 << 16))
            assert abs(chi_square - (1 << 16)) < 5 * (2 * (1 << 16)) ** 0.5


def test_any_integers_are_taken() -> None:
    expected = table(seen_of(200, np.arange(100)))
    for dtype in ("u1", "i2", ">i4", "u4", "i8", "u8", ">u8"):
        assert (table(seen_of(200, np.arange(100).astype(dtype))) == expected).all()
    assert (table(seen_of(200, np.repeat(np.arange(100), 2)[::2].reshape(4, 25))) == expected).all()
    assert (table(seen_of(200, [], list(range(99)), 99)) == expected).all()


@pytest.mark.parametrize("bad", [-1, 1000, 1 << 40, -(1 << 63)])
@pytest.mark.parametrize("place", [0, 63, 5000])
def test_an_index_outside_changes_nothing(bad: int, place: int) -> None:
    seen = seen_of(1000, [1, 2])
    before = table(seen)
    indices = np.zeros(5001, np.int64)
    indices[place] = bad
    with pytest.raises(IndexError, match=f"of 1000 samples, got {bad}"):
        seen.add(indices)
    assert (table(seen) == before).all()


def test_an_index_beyond_63_bits() -> None:
    with pytest.raises(IndexError, match=str((1 << 64) - 1)):
        Seen((1 << 63) - 1).add(np.array([0, (1 << 64) - 1], np.uint64))


def test_threads_may_add_to_one() -> None:
    n = 1 << 20
    seen, order = Seen(n), Permutation(n)
    threads = [threading.Thread(target=seen.add, args=(order[part::8],)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verify_epoch(None, seen)


def test_a_state_goes_on() -> None:
    seen = seen_of(10**12, [0, 5, 10**12 - 1])
    state = json.loads(json.dumps(seen.state_dict()))
    assert len(json.dumps(state)) < 9000
    other = seen_of(10**12, [1])
    other.load_state_dict(state)
    assert (table(other) == table(seen)).all()
    other.add([7])
    assert other.count == 4
    assert seen.count == 3


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"n": 11}, {"table": "AAAA"}, {"table": "?"}, {"table": 3}, {"version": None}]
)
def test_a_state_that_is_none_of_ours_is_refused(change: dict[str, Any]) -> None:
    seen = seen_of(10, [3])
    with pytest.raises(ValueError, match="expected"):
        seen.load_state_dict({**seen.state_dict(), **change})
    nothing: Any
    for nothing in ({}, None, [1]):
        with pytest.raises(ValueError, match="expected"):
            seen.load_state_dict(nothing)
    assert seen.count == 1


BAD: list[tuple[Callable[[], object], type[Exception]]] = [
    (lambda: Seen(-1), ValueError),
    (lambda: Seen(1 << 63), ValueError),
    (lambda: Seen(1.5), TypeError),  # type: ignore[arg-type]
    (lambda: Seen(5).add([1.0]), TypeError),
    (lambda: Seen(5).add([True]), TypeError),
    (lambda: Seen(5).add(["a"]), TypeError),
    (lambda: Seen(0).add([0]), IndexError),
    (lambda: Seen(5).merge(Seen(6)), ValueError),
    (lambda: Seen(5).merge([1]), TypeError),  # type: ignore[arg-type]
    (lambda: verify_epoch(None, [1]), TypeError),
    (lambda: verify_epoch(None, [1], 1), IndexError),
    (lambda: verify_epoch(None, Seen(5), 6), ValueError),
    (lambda: verify_epoch(None, Seen(0), num_threads=0), ValueError),
]


@pytest.mark.parametrize(("call", "kind"), BAD)
def test_bad_arguments(call: Callable[[], object], kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"expected|integer"):
        call()


def test_representation() -> None:
    assert repr(seen_of(10, [1, 2])) == "<Seen: 2 of 10>"
    assert seen_of(10, []).n == 10
    verify_epoch(None, Seen(0))
