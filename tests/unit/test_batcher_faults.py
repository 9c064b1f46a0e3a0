"""Under load, while one request of ten is cancelled: every answer comes, and is its request's own."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest

from pyscale.infer import Batcher, QueueFull

REQUESTS = int(os.environ.get("PYSCALE_STRESS_REQUESTS", "50000"))
LONG = 60.0  # seconds: a hang


def _model(x: Any) -> Any:
    """Return what says whose row it was, and raise for poisoned ones."""
    if (x[:, 1] < 0).any():
        raise ArithmeticError("poisoned")
    return x[:, 0] * 3 + x[:, 1]


class Client:
    """Asks, and compares each answer with what its own rows give."""

    def __init__(self, batcher: Batcher, number: int, requests: int) -> None:
        self.batcher = batcher
        self.random = random.Random(number)
        self.number = number
        self.requests = requests
        self.counts = dict.fromkeys(("asked", "right", "crossed", "hung", "failed", "gone", "full"), 0)

    def rows(self, k: int) -> Any:
        """Return rows that nobody else has."""
        count = 1 if self.random.random() < 0.9 else self.random.randint(2, 40)
        x = np.empty((count, 3), np.float64 if k % 3 else np.float32)
        x[:, 0] = np.arange(count) + (k % 1000) * 100
        x[:, 1] = -1 if self.random.random() < 0.002 else self.number
        return x

    def check(self, x: Any, answer: Any) -> None:
        """Count an answer."""
        wanted = x[:, 0] * 3 + x[:, 1]
        self.counts["right" if np.array_equal(answer, wanted) and x[0, 1] >= 0 else "crossed"] += 1

    def take(self, x: Any, future: Any) -> None:
        """Wait for a future."""
        try:
            self.check(x, future.result(LONG))
        except CancelledError:
            self.counts["gone"] += 1
        except ArithmeticError:
            self.counts["failed" if x[0, 1] < 0 else "crossed"] += 1
        except TimeoutError:
            self.counts["hung" if not future.done() else "gone"] += 1

    def run(self) -> None:
        """Ask in a thread: futures in groups, and calls in between."""
        k = 0
        while k < self.requests:
            group = []
            for _ in range(self.random.randint(1, 30)):
                k += 1
                x = self.rows(k)
                self.counts["asked"] += 1
                deadline = 1000 * LONG if self.random.random() < 0.1 else None
                try:
                    future = self.batcher.submit(x, priority=k % 3, deadline_ms=deadline)
                except QueueFull:
                    self.counts["full"] += 1
                    time.sleep(0.001)
                    continue
                group.append((x, future))
                if self.random.random() < 0.1:
                    group[self.random.randrange(len(group))][1].cancel()
            x = self.rows(k)
            self.counts["asked"] += 1
            k += 1
            try:
                self.check(x, self.batcher.predict(x))
            except ArithmeticError:
                self.counts["failed" if x[0, 1] < 0 else "crossed"] += 1
            except QueueFull:
                self.counts["full"] += 1
            for asked, future in group:
                self.take(asked, future)

    async def ask(self, k: int) -> None:
        """Ask in a coroutine."""
        x = self.rows(k)
        self.counts["asked"] += 1
        task = asyncio.ensure_future(self.batcher.predict_async(x))
        if self.random.random() < 0.1:
            await asyncio.sleep(0 if self.random.random() < 0.5 else 0.001)
            task.cancel()
        done, _ = await asyncio.wait([task], timeout=LONG)
        if not done:
            self.counts["hung"] += 1
        elif task.cancelled():
            self.counts["gone"] += 1
        elif task.exception() is None:
            self.check(x, task.result())
        elif isinstance(task.exception(), ArithmeticError):
            self.counts["failed" if x[0, 1] < 0 else "crossed"] += 1
        else:
            self.counts["full"] += 1

    async def loop(self) -> None:
        """Ask for all of them, a few at a time."""
        for first in range(0, self.requests, 50):
            await asyncio.gather(*(self.ask(first + k) for k in range(50)))


@pytest.mark.parametrize("cache_size", [0, 500])
def test_no_answer_is_lost_or_crossed(cache_size: int) -> None:
    clients = 8
    with Batcher(
        {"": _model}, max_batch=32, workers=2, max_queue=600, cache_size=cache_size, latency_goal_ms=1000
    ) as batcher:
        asking = [Client(batcher, number, REQUESTS // 2 // clients) for number in range(clients)]
        threads = [threading.Thread(target=client.run) for client in asking[:-2]]
        threads += [threading.Thread(target=lambda c=client: asyncio.run(c.loop())) for client in asking[-2:]]
        swapping = threading.Event()

        def swap() -> None:
            while not swapping.wait(0.01):
                batcher.swap(lambda x: _model(x))

        threads.append(threading.Thread(target=swap))
        for thread in threads:
            thread.start()
        for thread in threads[:-1]:
            thread.join()
        swapping.set()
        threads[-1].join()
        found = batcher.stats()
    counts = {name: sum(client.counts[name] for client in asking) for name in asking[0].counts}
    print(counts, {k: v for k, v in found["models"][""].items() if isinstance(v, int)})
    assert counts["hung"] == counts["crossed"] == 0
    assert counts["asked"] == sum(counts.values()) - counts["asked"]
    assert counts["asked"] >= REQUESTS // 2 - 60
    assert counts["gone"] > 0.02 * counts["asked"]
    assert counts["failed"] > 0
    served = found["models"][""]
    assert (found["queued_rows"], found["queued_requests"]) == (0, 0)
    assert served["requests"] == sum(served[k] for k in ("answered", "failed", "cancelled", "expired"))
