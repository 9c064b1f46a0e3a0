"""Sums bags of rows of a table by pyscale, torch and NumPy, in turn.

    python bench/infer_embedding.py ROWSxWIDTH [--quick] [--json FILE]

Random tables and indices, one thread each; answers are compared with ours.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import numpy as np
from _calls import take_turns
from _recording import Figure, Note, main
from numpy.typing import NDArray

from pyscale.infer import EmbeddingBag

Array = NDArray[Any]

TABLES = ("10000x64", "1000000x64", "200000x256")
BAGS = ((1, 20), (64, 20), (1024, 20), (16384, 20), (1024, 200))
MODES: tuple[Literal["sum", "mean", "max"], ...] = ("sum", "mean", "max")


def torch_call(table: Array, mode: str) -> Callable[[Array, Array], Array]:
    """Make torch's module."""
    import torch

    torch.set_num_threads(1)
    module = torch.nn.EmbeddingBag.from_pretrained(torch.from_numpy(table), mode=mode)

    def call(indices: Array, offsets: Array) -> Array:
        with torch.inference_mode():
            found: Array = module(torch.from_numpy(indices), torch.from_numpy(offsets)).numpy()
            return found

    return call


def numpy_call(table: Array, mode: str) -> Callable[[Array, Array], Array]:
    """Take the rows and add them; no bag is empty."""

    def call(indices: Array, offsets: Array) -> Array:
        ufunc = np.maximum if mode == "max" else np.add
        found: Array = ufunc.reduceat(table[indices], offsets)
        if mode == "mean":
            found /= np.diff(offsets, append=len(indices))[:, None].astype(np.float32)
        return found

    return call


def measure(options: argparse.Namespace) -> Iterator[Figure | Note]:
    """Each mode, and many numbers and sizes of bags."""
    rows, width = map(int, options.table.split("x"))
    table = np.random.default_rng(0).standard_normal((rows, width), np.float32)
    random = np.random.default_rng(1)
    for mode in MODES:
        model = EmbeddingBag(table, mode=mode)
        made = {"torch": torch_call(table, mode), "NumPy": numpy_call(table, mode)}
        for bags, size in BAGS[:3] if options.quick else BAGS:
            sizes = random.integers(1, 2 * size, bags) if bags > 1 else np.array([size])
            indices = random.integers(0, rows, sizes.sum())
            offsets = np.cumsum(sizes) - sizes
            calls: dict[str, Callable[[], Array]] = {
                "pyscale": partial(model.predict, indices, offsets, num_threads=1),
                **{name: partial(call, indices, offsets) for name, call in made.items()},
            }
            wanted = calls["pyscale"]()
            close = 1e-4 * float(np.abs(wanted).max())
            task = f"{mode} of {bags:,} bags of {size} on average, of {options.table}"
            for name, spent in take_turns(calls, 3 if options.quick else 9).items():
                far = float(np.abs(calls[name]() - wanted).max())
                wrong = "" if far <= close else f"differs by up to {far:.2g}"
                yield Figure(task, name, "seconds", spent.tolist(), wrong=wrong)


if __name__ == "__main__":
    main(__doc__, measure, TABLES, "table")
