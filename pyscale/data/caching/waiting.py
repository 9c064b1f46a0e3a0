"""What one rank does while all others wait, however long it takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from pyscale.comm import Communicator
from pyscale.comm.together import packed, unpacked
from pyscale.errors import CommError

T = TypeVar("T")

_ALIVE, _DONE = np.array([0], np.int8), np.array([1], np.int8)
_INTERVAL = 10.0  # seconds


def on_rank_0(comm: Communicator | None, what: str, body: Callable[[], T]) -> T:
    """Run `body` on rank 0, and return on all ranks what it returns, or raise what it raises. Collective.

    `body` may take longer than the communicator's time-out: rank 0 gives signs of life meanwhile, from a
    thread, unless MPI forbids threads. It must not use the communicator.
    """
    if comm is None or comm.size == 1:
        return body()
    return _do(comm, body) if comm.rank == 0 else _wait(comm, what)


def _wait(comm: Communicator, what: str) -> Any:
    while not comm.broadcast(_ALIVE)[0]:
        pass  # it sleeps in broadcast, and ends when rank 0 does
    result, error = comm.broadcast_object(None)
    if error is not None:
        raise unpacked(error, what, 0)
    return result


def _do(comm: Communicator, body: Callable[[], T]) -> T:
    try:
        with _signs_of_life(comm):
            result = body()
    except CommError:
        raise
    except BaseException as error:
        # Ctrl-C is for this rank; the others get it in words.
        told = packed(error) if isinstance(error, Exception) else (None, type(error).__name__)
        comm.broadcast(_DONE)
        comm.broadcast_object((None, told))
        raise
    comm.broadcast(_DONE)
    comm.broadcast_object((result, None))
    return result


@contextmanager
def _signs_of_life(comm: Communicator) -> Iterator[None]:
    """Broadcast now and then that this rank is at work."""
    done = threading.Event()
    lost: list[CommError] = []

    def give() -> None:
        try:
            while not done.wait(min(_INTERVAL, comm.timeout / 4)):
                comm.broadcast(_ALIVE)
        except CommError as error:
            lost.append(error)

    thread = threading.Thread(target=give, name="pyscale-signs-of-life", daemon=True)
    if _threads_may_communicate(comm):
        thread.start()
    try:
        yield
    finally:
        done.set()
        if thread.ident is not None:
            thread.join()
        if lost:
            raise lost[0]


def _threads_may_communicate(comm: Communicator) -> bool:
    if comm.mpi is None:
        return True
    from mpi4py import MPI

    return bool(MPI.Query_thread() == MPI.THREAD_MULTIPLE)
