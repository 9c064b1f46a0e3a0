"""Deadlines for the MPI calls that have none: those that make communicators."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from pyscale.comm import failure
from pyscale.errors import CommTimeout

_SLICE_SECONDS = 0.1

T = TypeVar("T")


def within(seconds: float, what: str, body: Callable[[], T], check: Callable[[], None] = lambda: None) -> T:
    """Return what `body` returns, or raise CommTimeout after so many seconds.

    `body` runs in a thread of its own, which is left behind where it never ends: a blocking MPI call cannot
    be interrupted, and the process then exits without MPI_Finalize. Where MPI may not be called from threads
    there is no deadline.

    Parameters
    ----------
    seconds : float
    what : str
        For the words of an error.
    body : callable
    check : callable
        Called about ten times a second; ends the wait by raising.
    """
    from mpi4py import MPI

    if MPI.Query_thread() != MPI.THREAD_MULTIPLE:
        return body()
    outcome: list[Any] = []
    finished = threading.Event()

    def run() -> None:
        try:
            outcome.extend((body(), None))
        except BaseException as error:  # raised again in the caller's thread
            outcome.extend((None, error))
        finished.set()

    threading.Thread(target=run, name=f"pyscale-{what}", daemon=True).start()
    waited = 0.0
    try:
        while not finished.wait(_SLICE_SECONDS):
            check()
            waited += _SLICE_SECONDS
            if waited >= seconds:
                raise CommTimeout(
                    f"{what}: expected every rank within {seconds:g} s, got no answer from some"
                )
    except BaseException:
        failure.skip_finalize()  # which would wait for the thread's call, or crash beside it
        raise
    result, error = outcome
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]
