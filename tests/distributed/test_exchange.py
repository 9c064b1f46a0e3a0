"""Rows go to the ranks that are named for them, in order, or every rank says why not."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from launch import run
from test_lifecycle import _available_bytes

PROGRAM = "worker_exchange.py"
BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.mark.parametrize(
    ("ranks", "transport"), [(1, "auto"), (2, "auto"), (3, "auto"), (8, "auto"), (2, "mpi"), (3, "mpi")]
)
def test_as_numpy_with_all_rows_before_it(ranks: int, transport: str) -> None:
    job = run(PROGRAM, ranks, "reference", env={"PYSCALE_TRANSPORT": transport}, timeout=120)
    names = {1: "self", **dict.fromkeys((2, 3, 8), "shm")}
    for result in job.results:
        assert result["transport"] == ("mpi" if transport == "mpi" else names[ranks])
        assert len(result["right"]) > 350
        assert all(result["right"]), str(job)


def test_a_shuffle_does_not_depend_on_the_ranks() -> None:
    digests = []
    for ranks, transport in ((1, "auto"), (2, "auto"), (3, "mpi"), (8, "auto")):
        job = run(PROGRAM, ranks, "shuffles", env={"PYSCALE_TRANSPORT": transport})
        digests += job.results
    assert all(digest == digests[0] for digest in digests)
    assert len(set(digests[0][-4:])) == 4  # seeds and epochs make a difference


REFUSALS = {
    "dtype": ("CommMismatch", "exchange: expected the same on every rank, got float32 rows of shape (3,)"),
    "shape": ("CommMismatch", "float32 rows of shape (2,), chunk_bytes 67108864 on rank 2"),
    "chunk": (
        "CommMismatch",
        "chunk_bytes 1000 on ranks 0, 1; float32 rows of shape (3,), chunk_bytes 2000 on",
    ),
    "small chunk": ("ValueError", "exchange: expected chunk_bytes from 64 to 9223372036854775807, got 63"),
    "float chunk": ("TypeError", "exchange: expected chunk_bytes as a whole number, got 1000000.0"),
    "columns": ("CommMismatch", "'b': float32 rows of shape (3,)"),
    "table or array": ("CommMismatch", "'a': float32 rows of shape (3,)"),
    "column lengths": ("ValueError", "exchange: expected columns of one length, got {'a': 4, 'b': 2}"),
    "column names": ("TypeError", "exchange: expected columns with names, got [1]"),
    "too large": ("IndexError", "exchange: destinations: expected 0 to 2, got 3 for row 2"),
    "below 0": ("IndexError", "exchange: destinations: expected 0 to 2, got -1 for row 3"),
    "floats": ("TypeError", "exchange: destinations: expected integers, got float32"),
    "too few": ("ValueError", "exchange: destinations: expected one for each of 4 rows, got shape (3,)"),
    "two axes": ("ValueError", "exchange: destinations: expected one for each of 4 rows, got shape (4, 1)"),
    "objects": ("TypeError", "exchange: rows: expected elements without Python objects, got object"),
    "0-d": ("ValueError", "exchange: rows: expected at least one dimension, got a 0-d array"),
    "list": ("TypeError", "exchange: rows: expected an array"),
    "masked": ("TypeError", "exchange: rows: expected an array without a mask"),
    "small out": ("ValueError", "exchange: out: expected room for the 12 rows that come, got 11"),
    "other out": (
        "ValueError",
        "exchange: out: expected float32 rows of shape (3,), got int32 of shape (12, 3)",
    ),
    "seed": ("CommMismatch", "shuffle_in_memory: expected the same on every rank"),
    "bad seed": ("ValueError", "Permutation: expected seed from 0"),
    "shuffled dtype": ("CommMismatch", "int64 rows of shape (3,), seed 0, epoch 0"),
}


@pytest.mark.parametrize("transport", ["auto", "mpi"])
def test_what_is_wrong_on_one_rank_is_raised_on_all(transport: str) -> None:
    job = run(PROGRAM, 3, "refused", env={"PYSCALE_TRANSPORT": transport})
    assert job.results[0] == job.results[1] == job.results[2], str(job)
    assert [name for name, _, _ in job.results[0]] == list(REFUSALS)
    for name, kind, message in job.results[0]:
        expected, words = REFUSALS[name]
        assert kind == expected, (name, message)
        assert words in message, name
        assert "rank 2" in message, message


def test_a_rank_without_room_for_its_rows() -> None:
    for message in run(PROGRAM, 3, "no_memory").results:
        assert "Unable to allocate 256. MiB" in message
        assert "on rank 2" in message


@pytest.mark.parametrize("transport", ["auto", "mpi"])
def test_destinations_that_change_meanwhile(transport: str) -> None:
    job = run(
        PROGRAM, 2, "changed_meanwhile", env={"PYSCALE_TRANSPORT": transport}, hide_deaths=True, check=False
    )
    assert None not in job.results, str(job)  # where the change came between two calls, nothing was wrong


@pytest.mark.parametrize(
    ("transport", "chunk_bytes", "rows"),
    [
        ("auto", 1 << 20, 48_000),
        ("auto", 8 << 20, 48_000),
        ("auto", 16 << 20, 140_000),
        ("mpi", 4 << 20, 48_000),
    ],
)
def test_memory_is_bounded(transport: str, chunk_bytes: int, rows: int) -> None:
    job = run(PROGRAM, 3, "memory", str(chunk_bytes), str(rows), env={"PYSCALE_TRANSPORT": transport})
    slack = 2 << 20  # pages of 2 MiB, of which NumPy makes the output
    ranks = (
        3 if transport == "auto" else 1
    )  # what a rank sees of the others' shared memory counts here as well
    for result in job.results:
        assert result["beyond"] < ranks * chunk_bytes + slack, str(job.results)
    assert job.results[0]["received"] > 3 * job.results[1]["received"]


@pytest.mark.parametrize("transport", ["auto", "mpi"])
def test_a_rank_that_is_killed(transport: str) -> None:
    delay = 10 ** random.uniform(-4, -1)
    env = {"PYSCALE_TRANSPORT": transport}
    job = run(PROGRAM, 3, "killed", str(delay), env=env, hide_deaths=True, check=False)
    for result in job.results[:2]:
        assert result is not None, f"{delay}: {job}"
        assert result["error"] == "CommError", f"{delay}: {job}"
        assert "rank 2 died" in result["message"], f"{delay}: {result}"
        assert result["seconds"] < 5, f"{delay}: {result}"
    assert job.results[2] is None


def test_a_rank_that_is_late() -> None:
    job = run(PROGRAM, 3, "late", hide_deaths=True, check=False)
    for message in job.results[:2]:
        assert "expected every rank within 1 s, got no answer from rank 2" in message, str(job)


def test_a_rank_that_calls_something_else() -> None:
    for message in run(PROGRAM, 3, "other_call").results:
        assert "barrier() on rank 2" in message


def test_ctrl_c() -> None:
    job = run(PROGRAM, 2, "interrupted", hide_deaths=True, check=False)
    assert job.results == ["KeyboardInterrupt", "awake"], str(job)


@pytest.mark.slow
@pytest.mark.skipif(_available_bytes() < 12 << 30, reason="needs 12 GiB of memory")
@pytest.mark.parametrize("transport", ["auto", "mpi"])
def test_more_than_2_to_the_31_rows(transport: str) -> None:
    job = run(PROGRAM, 2, "huge", env={"PYSCALE_TRANSPORT": transport}, timeout=200)
    assert job.results == [True, True], str(job)


def test_the_benchmark_checks_and_compares(tmp_path: Path) -> None:
    env = {"PYTHONPATH": os.pathsep.join([str(BENCH), os.environ.get("PYTHONPATH", "")])}
    file = tmp_path / "exchange.json"
    arguments = ("--quick", "--bytes", "1M", "--rows", "4,256", "--json", str(file))
    job = run(str(BENCH / "bench_exchange.py"), 2, *arguments, env=env)
    measured = json.loads(file.read_text())
    assert [result["row_bytes"] for result in measured] == [4, 256]
    for result in measured:
        assert len(result["seconds"]) == 6
        assert min(result["ratio"], result["ratio_reused"], *result["seconds"].values()) > 0
    assert job.ranks[0].stdout.count("times as long") == 4
    assert job.ranks[1].stdout == ""
