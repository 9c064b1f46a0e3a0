"""What a rank finds wrong is raised on every rank, before any data move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from pyscale.comm import Communicator
from pyscale.comm.transports.agreement import who_said
from pyscale.errors import CommMismatch, PyscaleError

Mine = TypeVar("Mine")
Told = TypeVar("Told")

_KINDS = {kind.__name__: kind for kind in (TypeError, ValueError, IndexError, MemoryError, PyscaleError)}


def on_all_ranks(
    comm: Communicator, call: str, attempt: Callable[[], Mine], tell: Callable[[Mine], Told]
) -> tuple[Mine, list[Told]]:
    """Try something on every rank, and fail on all of them where it fails on any. Collective.

    Parameters
    ----------
    comm : Communicator
    call : str
        What the user has called, for messages.
    attempt : callable
        What each rank does by itself.
    tell : callable
        Returns what the others are told of this rank's result; it is pickled.

    Returns
    -------
    tuple
        This rank's result, and what all ranks have told, in rank order.

    Raises
    ------
    TypeError, ValueError, IndexError, MemoryError, PyscaleError
        As on the first rank that failed, naming all those that did; PyscaleError for failures of other kinds.
    """
    mine: Mine | None = None
    failure: Exception | None = None
    answer: tuple[Told | None, str, str]
    try:
        mine = attempt()
        answer = (tell(mine), "", "")
    except Exception as error:
        failure, kind = error, type(error).__name__
        answer = (None, kind, str(error) if kind in _KINDS else f"{call}: {kind}: {error}")
    answers = comm.all_gather_object(answer)
    said = [(text, rank) for rank, (_, kind, text) in enumerate(answers) if kind]
    if said:
        _, kind, _ = answers[said[0][1]]
        raise _KINDS.get(kind, PyscaleError)(who_said(said)) from failure
    return cast(Mine, mine), [told for told, _, _ in answers]


def check_same(call: str, texts: Sequence[str]) -> None:
    """Raise CommMismatch unless all ranks, in rank order, have said the same."""
    if len(set(texts)) > 1:
        said = who_said([(text, rank) for rank, text in enumerate(texts)])
        raise CommMismatch(f"{call}: expected the same on every rank, got {said}")
