"""How far a long program is."""

from __future__ import annotations

import sys
import time


class Progress:
    """Lines on the standard error: how far, what next, how long still."""

    def __init__(self, steps: int) -> None:
        self._steps, self._done, self._start = steps, 0, time.monotonic()

    def step(self, doing: str) -> None:
        """Begin the next step."""
        elapsed = time.monotonic() - self._start
        left = (
            f", {elapsed / self._done * (self._steps - self._done) / 60:.0f} min left"
            if self._done > 1
            else ""
        )
        self._done += 1
        self.say(f"[{self._done}/{self._steps}] {doing} ({elapsed / 60:.1f} min{left})")

    def skip(self, steps: int) -> None:
        """Leave out steps that were counted."""
        self._steps -= steps

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=sys.stderr, flush=True)
