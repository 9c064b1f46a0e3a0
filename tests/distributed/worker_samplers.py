"""Samplers of several ranks, right and wrong: `mpirun -n 3 python worker_samplers.py`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
from launch import report

import pyscale as ps
from pyscale.data import BalancedBatchSampler, Sequential, ShardedBatchSampler, ShardedSampler, Weighted

N = 103


def said_by(make: Callable[[], Any]) -> str:
    """Return what was raised, and see that the communicator goes on."""
    said = ""
    try:
        make()
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    assert ps.all_reduce(np.ones(3)).tolist() == [ps.world_size()] * 3
    return said


def main() -> None:
    """Report what each case raises on this rank, where the last rank has something else than the others."""
    ps.init(timeout=30.0)
    comm = ps.world()
    last = comm.rank == comm.size - 1
    lengths = np.arange(N) + 1.0
    other, broken = lengths.copy(), lengths.copy()
    other[5] += last
    broken[5] = np.nan if last else 6

    def plain(n: Any = N, **options: Any) -> ShardedSampler:
        return ShardedSampler(n, comm=comm, **options)

    def batches(size: Any = 8, **options: Any) -> ShardedBatchSampler:
        return ShardedBatchSampler(N, size, comm=comm, **options)

    def balanced(of: Any = lengths, **options: Any) -> BalancedBatchSampler:
        return BalancedBatchSampler(N, 8, of, comm=comm, **options)

    cases: dict[str, Callable[[], Any]] = {
        "right": lambda: (plain(), batches(), balanced()),
        "nan": lambda: balanced(broken),
        "lengths": lambda: balanced(other),
        "cost": lambda: balanced(quadratic=0.5 * last),
        "few lengths": lambda: balanced(lengths[: N - last]),
        "n": lambda: plain(N + last),
        "negative": lambda: plain(-1 if last else N),
        "text": lambda: plain(2.5 if last else N),
        "seed": lambda: plain(seed=int(last)),
        "bad seed": lambda: batches(seed=-1 if last else 0),
        "remainder": lambda: plain(remainder="drop" if last else "exact"),
        "both": lambda: plain(remainder="pad", drop_last=last),
        "drop_last": lambda: batches(drop_last=last),
        "batch_size": lambda: batches(8 + last),
        "bad batch_size": lambda: batches(0 if last else 8),
        "plan": lambda: plain(Sequential(N) if last else N),
        "weights": lambda: plain(Weighted(other)),
        "class": lambda: batches() if last else plain(),
    }
    said = {name: said_by(make) for name, make in cases.items()}
    one = plain()
    mine = list(one)
    seen = sorted(index for share in comm.all_gather_object(mine) for index in share)
    states = comm.all_gather_object([one.state_dict(), one.state_dict(delivered=-(-N // comm.size))])
    begun = batches()
    list(islice(begun, 1))
    states += [[state, state] for state in comm.all_gather_object(begun.state_dict())]
    report({"said": said, "exact": seen == list(range(N)), "states": states})


if __name__ == "__main__":
    main()
