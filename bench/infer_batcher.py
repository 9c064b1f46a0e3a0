"""Times a batcher beside calling the model a request at a time, from threads and from one event loop.

    python bench/infer_batcher.py MODEL [--quick] [--json FILE]

Requests have one row. Each of 64 clients asks, waits for the answer, checks it, and asks again; their turns
alternate. Latencies are the clients' own. The models have one thread each, and so do the batcher's batches.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
from _infer_models import MODELS
from _recording import Figure, Note, main
from numpy.typing import NDArray

import pyscale as ps
from pyscale.infer import Batcher

Array = NDArray[Any]
Predict = Callable[[Array], Array]

CLIENTS = 64
GOAL_MS = 20.0


def _forest() -> tuple[Predict, Array]:
    """Make the forest of XGBoost's model."""
    model = MODELS["xgb500"]
    return ps.infer.convert(model.trained()).predict, model.rows()[:4096]


def _xgboost() -> tuple[Predict, Array]:
    """Take XGBoost's own `inplace_predict`."""
    model = MODELS["xgb500"]
    booster = model.trained()
    booster.set_param({"nthread": 1})
    return booster.inplace_predict, model.rows()[:4096]


def _digits() -> tuple[Any, Array]:
    """Train scikit-learn's MLP 64-512-512-10."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    x, y = load_digits(return_X_y=True)
    x = x.astype(np.float32)
    mlp = MLPClassifier((512, 512), max_iter=5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # five rounds are enough for its time
        return mlp.fit(x, y), x


def _mlp() -> tuple[Predict, Array]:
    """Take scikit-learn's own `predict_proba`."""
    mlp, x = _digits()
    return mlp.predict_proba, x


def _onnx() -> tuple[Predict, Array]:
    """Convert that for ONNX Runtime."""
    import onnxruntime
    from skl2onnx import to_onnx

    mlp, x = _digits()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = to_onnx(mlp, x[:1], options={"zipmap": False}).SerializeToString()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda rows: session.run(None, {"X": rows})[1], x


SUBJECTS: dict[str, tuple[str, Callable[[], tuple[Predict, Array]]]] = {
    "xgboost": ("XGBoost 500 x depth 6, its own predict", _xgboost),
    "forest": ("Forest of XGBoost 500 x depth 6", _forest),
    "mlp": ("scikit-learn's MLP 64-512-512-10", _mlp),
    "onnxruntime": ("ONNX Runtime, MLP 64-512-512-10", _onnx),
}


def ask_in_threads(predict: Predict, rows: Array, wanted: Array, clients: int, seconds: float) -> list[float]:
    """Return the seconds of each request of so many threads; all answers are right."""
    spent: list[list[float]] = [[] for _ in range(clients)]
    wrong: list[int] = []
    begin, over = threading.Barrier(clients + 1), threading.Event()

    def client(number: int) -> None:
        mine = spent[number]
        k = number
        begin.wait()
        while not over.is_set():
            k = (k + clients) % len(rows)
            start = time.perf_counter()
            answer = predict(rows[k : k + 1])
            mine.append(time.perf_counter() - start)
            if abs(answer.flat[0] - wanted[k]) > 1e-4:
                wrong.append(k)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    begin.wait()
    time.sleep(seconds)
    over.set()
    for thread in threads:
        thread.join()
    assert not wrong, f"wrong answers: {wrong[:5]}"
    return [one for each in spent for one in each]


def ask_in_a_loop(
    predict: Callable[[Array], Awaitable[Array]], rows: Array, wanted: Array, clients: int, seconds: float
) -> list[float]:
    """Return the seconds of each request of so many coroutines."""
    spent: list[float] = []

    async def client(number: int, end: float) -> None:
        k = number
        while time.perf_counter() < end:
            k = (k + clients) % len(rows)
            start = time.perf_counter()
            answer = await predict(rows[k : k + 1])
            spent.append(time.perf_counter() - start)
            assert abs(answer.flat[0] - wanted[k]) <= 1e-4

    async def main() -> None:
        end = time.perf_counter() + seconds
        await asyncio.gather(*(client(number, end) for number in range(clients)))

    asyncio.run(main())
    return spent


def measure(options: argparse.Namespace) -> Iterator[Figure | Note]:
    """Both ways, in threads and in an event loop, taking turns."""
    title, make = SUBJECTS[options.model]
    seconds, turns = (0.3, 1) if options.quick else (1.5, 5)
    predict, rows = make()
    wanted = np.array([predict(rows[k : k + 1]).flat[0] for k in range(len(rows))], np.float64)

    async def alone(x: Array) -> Array:
        return predict(x)

    spent: dict[tuple[str, str], list[list[float]]] = {}
    reached, sizes = [], []
    for _ in range(turns):
        for name in ("threads", "coroutines"):
            one = spent.setdefault((name, "a request at a time"), [])
            if name == "threads":
                one.append(ask_in_threads(predict, rows, wanted, CLIENTS, seconds))
            else:
                one.append(ask_in_a_loop(alone, rows, wanted, CLIENTS, seconds))
            two = spent.setdefault((name, "pyscale"), [])
            with Batcher(predict, max_batch=256, latency_goal_ms=GOAL_MS) as batcher:
                if name == "threads":
                    two.append(ask_in_threads(batcher.predict, rows, wanted, CLIENTS, seconds))
                else:
                    two.append(ask_in_a_loop(batcher.predict_async, rows, wanted, CLIENTS, seconds))
                found = batcher.stats()["models"][""]
            reached.append(found["goal_reached"])
            sizes.append(found["batched_rows"] / found["batches"])
    for (name, way), each in spent.items():
        task = f"{title}, {CLIENTS} {name}"
        yield Figure(task, way, "seconds", [seconds / len(times) for times in each], unit="rows")
        p99 = [float(np.quantile(times, 0.99)) for times in each]
        yield Figure(f"{task}, 99% of requests", way, "seconds", p99)
    yield Note(
        f"{title}, {CLIENTS} clients: {np.median(sizes):.0f} rows a batch; the batcher says that its goal of "
        f"{GOAL_MS:.0f} ms is {'' if all(reached) else 'not always '}kept."
    )


if __name__ == "__main__":
    main(__doc__, measure, list(SUBJECTS), "model")
