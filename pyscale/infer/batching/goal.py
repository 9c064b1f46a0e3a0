"""How many rows a batch may have for requests to be answered in time."""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

import numpy as np

from pyscale.infer.batching.cost import Cost

__all__ = ["Goal"]

_WINDOW = 512  # requests between two looks
_FEWEST = 32  # that are looked at after a while
_WHILE_NS = 2_000_000_000
_PATIENCE = 3  # windows that miss the goal before it is said
_MARGIN = (1.0, 8.0)


class Goal:
    """
    The size of batches that keeps a goal.

    A request that comes while a batch is computed waits for its end, and then for its own: with batches of
    time t at most 2 t in all, and t before it begins. So t may be half of a goal for the latency, and all of
    one for the wait. What the machine adds to that is learned from the latencies that came out: where their
    99th percentile is above the goal, batches are made smaller, and slowly larger again where it is below.
    Until enough came out to tell, `reached` is None.
    """

    def __init__(self, nanoseconds: float, kind: Literal["latency", "wait"], max_batch: int) -> None:
        self.nanoseconds = nanoseconds
        self.kind = kind
        self.max_batch = max_batch
        self.margin = _MARGIN[0]
        self.reached: bool | None = None
        self.reason: str | None = None
        self._missed = 0
        self._window: deque[int] = deque()
        self._since = 0  # when the window began, in nanoseconds

    def limit(self, cost: Cost, oldest_wait: float) -> int:
        """Return the most rows for the next batch, whose oldest request waited so long."""
        share = 0.5 if self.kind == "latency" else 1.0
        rows = cost.rows_within(self.nanoseconds * share / self.margin)
        if rows >= self.max_batch:
            return self.max_batch
        # Who is late already, or will be, is not helped by small batches: whole ones get most rows done.
        late = self.nanoseconds if self.kind == "wait" else self.nanoseconds - cost.of(max(1, int(rows)))
        return self.max_batch if oldest_wait > late else max(1, int(rows))

    def watch(self, nanoseconds: list[int], cost: Cost, now: int) -> None:
        """Look at the times that came out until `now`: latencies or waits, as the goal is."""
        if not self._window:
            self._since = now
        self._window.extend(nanoseconds)
        while (count := len(self._window)) >= _WINDOW or (
            count >= _FEWEST and now - self._since >= _WHILE_NS
        ):
            self._since = now
            self._judge(np.array([self._window.popleft() for _ in range(min(count, _WINDOW))]), cost)

    def _judge(self, times: np.ndarray[tuple[int], np.dtype[np.int64]], cost: Cost) -> None:
        # Of few, the largest alone is no sign that more than one of a hundred are late.
        p99 = float(np.quantile(times, 0.99, method="lower"))
        if p99 <= self.nanoseconds:
            self._missed = 0
            self.reached, self.reason = True, None
            if p99 < 0.8 * self.nanoseconds:
                self.margin = max(_MARGIN[0], self.margin * 0.95)
            return
        self.margin = min(_MARGIN[1], self.margin * 1.15)
        self._missed += 1
        if self._missed < _PATIENCE:
            return
        goal, got = self.nanoseconds / 1e6, p99 / 1e6
        one = cost.of(1)
        if math.isfinite(one) and one > self.nanoseconds:
            why = f"one row alone takes the model {one / 1e6:.3g} ms"
        elif float(np.quantile(times, 0.5)) > self.nanoseconds:
            why = "more rows come than the model can compute"
        else:
            why = "a few requests are held up, by the machine or by large requests"
        self.reached = False
        self.reason = f"99 of 100 requests should take {goal:.3g} ms at most, and took {got:.3g} ms: {why}"
