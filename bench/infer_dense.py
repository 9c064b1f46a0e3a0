"""Predicts with a network by pyscale and by its peers, in turn, in batches of many sizes.

    python bench/infer_dense.py NETWORK [--quick] [--json FILE]

OMP_NUM_THREADS says with how many threads. Answers are checked against float64.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from _infer_measure import Asked, timed_batches
from _infer_networks import FLOAT32, NETWORKS, SMALLER, Network, Predict
from _recording import Figure, Note, main

from pyscale.config import num_threads

_CHECKED = 2048  # rows
_FLOAT32, _INT8 = 1e-4, 0.1  # by how much of the largest number an answer may be off


def measure(options: argparse.Namespace) -> Iterator[Figure | Note]:
    """In float32, and in int8 beside it."""
    network, threads = NETWORKS[options.network], num_threads()
    yield from _beside(network, threads, "float32", FLOAT32, _FLOAT32, options.quick)
    yield from _beside(network, threads, "int8", SMALLER, _INT8, options.quick)


def _beside(
    network: Network,
    threads: int,
    what: str,
    contestants: Mapping[str, Callable[[Network, int], Predict]],
    close: float,
    quick: bool,
) -> Iterator[Figure | Note]:
    expected = network.expected(_CHECKED)
    close *= float(np.abs(expected).max())
    # What peers answer may be overwritten by their next answer: np.array copies.
    asked = {
        name: Asked(make(network, threads), network.rows, np.array, expected, close=close)
        for name, make in contestants.items()
    }
    yield from timed_batches(
        f"{network.name}, {what}, {threads} thread{'s' if threads > 1 else ''}",
        asked,
        network.batches[:-1] if quick else network.batches,
        budget=0.05 if quick else 1.0,
        rounds=3 if quick else 7,
    )


if __name__ == "__main__":
    main(__doc__, measure, list(NETWORKS), "network")
