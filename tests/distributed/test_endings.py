"""Communicators that end, and processes that exit or fork, while something is under way."""

from __future__ import annotations

import pytest
from launch import run

PROGRAM = "worker_endings.py"


@pytest.mark.parametrize(("how", "waiter"), [("close", "thread"), ("close", "main"), ("shutdown", "thread")])
def test_the_end_of_a_communicator_ends_a_wait_in_it(how: str, waiter: str) -> None:
    job = run(PROGRAM, 2, "ends_under_a_thread", how, waiter)
    first, other = job.results
    assert first["outcome"] == "CommError: the communicator was closed", str(job)
    assert first["seconds"] < 0.5, str(job)
    assert "expected a working communicator, got one given up earlier: it was closed" in first["again"]
    assert other["outcome"].startswith("Comm"), str(job)


@pytest.mark.parametrize(("how", "transport"), [("close", "mpi"), ("shutdown", "shm")])
def test_the_end_of_a_communicator_waits_for_work(how: str, transport: str) -> None:
    job = run(PROGRAM, 2, "ends_with_work_under_way", how, env={"PYSCALE_TRANSPORT": transport})
    assert job.results == [[9.0, 300_000.0]] * 2, str(job)


@pytest.mark.parametrize(
    ("last", "under_way", "status", "transport"),
    [
        ("close", "nothing", "0", "shm"),
        ("barrier", "nothing", "3", "shm"),
        ("close", "work", "3", "mpi"),
        ("barrier", "work", "0", "shm"),
        ("close", "thread", "3", "shm"),
        ("barrier", "thread", "0", "shm"),
        ("barrier", "thread at the lock", "0", "shm"),
        ("all_reduce", "thread at the lock", "3", "shm"),
    ],
)
def test_exit_with_communicators_in_cycles(last: str, under_way: str, status: str, transport: str) -> None:
    env = {"PYSCALE_TRANSPORT": transport}
    arguments = ("exits_with_cycles", last, under_way, status)
    job = run(PROGRAM, 2, *arguments, env=env, timeout=20, hide_deaths=True, check=False)
    assert [rank.status for rank in job.ranks] == [int(status)] * 2, str(job)
    for rank in job.ranks:
        assert rank.stderr == "", str(job)
        assert rank.stdout.startswith("deleted: "), str(job)
    if last == "close":
        assert [rank.stdout for rank in job.ranks] == ["deleted: result None\n"] * 2, str(job)
    elif under_way != "nothing":
        assert "while Python exits" in job.ranks[0].stdout or "before Python exits" in job.ranks[0].stdout


def test_a_forked_childs_arrays_are_its_own() -> None:
    job = run(PROGRAM, 2, "forks_with_arrays")
    for result in job.results:
        (before, kept, freed, empty), barrier = result["child"]
        assert (before, kept, freed) == (1.0, 98 * 50_000, 99 * 50_000), str(job)
        assert "forked child" in empty, str(job)
        assert "forked child" in barrier, str(job)
        assert result["status"] == 0, str(job)
        assert result["sums"] == [2 * value * 50_000 for value in (1, 3, 5)], str(job)
