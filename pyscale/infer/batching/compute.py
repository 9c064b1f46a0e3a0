"""One batch: its rows put together, the model called, the answers taken apart."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyscale import _core
from pyscale.infer.batching.requests import Request

__all__ = ["Buffers", "Outcome", "answers_of", "compute"]

_KINDS = 4  # buffers that are kept, of different types and shapes of rows
_OWN_COPY = 64 * 1024  # bytes of a batch's answers, above which each is a copy and keeps no other alive


def _count_alone() -> int:
    """Return the count of references to what only a local variable knows; newer Pythons count one less."""
    out = np.empty(1)
    return sys.getrefcount(out)


_ALONE = _count_alone()


class Outcome(NamedTuple):
    """What came of a request."""

    work: Request
    answer: Any
    error: BaseException | None


class Buffers:
    """Memory for the batches of one worker."""

    def __init__(self, max_batch: int) -> None:
        self._max_batch = max_batch
        self._kept: dict[Any, NDArray[Any]] = {}

    def collect(self, arrays: list[NDArray[Any]], rows: int) -> NDArray[Any]:
        """Copy the rows of arrays of one type and shape one below the other; overwritten by the next call."""
        first = arrays[0]
        kind = (first.dtype, first.shape[1:])
        buffer = self._kept.get(kind)
        if buffer is None or len(buffer) < rows:
            if buffer is None and len(self._kept) >= _KINDS:
                self._kept.pop(next(iter(self._kept)))
            room = max(min(2 * rows, self._max_batch), rows)
            buffer = self._kept[kind] = np.empty((room, *first.shape[1:]), first.dtype)
        _core.collect_rows(arrays, buffer)
        return buffer[:rows]


def answers_of(call: Callable[[Any], Any], rows: NDArray[Any]) -> NDArray[Any]:
    """Call the model; return an answer for each row, in memory of its own."""
    try:
        out = call(rows)
    except StopIteration as error:  # would end a generator or a coroutine silently
        raise RuntimeError("model: raised StopIteration") from error
    if type(out) is not np.ndarray:
        # A tuple or list of two answers for all rows: there may be two rows.
        if isinstance(out, tuple) or (isinstance(out, list) and out and isinstance(out[0], np.ndarray)):
            raise TypeError(
                f"model: expected an array with an answer for each row, got a {type(out).__name__}"
            )
        out = np.asarray(out)
    if out.ndim == 0 or len(out) != len(rows):
        raise ValueError(f"model: expected an answer for each of {len(rows)} rows, got shape {out.shape}")
    # The model may write to memory again that is not the answer's alone.
    if out.base is not None or out is rows or sys.getrefcount(out) > _ALONE:
        out = out.copy()
    return out  # type: ignore[no-any-return]


def compute(
    call: Callable[[Any], Any], batch: list[Request], buffers: Buffers, outcomes: list[Outcome]
) -> int:
    """
    Compute a batch; where the model raises, its halves, so that only the culprits fail.

    Returns
    -------
    int
        How often the model raised for several requests at once.
    """
    try:
        # A copy of a single one too: the model may write to its rows, which are the caller's.
        rows = buffers.collect([work.rows for work in batch], sum(work.count for work in batch))
        out = answers_of(call, rows)
    except BaseException as error:
        if len(batch) == 1:
            outcomes.append(Outcome(batch[0], None, error))
            return 0
        middle = len(batch) // 2
        raised = compute(call, batch[:middle], buffers, outcomes)
        return 1 + raised + compute(call, batch[middle:], buffers, outcomes)
    if len(batch) == 1:
        outcomes.append(Outcome(batch[0], out, None))
        return 0
    end = 0
    apart = out.nbytes > _OWN_COPY
    for work in batch:
        begin, end = end, end + work.count
        answer = out[begin:end]
        outcomes.append(Outcome(work, answer.copy() if apart else answer, None))
    return 0
