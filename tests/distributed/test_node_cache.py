"""One copy of the data a node: whole, there once, and gone with the job, however that ends."""

from __future__ import annotations

import os
import shutil
import signal

import numpy as np
import pytest
from launch import run, start
from worker_node_cache import ROWS

PROGRAM = "worker_node_cache.py"
PAGES = 300_000  # bytes: headers, what does not fill its last page, and mailboxes at their first use


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_all_ranks_have_it_and_it_is_there_once(ranks: int) -> None:
    job = run(PROGRAM, ranks, "cached")
    for result in job.results:
        assert len(result["right"]) >= 9
        assert all(result["right"]), str(job)
        if ranks > 1:
            assert abs(result["taken"] - result["bytes"]) < PAGES
    asked = [tuple(part) for result in job.results for part in result["asked"]]
    assert len(asked) == ranks
    assert [start for start, _ in asked] == [0, *(stop for _, stop in asked[:-1])]
    assert asked[-1][1] == ROWS
    sizes = [stop - start for start, stop in asked]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("ranks", [2, 3])
def test_memory_goes_back_with_the_last_reference(ranks: int) -> None:
    job = run(PROGRAM, ranks, "lets_go")
    for result in job.results:
        assert all(result["said"]), str(job)
        assert result["held"] < 100_000


REFUSALS = {
    "shape": (
        "CommMismatch",
        "expected the same on every rank, got int64 of shape (10,) on ranks 0, 1; int64 of",
    ),
    "dtype": ("CommMismatch", "float64 of shape (10,) on rank 2"),
    "negative": ("ValueError", "expected a shape with a first axis, none negative, got (-1,)"),
    "no axis": ("ValueError", "expected a shape with a first axis, none negative, got ()"),
    "float": ("TypeError", "expected shape of integers, got 1.5"),
    "objects": ("TypeError", "expected elements without Python objects, got object"),
    "fill": ("TypeError", "expected fill to be callable, got NoneType"),
    "fails": ("PyscaleError", "expected rows 666668 to 1000000 from fill, got KeyError: 'no such row'"),
    "closed": ("PyscaleError", "expected an open cache, got one that was closed"),
    "missing": ("PyscaleError", "NodeCache.load: FileNotFoundError"),
    "many": ("TypeError", "expected a .npy file, got"),
    "object file": ("ValueError", ""),  # NumPy's words
    "short file": ("ValueError", ""),
    "list": ("TypeError", "expected a path or a NumPy array, got list"),
}


def test_what_is_wrong_on_one_rank_is_raised_on_all() -> None:
    job = run(PROGRAM, 3, "refused")
    assert job.results[0]["said"] == job.results[1]["said"] == job.results[2]["said"], str(job)
    assert [name for name, _, _ in job.results[0]["said"]] == list(REFUSALS)
    for name, kind, message in job.results[0]["said"]:
        expected, words = REFUSALS[name]
        assert kind == expected, (name, message)
        assert words in message, (name, message)
        assert "rank 2" in message, message
    assert all(result["held"] < PAGES for result in job.results)


def test_a_node_with_less_memory() -> None:
    for result in run(PROGRAM, 3, "too_small").results:
        figures, huge = result["said"]
        assert f"expected {8 * ROWS / 2**30:.2f} GiB of free memory for int64 of shape ({ROWS},)" in figures
        assert "got 0.01 GiB on rank 0" in figures
        assert "got less on rank 0" in huge
        assert result["right"]
        assert result["held"] < PAGES


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root, to mount a small /dev/shm"
)
def test_a_small_dev_shm_does_not_matter() -> None:
    script = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"'
    wrapper = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    assert run(PROGRAM, 3, "large", wrapper=wrapper).results == [True] * 3


@pytest.mark.parametrize("victims", [[0], [2], [0, 1, 2]], ids=["the lender", "another", "all"])
def test_kill_9_leaves_nothing(victims: list[int]) -> None:
    """That /dev/shm is clean and no process is left, `start` looks at."""
    with start(PROGRAM, 3, "killed", hide_deaths=True) as running:
        for rank in range(3):
            running.wait_for(f"ready.{rank}")
        for pid in [running.pid(rank) for rank in victims]:
            os.kill(pid, signal.SIGKILL)
        job = running.wait(timeout=30)
    for rank, result in enumerate(job.results):
        if rank in victims:
            assert result is None
        else:
            assert f"rank {victims[0]} died" in result["message"], str(job)
            assert result["still"]


def test_a_rank_that_is_killed_while_it_fills() -> None:
    job = run(PROGRAM, 3, "killed_in_fill", hide_deaths=True, check=False)
    for message in job.results[:2]:
        assert "rank 2 died" in message, str(job)


def test_forked_children_read_it() -> None:
    for result in run(PROGRAM, 2, "forks").results:
        assert result == {"child": 0, "right": True}


def test_a_part_of_the_ranks() -> None:
    assert run(PROGRAM, 3, "parts").results == [[True, "shm"], [True, "shm"], [True, "self"]]


def test_neighbours_that_share_no_memory() -> None:
    job = run(PROGRAM, 2, "cached", env={"PYSCALE_TRANSPORT": "mpi"}, check=False)
    assert "expected ranks of a node that share memory, got 2 with transport 'mpi'" in job.stderr


def test_squares() -> None:
    """What the workers compare with."""
    from worker_node_cache import squares

    part = np.empty(3)
    squares(part, 2, 5)
    assert part.tolist() == [4, 9, 16]
