"""What a rank finds wrong is raised on every rank, before any data move."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pyscale.comm import Communicator
from pyscale.comm.transports.agreement import who_said
from pyscale.errors import CommMismatch, PyscaleError

Mine = TypeVar("Mine")
Told = TypeVar("Told")

_KINDS = {kind.__name__: kind for kind in (TypeError, ValueError, IndexError, MemoryError)}


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
        What the others are told of its result; it is pickled.

    Returns
    -------
    tuple
        This rank's result, and what all ranks have told, in rank order.

    Raises
    ------
    TypeError, ValueError, IndexError, MemoryError
        As on the first rank that failed, naming all those that did.
    PyscaleError
        For failures of other kinds.
    """
    mine, failure = None, None
    try:
        mine = attempt()
        answer = (tell(mine), "", "")
    except Exception as error:
        failure, answer = error, (None, type(error).__name__, str(error))
    answers = comm.all_gather_object(answer)
    if kinds := [kind for _, kind, _ in answers if kind]:
        said = [
            (text if kind in _KINDS else f"{call}: {kind}: {text}", rank)
            for rank, (_, kind, text) in enumerate(answers)
            if kind
        ]
        raise _KINDS.get(kinds[0], PyscaleError)(who_said(said)) from failure
    return mine, [told for told, _, _ in answers]  # type: ignore[return-value]


def check_same(call: str, texts: list[str]) -> None:
    """Raise CommMismatch unless all ranks, in rank order, have said the same."""
    if len(set(texts)) > 1:
        said = who_said([(text, rank) for rank, text in enumerate(texts)])
        raise CommMismatch(f"{call}: expected the same on every rank, got {said}")
