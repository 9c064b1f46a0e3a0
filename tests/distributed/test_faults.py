"""Ranks that die, stop, come late, leave or raise: the others are told in time; nothing is left behind."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from typing import Any

import pytest
from launch import Job, run, start

SOON = 2.0  # seconds within which a death on the same machine is noticed
KILLS = 200
GROUPS = (2, 3, 2, 4, 3, 2)  # sizes; each loses one rank
BATCHES = -(-KILLS // len(GROUPS))


@pytest.mark.parametrize(
    ("transport", "batches"),
    [*(("shm", range(part, BATCHES, 4)) for part in range(4)), ("mpi", range(BATCHES, BATCHES + 4))],
    ids=["shm 1", "shm 2", "shm 3", "shm 4", "mpi"],
)
def test_kill_at_any_instant(transport: str, batches: range) -> None:
    """More than 200 kills in all; the seed of a failing one is in the message."""
    base = int(os.environ.get("PYSCALE_TEST_SEED", random.SystemRandom().randrange(10**6)))
    latencies = []
    env = {"PYSCALE_TRANSPORT": transport}
    for batch in batches:
        seed = base + batch
        where = f"PYSCALE_TEST_SEED={seed}, groups {GROUPS}"
        arguments = (str(seed), *map(str, GROUPS))
        try:
            with start("worker_kills.py", sum(GROUPS), *arguments, env=env, hide_deaths=True) as running:
                job = running.wait(60)
                killed_at = {
                    group: float((running.folder / f"note.kill.{group}").read_text())
                    for group in range(len(GROUPS))
                }
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from None
        survivors = [result for result in job.results if result is not None]
        assert len(survivors) == sum(GROUPS) - len(GROUPS), f"{where}: {job}"
        for result in survivors:
            told = f"{where}: {result}"
            assert result["error"] == "CommError", told
            if result["expected"] is not None:
                # Beside it may be named who was told sooner, and has left by now.
                assert re.search(rf"\branks? (\d+, )*{result['expected']}\b", result["message"]), told
            latencies.append(result["at"] - killed_at[result["group"]])
            assert latencies[-1] < SOON, told
    latencies.sort()
    print(
        f"{len(latencies)} survivors told after {latencies[len(latencies) // 2]:.3f} s (median), "
        f"{latencies[-1]:.3f} s (most)"
    )


def waiters(job: Job) -> list[dict[str, Any]]:
    """What the ranks that are not at fault reported."""
    results = job.results[:-1]
    assert all(result is not None for result in results), str(job)
    return results


def assert_given_up(job: Job, kind: str, words: tuple[str, ...], within: float) -> None:
    """Every waiting rank got `kind` in time, naming the last rank; the next call fails at once."""
    for result in waiters(job):
        assert result["kind"] == kind, str(job)
        assert result["seconds"] < within, str(job)
        for word in (f"rank {len(job.ranks) - 1}", *words):
            assert word in result["message"], str(job)
        assert result["again"].startswith("Comm"), str(job)
        assert result["again_seconds"] < 0.5, str(job)


@pytest.mark.parametrize("transport", ["shm", "mpi"])
def test_stopped(transport: str) -> None:
    env = {"PYSCALE_TRANSPORT": transport}
    with start("worker_faults.py", 3, "stopped", env=env, hide_deaths=True) as running:
        stopped = running.pid(2)
        for rank in range(2):
            while not (running.folder / f"result.{rank}").exists():
                assert time.monotonic() - running.started < 20
                time.sleep(0.02)
        os.kill(stopped, signal.SIGKILL)
        job = running.wait(10)
    assert_given_up(job, "CommTimeout", ("all_reduce", "float32", "(500000,)", "1.5 s"), within=2.5)
    assert all(result["seconds"] > 1.4 for result in waiters(job))


@pytest.mark.parametrize("transport", ["shm", "mpi"])
@pytest.mark.parametrize(
    ("name", "call"), [("late", "op=max, float32, shape (2, 3)"), ("late_async", "float64")]
)
def test_late(name: str, call: str, transport: str) -> None:
    env = {"PYSCALE_TRANSPORT": transport}
    job = run("worker_faults.py", 3, name, env=env, timeout=20, hide_deaths=True, check=False)
    assert_given_up(job, "CommTimeout", ("all_reduce", call), within=2.0)
    # Its own call may find all it needs, left there by the others before they gave up; the next does not.
    late = job.results[-1]
    assert late["again"] in ("CommError", "CommTimeout"), str(job)
    assert late["seconds"] + late["again_seconds"] < 2.5, str(job)


@pytest.mark.parametrize(
    ("name", "hide"),
    [
        ("exits", False),
        ("exits_by_sys_exit", False),
        ("shuts_down", False),
        ("exits_at_once", True),
        ("thread_waits", True),
    ],
)
def test_gone(name: str, hide: bool) -> None:
    job = run("worker_faults.py", 3, name, timeout=20, hide_deaths=hide, check=False)
    assert_given_up(job, "CommError", (), within=SOON)


@pytest.mark.parametrize("why", ["died", "cannot be reached"])
def test_nothing_can_be_sent(why: str) -> None:
    """Who cannot send to a rank waits for what others know of it."""
    env = {"PYSCALE_TRANSPORT": "mpi"}
    arguments = ("worker_faults.py", 3, "cannot_be_reached", why)
    job = run(*arguments, env=env, timeout=20, hide_deaths=True, check=False)
    assert_given_up(job, "CommError", (f"rank 2 {why}",), within=SOON)


@pytest.mark.parametrize(
    "place",
    ["split", "MPI's split", "broadcast_object", "the middle of broadcast_object", "all_gather_object"],
)
def test_killed_at(place: str) -> None:
    job = run("worker_faults.py", 3, "at", place, "killed", timeout=20, hide_deaths=True, check=False)
    assert_given_up(job, "CommError", (place.rpartition(" ")[2], "rank 2 died"), within=SOON)


@pytest.mark.parametrize(
    ("place", "how", "transport"), [("split", "absent", "shm"), ("all_gather_object", "late", "mpi")]
)
def test_not_there_at(place: str, how: str, transport: str) -> None:
    env = {"PYSCALE_TRANSPORT": transport}
    job = run("worker_faults.py", 3, "at", place, how, timeout=20, env=env, hide_deaths=True, check=False)
    assert_given_up(job, "CommTimeout", (place, "within 1 s"), within=2.0)


@pytest.mark.parametrize("how", ["killed", "late"])
def test_not_there_in_init(how: str) -> None:
    job = run("worker_faults.py", 3, "in_init", how, timeout=20, hide_deaths=True, check=False)
    for result in job.results if how == "late" else waiters(job):
        assert result["kind"] == "CommTimeout", str(job)
        assert "init: expected every rank within 0.5 s" in result["message"], str(job)
        assert result["seconds"] < 2.0, str(job)
    assert [rank.status for rank in job.ranks[:-1]] == [1, 1], str(job)
    assert "double free" not in job.stderr, str(job)


@pytest.mark.parametrize("place", ["find_nodes", "Membership"])
def test_killed_within_init(place: str) -> None:
    job = run("worker_faults.py", 3, "within_init", place, timeout=20, hide_deaths=True, check=False)
    for result in waiters(job):
        assert result["kind"] == "CommError", str(job)
        assert result["message"] == (
            "init: expected every rank to live, got no answer from rank 2; rank 2 died"
        ), str(job)
        assert result["seconds"] < SOON, str(job)


def test_killed_while_the_others_leave() -> None:
    """MPI_Finalize would wait for it for ever."""
    job = run("worker_faults.py", 3, "killed_in_shutdown", timeout=20, hide_deaths=True, check=False)
    assert [rank.status for rank in job.ranks[:-1]] == [1, 1], str(job)
    assert time.monotonic() - job.results[-1] < SOON, str(job)


def test_a_rank_that_was_given_up_ends_as_well() -> None:
    job = run("worker_faults.py", 3, "gives_up_alone", timeout=20, hide_deaths=True, check=False)
    assert job.results[0]["kind"] == "CommTimeout", str(job)
    assert [rank.status for rank in job.ranks] == [1, 1, 1], str(job)


def test_killed_without_shared_memory() -> None:
    env = {"PYSCALE_TRANSPORT": "mpi"}
    job = run("worker_faults.py", 3, "killed", env=env, timeout=20, hide_deaths=True, check=False)
    for result in waiters(job):
        assert result["kind"] == "CommError", str(job)
        assert "rank 2 died" in result["message"], str(job)
        assert result["seconds"] < SOON, str(job)


@pytest.mark.parametrize("transport", ["shm", "mpi"])
@pytest.mark.parametrize("name", ["raises", "raises_without_being_waited_for", "all_raise"])
def test_an_exception_ends_the_job_and_is_shown_once(name: str, transport: str) -> None:
    job = run("worker_faults.py", 4, name, env={"PYSCALE_TRANSPORT": transport}, timeout=20, check=False)
    assert job.returncode != 0, str(job)
    assert job.seconds < 12, str(job)
    assert job.stderr.count("ValueError: the cause of it all") == 1, str(job)
    assert job.stderr.count("Traceback (most recent call last)") == 1, str(job)


@pytest.mark.parametrize("setting", ["PYSCALE_TRANSPORT", "PYSCALE_ALLREDUCE_ALGORITHM"])
def test_a_setting_that_is_wrong_everywhere_is_shown_once(setting: str) -> None:
    job = run("worker_faults.py", 4, "interrupted", env={setting: "nonsense"}, timeout=20, check=False)
    assert job.returncode != 0
    assert job.stderr.count("Traceback (most recent call last)") == 1, str(job)
    assert job.stderr.count(f"ValueError: {setting}") == 1, str(job)


@pytest.mark.parametrize("transport", ["shm", "mpi"])
def test_a_mismatch_that_nobody_catches_is_shown_once(transport: str) -> None:
    env = {"PYSCALE_TRANSPORT": transport}
    job = run("worker_faults.py", 4, "mismatched", env=env, timeout=20, check=False)
    assert job.returncode != 0
    assert job.stderr.count("CommMismatch: all_reduce: expected the same call on every rank") == 1, str(job)


@pytest.mark.parametrize("hide", [False, True], ids=["", "survivors live"])
def test_a_death_that_nobody_catches(hide: bool) -> None:
    job = run(
        "worker_faults.py", 4, "killed_and_nobody_catches_it", timeout=20, hide_deaths=hide, check=False
    )
    assert job.returncode != 0 or hide
    assert job.seconds < 12, str(job)
    assert job.stderr.count("Traceback (most recent call last)") == (
        1 if hide else job.stderr.count("Traceback")
    )
    if hide:
        assert "rank 3" in job.stderr, str(job)


def test_ctrl_c_interrupts_a_wait() -> None:
    with start("worker_faults.py", 3, "interrupted", hide_deaths=True) as running:
        for rank in range(2):
            running.wait_for(f"waiting.{rank}")
        time.sleep(0.5)
        os.kill(running.pid(0), signal.SIGINT)
        for rank in range(2):
            while not (running.folder / f"result.{rank}").exists():
                assert time.monotonic() - running.started < 15
                time.sleep(0.02)
        os.kill(running.pid(2), signal.SIGKILL)
        job = running.wait(10)
    assert job.results[0]["kind"] == "KeyboardInterrupt", str(job)
    assert job.results[0]["seconds"] < 2, str(job)
    assert job.results[1]["kind"] == "CommError", str(job)
    assert "rank 0" in job.results[1]["message"], str(job)
    assert job.results[1]["seconds"] < 3, str(job)


@pytest.mark.parametrize("transport", ["shm", "mpi"])
@pytest.mark.parametrize("whom", ["one rank", "mpirun"])
def test_ctrl_c_ends_the_job(whom: str, transport: str) -> None:
    env = {"PYSCALE_TRANSPORT": transport}
    with start("worker_faults.py", 3, "interrupted_and_nobody_catches_it", env=env) as running:
        for rank in range(2):
            running.wait_for(f"waiting.{rank}")
        time.sleep(0.3)
        sent = time.monotonic()
        os.kill(running.pid(0) if whom == "one rank" else running.process.pid, signal.SIGINT)
        job = running.wait(10)
    assert job.returncode != 0
    assert time.monotonic() - sent < 8, str(job)


def test_handlers_of_signals_run_while_a_rank_waits() -> None:
    job = run("worker_faults.py", 3, "handles_signals", timeout=20)
    for result in job.results:
        assert result["handled"] is not None
        assert result["handled"] < 0.6, str(job)


def test_a_forked_child_takes_nothing_with_it() -> None:
    job = run("worker_faults.py", 3, "forks", timeout=30)
    assert [result["sum"] for result in job.results] == [3, 3, 3]
