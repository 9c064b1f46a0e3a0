"""Times `pyscale.data.Permutation` beside what a peer makes an order with.

    python bench/data_permutation.py {alone,grain,torch,mosaic} [--quick]

alone: its own rates by instruction set and size, and neighbouring sizes against each other. grain: whole
epochs by `grain.experimental.index_shuffle`, and its answer checked. torch and mosaic: time and memory until
one of 8 ranks knows its first index of 10 million. All on one thread.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from _data_measure import flaw_of, timed, timed_afresh
from _recording import Figure, Note, main
from _turns import in_turn, seconds

from pyscale import _core
from pyscale.data import Permutation, ShardedSampler

_PIECE = 1 << 16  # indices a call
_WARM = 70_000  # just beyond the sizes that are kept in a table
_RANKS, _RANK = 8, 3

SIZES = [10**6 + 3, 10**7, 10**9, (1 << 32) - (1 << 17), (1 << 32) - 1, 1 << 33, 10**12, 1 << 62]


def pieces(permutation: Permutation) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the whole order, in pieces."""
    n = len(permutation)
    for start in range(0, n, _PIECE):
        yield permutation.indices(start, min(start + _PIECE, n))


def consume(order: Callable[[], Iterable[object]]) -> None:
    """Make a whole order, and keep none of it."""
    deque(order(), maxlen=0)


def rates(quick: bool) -> Iterator[Figure]:
    """Time runs of positions, by the instruction set and the size."""
    count = 1 << (20 if quick else 23)

    def run(isa: str, permutation: Permutation) -> None:
        _core.set_isa(isa)
        end = min(count, len(permutation)) - _PIECE
        for start in range(0, end, _PIECE):
            permutation.indices(start, start + _PIECE)

    for n in SIZES:
        permutation = Permutation(n, seed=1)
        calls = {f"pyscale, {isa}": partial(run, isa, permutation) for isa in _core.available_isas()}
        done = len(range(0, min(count, n) - _PIECE, _PIECE)) * _PIECE
        yield from timed(f"rate at n = {n:,}", calls, rounds=5 if quick else 9, amount=done, unit="indices")
    _core.set_isa(_core.available_isas()[-1])


def neighbourhoods() -> dict[str, list[int]]:
    """Sizes that lie close together, by what they lie at: powers of two, squares, products, primes."""
    edges = {"2^17": 1 << 17, "2^20": 1 << 20, "10^7": 10**7, "3000^2": 3000**2, "2^31": 1 << 31}
    edges |= {"10^9": 10**9, "2^33": 1 << 33, "10^12": 10**12, "2^40": 1 << 40, "10^6^3": 10**18}
    return {name: [n + d for d in (-1009, -16, -3, -1, 0, 1, 2, 5, 17, 1013)] for name, n in edges.items()}


def neighbours(quick: bool) -> Iterator[Figure | Note]:
    """Time sizes that lie close together; the slowest over the fastest of a neighbourhood."""
    pieces = 4 if quick else 16
    worst = 0.0

    def run(permutation: Permutation) -> None:
        for piece in range(pieces):
            start = piece * _PIECE % (len(permutation) - _PIECE)
            permutation.indices(start, start + _PIECE)

    for name, sizes in neighbourhoods().items():
        calls = {n: partial(seconds, partial(run, Permutation(n, seed=1))) for n in sizes}
        spent = in_turn(calls, 15 if quick else 31)
        order = sorted(sizes, key=lambda n: float(np.median(spent[n])))
        for n, which in ((order[-1], "slowest"), (order[0], "fastest")):
            yield Figure(
                f"near {name}", f"pyscale, {which} (n = {n})", "seconds", spent[n], pieces * _PIECE, "indices"
            )
        worst = max(worst, float(np.median(spent[order[-1]]) / np.median(spent[order[0]])))
    yield Note(f"Neighbouring sizes: the slowest takes at most {worst:.2f} times as long as the fastest.")


def epochs_by_grain(quick: bool) -> Iterator[Figure | Note]:
    """Whole epochs: one call a position in Grain, which has no other; a call for many, and for one, here."""
    from grain import MapDataset, ReadOptions
    from grain.experimental import index_shuffle

    sizes = [(1 << 16) + 1, (1 << 18) + 1, 10**6 + 3, (1 << 20) + 1]
    for n in sizes[1:3] if quick else sizes:
        permutation = Permutation(n, seed=1)

        by_grain = partial(index_shuffle, max_index=n - 1, seed=1, rounds=4)
        # By its default of 16 threads an index takes twenty times as long.
        dataset = MapDataset.range(n).shuffle(seed=1).to_iter_dataset(ReadOptions(num_threads=0))
        orders: dict[str, Callable[[], Iterable[Any]]] = {
            "pyscale, in pieces": partial(pieces, permutation),
            "pyscale, iterated": partial(iter, permutation),
            "pyscale, p[i]": partial(map, permutation.__getitem__, range(n)),
            "Grain, index_shuffle": partial(map, by_grain, range(n)),
            "Grain, iterated": partial(iter, dataset),
        }
        wrong = {name: flaw_of(np.hstack(list(order())), n) for name, order in orders.items()}
        calls = {name: partial(consume, order) for name, order in orders.items()}
        yield from timed(
            f"epoch of {n:,}", calls, rounds=2 if quick else 3, amount=n, unit="indices", wrong=wrong
        )
    yield from correlations(index_shuffle)


