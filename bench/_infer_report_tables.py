"""Turns what was measured of tables into its part of docs/benchmarks_inference.md."""

from __future__ import annotations

from collections.abc import Iterator

from _infer_report import Measured, by_batch, spent
from infer_tables import KINDS, task_of


def tables(measured: Measured) -> Iterator[str]:
    """Set out the times of all, a table for each model and a row for each kind of rows and batch."""
    for model, shape in measured.models.items():
        found = {
            kind: spent(measured.recordings, f"infer_tables {model}", f"{task_of(model, kind)}, batches of ")
            for kind in KINDS
        }
        yield from by_batch(f"**{shape.title}** (`{model}`), one thread", found, "rows")
