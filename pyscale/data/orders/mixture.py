"""Several data sets in fixed proportions, or one by its classes: every prefix has its share of each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pyscale import _core
from pyscale.data.arguments import Indices, integer, integers, without_mask
from pyscale.data.orders.digest import digest
from pyscale.data.orders.order import Order, Plan
from pyscale.data.orders.permutation import VERSION, Permutation

_UNIT = 1 << 30  # what weights that are fractions add up to


class MixtureOrder(Order):
    """The order of one epoch of a `Mixture`."""

    def __init__(self, sizes: Indices, weights: Indices, length: int, *, seed: int, epoch: int) -> None:
        self._sizes, self._offsets = sizes, np.concatenate([[0], np.cumsum(sizes)])
        self._seed, self._length = seed, length
        self._core = _core.Interleave(weights.tolist(), length, seed, epoch)
        self._passes: dict[int, dict[int, Permutation]] = {}  # of each data set, the last two

    def __len__(self) -> int:
        return self._length

    def counts(self, position: int) -> Indices:
        """Return how many samples of each data set stand before a position of this epoch.

        In time that grows with the number of data sets, not with `position`.
        """
        position = integer("MixtureOrder.counts: expected a position", position, 0, self._length)
        return self._core.counts(position) - self._core.counts(0)

    def _at(self, positions: Indices) -> Indices:
        parts, numbers = self._core.locate(positions)
        passes, numbers = np.divmod(numbers, self._sizes[parts])
        out = np.empty(positions.size, np.int64)
        keys = np.stack([parts, passes])
        by_part = np.lexsort((passes, parts))
        changes = (np.diff(keys[:, by_part], axis=1, prepend=-1) != 0).any(axis=0)
        bounds = [*np.flatnonzero(changes).tolist(), positions.size]
        for low, high in pairwise(bounds):
            chosen = by_part[low:high]
            part, number = int(parts[chosen[0]]), int(passes[chosen[0]])
            out[chosen] = self._offsets[part] + self._pass(part, number)[numbers[chosen]]
        return out.reshape(positions.shape)

    def _pass(self, part: int, number: int) -> Permutation:
        """Return the order of a data set in its pass of this number; the last ones are kept."""
        passes = self._passes.setdefault(part, {})
        if number not in passes:
            passes[number] = Permutation(
                int(self._sizes[part]), seed=self._seed, epoch=number, stream=1 + part
            )
            if len(passes) > 2:  # one that ends and one that begins
                del passes[min(passes.keys() - {number})]
        return passes[number]


class Mixture(Plan):
    """Several data sets, each with a fixed share of every stretch of the epoch.

    A sample is a number in the concatenation of the data sets; `locate` tells which it is of which.

    The share is kept within a few samples at any position, not on average: of the first ``t`` samples, how
    many are from each data set is known from ``t`` alone. Every data set is passed through, shuffled, before
    any of it comes again (within 256 positions of the end of a pass, the next may have begun); where an epoch
    ends within such a pass, the next epoch goes on with the rest. A data set of up to 65,536 samples takes 8
    bytes for each of them, a larger one nothing.

    Parameters
    ----------
    sizes : sequence of int
        The number of samples of each data set.
    weights : sequence of float or int, optional
        The share of each, to which their sum is the whole. By default, as the sizes are.
    length : int, optional
        The samples of an epoch. By default, as many as there are in all.
    """

    def __init__(
        self,
        sizes: Sequence[int] | Indices,
        weights: Sequence[float] | None = None,
        *,
        length: int | None = None,
    ) -> None:
        self.sizes = integers("Mixture: expected sizes", sizes).copy()  # which the caller may change
        if self.sizes.ndim != 1 or not len(self.sizes) or (self.sizes < 0).any():
            raise ValueError(f"Mixture: expected a list of sizes from 0, got {sizes!r}")
        integer("Mixture: expected sizes with a sum", sum(self.sizes.tolist()), 0, (1 << 61) - 1)
        self.weights = self.sizes if weights is None else _whole("Mixture", weights, len(self.sizes))
        empty = np.flatnonzero((self.weights > 0) & (self.sizes == 0))
        if empty.size:
            raise ValueError(f"Mixture: expected samples where there is a weight, got none in {empty[0]}")
        total = int(self.sizes.sum()) if length is None else length
        self._length = integer("Mixture: expected length", total, 0, 1 << 48)
        if self._length and not self.weights.any():
            raise ValueError("Mixture: expected a weight above 0, got none")
        self._offsets = np.concatenate([[0], np.cumsum(self.sizes)])
        self._parts = digest(self.sizes, self.weights)

    def __len__(self) -> int:
        return self._length

    @property
    def num_samples(self) -> int:
        """The samples of all data sets together."""
        return int(self._offsets[-1])

    def locate(self, indices: npt.ArrayLike) -> tuple[Indices, Indices]:
        """Return of samples which data set they are from, and which of its samples they are."""
        samples = integers("Mixture.locate: expected indices", indices)
        outside = samples[(samples < 0) | (samples >= self._offsets[-1])]
        if outside.size:
            raise IndexError(f"Mixture.locate: expected 0 to {self._offsets[-1] - 1}, got {outside.flat[0]}")
        parts = np.searchsorted(self._offsets, samples, "right") - 1
        return parts, samples - self._offsets[parts]

    def order(self, *, seed: int, epoch: int) -> MixtureOrder:
        """Return the order of an epoch."""
        integer("Mixture: expected epoch", epoch, 0, (1 << 61) // max(1, self._length) - 1)
        return MixtureOrder(self.sizes, self.weights, self._length, seed=seed, epoch=epoch)

    def describe(self) -> dict[str, Any]:
        """Return what tells this plan from others, in values that JSON has."""
        return {
            "kind": "mixture",
            "n": self._length,
            "parts": self._parts,
            "permutation": VERSION,
            "version": 1,
        }


class StratifiedOrder(Order):
    """The order of one epoch of a `Stratified`."""

    def __init__(self, order: MixtureOrder, members: Indices) -> None:
        self._order, self._members = order, members

    def __len__(self) -> int:
        return len(self._order)

    def _at(self, positions: Indices) -> Indices:
        return self._members[self._order._at(positions)]


class Stratified(Plan):
    """All samples of a data set once, each stretch of the epoch having its share of every class.

    Parameters
    ----------
    labels : array_like
        The class of each sample: integers, strings or anything else that NumPy can sort. Of shape (n,).

    Raises
    ------
    TypeError
        For labels of which one is neither less nor more than another: None beside text.
    ValueError
        For NaN and another number of dimensions.
    """

    def __init__(self, labels: npt.ArrayLike) -> None:
        array = without_mask("Stratified: expected labels", labels)
        if array.ndim != 1:
            raise ValueError(f"Stratified: expected one label a sample, got an array of shape {array.shape}")
        try:
            if array.dtype.kind in "fcmMO" and (differs := array != array).any():  # from itself: NaN, NaT
                raise ValueError(f"Stratified: expected labels, got NaN at {int(differs.argmax())}")
            self.classes, classes, sizes = np.unique(array, return_inverse=True, return_counts=True)
        except TypeError as error:
            raise TypeError(f"Stratified: expected labels that can be sorted, got {error}") from error
        self._members = np.argsort(classes, kind="stable").astype(np.int64, copy=False)
        self._parts = Mixture(sizes if len(sizes) else [0])
        self._digest = digest(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def order(self, *, seed: int, epoch: int) -> StratifiedOrder:
        """Return the order of an epoch."""
        return StratifiedOrder(self._parts.order(seed=seed, epoch=epoch), self._members)

    def describe(self) -> dict[str, Any]:
        """Return what tells this plan from others, in values that JSON has."""
        return {**self._parts.describe(), "kind": "stratified", "members": self._digest}


def _whole(what: str, weights: Sequence[float], count: int) -> Indices:
    """Return weights as whole numbers; those that are fractions are rounded to parts of 2^30."""
    array = without_mask(f"{what}: expected weights", weights)
    if array.shape != (count,):
        raise ValueError(f"{what}: expected {count} weights, got an array of shape {array.shape}")
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{what}: expected weights that are numbers, got {array.dtype}")
    bad = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
    if bad.size:
        raise ValueError(f"{what}: expected weights from 0, got {array[bad[0]]} at {bad[0]}")
    if array.dtype.kind in "iu" and sum(array.tolist()) < 1 << 61:
        return array.astype(np.int64)
    shares = array / max(array.max(initial=0), np.finfo(np.float64).tiny)  # whose sum is finite
    whole = np.rint(shares / max(shares.sum(), 1) * _UNIT).astype(np.int64)
    return np.where(array > 0, np.maximum(whole, 1), 0)
