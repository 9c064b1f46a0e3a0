"""A histogram of bounded size that depends on the values alone: not on their order, nor on who saw which.

Values are 64-bit keys; a bucket holds those that agree in all but the last `shift` bits, and is there once it
has a value. As long as no more than `limit` buckets are needed, `shift` is 0 and the counts are exact. Else
all buckets become twice as wide, the least number of times. That number follows from the set of keys, so that
any parts, merged in any order, give the whole.

For numbers, the keys are the bits of the float64s, which have the floats' order: buckets are then even within
a power of two, as in HdrHistogram (G. Tene), and collapse evenly, as in UDDSketch (I. Epicoco et al., IEEE
Access 8, 2020). For categories, they are hashes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pyscale.data.tables.arrow import arrow

Keys = npt.NDArray[np.int64]


@dataclass(eq=False)
class Sketch:
    """Counts of keys in buckets."""

    limit: int
    shift: int = 0
    buckets: Keys = field(default_factory=lambda: np.empty(0, np.int64))  # sorted; a key shifted
    counts: Keys = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def total(self) -> int:
        """The number of keys."""
        return int(self.counts.sum())

    def add(self, keys: Keys, counts: Keys | None = None) -> None:
        """Count keys, each once or as often as `counts` says."""
        buckets = keys >> self.shift
        if counts is None:  # by a table of hashes, since sorting them all takes longer
            found = arrow().compute.value_counts(arrow().array(buckets))
            buckets, counts = (found.field(i).to_numpy() for i in range(2))
        self._take_up(buckets, counts)

    def merge(self, other: Sketch) -> None:
        """Count what another sketch has counted."""
        shift = max(self.shift, other.shift)
        self.widen(shift)
        self._take_up(other.buckets >> (shift - other.shift), other.counts)

    def widen(self, shift: int) -> None:
        """Make buckets as wide as a shift says, or leave them if they are wider."""
        if shift > self.shift:
            self.buckets, self.counts = _summed(self.buckets >> (shift - self.shift), self.counts)
            self.shift = shift

    def copy(self) -> Sketch:
        """Return one that changes by itself."""
        return Sketch(self.limit, self.shift, self.buckets, self.counts)

    def _take_up(self, buckets: Keys, counts: Keys) -> None:
        both = np.concatenate([self.buckets, buckets])
        order = np.argsort(both, kind="stable")
        self.buckets, self.counts = _summed(
            both[order], np.concatenate([self.counts, counts.astype(np.int64)])[order]
        )
        while len(self.buckets) > self.limit:
            self.widen(self.shift + 1)


def _summed(buckets: Keys, counts: Keys) -> tuple[Keys, Keys]:
    """Join equal neighbours."""
    if not buckets.size:
        return buckets, counts
    firsts = np.flatnonzero(np.append(True, buckets[1:] != buckets[:-1]))
    return buckets[firsts], np.add.reduceat(counts, firsts)


def keys_of_floats(values: npt.NDArray[np.float64]) -> Keys:
    """Return integers in the order of the floats; ``-0.0`` is ``0.0``."""
    bits = (values + 0.0).view(np.int64)
    return bits ^ ((bits >> 63) & np.int64(0x7FFF_FFFF_FFFF_FFFF))


def floats_of_keys(keys: Keys) -> npt.NDArray[np.float64]:
    """Return the floats that have these keys."""
    return (keys ^ ((keys >> 63) & np.int64(0x7FFF_FFFF_FFFF_FFFF))).view(np.float64)


def aligned(one: Sketch, other: Sketch) -> tuple[Keys, Keys, Keys]:
    """Return the buckets that either sketch has, and the counts of both in them."""
    shift = max(one.shift, other.shift)
    one, other = one.copy(), other.copy()
    one.widen(shift)
    other.widen(shift)
    buckets = np.union1d(one.buckets, other.buckets)
    counts = np.zeros((2, len(buckets)), np.int64)
    for row, sketch in enumerate((one, other)):
        counts[row, np.searchsorted(buckets, sketch.buckets)] = sketch.counts
    return buckets, counts[0], counts[1]
