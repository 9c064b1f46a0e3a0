"""Hashes of the values of a column: 64 or 128 bits of integer arithmetic, the same on every machine."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pyscale.data.schema.types import Array, Type, logical, plain
from pyscale.data.tables.arrow import arrow

Words = npt.NDArray[np.uint64]

_LONG = 512  # bytes from which on a value is hashed by itself: the loop over words would serve few values

# Two lanes of 64 bits that have nothing in common: the constants of splitmix64's and of MurmurHash3's
# finalizers (G. Steele, D. Lea and C. Flood, OOPSLA 2014; A. Appleby, 2011).
_FIRST = (30, 0xBF58476D1CE4E5B9, 27, 0x94D049BB133111EB, 31)
_SECOND = (33, 0xFF51AFD7ED558CCD, 33, 0xC4CEB9FE1A85EC53, 33)
_SEEDS = (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03)


class Hashes(NamedTuple):
    """A hash a value. Without a second word, equal first words mean equal values of one `family_of` types."""

    first: Words
    second: Words | None


def hashes(array: Array) -> Hashes:
    """Return the hash of each value of an array without nulls.

    Values of up to 64 bits have one word, which is a permutation of theirs: so different values never have
    the same. All others have two. Equal values of one `family_of` types have equal hashes; ``-0.0`` equals
    ``0.0``, and every NaN every other.

    Raises
    ------
    TypeError
        For lists, structs and maps.
    """
    pa = arrow()
    if not len(array):
        return Hashes(np.empty(0, np.uint64), None)
    if pa.types.is_dictionary(array.type):
        values = hashes(array.dictionary)
        codes = array.indices.to_numpy()
        return Hashes(values.first[codes], None if values.second is None else values.second[codes])
    array = plain(array)
    if pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type):
        return _of_bytes(*_bytes_of(array, np.int64))
    if pa.types.is_string(array.type) or pa.types.is_binary(array.type):
        return _of_bytes(*_bytes_of(array, np.int32))
    if pa.types.is_decimal(array.type) or pa.types.is_fixed_size_binary(array.type):
        width = array.type.byte_width
        starts = (np.arange(len(array)) + array.offset) * width
        return _of_bytes(_buffer(array.buffers()[1]), starts, np.full(len(array), width))
    if pa.types.is_nested(array.type):
        raise TypeError(f"expected values that can be compared, got {array.type}")
    return Hashes(_mixed(_canonical(array), _FIRST), None)


def family_of(kind: Type) -> str:
    """Return what types have in common whose hashes can be compared.

    That is the type itself, but for integers (those of 64 bits without a sign apart), for floats, and for
    decimals of any precision.
    """
    types, kind = arrow().types, logical(kind)
    if types.is_integer(kind) and not types.is_uint64(kind):
        return "integers"
    if types.is_floating(kind):
        return "floats"
    if types.is_decimal(kind):
        return f"decimals of {kind.bit_width} bits and scale {kind.scale}"
    return str(kind)


def combined(columns: list[Hashes]) -> Hashes:
    """Return the hash of each row of several columns."""
    first = np.full(len(columns[0].first), _SEEDS[0], np.uint64)
    second = np.full(len(columns[0].first), _SEEDS[1], np.uint64)
    for column in columns:
        first = _mixed(first ^ column.first, _FIRST)
        second = _mixed(second ^ (column.first if column.second is None else column.second), _SECOND)
    return Hashes(first, second)


def _mixed(x: Words, constants: tuple[int, int, int, int, int]) -> Words:
    """Return a permutation of 64-bit words in which every bit depends on every other."""
    shifts = [np.uint64(constants[i]) for i in (0, 2, 4)]
    factors = [np.uint64(constants[i]) for i in (1, 3)]
    x = (x ^ (x >> shifts[0])) * factors[0]
    x = (x ^ (x >> shifts[1])) * factors[1]
    return x ^ (x >> shifts[2])


def _canonical(array: Array) -> Words:
    """Return 64 bits for each number: equal ones for equal numbers."""
    pa = arrow()
    values: npt.NDArray[Any]
    if pa.types.is_floating(array.type):
        values = array.cast(pa.float64()).to_numpy() + 0.0  # -0.0 becomes 0.0
        values[np.isnan(values)] = np.nan
        return values.view(np.uint64)
    if pa.types.is_boolean(array.type):
        values = np.asarray(array)
    elif pa.types.is_integer(array.type):
        values = array.to_numpy()
    elif array.type.bit_width in (32, 64):  # dates, times and durations
        values = array.view(pa.int32() if array.type.bit_width == 32 else pa.int64()).to_numpy()
    else:
        raise TypeError(f"expected values that can be compared, got {array.type}")
    return values.astype(np.int64 if values.dtype.kind == "i" else np.uint64).view(np.uint64)


def _bytes_of(
    array: Array, offset: type[np.int32] | type[np.int64]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the data of strings, and where each begins and how long it is."""
    _, offsets, data = array.buffers()
    borders = np.frombuffer(offsets, offset)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    return _buffer(data), borders[:-1], np.diff(borders)


def _buffer(buffer: Array | None) -> npt.NDArray[np.uint8]:
    return np.frombuffer(buffer, np.uint8) if buffer is not None and buffer.size else np.empty(0, np.uint8)


def _of_bytes(
    data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> Hashes:
    # Lengths are mixed before the first word comes in: else b"a" and b"b\0" could make up for each other.
    first = _mixed(lengths.astype(np.uint64) ^ np.uint64(_SEEDS[0]), _FIRST)
    second = _mixed(lengths.astype(np.uint64) ^ np.uint64(_SEEDS[1]), _SECOND)
    short = lengths < _LONG
    _fold_words(data, starts, np.where(short, lengths, 0), first, second)
    for row in np.flatnonzero(~short):
        value = data[starts[row] : starts[row] + lengths[row]]
        digest = hashlib.blake2b(value, digest_size=16).digest()
        first[row], second[row] = np.frombuffer(digest, "<u8")
    return Hashes(first, second)


def _fold_words(
    data: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    first: Words,
    second: Words,
) -> None:
    """Fold the j-th eight bytes of all values at once into their hashes, for one j after the other."""
    counts = -(-lengths // 8)
    if not counts.size or not counts.max():
        return
    lowest, end = int(starts.min()), int((starts + lengths).max())
    padded = np.concatenate([data[lowest:end], np.zeros(8, np.uint8)])
    eight = np.ndarray((end - lowest + 1,), "<u8", buffer=padded, strides=(1,))  # those from any byte on
    longest_first = np.argsort(-counts, kind="stable")
    starts, left = starts[longest_first] - lowest, lengths[longest_first].copy()
    one, two = first[longest_first], second[longest_first]
    having_more_than = len(counts) - np.cumsum(np.bincount(counts))
    for j in range(int(counts.max())):
        some = slice(0, int(having_more_than[j]))
        words = eight[starts[some] + 8 * j].astype(np.uint64, copy=False)
        unused = (8 * (8 - np.minimum(left[some], 8))).astype(np.uint64)
        words = (words << unused) >> unused
        one[some] = _mixed(one[some] ^ words, _FIRST)
        two[some] = _mixed(two[some] ^ words, _SECOND)
        left[some] -= 8
    first[longest_first], second[longest_first] = one, two