def correlations(index_shuffle: Callable[..., int]) -> Iterator[Note]:
    """Tell how much an index says of the next one; of a random order, about 1/sqrt(count)."""
    count = 100_000
    for n in (10**6, 10**9):
        orders = {
            "Grain": np.array([index_shuffle(k, max_index=n - 1, seed=1, rounds=4) for k in range(count)]),
            "pyscale": Permutation(n, seed=1).indices(0, count),
        }
        found = {name: np.corrcoef(order[:-1], order[1:])[0, 1] for name, order in orders.items()}
        text = ", ".join(f"{name} {value:+.3f}" for name, value in found.items())
        yield Note(f"Correlation of neighbours, first {count:,} of n = {n:,} (1/sqrt: 0.003): {text}.")


def first_index_by_torch(quick: bool) -> Iterator[Figure]:
    """Time and memory until rank 3 of 8 knows its first index, the import not counted."""
    import torch
    from torch.utils.data import DistributedSampler

    def ours(small: bool) -> int:
        return Permutation(_WARM if small else n, seed=1)[_RANK]

    def our_sampler(small: bool) -> int:
        return next(iter(ShardedSampler(_WARM if small else n, num_replicas=_RANKS, rank=_RANK, seed=1)))

    def randperm(small: bool) -> int:
        return int(torch.randperm(1000 if small else n, generator=torch.Generator().manual_seed(1))[_RANK])

    def sampler(small: bool) -> int:
        return int(next(iter(DistributedSampler(range(1000 if small else n), _RANKS, _RANK, seed=1))))

    n = 10**6 if quick else 10**7
    calls: dict[str, Callable[[bool], object]] = {
        "pyscale Permutation": ours,
        "pyscale ShardedSampler": our_sampler,
        "torch.randperm": randperm,
        "torch DistributedSampler": sampler,
    }
    yield from timed_afresh(f"first index of {n:,}", calls, rounds=3 if quick else 9)

    yield from timed(
        f"epoch of {n:,}",
        {
            "pyscale, in pieces": lambda: consume(partial(pieces, Permutation(n, seed=1))),
            "torch.randperm": lambda: torch.randperm(n),
            "NumPy, Generator.permutation": lambda: np.random.default_rng(1).permutation(n),
        },
        rounds=3 if quick else 7,
        amount=n,
        unit="indices",
    )


def first_index_by_mosaic(quick: bool) -> Iterator[Figure | Note]:
    """Time and memory until the order of an epoch is there, by Mosaic's default algorithm, py1e."""
    from _data_mosaic import get_partitions, get_shuffle

    def ours(small: bool) -> int:
        return Permutation(_WARM if small else n, seed=1)[_RANK]

    def mosaic(small: bool) -> int:
        count = 1000 if small else n
        shard = min(count, 20_000)
        shards = np.full(count // shard, shard, np.int64)
        return int(get_shuffle("py1e", shards, _RANKS, 1, 0, 1 << 18)[0])

    n = 10**6 if quick else 10**7
    odd = 1_000_003
    places = get_partitions("relaxed", odd, 8, 8, 8, 1, 256)  # 8 nodes of 8 ranks
    flaw = flaw_of(places[places >= 0], odd)
    yield Note(f"Mosaic, 64 ranks, n = {odd:,}: {flaw or 'every index once'}.")
    yield from timed_afresh(
        f"first index of {n:,}",
        {"pyscale Permutation": ours, "Mosaic, py1e": mosaic},
        rounds=3 if quick else 5,
    )


def measure(options: argparse.Namespace) -> Iterator[Figure | Note]:
    """All that is measured beside one peer."""
    if options.peer == "alone":
        yield from rates(options.quick)
        yield from neighbours(options.quick)
    elif options.peer == "grain":
        yield from epochs_by_grain(options.quick)
    elif options.peer == "torch":
        yield from first_index_by_torch(options.quick)
    else:
        yield from first_index_by_mosaic(options.quick)


if __name__ == "__main__":
    main(__doc__, measure, ("alone", "grain", "torch", "mosaic"))
