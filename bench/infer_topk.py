"""Searches a matrix for the best rows by pyscale and by its peers, in turn, for many numbers of queries.

    python bench/infer_topk.py WIDTH-METRIC [--quick] [--json FILE]

OMP_NUM_THREADS says with how many threads. Random rows; the scores are checked against float64. torch and
NumPy multiply, and take the best of the products, for 128 queries at once, so that these fit the memory.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from _infer_measure import Asked, timed_batches
from _infer_unsupported import NotSupported
from _recording import Figure, Note, main
from numpy.typing import NDArray

from pyscale.config import num_threads
from pyscale.infer import TopK

Array = NDArray[Any]
Found = tuple[Array, Array]
Search = Callable[[Array, int], Found]

SUBJECTS = ("64-inner_product", "384-inner_product", "64-l2", "384-cosine")
QUERIES = (1, 8, 64, 1024)
KS = (10, 100)
ROWS = 100_000
_CHUNK = 128
_CHECKED = 256  # queries


def in_chunks(search: Search) -> Search:
    """Search for some queries at a time."""

    def call(queries: Array, k: int) -> Found:
        parts = [search(queries[at : at + _CHUNK], k) for at in range(0, len(queries), _CHUNK)]
        scores, indices = zip(*parts, strict=True)
        return np.concatenate(scores), np.concatenate(indices)

    return call


def faiss_search(matrix: Array, metric: str, threads: int) -> Search:
    """Make faiss's flat index."""
    import faiss

    faiss.omp_set_num_threads(threads)
    index = (faiss.IndexFlatL2 if metric == "l2" else faiss.IndexFlatIP)(matrix.shape[1])
    index.add(matrix)
    return lambda queries, k: index.search(queries, k)


def torch_search(matrix: Array, metric: str, threads: int) -> Search:
    """Multiply, and take torch's topk."""
    import torch

    torch.set_num_threads(threads)
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


def numpy_search(matrix: Array, metric: str, threads: int) -> Search:
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


def sklearn_search(matrix: Array, metric: str, threads: int) -> Search:
    """Make scikit-learn's neighbours, of distances only."""
    from sklearn.neighbors import NearestNeighbors

    if metric != "l2":
        raise NotSupported("it has no inner products")
    model = NearestNeighbors(algorithm="brute", metric="sqeuclidean", n_jobs=threads).fit(matrix)
    return lambda queries, k: model.kneighbors(queries, k)


def pyscale_search(matrix: Array, metric: Any, threads: int) -> Search:
    """Make ours."""
    model = TopK(matrix, metric=metric)
    return lambda queries, k: model.search(queries, k, num_threads=threads)


MAKERS: dict[str, Callable[[Array, str, int], Search]] = {
    "pyscale": pyscale_search,
    "faiss": faiss_search,
    "torch": torch_search,
    "NumPy": numpy_search,
    "scikit-learn": sklearn_search,
}


def unit(x: Array) -> Array:
    """Divide rows by their lengths."""
    divided: Array = x / np.sqrt((x * x).sum(1, keepdims=True))
    return divided


def made(name: str, matrix: Array, metric: str, threads: int) -> Search:
    """Make a contestant; of cosines most know as products of rows of length 1."""
    make = MAKERS[name]
    if metric != "cosine" or name == "pyscale":
        return make(matrix, metric, threads)
    search = make(unit(matrix), "inner_product", threads)
    return lambda queries, k: search(unit(queries), k)


def expected(matrix: Array, queries: Array, metric: str) -> Array:
    """Compute the best scores in float64, sorted."""
    wide, x = matrix.astype(np.float64), queries.astype(np.float64)
    if metric == "cosine":
        wide, x = unit(wide), unit(x)
    scores = x @ wide.T
    if metric == "l2":
        scores = 2 * scores - (wide * wide).sum(1) - (x * x).sum(1, keepdims=True)
    best = -np.sort(-np.partition(scores, -max(KS), axis=1)[:, -max(KS) :], axis=1)
    return -best if metric == "l2" else best


def measure(options: argparse.Namespace) -> Iterator[Figure | Note]:
    """One matrix."""
    width, _, metric = options.matrix.partition("-")
    threads = num_threads()
    random = np.random.default_rng(0)
    matrix = random.standard_normal((ROWS, int(width)), np.float32)
    queries = random.standard_normal((16 * max(QUERIES), int(width)), np.float32)
    wanted = expected(matrix, queries[:_CHECKED], metric)
    close = 1e-4 * float(np.abs(wanted).max())
    searches = {}
    for name in MAKERS:
        try:
            searches[name] = made(name, matrix, metric, threads)
        except NotSupported:
            continue
    for k in KS:
        asked = {
            name: Asked(
                partial(_search, search, k),
                queries,
                lambda found: np.array(found[0]),
                wanted[:, :k],
                close=close,
            )
            for name, search in searches.items()
        }
        yield from timed_batches(
            f"top {k} of {ROWS:,} x {width}, {metric}, {threads} thread{'s' if threads > 1 else ''}",
            asked,
            QUERIES[:2] if options.quick else QUERIES,
            budget=0.05 if options.quick else 1.0,
            rounds=3 if options.quick else 7,
        )


def _search(search: Search, k: int, queries: Array) -> Found:
    return search(queries, k)


if __name__ == "__main__":
    main(__doc__, measure, SUBJECTS, "matrix")
