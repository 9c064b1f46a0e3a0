"""Arrays with a mask are refused wherever numbers say which samples: what is masked is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pyscale.data import (
    BalancedBatchSampler,
    Loader,
    Mixture,
    Permutation,
    Seen,
    Sequential,
    Stratified,
    Weighted,
    Window,
    balance,
    exchange,
    gather_rows,
    scatter_rows,
)

ROWS = np.arange(2)

CALLS: dict[str, Callable[[Any], object]] = {
    "positions": lambda x: Permutation(2)[x],
    "samples": lambda x: Sequential(2).inverse(x),
    "sizes of blocks": lambda x: Window(x, window=1),
    "sizes": Mixture,
    "shares": lambda x: Mixture([1, 1], x),
    "labels": Stratified,
    "weights": Weighted,
    "lengths": lambda x: balance(x, 2),
    "lengths of samples": lambda x: BalancedBatchSampler(2, 1, x, num_replicas=1, rank=0),
    "seen": Seen(2).add,
    "destinations": lambda x: exchange(ROWS, x),
    "gathered": lambda x: gather_rows(ROWS, x),
    "scattered": lambda x: scatter_rows(ROWS, x, ROWS.copy()),
    "loaded": lambda x: list(Loader(ROWS, [x])),
}


@pytest.mark.parametrize("what", CALLS)
def test_masks_are_refused(what: str) -> None:
    numbers = np.array([0, 0] if what == "destinations" else [1, 0])
    CALLS[what](numbers)
    with pytest.raises(TypeError, match="without a mask"):
        CALLS[what](np.ma.masked_array(numbers, [True, False]))
