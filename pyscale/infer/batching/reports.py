"""What a batcher says about itself."""

from __future__ import annotations

from typing import Any

from pyscale.infer.batching.histogram import Histogram
from pyscale.infer.batching.queue import Served

__all__ = ["report"]


def report(served: Served) -> dict[str, Any]:
    """Describe a model's requests and batches."""
    goal = served.goal
    found: dict[str, Any] = dict(served.counters)
    found.update(
        version=served.version,
        queued_requests=served.queued,
        latency_ms=_described(served.latency, 1e-6),
        wait_ms=_described(served.wait, 1e-6),
        batch_ms=_described(served.batch, 1e-6),
        batch_rows=_described(served.size, 1),
        cost={
            "known": served.cost.known,
            "us_per_row": served.cost.a / 1e3,
            "us_per_batch": served.cost.b / 1e3,
        },
        goal_reached=None if goal is None else goal.reached,
        goal_reason=None if goal is None else goal.reason,
        batch_limit=None if goal is None else goal.limit(served.cost, 0.0),
    )
    return found


def _described(histogram: Histogram, unit: float) -> dict[str, Any]:
    copied = histogram.copy()
    described: dict[str, Any] = {"count": len(copied)}
    for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)):
        described[name] = copied.quantile(q) * unit
    described["buckets"] = [(bound * unit, count) for bound, count in copied.buckets()]
    return described
