"""What the benchmarks' figures stand on: answers known in advance, and the comparison with the best peer."""

from __future__ import annotations

import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))

from _report import Comparison, bars, fill, losses
from _results import Result, load, merge, save
from _sizes import human_size, parse_size
from _table import NcclTable
from _values import KnownValues, clear

FOLDS = {"sum": np.add, "mean": np.add, "min": np.minimum, "max": np.maximum, "prod": np.multiply}
FLOATS, INTEGERS = (np.float32, np.float16, ml_dtypes.bfloat16), (np.int8, np.uint64)
# Integers have no mean.
CASES = [(dtype, op) for dtype in (*FLOATS, *INTEGERS) for op in FOLDS if op != "mean" or dtype in FLOATS]


@pytest.mark.parametrize(("dtype", "op"), CASES)
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_values_are_exact_in_every_order(dtype: type, op: str, size: int) -> None:
    ranks = [KnownValues(rank, size, np.dtype(dtype), op, seed=7) for rank in range(size)]
    inputs: np.ndarray = np.empty((size, 70_000), dtype)
    for known, row in zip(ranks, inputs, strict=True):
        known.fill(row)
    for order in (list(range(size)), list(range(size))[::-1]):
        answer = inputs[order[0]]
        for rank in order[1:]:
            answer = FOLDS[op](answer, inputs[rank])
        if op == "mean":
            answer = (answer.astype(np.float64) / size).astype(dtype)
        assert all(known.count_wrong(answer) == 0 for known in ranks)
    answer[69_999] += 1
    assert ranks[0].count_wrong(answer) == 1
    if size > 1:
        assert not np.array_equal(inputs[0], inputs[1])


def test_what_was_not_written_is_wrong() -> None:
    array = np.zeros(1000, np.float32)
    clear(array)
    assert KnownValues(0, 2, array.dtype, "sum", 1).count_wrong(array) == 1000


def result(contestant: str, microseconds: float, *, size: int = 64, wrong: int = 0) -> Result:
    batches = [microseconds * 1e-6] * 5
    return Result(
        contestant, "in-place", 2, size, size // 4, "float32", "sum", microseconds * 1e-6, batches, 100, wrong
    )


def test_only_the_peers_that_are_right_count(tmp_path: Path) -> None:
    ours = [result("pyscale-shared", 2), result("pyscale-ordinary", 4)]
    runs = {
        "quick but wrong": [*ours, result("mpi", 1, wrong=1)],
        "slower": [*ours, result("mpi", 8)],
        "best": [result("pyscale-shared", 4), result("pyscale-ordinary", 8), result("gloo", 4)],
    }
    comparison = Comparison(runs)
    point = comparison.point("shared", "in-place", 2, 64, "float32")
    assert point is not None
    assert (point.best, point.ratio) == ("best", 1.0)
    assert list(comparison.wrong()) == ["quick but wrong, float32: wrong at 1 points"]
    assert any(
        "| float32 | ordinary | 2 | 64 B | in-place | best | 0.50 |" in line for line in losses(comparison)
    )
    assert any("geometric mean | 3.0 | 0.50 | 0.50 |" in line for line in bars(comparison))


def test_results_survive_json_and_merge_by_the_median(tmp_path: Path) -> None:
    save(tmp_path / "a.json", [result("mpi", 3), result("mpi", 1), result("mpi", 2, wrong=2)], ranks=2)
    [merged] = merge(load(tmp_path / "a.json"))
    assert merged.microseconds == pytest.approx(2)
    assert (len(merged.batches), merged.wrong) == (15, 2)


def test_busbw_is_that_of_nccl_tests() -> None:
    one = result("mpi", 1, size=1000)
    assert [one.algbw, one.busbw] == pytest.approx([1, 1])


def test_table_marks_a_wrong_peer() -> None:
    results = {
        (name, placement): result(name, 2, wrong=int(name == "mpi"))
        for name in ("pyscale-shared", "mpi")
        for placement in ("out-of-place", "in-place")
    }
    [row] = NcclTable(["mpi", "gloo"], ["shared"]).rows(results)
    assert row.split()[:5] == ["64", "16", "float32", "sum", "shared"]
    assert row.split()[5:] == ["2.00", "0.03", "0.03", "0", "2.00", "WRONG", "-", "-"] * 2


def test_sections_are_filled_between_their_markers() -> None:
    page = fill("a\n<!-- x -->\nold\n<!-- /x -->\nb\n", {"x": ["new"]})
    assert page == "a\n<!-- x -->\n\nnew\n\n<!-- /x -->\nb\n"
    assert fill(page, {"x": ["new"]}) == page
    with pytest.raises(ValueError, match="markers"):
        fill(page, {"y": []})


def test_sizes_are_read_and_written() -> None:
    assert [parse_size(text) for text in ("4", "64K", "1M")] == [4, 65536, 1 << 20]
    assert [human_size(size) for size in (4, 65536, 1 << 20)] == ["4 B", "64 KiB", "1 MiB"]
