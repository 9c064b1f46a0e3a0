"""TopK beside a full sort in NumPy; any batch, layout and number of threads; files; what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import pyscale as ps
from pyscale.infer import Batcher, TopK, files, load
from pyscale.infer.topk.topk import METRICS

Array = NDArray[Any]


def reference(matrix: Array, queries: Array, metric: str, k: int) -> tuple[Array, Array]:
    """Sort everything, in float64."""
    rows, x = matrix.astype(np.float64), queries.astype(np.float64)
    if metric == "cosine":
        for some in (rows, x):
            lengths = np.sqrt((some * some).sum(1, keepdims=True))
            some /= np.where(lengths > 0, lengths, 1)
    scores = x @ rows.T
    if metric == "l2":
        scores = (x * x).sum(1, keepdims=True) + (rows * rows).sum(1) - 2 * scores
    order = np.argsort(scores if metric == "l2" else -scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), order


def normal(*shape: int, seed: int = 0) -> Array:
    """Draw float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def same(a: tuple[Array, Array], b: tuple[Array, Array]) -> bool:
    """Compare bits."""
    return a[0].tobytes() == b[0].tobytes() and a[1].tobytes() == b[1].tobytes()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("rows", "columns", "k"), [(1, 1, 1), (500, 33, 7), (2000, 130, 2000)])
def test_it_finds_what_a_sort_finds(metric: Any, rows: int, columns: int, k: int) -> None:
    matrix, queries = normal(rows, columns), normal(9, columns, seed=1)
    scores, indices = TopK(matrix, metric=metric).search(queries, k)
    wanted, order = reference(matrix, queries, metric, k)
    assert scores.dtype == np.float32
    assert indices.dtype == np.int64
    assert np.abs(scores - wanted).max() < 1e-5 * max(1, np.abs(wanted).max())
    assert (indices == order).mean() > 0.99  # scores closer than rounding may change places
    assert (np.sort(indices, 1) == np.sort(order, 1)).mean() > 0.99


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_whole_numbers_are_exact_and_ties_go_to_the_first_row(data: Any) -> None:
    rows, columns = data.draw(st.integers(1, 150)), data.draw(st.integers(1, 20))
    number, k = data.draw(st.integers(0, 40)), data.draw(st.integers(1, rows))
    metric = data.draw(st.sampled_from(("inner_product", "l2")))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    matrix = random.integers(-2, 3, (rows, columns)).astype(np.float32)
    queries = random.integers(-2, 3, (number, columns)).astype(np.float32)
    found = TopK(matrix, metric=metric).search(queries, k, num_threads=data.draw(st.integers(1, 3)))
    wanted, order = reference(matrix, queries, metric, k)
    assert same(found, (wanted.astype(np.float32), order))


@pytest.mark.parametrize("metric", METRICS)
def test_bits_do_not_depend_on_the_batch_or_the_threads(metric: Any) -> None:
    model = TopK(normal(5000, 64), metric=metric)
    queries = normal(130, 64, seed=1)
    wanted = model.search(queries, 20, num_threads=1)
    for threads in (2, 5):
        assert same(model.search(queries, 20, num_threads=threads), wanted)
        for batch in (1, 3, 50):
            parts = [
                model.search(queries[at : at + batch], 20, num_threads=threads) for at in range(0, 130, batch)
            ]
            scores, indices = (np.concatenate(some) for some in zip(*parts, strict=True))
            assert same((scores, indices), wanted)


@pytest.mark.parametrize("isa", ps._core.available_isas())
def test_bits_do_not_depend_on_the_instruction_set(isa: str) -> None:
    model, queries = TopK(normal(700, 24), metric="l2"), normal(5, 24, seed=1)
    wanted, best = model.search(queries, 30), ps._core.isa()
    try:
        ps._core.set_isa(isa)
        assert same(model.search(queries, 30), wanted)
    finally:
        ps._core.set_isa(best)


def test_it_finds_digits_as_scikit_learn_does() -> None:
    datasets, neighbors = pytest.importorskip("sklearn.datasets"), pytest.importorskip("sklearn.neighbors")
    x = datasets.load_digits().data.astype(np.float32)
    brute = neighbors.NearestNeighbors(algorithm="brute", metric="sqeuclidean").fit(x)
    wanted, _ = brute.kneighbors(x[:200], 10)
    scores, indices = TopK(x, metric="l2").search(x[:200], 10)
    assert (scores == wanted).all()  # of whole numbers
    assert (indices[:, 0] == np.arange(200)).all()
    assert (((x[:200, None] - x[indices]) ** 2).sum(2) == scores).all()


