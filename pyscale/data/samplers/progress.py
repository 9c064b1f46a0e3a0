"""How far the ranks are: which epoch, and from which position of it on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pyscale.data.orders.order import Order


class Counter(Protocol):
    """What counts that which is handed out here."""

    @property
    def delivered(self) -> int:
        """How much was."""

    @property
    def exhausted(self) -> bool:
        """Whether there is no more."""


@dataclass(frozen=True)
class Iteration:
    """Where an iteration began, and how far it is; what the sampler does meanwhile does not change it."""

    epoch: int
    start: int
    order: Order
    counter: Counter


class Progress:
    """Which epoch is read, and from which position of it on; all ranks have the same.

    An iteration begins where `begin` says. Unless the caller has set the epoch, the next one has the next.
    """

    def __init__(self) -> None:
        self.epoch, self.start = 0, 0
        self.begun = False
        self._is_set = False

    def next(self, end: int) -> tuple[int, int]:
        """Return the epoch and the position at which an iteration would begin; an epoch ends at `end`."""
        if self._is_set:
            return self.epoch, 0 if self.begun else self.start
        if self.begun or (end and self.start >= end):
            return self.epoch + 1, 0
        return self.epoch, self.start

    def begin(self, end: int) -> None:
        """Begin an iteration."""
        self.epoch, self.start = self.next(end)
        self.begun = True

    def set_epoch(self, epoch: int) -> None:
        """Let the caller say which epoch it is, from now on."""
        if epoch != self.epoch or self.begun:
            self.start = 0
        self.epoch, self.begun, self._is_set = epoch, False, True

    def load(self, epoch: int, start: int) -> None:
        """Begin the next iteration there."""
        self.epoch, self.start, self.begun = epoch, start, False
