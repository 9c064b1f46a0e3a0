"""Times iterating over the samplers of `pyscale.data` beside a peer's.

    python bench/data_sampler.py {torch,grain} [--quick]

One of 8 ranks goes through its part of an epoch of 10 million, on one thread: the whole of it with what
comes before the first index, and from the first index on. pyscale's samplers also begin an epoch of 10^12.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

from _data_measure import flaw_of, in_child, timed, timed_afresh
from _recording import Figure, Note, main
from _turns import in_turn, seconds

from pyscale.data import ShardedBatchSampler, ShardedSampler

_RANKS, _RANK = 8, 3
_BATCH = 256
_HUGE = 10**12
_WARM = 70_000


def consume(indices: Iterable[object]) -> None:
    """Go through all, at the least cost that Python has."""
    deque(indices, maxlen=0)


def _ours(n: int, rank: int = _RANK) -> ShardedSampler:
    return ShardedSampler(n, num_replicas=_RANKS, rank=rank, seed=1)


def _our_batches(n: int) -> ShardedBatchSampler:
    return ShardedBatchSampler(n, num_replicas=_RANKS, rank=_RANK, seed=1, batch_size=_BATCH)


def by_torch(quick: bool) -> Iterator[Figure | Note]:
    """DistributedSampler, torchdata's, and torch's BatchSampler over it."""
    from torch.utils.data import BatchSampler, DistributedSampler
    from torchdata.stateful_dataloader.sampler import StatefulDistributedSampler

    n, rounds = (10**6, 3) if quick else (10**7, 7)

    def theirs(n: int, rank: int = _RANK) -> Iterable[int]:
        sampler: Iterable[int] = DistributedSampler(range(n), _RANKS, rank, seed=1)
        return sampler

    def torchdata(n: int) -> Iterable[int]:
        sampler: Iterable[int] = StatefulDistributedSampler(range(n), _RANKS, _RANK, seed=1)
        return sampler

    def whole(make: Callable[[int], Iterable[object]]) -> Callable[[bool], object]:
        return lambda small: consume(make(_WARM if small else n))

    odd = 1_000_003
    wrong = {
        "pyscale ShardedSampler": in_child(partial(_flaw, partial(_ours, odd), odd)),
        "torch DistributedSampler": in_child(partial(_flaw, partial(theirs, odd), odd)),
    }
    for name, flaw in wrong.items():
        yield Note(f"{name}, {_RANKS} ranks, n = {odd:,}: {flaw or 'every index once'}.")
    yield Note(
        f"torch DistributedSampler: seed 0, epoch 1 has {in_child(_one_another)} order of seed 1, epoch 0."
    )
    yield from timed_afresh(
        f"whole part of {n:,}",
        {
            "pyscale ShardedSampler": whole(_ours),
            "torch DistributedSampler": whole(theirs),
            "torchdata StatefulDistributedSampler": whole(torchdata),
        },
        rounds=rounds,
        amount=n // _RANKS,
        unit="indices",
    )
    yield from timed_afresh(
        f"whole part of {n:,}, batches of {_BATCH}",
        {
            "pyscale ShardedBatchSampler": whole(_our_batches),
            "torch BatchSampler": whole(lambda n: BatchSampler(theirs(n), _BATCH, drop_last=False)),
        },
        rounds=rounds,
        amount=n // _RANKS,
        unit="indices",
    )

    def begun(make: Callable[[int], Iterable[object]]) -> Callable[[], float]:
        def measure() -> float:
            iterator = iter(make(n))
            next(iterator)
            return seconds(partial(consume, iterator))

        return partial(in_child, measure)

    calls = {
        "pyscale ShardedSampler": begun(_ours),
        "torch DistributedSampler": begun(theirs),
        "torchdata StatefulDistributedSampler": begun(torchdata),
    }
    for name, spent in in_turn(calls, rounds).items():
        yield Figure(f"begun part of {n:,}", name, "seconds", spent, n // _RANKS - 1, "indices")
    yield from _huge(quick)


def _one_another() -> str:
    """Tell whether torch's orders of seed 0, epoch 1 and of seed 1, epoch 0 are one."""
    from torch.utils.data import DistributedSampler

    one, other = (DistributedSampler(range(1000), 1, 0, seed=seed) for seed in (0, 1))
    one.set_epoch(1)
    return "the" if list(one) == list(other) else "not the"


def _flaw(make: Callable[[int], Iterable[int]], n: int) -> str:
    """Tell what keeps the parts of all ranks from being all of it, once."""
    return flaw_of([index for rank in range(_RANKS) for index in make(rank)], n)


def _huge(quick: bool) -> Iterator[Figure]:
    """Begin an epoch that no peer has the memory for."""
    count = 10**5 if quick else 10**6
    yield from timed_afresh(
        f"the first {count:,} of a part of 10^12",
        {
            "pyscale ShardedSampler": lambda small: consume(islice(_ours(_HUGE), _WARM if small else count)),
            "pyscale ShardedBatchSampler": lambda small: consume(
                islice(_our_batches(_HUGE), (_WARM if small else count) // _BATCH)
            ),
        },
        rounds=3 if quick else 7,
        amount=count,
        unit="indices",
    )


def by_grain(quick: bool) -> Iterator[Figure | Note]:
    """Go through Grain's MapDataset, cut into shards as its documents do it."""
    from grain import MapDataset, ReadOptions

    n = 10**5 if quick else 10**6
    one, other = (MapDataset.range(1000).shuffle(seed=seed) for seed in (0, 1))
    same = all(one[1000 + k] == other[k] for k in range(1000))
    yield Note(f"Grain: seed 0, epoch 1 has {'the' if same else 'not the'} order of seed 1, epoch 0.")

    def theirs() -> Iterable[int]:
        shard = MapDataset.range(n).shuffle(seed=1)[_RANK::_RANKS]
        iterable: Iterable[int] = shard.to_iter_dataset(ReadOptions(num_threads=0))
        return iterable

    yield from timed(
        f"whole part of {n:,}",
        {
            "pyscale ShardedSampler": lambda: consume(_ours(n)),
            "Grain MapDataset": lambda: consume(theirs()),
        },
        rounds=3 if quick else 5,
        amount=n // _RANKS,
        unit="indices",
    )


def measure(options: argparse.Namespace) -> Iterator[Figure | Note]:
    """All that is measured beside one peer."""
    return by_torch(options.quick) if options.peer == "torch" else by_grain(options.quick)


if __name__ == "__main__":
    main(__doc__, measure, ("torch", "grain"))
