"""Values whose reduction is known in advance: small integers, exact in every dtype and order of summation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

_PERIOD = 65521  # prime, so that no block of a power of two looks like its neighbour
_LARGEST = 256  # up to here every integer is exact in bfloat16


def _pattern(rank: int, size: int, op: str, seed: int) -> NDArray[np.int64]:
    """One period of what `rank` contributes."""
    index = np.arange(_PERIOD)
    mixed = index * (2 * rank + 3) + seed
    if op == "sum":
        return mixed % max(2, _LARGEST // size + 1)
    if op == "mean":
        return mixed % max(2, _LARGEST // size**2 + 1) * size  # the sum is a multiple of the number of ranks
    if op == "prod":  # six ranks, others at each index, contribute a 1 or a 2
        return 1 + ((rank + index + seed) % size < 6) * (mixed // 2 % 2)
    return mixed % 120  # min, max


def _reduction(size: int, op: str, seed: int) -> NDArray[np.int64]:
    """One period of the answer."""
    patterns = [_pattern(rank, size, op, seed) for rank in range(size)]
    if op == "mean":
        total: NDArray[np.int64] = np.add.reduce(patterns) // size
        return total
    fold = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}[op]
    result: NDArray[np.int64] = fold.reduce(patterns)
    return result


class KnownValues:
    """What every rank gives and what all must get, for one dtype, operation and seed."""

    def __init__(self, rank: int, size: int, dtype: np.dtype[np.generic], op: str, seed: int) -> None:
        self._given = _pattern(rank, size, op, seed).astype(dtype)
        self._answer = _reduction(size, op, seed).astype(dtype)

    def fill(self, array: Array) -> None:
        """Write this rank's contribution."""
        array[...] = np.resize(self._given, array.size)

    def count_wrong(self, array: Array) -> int:
        """Elements that differ from the answer in any bit."""
        bits = np.dtype(f"u{array.itemsize}")
        answer = np.resize(self._answer, array.size)
        return int(np.count_nonzero(array.view(bits) != answer.view(bits)))


def clear(array: Array) -> None:
    """Overwrite with bytes that no answer has: NaN, or -1, or the largest."""
    array.view(np.uint8)[...] = 0xFF
