"""Times the length balance beside other methods, and shows how even each leaves the ranks.

    python bench/bench_balance.py

Peers: the differencing method with equal counts (Karmarkar and Karp 1982, as verl balances its batches by),
and the largest first to whoever has least, on a heap (Graham 1969), both in plain Python here; and the
package numberpartitioning where it is installed. Lengths are synthetic (lognormal, sigma 1, 500 tokens on
average), or the frequencies of English words where wordfreq is installed.
"""

from __future__ import annotations

import argparse
import heapq
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from pyscale.data import balance

Costs = npt.NDArray[np.float64]
Parts = Sequence[Any]  # the indices of each rank
Method = Callable[[Costs, int], Parts]

_QUADRATIC = 1 / (6 * 2048)  # of a transformer of width 2048


def differencing(costs: Costs, ranks: int) -> Parts:
    """Merge the two least even groups of part sums, the largest sum with the smallest, until one is left."""
    order = np.argsort(costs, kind="stable").tolist()
    tie = count()
    heap: list[tuple[float, int, list[tuple[float, list[int]]]]] = []

    def push(parts: list[tuple[float, list[int]]]) -> None:
        parts.sort(key=lambda part: -part[0])
        heapq.heappush(heap, (parts[-1][0] - parts[0][0], next(tie), parts))

    for start in range(0, len(order), ranks):
        push([(float(costs[i]), [i]) for i in order[start : start + ranks]])
    while len(heap) > 1:
        one, other = heapq.heappop(heap)[2], heapq.heappop(heap)[2]
        push([(x[0] + y[0], x[1] + y[1]) for x, y in zip(one, reversed(other), strict=True)])
    return [part for _, part in heap[0][2]]


def largest_first(costs: Costs, ranks: int) -> Parts:
    """Each to whoever has least, the largest first: counts are what they come out as."""
    heap: list[tuple[float, int, list[int]]] = [(0.0, rank, []) for rank in range(ranks)]
    for i in np.argsort(-costs, kind="stable").tolist():
        load, rank, part = heap[0]
        part.append(i)
        heapq.heapreplace(heap, (load + float(costs[i]), rank, part))
    return [part for _, _, part in heap]


def package() -> dict[str, Method]:
    """Return the differencing method of a package where it is installed: counts are what they come out as."""
    try:
        module = import_module("numberpartitioning")
    except ImportError:
        return {}

    def split(costs: Costs, ranks: int) -> Parts:
        parts: Parts = module.karmarkar_karp(costs.tolist(), num_parts=ranks, return_indices=True).partition
        return parts

    return {"numberpartitioning karmarkar_karp": split}


def any_counts(costs: Costs, ranks: int) -> Parts:
    """Ours, where counts need not be equal."""
    return balance(costs, ranks, equal_counts=False)


def workloads(quick: bool) -> Iterable[tuple[str, Costs, int]]:
    """Yield a name, costs and a number of ranks."""
    random = np.random.default_rng(1)
    for n, ranks in ((4096, 32),) if quick else ((512, 64), (4096, 32), (4096, 256), (65_536, 64)):
        lengths = np.floor(random.lognormal(np.log(500) - 0.5, 1.0, n)) + 1
        yield "lognormal (synthetic)", lengths, ranks
        yield "lognormal (synthetic), quadratic", lengths + _QUADRATIC * lengths**2, ranks
    try:
        wordfreq = import_module("wordfreq")
    except ImportError:
        return
    frequencies = np.sort(list(wordfreq.get_frequency_dict("en").values()))[-4096:]
    yield "English word frequencies", frequencies * 1e8, 32


def measure(quick: bool = False) -> list[dict[str, Any]]:
    """Time every method on every workload.

    Returns
    -------
    list of dict
        ``workload``, ``n``, ``ranks``, ``method``, ``seconds`` (the median), ``imbalance`` (largest sum over
        the mean, less 1), ``above_bound`` (over what no split can do better than, less 1), ``equal_counts``.
    """
    methods: dict[str, Method] = {
        "pyscale": balance,
        "pyscale, any counts": any_counts,
        "differencing, equal counts": differencing,
        "largest first": largest_first,
        **package(),
    }
    rows = []
    for name, costs, ranks in workloads(quick):
        for method, split in methods.items():
            seconds, parts = _time(split, costs, ranks)
            head = {"workload": name, "n": len(costs), "ranks": ranks, "method": method, "seconds": seconds}
            rows.append(head | _judge(parts, costs, ranks))
    return rows


def _time(split: Method, costs: Costs, ranks: int) -> tuple[float, Parts]:
    seconds: list[float] = []
    while len(seconds) < 3 or (sum(seconds) < 0.2 and len(seconds) < 100):
        start = time.perf_counter()
        parts = split(costs, ranks)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)), parts


def _judge(parts: Parts, costs: Costs, ranks: int) -> dict[str, Any]:
    assert len(parts) == ranks
    assert sorted(i for part in parts for i in part) == list(range(len(costs)))
    largest, mean = max(float(costs[list(part)].sum()) for part in parts), float(costs.sum()) / ranks
    counts = {len(part) for part in parts}
    equal_counts = max(counts) - min(counts) <= 1
    ascending = np.sort(costs)
    others = len(costs) // ranks - 1 if equal_counts else 0
    bound = max(mean, float(ascending[-1] + ascending[:others].sum()))
    return {
        "imbalance": largest / mean - 1,
        "above_bound": largest / bound - 1,
        "equal_counts": equal_counts,
    }


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    group = None
    for row in measure(parser.parse_args().quick):
        if group != (group := (row["workload"], row["n"], row["ranks"])):
            print(f"\n{group[0]}: {group[1]} samples, {group[2]} ranks")
            print(f"{'method':<38} {'ms':>9} {'max/mean-1':>11} {'above bound':>12}  equal counts")
        print(
            f"{row['method']:<38} {row['seconds'] * 1e3:>9.2f} {row['imbalance']:>11.4%} "
            f"{row['above_bound']:>12.4%}  {'yes' if row['equal_counts'] else 'no'}"
        )


if __name__ == "__main__":
    main()
