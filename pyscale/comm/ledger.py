"""The MPI communicators that pyscale has made, which it frees when all their members have let go of them.

MPI frees a communicator on all its members together; Python lets go of one on each when it happens to. So a
rank notes what it has let go of. Where ranks meet anyway, to split a communicator or to join, they tell each
other, and free there what all of them have let go of. What has failed stays: messages may be under way in it.
"""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

# The same on all members, and of no other communicator of any of them: which joining, which split, and so on.
Name: TypeAlias = tuple[int, ...]
# What a process tells: its number, how often it has joined, and what it has let go of.
Told: TypeAlias = tuple[int, int, list[Name]]


@dataclass(eq=False)
class Entry:
    """A communicator of this process's.

    Attributes
    ----------
    name : tuple of int
    members : tuple of int
        Its processes, by their numbers.
    handles : list of mpi4py.MPI.Comm
        What is to be freed of it.
    """

    name: Name
    members: tuple[int, ...]
    handles: list[Any] = field(default_factory=list)
    _splits: int = 0

    def next_name(self) -> Name:
        """Return the name of the communicators that the next split makes."""
        self._splits += 1
        return (*self.name, self._splits)


class Ledger:
    """The communicators of this process.

    Attributes
    ----------
    process : int
        This process's number, which no other has.
    """

    def __init__(self) -> None:
        self.process = secrets.randbits(63)
        self._joinings = 0
        self._let_go: dict[Name, Entry] = {}
        self._watched: dict[Name, Any] = {}

    def tell(self) -> Told:
        """Return what the others must hear of this process, where they meet."""
        return self.process, self._joinings, list(self._let_go)

    def join(self, told: Sequence[Told]) -> Entry:
        """Return a new entry for the processes that have just told all this."""
        self._joinings = 1 + max(joinings for _, joinings, _ in told)
        return Entry((self._joinings,), tuple(process for process, _, _ in told))

    def let_go(self, entry: Entry, after: Any = None) -> None:
        """Note that this process has let go of a communicator; or will have, with the last of `after`."""
        if after is None:
            self._watched.pop(entry.name, None)
            self._let_go[entry.name] = entry
        else:
            self._watched[entry.name] = weakref.ref(after, lambda _: self.let_go(entry))

    def free(self, told: Sequence[Told]) -> None:
        """Free what all members have let go of: all those do it who have just told each other this."""
        names = {process: set(let_go) for process, _, let_go in told}
        nobody: set[Name] = set()
        for name in sorted(names[self.process]):
            entry = self._let_go.get(name)
            if entry is not None and all(name in names.get(member, nobody) for member in entry.members):
                del self._let_go[name]
                for handle in entry.handles:
                    handle.Free()
