"""Whether all ranks together got every sample of an epoch exactly once, in constant memory."""

from __future__ import annotations

import base64
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pyscale import _core
from pyscale.config import num_threads as default_threads
from pyscale.data.arguments import without_mask
from pyscale.errors import CommMismatch, PyscaleError

if TYPE_CHECKING:
    from pyscale.comm import Communicator

VERSION: int = _core.MULTISET_VERSION  # of the hashes: what was seen is compared within one version

_SHOWN = 8  # ranges that an error's message lists
_PIECE = 1 << 31  # indices between two looks at whether the user wants to stop

Table = npt.NDArray[np.uint64]


class Wrong(NamedTuple):
    """A range of samples that did not all come once: `start` to ``stop - 1``."""

    start: int
    stop: int
    got: int  # samples; as many as expected where some came instead of others
    sample: int | None  # the one that is missing or came twice, where it is one alone

    def __str__(self) -> str:
        expected = self.stop - self.start
        if self.got == expected:
            what = "some are missing and others came again"
        elif self.sample is None:
            what = f"{abs(self.got - expected)} too {'many' if self.got > expected else 'few'}"
        else:
            what = f"{self.sample} {'came once too often' if self.got > expected else 'is missing'}"
        return f"samples {self.start} to {self.stop - 1}: expected {expected}, got {self.got}: {what}"


class EpochError(PyscaleError):
    """An epoch did not deliver every sample exactly once.

    Attributes
    ----------
    expected, got : int
        Samples, of all ranks.
    ranges : list of Wrong
        Where something is wrong: of at most 256 ranges, `start`, `stop`, how many samples it `got`, and the
        `sample` that is missing or came twice, where it is one alone in its range.
    """

    expected: int = 0
    got: int = 0
    ranges: list[Wrong]


