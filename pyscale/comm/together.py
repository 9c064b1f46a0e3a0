"""What fails on one rank is raised on all, so that none waits for another that has given up."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from pyscale.comm.communicator import Communicator
from pyscale.errors import CommError, PyscaleError


@contextmanager
def together(comm: Communicator | None, what: str) -> Iterator[None]:
    """Run a block on every rank of `comm`, and raise on all of them where it raises on one.

    Collective, at the block's end; the block itself makes no collective calls. A rank at fault raises its own
    exception; the others that of the first rank at fault, with a note that says which. None: this process
    alone.
    """
    mine: Exception | None = None
    try:
        yield
    except CommError:
        raise
    except Exception as error:
        mine = error
    if comm is not None and comm.size > 1:
        anyone = np.array([mine is not None], np.int8)
        if comm.all_reduce(anyone, "max")[0] and mine is None:
            theirs = comm.all_gather_object(None)
            rank = next(rank for rank, data in enumerate(theirs) if data is not None)
            raise unpacked(theirs[rank], what, rank)
        if mine is not None:
            comm.all_gather_object(packed(mine))
    if mine is not None:
        raise mine


def agree(comm: Communicator | None, what: str, **arguments: object) -> None:
    """Raise ValueError on all ranks where an argument is not the same on all of them. Collective."""
    if comm is None or comm.size == 1:
        return
    told = comm.all_gather_object({name: repr(value) for name, value in arguments.items()})
    for rank, others in enumerate(told):
        for name, value in others.items():
            if value != told[0][name]:
                expected = f"{what}: expected {name} to be the same on every rank"
                raise ValueError(f"{expected}, got {told[0][name]} on rank 0 and {value} on rank {rank}")


def packed(error: BaseException) -> tuple[bytes | None, str]:
    """Return an exception as what can be sent: itself where it can be pickled, and in words."""
    words = f"{type(error).__name__}: {error}"
    try:
        data = pickle.dumps(error)
        same = type(pickle.loads(data)) is type(error)
    except Exception:  # what a class of the user's own does in pickle is anyone's guess
        same = False
    return (data if same else None), words


def unpacked(sent: tuple[bytes | None, str], what: str, rank: int) -> BaseException:
    """Return the exception of another rank, with a note that says whose it is."""
    data, words = sent
    error: BaseException
    if data is None:
        return PyscaleError(f"{what}: rank {rank} has failed: {words}")
    try:
        error = pickle.loads(data)
    except Exception:  # a class that only the other rank has
        return PyscaleError(f"{what}: rank {rank} has failed: {words}")
    error.add_note(f"{what}: raised on rank {rank}")
    return error