def test_queries_come_in_any_layout_and_type() -> None:
    torch = pytest.importorskip("torch")
    model, queries = TopK(normal(300, 12)), normal(10, 12, seed=1)
    wanted = model.search(queries, 4)
    wide = np.zeros((20, 24), np.float32)
    wide[::2, ::2] = queries
    for other in (
        np.asfortranarray(queries),
        wide[::2, ::2],
        queries[::-1][::-1],
        queries.astype(np.float64),
        torch.from_numpy(queries),
    ):
        assert same(model.search(other, 4), wanted)
    large = np.array([[2**60 + 2**36 + 1] + [0] * 11])  # by way of float64 it would be rounded twice
    assert model.search(large, 1)[0][0, 0] == model.search(large.astype(np.float32), 1)[0][0, 0]
    assert np.isinf(TopK(np.ones((2, 1), np.float32)).search(np.array([[1e300]]), 1)[0]).all()
    whole = np.round(queries)
    assert same(model.search(whole.astype(np.int8), 4), model.search(whole, 4))


def test_narrow_matrices_and_ids() -> None:
    matrix = normal(50, 6)
    queries = normal(3, 6, seed=1)
    for dtype in (np.float16, ml_dtypes.bfloat16):
        narrow = matrix.astype(dtype)
        assert same(
            TopK(narrow, metric="l2").search(queries, 5),
            TopK(narrow.astype(np.float32), metric="l2").search(queries, 5),
        )
    ids = np.arange(50, dtype=np.int32)[::-1] * 3
    scores, names = TopK(matrix, ids=ids).search(queries, 5)
    wanted, rows = TopK(matrix).search(queries, 5)
    assert same((scores, names), (wanted, ids[rows].astype(np.int64)))


def test_near_rows_are_told_apart_far_from_zero() -> None:
    # By way of products, all of these distances would be 0.
    matrix = np.repeat(np.arange(10_000, 10_050, dtype=np.float32)[:, None], 3, 1)
    scores, indices = TopK(matrix, metric="l2").search(np.full((1, 3), 10_003.25), 3)
    assert indices.tolist() == [[3, 4, 2]]
    assert scores.tolist() == [[3 * 0.0625, 3 * 0.5625, 3 * 1.5625]]
    huge = np.array([[3e38], [-3e38], [0]], np.float32)  # whose squares are infinite
    scores, indices = TopK(huge, metric="l2").search(np.array([[3e38], [np.inf]]), 3)
    assert (indices == [0, 1, 2]).all()
    assert (scores == [[0, np.inf, np.inf], [np.inf] * 3]).all()


def test_nan_in_a_query_leaves_the_first_rows() -> None:
    model = TopK(normal(40, 3), metric="l2")
    queries = np.array([[0, np.nan, 0], [0, 0, 0], [np.inf, 0, 0]], np.float32)
    scores, indices = model.search(queries, 4)
    assert np.isnan(scores[0]).all()
    assert (indices[0] == np.arange(4)).all()
    assert same((scores[1:2], indices[1:2]), model.search(queries[1:2], 4))


def test_rows_of_zeros_have_cosines_of_zero() -> None:
    matrix = np.array([[0, 0], [-1, 0], [1, 1]], np.float32)
    scores, indices = TopK(matrix, metric="cosine").search(np.array([[2.0, 0.0], [0.0, 0.0]]), 3)
    assert indices.tolist() == [[2, 0, 1], [0, 1, 2]]
    assert np.allclose(scores, [[0.5**0.5, 0, -1], [0, 0, 0]])


def test_out_is_written() -> None:
    model, queries = TopK(normal(80, 8)), normal(6, 8, seed=1)
    out = (np.empty((6, 3), np.float32), np.empty((6, 3), np.int64))
    found = model.search(queries, 3, out=out)
    assert found[0] is out[0]
    assert same(out, model.search(queries, 3))
    for bad, message in (
        ((out[0], out[1][:5]), "shape"),
        ((out[0].astype(np.float64), out[1]), "float32"),
        ((out[0], out[1].astype(np.int32)), "int64"),
        ((queries[:, :3], out[1]), "out"),
    ):
        with pytest.raises(ValueError, match=message):
            model.search(queries, 3, out=bad)
    with pytest.raises(TypeError, match="out: expected a tuple"):
        model.search(queries, 3, out=out[0])  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused() -> None:
    matrix = normal(20, 4)
    bad = matrix.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match="matrix: expected finite numbers, got nan in row 3"):
        TopK(bad)
    bad[3, 1] = -np.inf
    with pytest.raises(ValueError, match="matrix: expected finite"):
        TopK(bad)
    for dtype in (np.float64, np.int32, np.bool_):
        with pytest.raises(TypeError, match="matrix: expected float32"):
            TopK(matrix.astype(dtype))
    for shape in ((80,), (4, 5, 4)):
        with pytest.raises(ValueError, match="matrix: expected rows x columns"):
            TopK(matrix.reshape(shape))
    for empty in (matrix[:0], matrix[:, :0]):
        with pytest.raises(ValueError, match="matrix: expected 1 to"):
            TopK(empty)
    with pytest.raises(ValueError, match="metric: expected one of"):
        TopK(matrix, metric="l1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ids: expected 20"):
        TopK(matrix, ids=np.arange(19))
    with pytest.raises(TypeError, match="ids: expected whole numbers"):
        TopK(matrix, ids=np.arange(20.0))
    model = TopK(matrix)
    for k in (0, 21, -1):
        with pytest.raises(ValueError, match="k: expected 1 to 20"):
            model.search(matrix, k)
    for wrong in (1.0, True, "1"):
        with pytest.raises(TypeError, match="k: expected a whole number"):
            model.search(matrix, wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="queries: expected rows x 4"):
        model.search(matrix[:, :3], 1)
    with pytest.raises(ValueError, match="queries: expected rows x 4"):
        model.search(matrix[0], 1)
    with pytest.raises(ValueError, match="k: expected one that was given"):
        model.predict(matrix)


