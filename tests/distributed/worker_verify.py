"""Epochs that several ranks got, right and wrong: `mpirun -n 3 python worker_verify.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from launch import report

import pyscale as ps
from pyscale.data import Permutation, Seen, verify_epoch

N = 100_003


def share(rank: int, size: int) -> Seen:
    seen = Seen(N)
    seen.add(Permutation(N, seed=1)[rank::size])
    return seen


def said_by(call: Callable[[], None]) -> str:
    """Return what was raised, and see that the communicator goes on."""
    said = ""
    try:
        call()
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    assert ps.all_reduce(np.ones(3)).tolist() == [ps.world_size()] * 3
    return said


def main() -> None:
    """Report what each case raises on this rank."""
    ps.init(timeout=30.0)
    comm, rank, size = ps.world(), ps.rank(), ps.world_size()
    last = rank == size - 1
    good = share(rank, size)
    cases: dict[str, Callable[[], None]] = {
        "right": lambda: verify_epoch(comm, good),
        "array": lambda: verify_epoch(comm, np.arange(rank, N, size, dtype=np.int32), N),
        "few": lambda: verify_epoch(comm, [rank] if rank < 2 else [], 2),
    }

    def changed(change: Callable[[Seen], None]) -> Callable[[], None]:
        def call() -> None:
            seen = share(rank, size)
            if last:
                change(seen)
            verify_epoch(comm, seen)

        return call

    cases["again"] = changed(lambda seen: seen.add([77]))
    cases["lost"] = lambda: verify_epoch(comm, Permutation(N)[rank : N - 1 : size], N)
    cases["lost_rank"] = lambda: verify_epoch(comm, [] if last else np.arange(rank, N, size), N)
    cases["another_n"] = lambda: verify_epoch(comm, Seen(N + last))
    cases["outside"] = lambda: verify_epoch(comm, [N if last else 0], N)
    cases["no_n"] = lambda: verify_epoch(comm, [0], None if last else N)
    bad: Any = "two" if last else 2
    cases["threads"] = lambda: verify_epoch(comm, good, num_threads=bad)
    said = {name: said_by(call) for name, call in cases.items()}

    # Half of an epoch, and the rest at another number of ranks.
    half = Seen(N)
    half.add(Permutation(N)[rank : N // 2 : size])
    states = comm.all_gather_object(json.dumps(half.state_dict()))
    fewer = comm.split(0 if rank < (size + 1) // 2 else None)
    if fewer is not None:
        seen = Seen(N)
        for state in states[fewer.rank :: fewer.size]:
            part = Seen(N)
            part.load_state_dict(json.loads(state))
            seen.merge(part)
        seen.add(Permutation(N)[N // 2 + fewer.rank :: fewer.size])
        verify_epoch(fewer, seen)
        said["resumed"] = str(fewer.all_reduce(np.array([seen.count]))[0])
    report(said)


if __name__ == "__main__":
    main()