class Seen:
    """What a rank got of the samples ``0`` to ``n - 1``, in 6 KB however many they are.

    It counts the indices and adds up two 64-bit hashes of each, modulo 2^64, for each of 256 ranges or fewer:
    a multiset hash [1]_ [2]_, which does not depend on the order, and of which those of parts add up.

    Parameters
    ----------
    n : int
        Samples in all: from 0 to 2^63 - 1.

    References
    ----------
    .. [1] M. Bellare and D. Micciancio, "A new paradigm for collision-free hashing: incrementality at reduced
       cost", EUROCRYPT 1997.
    .. [2] D. Clarke et al., "Incremental multiset hash functions and their application to memory integrity
       checking", ASIACRYPT 2003.
    """

    def __init__(self, n: int) -> None:
        self._n = operator.index(n)
        if not 0 <= self._n < 1 << 63:
            raise ValueError(f"Seen: expected n from 0 to 2^63 - 1, got {self._n}")
        self._table: Table = np.zeros((256, 3), np.uint64)  # count, first and second sum of each range

    @property
    def n(self) -> int:
        """Samples in all."""
        return self._n

    @property
    def count(self) -> int:
        """Indices that were added, each as often as it was."""
        return int(self._table[:, 0].sum())

    def __repr__(self) -> str:
        return f"<Seen: {self.count} of {self._n}>"

    def add(self, indices: npt.ArrayLike) -> None:
        """Take note of indices.

        Parameters
        ----------
        indices : int or array of int
            Of any integer dtype and any shape.

        Raises
        ------
        IndexError
            For an index that is not from 0 to ``n - 1``; none was taken note of.
        """
        array = without_mask("Seen.add: expected indices", indices)
        if array.size == 0 and array.dtype == np.float64:  # an empty list
            return
        if array.dtype.kind not in "iu":
            raise TypeError(f"Seen.add: expected indices of integers, got {array.dtype}")
        if array.dtype == np.uint64:
            array = array.view(np.int64)  # what is too large is then negative
        outside = _core.multiset_add(self._table, np.ascontiguousarray(array, np.int64), self._n)
        if outside >= 0:
            got = np.asarray(indices).flat[outside]
            raise IndexError(f"Seen.add: expected indices of {self._n} samples, got {got}")

    def merge(self, other: Seen) -> None:
        """Take note of all that another one has seen."""
        if not isinstance(other, Seen):
            raise TypeError(f"Seen.merge: expected a Seen, got {type(other).__name__}")
        if other.n != self._n:
            raise ValueError(f"Seen.merge: expected one of {self._n} samples, got one of {other.n}")
        self._table += other._table

    def state_dict(self) -> dict[str, Any]:
        """Return what was seen, in 8 KB of plain types that JSON can hold.

        At another number of ranks, each state is loaded by one rank, or several are merged on one.
        """
        table = self._table.astype("<u8").tobytes()
        return {"version": VERSION, "n": self._n, "table": base64.b64encode(table).decode()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Forget what was seen, and go on from a state.

        Raises
        ------
        ValueError
            For a state of another version or another n, or one that is damaged; nothing was changed.
        """
        if not isinstance(state, Mapping):
            raise ValueError(f"Seen.load_state_dict: expected what state_dict returns, got {state!r:.200}")
        expected = {"version": VERSION, "n": self._n}
        got = {key: state.get(key) for key in expected}
        if got != expected:
            raise ValueError(f"Seen.load_state_dict: expected a state of {expected}, got one of {got}")
        try:
            table = base64.b64decode(state["table"], validate=True)
            self._table = np.frombuffer(table, "<u8").reshape(256, 3).astype(np.uint64)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"Seen.load_state_dict: expected a table of 256 rows, got {error}") from error


def verify_epoch(
    comm: Communicator | None,
    seen: Seen | npt.ArrayLike,
    n: int | None = None,
    *,
    num_threads: int | None = None,
) -> None:
    """Check that all ranks together got every sample from 0 to ``n - 1`` exactly once.

    Collective. What was seen is added up over the ranks, and compared with what should have been, of which
    each rank computes its part: about a billion samples a second and core. An epoch that is wrong passes with
    a probability of 2^-128.

    Parameters
    ----------
    comm : Communicator or None
        None for this process alone.
    seen : Seen or array of int
        What this rank got.
    n : int, optional
        Samples in all; needed where `seen` is an array.
    num_threads : int, optional
        As many as `pyscale.config` says where None.

    Raises
    ------
    EpochError
        On every rank: says how many samples were expected and came, and in which ranges they are too many,
        too few or wrong ones.
    TypeError, ValueError, IndexError
        For arguments that are not as said here, on the rank that has them; the others raise `CommMismatch`.
    CommMismatch
        On every rank: n differs.
    """
    own, failure = Seen(0), None
    threads = default_threads()
    try:
        own = _as_seen(seen, n)
        threads = threads if num_threads is None else _positive("num_threads", num_threads)
    except Exception as error:  # all ranks hear of it
        failure = error
    _agree(comm, own.n, failure)
    rank, size = (0, 1) if comm is None else (comm.rank, comm.size)
    share = range(own.n * rank // size, own.n * (rank + 1) // size)
    difference = own._table - _expected(share, own.n, threads)
    if comm is not None:
        difference = comm.all_reduce(difference)
    if difference.any():
        raise _epoch_error(difference.view(np.int64), own.n)


def _as_seen(seen: Any, n: int | None) -> Seen:
    if isinstance(seen, Seen):
        if n is not None and operator.index(n) != seen.n:
            raise ValueError(f"verify_epoch: expected n of {seen.n}, as seen has, got {n}")
        return seen
    if n is None:
        raise TypeError("verify_epoch: expected n beside an array of indices, got None")
    own = Seen(n)
    own.add(seen)
    return own


def _positive(what: str, value: int) -> int:
    if operator.index(value) < 1:
        raise ValueError(f"verify_epoch: expected {what} of at least 1, got {value}")
    return operator.index(value)


def _agree(comm: Communicator | None, n: int, failure: Exception | None) -> None:
    """Raise on every rank if one has bad arguments, or if n differs."""
    said = (n, failure and f"{type(failure).__name__}: {failure}")
    everyones = [said] if comm is None else comm.all_gather_object(said)
    if failure is not None:
        raise failure
    ranks: dict[int, int] = {}  # the first with each n
    for rank, (size, words) in enumerate(everyones):
        if words:
            raise CommMismatch(
                f"verify_epoch: expected good arguments on every rank, got on rank {rank} {words}"
            )
        ranks.setdefault(size, rank)
    if len(ranks) > 1:
        got = ", ".join(f"{size} on rank {rank}" for size, rank in ranks.items())
        raise CommMismatch(f"verify_epoch: expected the same n on every rank, got {got}")


def _expected(share: range, n: int, threads: int) -> Table:
    """Return the table of a share of the samples."""
    table: Table = np.zeros((256, 3), np.uint64)
    for start in range(share.start, share.stop, _PIECE):
        table += _core.multiset_between(start, min(start + _PIECE, share.stop), n, threads)
    return table


def _epoch_error(difference: npt.NDArray[np.int64], n: int) -> EpochError:
    width = 1 << _core.multiset_shift(n)
    wrong: list[Wrong] = []
    for row in np.flatnonzero(difference.any(axis=1)).tolist():
        start, stop = row * width, min((row + 1) * width, n)
        more = int(difference[row, 0])
        if more == start - stop and wrong and wrong[-1].got == 0 and wrong[-1].stop == start:
            wrong[-1] = wrong[-1]._replace(stop=stop, sample=None)  # nothing of either
            continue
        # What is there once too often, or once too little, is all that the difference is of.
        sample = _core.multiset_only(*(difference[row] * np.sign(more)).view(np.uint64).tolist())
        wrong.append(Wrong(start, stop, stop - start + more, sample if start <= sample < stop else None))
    got = n + int(difference[:, 0].sum())
    lines = [f"verify_epoch: expected each of {n} samples once, got {got} samples", *map(str, wrong[:_SHOWN])]
    if len(wrong) > _SHOWN:
        lines.append(f"and {len(wrong) - _SHOWN} more ranges")
    error = EpochError("\n  ".join(lines))
    error.expected, error.got, error.ranges = n, got, wrong
    return error
