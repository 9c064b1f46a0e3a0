"""Times calls of a single row while several threads call the same model at once, beside one that calls alone.

python bench/infer_callers.py MODEL [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from _infer_models import MODELS
from _infer_peers import LIBRARIES, OURS, PEERS, Contestant
from _infer_unsupported import NotSupported
from _recording import Figure, Note, main
from numpy.typing import NDArray

CALLERS = 4


def call_times(predict: Callable[[Any], Any], rows: list[Any], long: float) -> NDArray[np.int64]:
    """Call for `long` seconds, and return the nanoseconds of each call."""
    found = []
    clock = time.perf_counter_ns
    end = clock() + int(long * 1e9)
    before, k = clock(), 0
    while before < end:
        predict(rows[k])
        after = clock()
        found.append(after - before)
        k = (k + 1) % len(rows)
        before = clock()
    return np.array(found, np.int64)


def together(predict: Callable[[Any], Any], rows: list[Any], long: float) -> NDArray[np.int64]:
    """Do so with several threads at once."""
    found: list[NDArray[np.int64]] = []
    start = threading.Barrier(CALLERS)

    def caller(number: int) -> None:
        start.wait()
        own = rows[number * 100 :] + rows[: number * 100]
        found.append(call_times(predict, own, long))

    threads = [threading.Thread(target=caller, args=(k,)) for k in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return np.concatenate(found)


def figures(
    model: str, name: str, predict: Callable[[Any], Any], rows: list[Any], long: float
) -> Iterator[Figure]:
    """Alone, then together; the median, and what one call in a hundred or a thousand takes longer than."""
    predict(rows[0])
    for how, times in (
        ("alone", call_times(predict, rows, long)),
        (f"{CALLERS} threads at once", together(predict, rows, long)),
    ):
        for what, share in (("median", 50), ("99%", 99), ("99.9%", 99.9)):
            spent = float(np.percentile(times, share)) * 1e-9
            yield Figure(f"{model}, a row, {how}, {what}", name, "seconds", [spent])


def measure(options: argparse.Namespace) -> Iterator[Figure | Note]:
    """Pyscale, the library itself and ONNX Runtime."""
    model = MODELS[options.model]
    taking: list[Contestant] = [OURS, LIBRARIES[model.library]]
    taking += [peer for peer in PEERS if peer.name in ("ONNX Runtime", "daal4py")]
    for one in taking:
        try:
            predict = one.load(model, one.prepare(model), 1)
        except NotSupported:
            continue
        rows = model.rows()[:4096].astype(one.dtype(model))
        single = [rows[k : k + 1] for k in range(len(rows))]
        yield from figures(model.name, one.name, predict, single, 0.3 if options.quick else 2.0)


if __name__ == "__main__":
    main(__doc__, measure, list(MODELS), "model")
