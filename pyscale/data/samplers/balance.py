"""Who gets which sample, so that all ranks have about as much to do."""

from __future__ import annotations

import operator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pyscale import _core
from pyscale.data.arguments import without_mask

Indices = npt.NDArray[np.int64]


def balance(
    lengths: npt.ArrayLike,
    num_ranks: int,
    *,
    linear: float = 1.0,
    quadratic: float = 0.0,
    equal_counts: bool = True,
) -> list[Indices]:
    """Split samples over ranks so that the largest sum of their costs is small.

    A sample of length L costs ``linear * L + quadratic * L**2``. In a transformer of width h, the second is
    about ``1 / (6 * h)`` of the first [1]_.

    Where there are many samples a rank, the sums come out the same to about a thousandth of a percent, unless
    a single sample costs more than a rank's share: it is then joined by the cheapest others. Of up to 12
    samples, the largest sum is the least possible. The split follows from the arguments alone, on any
    machine.

    Parameters
    ----------
    lengths : array
        Of integers or floats, of shape ``(n,)``; finite and not negative. Tokens, say.
    num_ranks : int
        At least 1.
    linear, quadratic : float
        Finite and not negative.
    equal_counts : bool
        Whether ranks get equally many samples: one more or less where `num_ranks` does not divide n. The
        largest sum is then at most the mean plus the largest cost; otherwise 4/3 of the least possible [2]_.

    Returns
    -------
    list of numpy.ndarray
        The samples of each rank, ascending, of int64: every index from 0 to ``n - 1`` once. Empty for some
        ranks where n is below `num_ranks`.

    Raises
    ------
    TypeError, ValueError
        For arguments that are not as said here, and for costs that overflow.

    References
    ----------
    .. [1] D. Narayanan et al., "Efficient large-scale language model training on GPU clusters using
       Megatron-LM", SC 2021, appendix.
    .. [2] R. L. Graham, "Bounds on multiprocessing timing anomalies", SIAM J. Appl. Math. 17, 1969.

    Examples
    --------
    >>> [part.tolist() for part in balance([5, 3, 9, 1], 2)]
    [[2, 3], [0, 1]]
    """
    ranks = operator.index(num_ranks)
    if ranks < 1:
        raise ValueError(f"balance: expected num_ranks of at least 1, got {ranks}")
    array = without_mask("balance: expected lengths", lengths)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"balance: expected lengths of integers or floats, got {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"balance: expected lengths of one dimension, got shape {array.shape}")
    order, offsets = _core.balance(
        array.astype(np.float64), ranks, float(linear), float(quadratic), bool(equal_counts)
    )
    return [order[begin:end] for begin, end in pairwise(offsets.tolist())]
