"""The order of an epoch in NumPy and Python integers: what the C++ must give, to the last index."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

VERSION, ROUNDS = 1, 8
LARGEST_TABLE, LARGEST_NARROW = 1 << 16, (1 << 32) - 1
GOLDEN, MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1

U64 = npt.NDArray[np.uint64]


def mix(x: int) -> int:
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


class Reference:
    """`rounds` is for negative controls alone."""

    def __init__(self, n: int, seed: int = 0, epoch: int = 0, stream: int = 0, rounds: int = ROUNDS) -> None:
        self.n = n
        self._state = VERSION
        for part in (seed, epoch, stream, n):
            self._state = mix(self._state * GOLDEN + mix(part + GOLDEN & MASK) & MASK)
        self.table: list[int] = []
        if n <= LARGEST_TABLE:
            self.table = list(range(n))
            for i in range(n, 1, -1):
                j = self._below(i)
                self.table[i - 1], self.table[j] = self.table[j], self.table[i - 1]
            return
        self.a = math.isqrt(n - 1) + 1
        self.b = -(-n // self.a)
        self.keys = []
        for _ in range(rounds):
            addend, more = self._next(), self._next()
            self.keys.append((addend, more & 0xFFFFFFFF | 1, more >> 32 | 1))

    def _next(self) -> int:
        self._state = self._state + GOLDEN & MASK
        return mix(self._state)

    def _below(self, bound: int) -> int:
        while True:
            product = self._next() * bound
            if product & MASK >= (1 << 64) % bound:
                return product >> 64

    def __call__(self, positions: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return what stands at each of the positions."""
        x = np.array(positions, np.uint64)
        if self.n <= LARGEST_TABLE:
            return np.array(self.table, np.int64)[x.astype(np.int64)]
        x = self._through(x)
        while (outside := x >= self.n).any():
            x[outside] = self._through(x[outside])
        return x.astype(np.int64)

    def _through(self, x: U64) -> U64:
        a, b = np.uint64(self.a), np.uint64(self.b)
        left, right = x // b, x % b
        for i, key in enumerate(self.keys):
            if i % 2 == 0:
                left = (left + self._hash(right, key, a)) % a
            else:
                right = (right + self._hash(left, key, b)) % b
        return left * b + right

    def _hash(self, x: U64, key: tuple[int, int, int], modulus: np.uint64) -> U64:
        addend, multiplier, flip = (np.uint64(part) for part in key)
        low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
        if self.n <= LARGEST_NARROW:
            h = x * multiplier + addend & low
            h = (h ^ h >> np.uint64(15)) * np.uint64(0x2C1B3C6D) & low
            h = (h ^ h >> np.uint64(12)) * flip & low
            return (h >> np.uint64(16)) * modulus >> np.uint64(16)
        h = (x ^ flip) * multiplier + addend
        h = (h ^ h >> half) & low
        h = h * np.uint64(0x9E3779B1)
        return ((h ^ h >> half) & low) * modulus >> half
