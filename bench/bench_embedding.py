"""Times pyscale.infer.EmbeddingBag beside torch's, and NumPy, one thread each.

    OMP_NUM_THREADS=1 python bench/bench_embedding.py [--quick] [--json FILE]

Random tables and indices; all contestants have the same, and their answers are compared first. They take
turns; a ratio is the median over the turns of the fastest peer's time by ours.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _calls import take_turns
from _machine import machine
from numpy.typing import NDArray

from pyscale.infer import EmbeddingBag

Array = NDArray[Any]

TABLES = ((10_000, 64), (1_000_000, 64), (200_000, 256))
BAGS = ((1, 20), (64, 20), (1024, 20), (16384, 20), (1024, 200))


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


def measure(model: EmbeddingBag, table: Array, bags: int, size: int, rounds: int) -> dict[str, Any]:
    """Time one table and number of bags."""
    random = np.random.default_rng(1)
    sizes = random.integers(1, 2 * size, bags) if bags > 1 else np.array([size])
    indices = random.integers(0, len(table), sizes.sum())
    offsets = np.cumsum(sizes) - sizes
    peers = {"torch": torch_call(table, model.mode), "numpy": numpy_call(table, model.mode)}
    calls: dict[str, Callable[[], Any]] = {
        "pyscale": lambda: model.predict(indices, offsets, num_threads=1),
        "torch": lambda: peers["torch"](indices, offsets),
        "numpy": lambda: peers["numpy"](indices, offsets),
    }
    wanted = calls["pyscale"]()
    for name in peers:
        assert np.abs(calls[name]() - wanted).max() < 1e-4 * np.abs(wanted).max(), name
    times = take_turns(calls, rounds)
    best = np.minimum(times["torch"], times["numpy"])
    return {
        "table": f"{len(table)} x {table.shape[1]}",
        "mode": model.mode,
        "bags": bags,
        "indices": len(indices),
        "seconds": {name: float(np.median(seconds)) for name, seconds in times.items()},
        "best peer / pyscale": float(np.median(best / times["pyscale"])),
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small tables, few turns")
    parser.add_argument("--modes", nargs="+", choices=("sum", "mean", "max"), default=("sum", "mean", "max"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    print("\n".join(machine()), end="\n\n")
    names = ("pyscale", "torch", "numpy")
    columns = ", us | ".join(names)
    print(f"| table | mode | bags | indices | {columns}, us | best peer / pyscale |")
    print("|---" * (len(names) + 5) + "|")
    results = []
    for rows, width in TABLES[:1] if options.quick else TABLES:
        table = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
        for mode in options.modes:
            model = EmbeddingBag(table, mode=mode)
            for bags, size in BAGS[:3] if options.quick else BAGS:
                found = measure(model, table, bags, size, 5 if options.quick else 11)
                results.append(found)
                spent = " | ".join(f"{found['seconds'][name] * 1e6:.1f}" for name in names)
                print(
                    f"| {found['table']} | {mode} | {bags} | {found['indices']} | {spent} "
                    f"| {found['best peer / pyscale']:.2f} |",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
