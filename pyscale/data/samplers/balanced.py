"""Batches that take all ranks about as long, where samples have lengths."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import numpy as np
import numpy.typing as npt

from pyscale.comm import Communicator
from pyscale.comm.together import agree, together
from pyscale.data.arguments import Indices, without_mask
from pyscale.data.orders.digest import digest
from pyscale.data.orders.order import Order, Plan
from pyscale.data.samplers.balance import balance
from pyscale.data.samplers.base import Remainder, Shuffle
from pyscale.data.samplers.batches import ShardedBatchSampler


class BalancedBatchSampler(ShardedBatchSampler):
    """One rank's batches of each epoch, dealt so that all ranks have about as much to do at every step.

    A global batch has the same samples as that of a `ShardedBatchSampler`: the order of the epoch does not
    depend on lengths. Which rank has which of them, `balance` says; each has equally many.

    Parameters
    ----------
    data : sized, int or plan
        As of `ShardedSampler`.
    batch_size : int
        Of a rank.
    lengths : array
        Of each sample of the data set, of shape (n,); finite and not negative. Tokens, say.
    linear, quadratic : float
        A sample of length L costs ``linear * L + quadratic * L**2``.
    **options
        As of `ShardedBatchSampler`.
    """

    def __init__(
        self,
        data: Sized | int | Plan,
        batch_size: int,
        lengths: npt.ArrayLike,
        *,
        linear: float = 1.0,
        quadratic: float = 0.0,
        num_replicas: int | None = None,
        rank: int | None = None,
        comm: Communicator | None = None,
        shuffle: Shuffle = True,
        seed: int | None = None,
        drop_last: bool = False,
        remainder: Remainder = "exact",
        block_size: int | None = None,
        window: int | None = None,
    ) -> None:
        super().__init__(
            data,
            batch_size,
            num_replicas=num_replicas,
            rank=rank,
            comm=comm,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
            remainder=remainder,
            block_size=block_size,
            window=window,
        )
        with together(comm, "BalancedBatchSampler"):
            self._lengths = _lengths(lengths, self.plan.num_samples)
            self._linear, self._quadratic = float(linear), float(quadratic)
            # What is no cost is refused at once, by the longest that may come together.
            longest = np.full(1, self._lengths.max(initial=0))
            balance(longest, 1, linear=linear, quadratic=quadratic)
        if comm is not None:
            same = {"linear": self._linear, "quadratic": self._quadratic, "lengths": digest(self._lengths)}
            agree(comm, "BalancedBatchSampler", **same)

    def _batch(self, order: Order, begin: int, end: int) -> Indices:
        samples = self._samples(order, begin, end, 0, end - begin)
        parts = balance(
            self._lengths[samples], self.num_replicas, linear=self._linear, quadratic=self._quadratic
        )
        return samples[parts[self.rank]]


def _lengths(lengths: npt.ArrayLike, samples: int) -> npt.NDArray[Any]:
    array = without_mask("BalancedBatchSampler: expected lengths", lengths)
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise TypeError(
            f"BalancedBatchSampler: expected one number a sample, got {array.dtype} of shape {array.shape}"
        )
    if len(array) != samples:
        raise ValueError(f"BalancedBatchSampler: expected lengths of {samples} samples, got {len(array)}")
    bad = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
    if bad.size:
        raise ValueError(f"BalancedBatchSampler: expected lengths from 0, got {array[bad[0]]} at {bad[0]}")
    return array
