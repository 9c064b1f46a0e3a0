"""Models for tests of the batcher: the answer is the first column, so that each says whose it is."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

__all__ = ["Gate", "Model", "row", "rows_of", "value_of"]


def row(value: float) -> Any:
    """Return one row that begins with a value."""
    return rows_of(value, 1)


def rows_of(value: float, count: int) -> Any:
    """Return rows that begin with a value."""
    return np.full((count, 3), value, np.float32)


def value_of(answer: Any) -> float:
    """Return the answer to one row."""
    assert answer.shape == (1,)
    return float(answer[0])


class Model:
    """Notes its calls; raises for rows below zero."""

    def __init__(self, *, seconds: float = 0.0, factor: float = 1.0, num_features: int | None = None) -> None:
        self.seconds = seconds
        self.factor = factor
        self.num_features = num_features
        self.sizes: list[int] = []
        self.kinds: list[tuple[str, int]] = []
        self.firsts: list[float] = []

    def predict(self, x: Any) -> Any:
        """Return the first column."""
        self.sizes.append(len(x))
        self.kinds.append((x.dtype.name, x.shape[1]))
        self.firsts += x[:1, 0].tolist()
        if self.seconds:
            time.sleep(self.seconds)
        if (x[:, 0] < 0).any():
            raise ArithmeticError(f"row {int(x[:, 0].min())}" if len(x) == 1 else "several rows")
        return x[:, 0] * self.factor if self.factor != 1 else x[:, 0].copy()


class Gate(Model):
    """Holds its calls until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self._opened = threading.Event()
        self._called = threading.Semaphore(0)

    def predict(self, x: Any) -> Any:
        """Wait, and return the first column."""
        self._called.release()
        assert self._opened.wait(60), "the gate was not opened"
        return super().predict(x)

    def wait_for_calls(self, count: int) -> None:
        """Wait until the model was called so often."""
        for _ in range(count):
            assert self._called.acquire(timeout=20), "the model was not called"

    def open(self) -> None:
        """Let all calls go on."""
        self._opened.set()
