"""Times pyscale.infer.TopK beside faiss, torch, NumPy and scikit-learn, one thread each.

    OMP_NUM_THREADS=1 python bench/bench_topk.py [--quick] [--rows N] [--metric l2] [--json FILE]

Random matrices; all contestants have the same, and their answers are compared first. They take turns; a ratio
is the median over the turns of the fastest peer's time by ours. Peers that are not installed are left out.
torch and NumPy multiply, and take the best of the products: 128 queries at once, so that these fit.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _calls import take_turns
from _machine import machine
from numpy.typing import NDArray

from pyscale.infer import TopK

Array = NDArray[Any]
Found = tuple[Array, Array]
Search = Callable[[Array, int], Found]

WIDTHS = (64, 384)
QUERIES = (1, 8, 64, 1024)
KS = (10, 100)
PEERS = ("faiss", "torch", "numpy", "sklearn")
_CHUNK = 128


def in_chunks(search: Search) -> Search:
    """Search for some queries at a time."""

    def call(queries: Array, k: int) -> Found:
        parts = [search(queries[at : at + _CHUNK], k) for at in range(0, len(queries), _CHUNK)]
        scores, indices = zip(*parts, strict=True)
        return np.concatenate(scores), np.concatenate(indices)

    return call


def faiss_search(matrix: Array, metric: str) -> Search:
    """Make faiss's flat index."""
    import faiss

    faiss.omp_set_num_threads(1)
    index = (faiss.IndexFlatL2 if metric == "l2" else faiss.IndexFlatIP)(matrix.shape[1])
    index.add(matrix)
    return lambda queries, k: index.search(queries, k)


def torch_search(matrix: Array, metric: str) -> Search:
    """Multiply, and take torch's topk."""
    import torch

    torch.set_num_threads(1)
    rows = torch.from_numpy(matrix)
    lengths = (rows * rows).sum(1)

    def search(queries: Array, k: int) -> Found:
        with torch.inference_mode():
            x = torch.from_numpy(queries)
            if metric == "l2":
                squares = torch.addmm(lengths, x, rows.T, alpha=-2)
                scores, indices = torch.topk(squares, k, largest=False)
                scores += (x * x).sum(1, keepdim=True)
            else:
                scores, indices = torch.topk(x @ rows.T, k)
            return scores.numpy(), indices.numpy()

    return in_chunks(search)


def numpy_search(matrix: Array, metric: str) -> Search:
    """Multiply, and take NumPy's argpartition."""
    lengths = (matrix * matrix).sum(1)

    def search(queries: Array, k: int) -> Found:
        scores = queries @ matrix.T
        if metric == "l2":
            scores *= 2
            scores -= lengths
        best = np.argpartition(scores, -k, axis=1)[:, -k:]
        values = np.take_along_axis(scores, best, 1)
        order = np.argsort(-values, axis=1)
        scores, indices = np.take_along_axis(values, order, 1), np.take_along_axis(best, order, 1)
        if metric == "l2":
            scores = (queries * queries).sum(1, keepdims=True) - scores
        return scores, indices

    return in_chunks(search)


def sklearn_search(matrix: Array, metric: str) -> Search:
    """Make scikit-learn's neighbours, of distances only."""
    from sklearn.neighbors import NearestNeighbors

    if metric != "l2":
        raise ImportError("scikit-learn has no inner products")
    model = NearestNeighbors(algorithm="brute", metric="sqeuclidean", n_jobs=1).fit(matrix)
    return lambda queries, k: model.kneighbors(queries, k)


MAKERS = {"faiss": faiss_search, "torch": torch_search, "numpy": numpy_search, "sklearn": sklearn_search}


def peers_of(matrix: Array, metric: str) -> dict[str, Search]:
    """Make the peers that there are."""
    made = {}
    for name in PEERS:
        try:
            made[name] = MAKERS[name](matrix, metric)
        except ImportError as error:
            print(f"without {name}: {error}")
    return made


def check(name: str, found: Found, wanted: Found) -> None:
    """Compare scores: rows whose scores differ by less than rounding may change places."""
    scale = np.abs(wanted[0]).max()
    assert np.abs(found[0] - wanted[0]).max() < 1e-4 * scale, name
    assert (found[1] == wanted[1]).mean() > 0.99, name


def measure(model: TopK, peers: dict[str, Search], queries: Array, k: int, rounds: int) -> dict[str, Any]:
    """Time one number of queries and k."""
    calls: dict[str, Callable[[], Any]] = {"pyscale": lambda: model.search(queries, k, num_threads=1)}
    wanted = calls["pyscale"]()
    for name, peer in peers.items():
        calls[name] = partial(peer, queries, k)
        check(name, calls[name](), wanted)
    times = take_turns(calls, rounds)
    best = np.min([times[name] for name in peers], axis=0)
    spent = float(np.median(times["pyscale"]))
    return {
        "columns": model.num_features,
        "queries": len(queries),
        "k": k,
        "seconds": {name: float(np.median(seconds)) for name, seconds in times.items()},
        "best peer / pyscale": float(np.median(best / times["pyscale"])),
        "GFLOP/s": 2e-9 * model.num_rows * model.num_features * len(queries) / spent,
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few queries, few turns")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the matrix (100000)")
    parser.add_argument("--metric", choices=("inner_product", "l2"), default="inner_product")
    parser.add_argument("--columns", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--queries", type=int, nargs="+", default=QUERIES)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    print("\n".join(machine()), end="\n\n")
    results = []
    random = np.random.default_rng(0)
    for columns in options.columns:
        matrix = random.normal(size=(options.rows, columns)).astype(np.float32)
        model, peers = TopK(matrix, metric=options.metric), peers_of(matrix, options.metric)
        names = ("pyscale", *peers)
        print(
            f"\n| columns | queries | k | {' | '.join(f'{name}, us' for name in names)} "
            "| best peer / pyscale | GFLOP/s |"
        )
        print("|---" * (len(names) + 5) + "|")
        for number in options.queries[:3] if options.quick else options.queries:
            queries = random.normal(size=(number, columns)).astype(np.float32)
            for k in KS:
                rounds = 3 if options.quick or number > 500 else 11
                found = measure(model, peers, queries, k, rounds)
                results.append({"metric": options.metric, **found})
                spent = " | ".join(f"{found['seconds'][name] * 1e6:.0f}" for name in names)
                print(
                    f"| {columns} | {number} | {k} | {spent} "
                    f"| {found['best peer / pyscale']:.2f} | {found['GFLOP/s']:.0f} |",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
