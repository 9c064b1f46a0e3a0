"""Digests of objects that hold one another, in circles too, and as deep as they may be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, NamedTuple


def digest(label: str, *parts: bytes | memoryview) -> bytes:
    """Return 16 bytes for a label and parts, whose borders count."""
    found = hashlib.blake2b(digest_size=16)
    for part in (label.encode(errors="surrogatepass"), *parts):
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.digest()


class Place(NamedTuple):
    """Where an object was met, for errors."""

    said: str
    within: Place | None = None

    def __str__(self) -> str:
        said = [self.said]
        place = self
        while place.within is not None:
            place = place.within
            said.append(place.said)
        return "".join(reversed(said))

    def then(self, said: str) -> Place:
        """Return a place in this one."""
        return Place(said, self)


class Mode(NamedTuple):
    """How an object is looked at.

    Attributes
    ----------
    strict : bool
        Whether what has no fingerprint is refused; else only its type counts.
    files : bool
        Whether a path stands for the file; else it is text.
    """

    strict: bool
    files: bool


class Child(NamedTuple):
    """An object whose digest is asked for."""

    value: Any
    place: Place
    mode: Mode


Work = Generator[Child, bytes, bytes]


def of_parts(child: Child, label: str, *parts: Any) -> Work:
    """Begin the digest of what is made of parts."""
    found = []
    for part in parts:
        found.append((yield child._replace(value=part)))
    return digest(label, *found)


@dataclass
class _Visit:
    key: tuple[int, Mode]
    position: int  # on the stack of what is open
    lowest: int  # position of anything that was met again on the way
    work: Work


class Graph:
    """Digests, each computed once, without recursion.

    An object that is met again while its digest is not yet known counts by its distance from there, so that
    the digest of the whole does not depend on what was looked at before (the strongly connected components
    of Tarjan).

    Parameters
    ----------
    start : callable
        Begins the digest of an object: the digest, or a generator that yields the objects it holds, is sent
        their digests, and returns its own.
    """

    def __init__(self, start: Callable[[Child], bytes | Work]) -> None:
        self._start = start
        self._done: dict[tuple[int, Mode], bytes] = {}
        self._kept: list[Any] = []  # so that no other object gets the id of one that is done

    def of(self, root: Child) -> bytes:
        """Return the digest of an object and all it holds."""
        visits: list[_Visit] = []
        positions: dict[tuple[int, Mode], int] = {}
        stack: list[tuple[tuple[int, Mode], Any]] = []
        child = root
        while True:
            key = (id(child.value), child.mode)
            if (known := self._done.get(key)) is not None:
                answer = known
            elif (position := positions.get(key)) is not None:
                visits[-1].lowest = min(visits[-1].lowest, position)
                answer = digest("again", str(visits[-1].position - position).encode())
            elif isinstance(begun := self._start(child), bytes):
                answer = begun
            else:
                positions[key] = len(stack)
                visits.append(_Visit(key, len(stack), len(stack), begun))
                stack.append((key, child.value))
                answer = b""
            while True:
                if not visits:
                    return answer
                visit = visits[-1]
                try:
                    child = visit.work.send(answer or None)  # type: ignore[arg-type]  # None starts it
                    break
                except StopIteration as end:
                    answer = end.value
                visits.pop()
                if visit.lowest == visit.position:
                    for i, (key, value) in enumerate(stack[visit.position :]):
                        del positions[key]
                        self._keep(key, value, digest("in", answer, str(i).encode()) if i else answer)
                    del stack[visit.position :]
                else:
                    visits[-1].lowest = min(visits[-1].lowest, visit.lowest)

    def _keep(self, key: tuple[int, Mode], value: Any, found: bytes) -> None:
        self._done[key] = found
        self._kept.append(value)
