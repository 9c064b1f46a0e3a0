"""The order of an epoch: a permutation, the same as the reference's, found from either side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from permutation_reference import LARGEST_NARROW, LARGEST_TABLE, VERSION, Reference

from pyscale import _core
from pyscale.data import Permutation
from pyscale.data.orders.permutation import VERSION as OURS

# At the borders of the table, of 32-bit lanes, and where mixed radices are most and least square.
SIZES = [
    LARGEST_TABLE + 1,
    LARGEST_TABLE + 2,
    257 * 257,
    257 * 257 + 1,
    1_000_003,
    (1 << 20) + 1,
    10**9,
    LARGEST_NARROW,
    LARGEST_NARROW + 1,
    1 << 32,
    10**12,
    (1 << 40) + 1,
    (1 << 63) - 1,
]


def is_permutation(p: Permutation) -> bool:
    return bool((np.bincount(p.indices(0, len(p)), minlength=len(p)) == 1).all()) if len(p) else True


def test_version() -> None:
    assert OURS == VERSION


def test_every_small_size_is_a_permutation() -> None:
    for n in range(4096):
        p = Permutation(n, seed=n)
        assert is_permutation(p), n


@pytest.mark.parametrize("bits", range(13, 23))
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_sizes_about_a_power_of_two_are_permutations(bits: int, more: int) -> None:
    for epoch in range(3):
        assert is_permutation(Permutation((1 << bits) + more, seed=bits, epoch=epoch))


@pytest.mark.parametrize("n", [65_537, 65_539, 257**2, 1009 * 1013, 1_299_709, 2_750_159])
def test_primes_and_near_squares_are_permutations(n: int) -> None:
    assert is_permutation(Permutation(n, seed=5))


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("n", [1, 2, 3, 100, 65_536, *SIZES])
def test_the_order_is_the_references(n: int, isa: str) -> None:
    before = _core.isa()
    _core.set_isa(isa)
    try:
        for seed, epoch, stream in ((0, 0, 0), (7, 3, 1), ((1 << 64) - 1, 1 << 40, 9)):
            p, reference = (
                Permutation(n, seed=seed, epoch=epoch, stream=stream),
                Reference(n, seed, epoch, stream),
            )
            for start in {0, n // 3, max(0, n - 1500)}:
                positions = range(start, min(n, start + 1500))
                expected = reference(np.arange(positions.start, positions.stop, dtype=np.uint64))
                got = p.indices(positions.start, positions.stop)
                assert got.dtype == np.int64
                assert (got == expected).all()
                assert (p[positions.start : positions.stop : 7] == expected[::7]).all()
                assert p.inverse(got).tolist() == list(positions)
    finally:
        _core.set_isa(before)


def test_this_order_never_changes() -> None:
    assert Permutation(10).indices(0, 10).tolist() == FIRST_TABLE
    assert Permutation(10**6, seed=1, epoch=2).indices(0, 8).tolist() == FIRST_NARROW
    assert Permutation(10**12, seed=1, epoch=2).indices(10**11, 10**11 + 4).tolist() == FIRST_WIDE


FIRST_TABLE = [9, 2, 8, 4, 5, 7, 0, 3, 1, 6]
FIRST_NARROW = [743105, 419273, 753038, 300840, 533017, 906655, 396934, 130156]
FIRST_WIDE = [288026945421, 132786748600, 368917254640, 986341448605]


@given(st.integers(1, 10**13), st.integers(0, 2**64 - 1), st.data())
def test_both_ways(n: int, seed: int, data: st.DataObject) -> None:
    p = Permutation(n, seed=seed)
    i = data.draw(st.integers(0, n - 1))
    assert 0 <= p[i] < n
    assert p.inverse(p[i]) == i
    assert p[p.inverse(i)] == i
    assert p[i - n] == p[i]


@given(st.integers(0, 300_000), st.data())
def test_any_range_is_part_of_the_whole(n: int, data: st.DataObject) -> None:
    p = Permutation(n, seed=4)
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, min(n, start + 3000)))
    assert (p.indices(start, stop) == p[np.arange(start, stop)]).all()


@given(st.sampled_from([0, 1, 50, 65_536, 70_001]), st.data())
def test_any_slice_is_that_of_the_whole(n: int, data: st.DataObject) -> None:
    part = data.draw(st.slices(n))
    p = Permutation(n, seed=8)
    got = p[part]
    assert got.flags.c_contiguous
    assert got.dtype == np.int64
    assert (got == p[:][part]).all()
    assert (got == p[np.arange(n)[part]]).all()


@pytest.mark.parametrize("n", [60_000, 100_003, 10**10])
@pytest.mark.parametrize("step", [1, 2, 7, 64, 331, 1000, 49_999])
def test_ranks_shares_are_of_the_order(n: int, step: int) -> None:
    reference = Reference(n, 2, 0, 0)
    p = Permutation(n, seed=2)
    for start in (0, step - 1):
        positions = np.arange(start, min(n, start + 3000 * step), step)
        share = p.indices(start, int(positions[-1]) + 1, step)
        assert (share == reference(positions)).all()
        assert (p[start : positions[-1] + 1 : step] == share).all()
        assert (p[positions[-1] : None if start == 0 else start - 1 : -step] == share[::-1]).all()
    assert p.indices(3, 4, 1 << 80).tolist() == [p[3]] == p[3 : 4 : 1 << 80].tolist()


def test_it_is_a_sequence() -> None:
    p = Permutation(20_000, seed=3)
    assert len(p) == 20_000
    assert list(p) == p.indices(0, 20_000).tolist() == p[:].tolist()
    assert p[::-1].tolist() == list(p)[::-1]
    assert p[[]].tolist() == []
    assert p[np.array([[1, -1], [5, 0]])].shape == (2, 2)
    assert list(Permutation(0)) == []
    assert repr(Permutation(3, seed=1)) == "Permutation(3, seed=1, epoch=0, stream=0)"


def test_seed_epoch_and_stream_are_mixed_and_not_added() -> None:
    orders = {
        tuple(Permutation(50, seed=seed, epoch=epoch, stream=stream))
        for seed in range(8)
        for epoch in range(8)
        for stream in range(8)
    }
    assert len(orders) == 512


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"n": -1}, ValueError),
        ({"n": 1 << 63}, ValueError),
        ({"n": 2.0}, TypeError),
        ({"n": 5, "seed": -1}, ValueError),
        ({"n": 5, "seed": 1 << 64}, ValueError),
        ({"n": 5, "epoch": 0.5}, TypeError),
        ({"n": 5, "stream": "a"}, TypeError),
    ],
)
def test_bad_arguments(arguments: dict[str, object], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        Permutation(**arguments)  # type: ignore[arg-type]


def test_positions_outside_are_refused() -> None:
    for n in (5, 100_000, 10**10):
        p = Permutation(n)
        for index in (n, -n - 1, [0, n], np.array([-n - 1])):
            with pytest.raises(IndexError, match=str(n)):
                p[index]
        for value in (n, -1, [0, n]):
            with pytest.raises(IndexError):
                p.inverse(value)
        for start, stop in ((-1, 2), (3, 2), (0, n + 1)):
            with pytest.raises(IndexError):
                p.indices(start, stop)
        for step in (0, -1):
            with pytest.raises(ValueError, match=f"step of at least 1, got {step}"):
                p.indices(0, 2, step)
        with pytest.raises(TypeError):
            p[0.5]
        with pytest.raises(TypeError):
            p[np.array([0.5])]