@pytest.mark.parametrize("metric", METRICS)
def test_files_and_pickles_keep_the_bits(metric: Any, tmp_path: Path) -> None:
    ids = np.arange(100, 190)
    model, queries = TopK(normal(90, 7), metric=metric, ids=ids, k=3), normal(5, 7, seed=1)
    model.save(tmp_path / "m")
    wanted = model.search(queries, 11)
    for again in (load(tmp_path / "m"), pickle.loads(pickle.dumps(model))):
        assert isinstance(again, TopK)
        assert (again.metric, again.k, again.num_rows) == (metric, 3, 90)
        assert same(again.search(queries, 11), wanted)
        assert (again.predict(queries) == model.predict(queries)).all()


@pytest.mark.parametrize(
    ("header", "arrays", "message"),
    [
        ({}, {"matrix": np.ones((2, 2))}, "matrix: expected an array of float32, got .float64"),
        ({}, {}, "matrix: expected an array"),
        ({}, {"matrix": np.full((2, 2), np.nan, np.float32)}, "finite"),
        ({}, {"ids": np.arange(3)}, "ids: expected 2"),
        ({}, {"ids": np.arange(2.0)}, "ids: expected int64"),
        ({"k": 9}, {}, "k: expected 1 to 2"),
        ({"k": "9"}, {}, "k: expected a whole number"),
        ({"metric": ["l2"]}, {}, "metric: expected one of"),
        ({"metric": "l3"}, {}, "metric: expected one of"),
    ],
)
def test_files_that_contradict_themselves(
    header: dict[str, Any], arrays: dict[str, Array], message: str, tmp_path: Path
) -> None:
    kept = {} if message.startswith("matrix: expected an array") else {"matrix": np.ones((2, 2), np.float32)}
    files.write(tmp_path / "m", {"model": "topk", "metric": "l2", "k": None, **header}, {**kept, **arrays})
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "m")


def test_a_batcher_gives_each_request_its_rows() -> None:
    model = TopK(normal(400, 16), k=5)
    queries = normal(60, 16, seed=1)
    wanted = model.predict(queries)
    with Batcher(model, max_delay_ms=1) as batcher:
        futures = [batcher.submit(queries[at : at + 3]) for at in range(0, 60, 3)]
        got = np.concatenate([future.result(10) for future in futures])
    assert got.dtype.names == ("score", "index")
    assert (got == wanted).all()


def test_answers_to_a_data_set_are_written(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    model, queries = TopK(normal(50, 2), k=2), normal(30, 2, seed=1)
    wanted = model.predict(queries)
    ps.infer.predict_distributed(model, queries, out=tmp_path / "a.npy")
    assert (np.load(tmp_path / "a.npy") == wanted).all()
    parquet.write_table(arrow.table({"a": queries[:, 0], "b": queries[:, 1]}), tmp_path / "q.parquet")
    ps.infer.predict_distributed(model, tmp_path / "q.parquet", out=tmp_path / "found")
    found = parquet.read_table(tmp_path / "found")
    for place in range(2):
        for field in ("score", "index"):
            assert (found[f"prediction_{place}_{field}"].to_numpy() == wanted[field][:, place]).all()


def test_a_job_of_another_matrix_is_not_gone_on_with(tmp_path: Path) -> None:
    queries = normal(30, 2)

    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    for k, error in ((2, KeyboardInterrupt), (3, ValueError)):
        with pytest.raises(error):
            ps.infer.predict_distributed(
                TopK(normal(50, 2), k=k), queries, out=tmp_path / "a.npy", batch_rows=10, progress=stop
            )
