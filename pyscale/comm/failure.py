"""How a job ends when a rank fails: all of it, at once, with the cause shown once."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from pyscale import _core
from pyscale.errors import CommError, CommMismatch

_LAST_WORDS_SECONDS = 5.0  # for the rank that shows the cause to end the job
# Where ranks cannot agree on who shows it, they take turns, and the first ends the job before the others do.
_TURN_SECONDS = 0.05
_LAST_TURN = 10

_previous_hook: Any = None
_skips_finalize = False
_watched: _Job | None = None


@dataclass(frozen=True)
class _Job:
    rank: int
    size: int
    pid: int
    turn: int
    claim: Callable[[int], bool]


def watch(rank: int, size: int, turn: int, claim: Callable[[int], bool] = lambda rank: True) -> None:
    """From now on, an exception that nobody catches ends the whole job.

    Of the ranks that fail, those show their traceback for which `claim` returns true; of these, the one with
    the lowest `turn` comes first, and ends the job.
    """
    global _previous_hook, _watched
    if _watched is None:
        _previous_hook = sys.excepthook
        sys.excepthook = _end_job
    _watched = _Job(rank, size, os.getpid(), min(turn, _LAST_TURN), claim)


def unwatch() -> None:
    """Leave uncaught exceptions to Python again."""
    global _watched
    if _watched is None:
        return
    _watched = None
    if sys.excepthook is _end_job:
        sys.excepthook = _previous_hook


def skip_finalize() -> None:
    """Let the process exit, with status 1, without waiting in MPI_Finalize for ranks that are gone."""
    global _skips_finalize
    if not _skips_finalize:
        _skips_finalize = _core.exit_before_mpi()


def _end_job(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    job = _watched
    if job is None or os.getpid() != job.pid:
        _previous_hook(kind, error, trace)  # a forked child fails alone
        return
    # A peer's failure reaches this rank as a CommError: the peer's own exception says more, so it may speak
    # first, whatever its turn.
    is_hearsay = isinstance(error, CommError) and not isinstance(error, CommMismatch)
    time.sleep(_TURN_SECONDS * (job.turn + is_hearsay * (_LAST_TURN + 1)))
    if job.claim(job.rank):
        sys.stdout.flush()
        lines = traceback.format_exception(kind, error, trace)
        sys.stderr.write(
            f"pyscale: rank {job.rank} of {job.size} failed, which ends the job:\n{''.join(lines)}"
        )
        sys.stderr.flush()
    else:
        time.sleep(_LAST_WORDS_SECONDS)
    from mpi4py import MPI

    MPI.COMM_WORLD.Abort(130 if issubclass(kind, KeyboardInterrupt) else 1)
    os._exit(1)
