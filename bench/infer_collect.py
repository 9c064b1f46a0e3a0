"""Times putting the rows of 64 requests together in one batch, beside NumPy.

python bench/infer_collect.py KIND [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from _calls import take_turns
from _recording import Figure, Note, main
from numpy.typing import NDArray

from pyscale import _core

Array = NDArray[Any]

KINDS = {"float32": (np.float32, 1), "float64-strided": (np.float64, 2)}
_REQUESTS, _COLUMNS = 64, 30


def measure(options: argparse.Namespace) -> Iterator[Figure | Note]:
    """Time requests of a row each."""
    dtype, step = KINDS[options.kind]
    random = np.random.default_rng(0)
    rows = [random.random((1, _COLUMNS * step)).astype(dtype)[:, ::step] for _ in range(_REQUESTS)]
    out = np.empty((_REQUESTS, _COLUMNS), dtype)
    calls: dict[str, Callable[[], object]] = {
        "pyscale": partial(_core.collect_rows, rows, out),
        "NumPy concatenate": partial(np.concatenate, rows, out=out),
    }
    for call in calls.values():
        out[:] = 0
        call()
        assert np.array_equal(out, np.concatenate(rows))

    task = f"{_REQUESTS} requests of a row of {_COLUMNS} columns into a batch, {options.kind}"
    for name, spent in take_turns(calls, 3 if options.quick else 31).items():
        yield Figure(task, name, "seconds", spent.tolist())


if __name__ == "__main__":
    main(__doc__, measure, list(KINDS), "kind")
