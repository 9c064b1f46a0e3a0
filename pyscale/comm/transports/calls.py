"""The user's calls between nodes: what fails inside one is told in its words, to every rank."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator

from pyscale.comm.transports.notices import Notice, Notices, Told
from pyscale.comm.transports.shm import ShmTransport
from pyscale.errors import CommError, CommMismatch

_LEAST_GRACE_SECONDS = 0.5


class Calls:
    """One communicator's calls, as one of its ranks sees them.

    Parameters
    ----------
    notices : Notices
        What its ranks tell when they give up.
    local : ShmTransport or None
        Those that share memory with this one.
    rank : int
    timeout : float
        Seconds that a rank may be late.
    """

    def __init__(self, notices: Notices, local: ShmTransport | None, rank: int, timeout: float) -> None:
        self.given_up = ""  # why; empty while all is well
        self.is_closed = False
        self._notices = notices
        self._local = local
        self._rank = rank
        self._timeout = timeout
        self._call, self._started = "", 0.0
        self._pid = os.getpid()
        self._lock = threading.Lock()  # one call at a time
        self._thread: int | None = None  # that is inside it

    @contextlib.contextmanager
    def named(self, call: str) -> Iterator[None]:
        """Let what fails inside bear the name of the user's call, and all other ranks know of it."""
        if os.getpid() != self._pid:
            raise CommError(f"{call}: expected the process that joined the job, got a forked child of it")
        if self._thread == threading.get_ident():
            raise CommError(f"{call}: expected no collective inside another, got one from a signal handler")
        with self._lock, self._guarded(call):
            yield

    @contextlib.contextmanager
    def _guarded(self, call: str) -> Iterator[None]:
        if self.given_up or self.is_closed:
            raise CommError(
                f"{call}: expected a working communicator, got one given up earlier: "
                f"{self.given_up or 'it was closed'}"
            )
        self._call, self._started, self._thread = call, time.monotonic(), threading.get_ident()
        try:
            yield
        except CommMismatch:
            raise  # on every rank, and nothing is broken
        except Told as told:
            self._give_up(told.notice)
            raise told.notice.error(call) from None
        except CommError as error:
            raise self._tell(Notice.of(error, self._timeout)).error(call) from None
        except BaseException as error:
            why = "was interrupted" if isinstance(error, KeyboardInterrupt) else f"failed: {error!r}"
            self._tell(Notice.about(self._rank, why, self._timeout))
            raise
        finally:
            self._thread = None

    def again(self) -> contextlib.AbstractContextManager[None]:
        """Go on with the call before, outside of this transport."""
        return self.named(self._call)

    def _tell(self, notice: Notice) -> Notice:
        """Give up, and return why: a neighbour's reason for it may be on its way."""
        is_hearsay = notice.is_hearsay(time.monotonic() - self._started, self._timeout)
        heard = self._notices.hear(grace(self._timeout)) if is_hearsay else None
        if heard is None:
            self._notices.tell(notice)
        self._give_up(heard or notice)
        return heard or notice

    def _give_up(self, notice: Notice) -> None:
        self.given_up = notice.words
        if self._local is not None:
            self._local.group.abandon(notice.words, False)


def grace(timeout: float) -> float:
    """Return the seconds that a rank which has waited long enough goes on, for others to say why.

    Who waits within its node knows the late rank's name. Who waits for another node therefore waits longer,
    and who waits for a neighbour that waits for another node, longer still.
    """
    return max(_LEAST_GRACE_SECONDS, 0.02 * timeout)
