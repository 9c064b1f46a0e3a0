"""Times going on in the middle of an epoch: from nothing but a state to the next batch of 256.

    python bench/data_resume.py {torch,grain,mosaic} [--quick]

Time and memory, in a fresh process each time, imports not counted. torchdata's StatefulDataLoader and
Mosaic's StreamingDataset are given 10 million samples, of nothing but a number; Grain and pyscale 10^9.
Every contestant's batch is compared with the one that an undisturbed epoch has there; Mosaic's, which takes
minutes to get there, at 70,000 samples only.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _data_measure import in_child, timed_afresh
from _recording import Figure, Note, main

from pyscale.data import ShardedBatchSampler

_BATCH = 256
_RANKS, _RANK = 8, 3
_HUGE = 10**9
_SMALL = 70_000

State = dict[str, Any]
Batch = list[int]


def _sampler(n: int) -> ShardedBatchSampler:
    return ShardedBatchSampler(n, num_replicas=_RANKS, rank=_RANK, seed=1, batch_size=_BATCH)


def _our_state(n: int) -> tuple[State, Batch]:
    """Return the state in the middle of an epoch of `n`, and what comes next."""
    sampler = _sampler(n)
    iter(sampler)
    return sampler.state_dict(delivered=len(sampler) // 2), sampler[len(sampler) // 2]


def _our_resume(n: int, state: State) -> Batch:
    sampler = _sampler(n)
    sampler.load_state_dict(state)
    return next(iter(sampler))


def contest(
    n: int,
    rounds: int,
    contestants: Mapping[
        str, tuple[Callable[[int], tuple[State, Batch | None]], Callable[[int, State], Batch]]
    ],
) -> Iterator[Figure]:
    """Time all contestants.

    Each is a function of a size that returns a state and what comes next, if that is known, and one of a size
    and a state that returns what comes next.
    """

    def bind(name: str) -> tuple[Callable[[bool], object], str]:
        make, resume = contestants[name]
        states = {count: in_child(partial(make, count)) for count in (_SMALL, n)}
        right = all(
            in_child(partial(resume, count, state)) == batch
            for count, (state, batch) in states.items()
            if batch is not None
        )

        def call(small: bool) -> object:
            count = _SMALL if small else n
            return resume(count, states[count][0])

        return call, "" if right else "another batch than the undisturbed epoch"

    bound = {name: bind(name) for name in contestants}
    calls = {name: call for name, (call, _) in bound.items()}
    wrong = {name: flaw for name, (_, flaw) in bound.items()}
    yield from timed_afresh(f"resume in the middle of {n:,}", calls, rounds=rounds, wrong=wrong)


OURS = {"pyscale ShardedBatchSampler": (_our_state, _our_resume)}


class Numbers:
    """A data set whose samples are their own numbers, fetched by the batch."""

    def __init__(self, n: int) -> None:
        self._n = n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> int:
        return index

    def __getitems__(self, indices: Sequence[int]) -> Sequence[int]:
        """Return a batch, as torch asks for it where this method is there."""
        return indices


def _same(batch: Batch) -> Batch:
    return list(batch)


def by_torchdata(quick: bool) -> Iterator[Figure]:
    """StatefulDataLoader with the shuffle of its own, and with torchdata's sampler for 8 ranks."""
    import torch
    from torchdata.stateful_dataloader import StatefulDataLoader
    from torchdata.stateful_dataloader.sampler import StatefulDistributedSampler

    def loader(distributed: bool, n: int) -> Any:
        torch.manual_seed(1)
        how: dict[str, Any] = {"shuffle": True}
        if distributed:
            how = {"sampler": StatefulDistributedSampler(range(n), _RANKS, _RANK, seed=1)}
        return StatefulDataLoader(Numbers(n), batch_size=_BATCH, collate_fn=_same, **how)

    def state(distributed: bool, n: int) -> tuple[State, Batch]:
        batches = iter(source := loader(distributed, n))
        next(itertools.islice(batches, len(source) // 2 - 1, None))
        at_middle: State = source.state_dict()
        return at_middle, next(batches)

    def resume(distributed: bool, n: int, state: State) -> Batch:
        source = loader(distributed, n)
        source.load_state_dict(state)
        batch: Batch = next(iter(source))
        return batch

    n, rounds = (10**6, 3) if quick else (10**7, 5)
    theirs = {
        name: (partial(state, distributed), partial(resume, distributed))
        for name, distributed in {
            "torchdata StatefulDataLoader": False,
            "torchdata, one of 8 ranks": True,
        }.items()
    }
    yield from contest(n, rounds, {**OURS, **theirs})
    yield from contest(_HUGE, 3 if quick else 9, OURS)


def by_grain(quick: bool) -> Iterator[Figure]:
    """Grain's iterator, whose state is one integer."""
    from grain import MapDataset, ReadOptions

    def iterator(n: int) -> Any:
        part = MapDataset.range(n).shuffle(seed=1)[_RANK::_RANKS].batch(_BATCH)
        return iter(part.to_iter_dataset(ReadOptions(num_threads=0)))

    def state(n: int) -> tuple[State, Batch]:
        middle = n // _RANKS // _BATCH // 2
        part = MapDataset.range(n).shuffle(seed=1)[_RANK::_RANKS].batch(_BATCH)
        next(whole := iterator(n))
        return {**whole.get_state(), "next_index": middle}, list(part[middle])

    def resume(n: int, state: State) -> Batch:
        whole = iterator(n)
        whole.set_state(state)
        return list(next(whole))

    theirs = {"Grain MapDataset": (state, resume)}
    yield from contest(_HUGE, 3 if quick else 9, {**OURS, **theirs})


def by_mosaic(quick: bool, data: Path) -> Iterator[Figure]:
    """StreamingDataset with its StreamingDataLoader."""
    from _data_mosaic import MDSWriter, StreamingDataLoader, StreamingDataset

    def folder(n: int) -> str:
        """Write `n` numbers, once."""
        path = data / f"numbers-{n}"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
                unfinished = Path(temporary) / "numbers"
                with MDSWriter(out=str(unfinished), columns={"number": "int64"}) as writer:
                    for number in range(n):
                        writer.write({"number": np.int64(number)})
                unfinished.rename(path)
        return str(path)

    def loader(n: int) -> Any:
        dataset = StreamingDataset(local=folder(n), shuffle=True, batch_size=_BATCH, shuffle_seed=1)
        return StreamingDataLoader(dataset, batch_size=_BATCH)

    def state(n: int) -> tuple[State, Batch | None]:
        batches = iter(source := loader(n))
        middle = len(source) // 2 if n == _SMALL else 1
        next(itertools.islice(batches, middle - 1, None))
        state: State = source.state_dict()
        if n == _SMALL:
            return state, next(batches)["number"].tolist()
        return {**state, "sample_in_epoch": n // 2}, None

    def resume(n: int, state: State) -> Batch:
        source = loader(n)
        source.load_state_dict(state)
        batch: Batch = next(iter(source))["number"].tolist()
        return batch

    n = 10**6 if quick else 10**7
    for count in (_SMALL, n):
        folder(count)
    yield from contest(n, 3, {**OURS, "Mosaic StreamingDataset": (state, resume)})


def measure(options: argparse.Namespace) -> Iterator[Figure | Note]:
    """All that is measured beside one peer."""
    if options.peer == "torch":
        yield from by_torchdata(options.quick)
    elif options.peer == "grain":
        yield from by_grain(options.quick)
    else:
        yield from by_mosaic(options.quick, options.data)


if __name__ == "__main__":
    main(__doc__, measure, ("torch", "grain", "mosaic"))
