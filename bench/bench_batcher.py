"""Times a batcher beside calling the model a request at a time, from threads and from one event loop.

    python bench/bench_batcher.py [--quick] [--clients N] [--json FILE]

Requests have one row. Each client asks, waits for the answer, checks it, and asks again. `alone`: the clients
call the model themselves. Latencies are the clients' own. BLAS, onnxruntime and XGBoost have one thread.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _infer_models import MODELS
from numpy.typing import NDArray

import pyscale as ps
from pyscale import _core
from pyscale.infer import Batcher

Array = NDArray[Any]
Predict = Callable[[Array], Array]


def models() -> Iterator[tuple[str, Predict, Array]]:
    """Name models, what computes them, and rows."""
    kept = MODELS["xgb500"]
    booster = kept.trained()
    booster.set_param({"nthread": 1})
    rows = kept.rows()[:4096]
    yield "pyscale, XGBoost 500 x depth 6", ps.infer.convert(booster).predict, rows
    yield "XGBoost 500 x depth 6, its own predict", booster.inplace_predict, rows
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    x, y = load_digits(return_X_y=True)
    x = x.astype(np.float32)
    mlp = MLPClassifier((512, 512), max_iter=5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # five rounds are enough for its time
        mlp.fit(x, y)
    yield "scikit-learn MLP 64-512-512-10", mlp.predict_proba, x
    try:
        import onnxruntime  # type: ignore[import-untyped, unused-ignore]
        from skl2onnx import to_onnx  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        return
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = to_onnx(mlp, x[:1], options={"zipmap": False}).SerializeToString()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    yield "onnxruntime, that MLP", lambda x: session.run(None, {"X": x})[1], x


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


def measure(quick: bool, clients: int, goal_ms: float) -> list[dict[str, Any]]:
    """Measure all models, alone and through batchers, taking turns."""
    seconds, turns = (0.5, 1) if quick else (2.0, 3)
    results = []
    for name, predict, rows in models():
        wanted = np.array([predict(rows[k : k + 1]).flat[0] for k in range(len(rows))], np.float64)

        async def alone(x: Array, predict: Predict = predict) -> Array:
            return predict(x)

        spent: dict[str, list[float]] = {}
        sizes, reached = [], []
        for _ in range(turns):
            one = spent.setdefault
            one("threads, alone", []).extend(ask_in_threads(predict, rows, wanted, clients, seconds))
            one("loop, alone", []).extend(ask_in_a_loop(alone, rows, wanted, clients, seconds))
            with Batcher(predict, max_batch=256, latency_goal_ms=goal_ms) as batcher:
                one("threads", []).extend(ask_in_threads(batcher.predict, rows, wanted, clients, seconds))
                found = batcher.stats()["models"][""]
                sizes.append(found["batched_rows"] / found["batches"])
                reached.append(found["goal_reached"])
            with Batcher(predict, max_batch=256, latency_goal_ms=goal_ms) as batcher:
                one("loop", []).extend(ask_in_a_loop(batcher.predict_async, rows, wanted, clients, seconds))
        result: dict[str, Any] = {"model": name, "clients": clients, "rows a batch": float(np.median(sizes))}
        result["goal reached"] = all(reached)
        for way, times in spent.items():
            result[way] = {
                "requests/s": len(times) / (seconds * turns),
                "p50 ms": float(np.quantile(times, 0.5)) * 1e3,
                "p99 ms": float(np.quantile(times, 0.99)) * 1e3,
            }
        results.append(result)
        print(*table(result), sep="\n", flush=True)
    return results


def table(result: dict[str, Any]) -> Iterator[str]:
    """Write a model's figures as lines of text."""
    yield f"# {result['model']}; {result['rows a batch']:.1f} rows a batch from threads"
    yield f"{'':>16}{'requests/s':>12}{'times alone':>12}{'p50 ms':>9}{'p99 ms':>9}"
    for way in ("threads, alone", "threads", "loop, alone", "loop"):
        found = result[way]
        times = found["requests/s"] / result[f"{way.removesuffix(', alone')}, alone"]["requests/s"]
        latencies = f"{found['p50 ms']:>9.2f}{found['p99 ms']:>9.2f}"
        yield f"{way:>16}{found['requests/s']:>12.0f}{times:>12.2f}{latencies}"


def gathering() -> Iterator[str]:
    """Time 64 rows of 30 columns, put together by us and by NumPy."""
    yield "# 64 requests of one row of 30 columns into one batch, microseconds"
    yield f"{'':>24}{'pyscale':>9}{'concatenate':>13}"
    for name, dtype, step in (("float32", np.float32, 1), ("float64, strided", np.float64, 2)):
        rows = [np.random.default_rng(k).random((1, 30 * step)).astype(dtype)[:, ::step] for k in range(64)]
        out = np.empty((64, 30), dtype)
        spent = []
        calls: tuple[Callable[[], object], ...] = (
            partial(_core.collect_rows, rows, out),
            partial(np.concatenate, rows, out=out),
        )
        for call in calls:
            out[:] = 0
            call()
            assert all((out[k] == row).all() for k, row in enumerate(rows))
            best = []
            for _ in range(50):
                start = time.perf_counter()
                for _ in range(100):
                    call()
                best.append((time.perf_counter() - start) / 100)
            spent.append(float(np.median(best)) * 1e6)
        yield f"{name:>24}{spent[0]:>9.2f}{spent[1]:>13.2f}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="half a second each, once")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--goal-ms", type=float, default=20.0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args()
    if "OMP_NUM_THREADS" not in os.environ:  # libraries read it when they are loaded
        os.environ["OMP_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    print(*gathering(), sep="\n", flush=True)
    results = measure(options.quick, options.clients, options.goal_ms)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
