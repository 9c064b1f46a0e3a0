"""How a job begins and ends; and that it works, with one warning, where there is no shared memory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from launch import run

from pyscale import _core

PROGRAM = "worker_lifecycle.py"
SUBSET = "place|dtypes|shapes|layouts|split|objects|async|large|mismatch_of_(op|shape)|bad"


@pytest.mark.parametrize("refused", ["1", "0,1,2"])
def test_without_shared_memory_it_works_over_mpi_and_says_why_once(refused: str) -> None:
    env = {"PYSCALE_TEST_REFUSED": refused}
    job = run(PROGRAM, 3, "conformance_with_memory_refused", "-k", SUBSET, env=env, timeout=200)
    assert job.stderr.count("RuntimeWarning") == 1, str(job)
    assert "pyscale uses MPI inside the node" in job.stderr
    assert "File too large" in job.stderr
    result = job.ranks[0].result
    assert result["transport"] in ("mpi", "hierarchical")
    assert len(result["passed"]) > 20


def test_shared_memory_that_is_demanded_and_refused_is_an_error() -> None:
    job = run(PROGRAM, 3, "memory_demanded_and_refused", env={"PYSCALE_TRANSPORT": "shm"})
    for message in job.results:
        assert "PYSCALE_TRANSPORT=shm" in message
        assert "File too large" in message


MATCHING = (
    "dtypes|shapes|layouts|large|all_gather|broadcast|all_to_all|reduce_scatter|objects|barrier|split_many"
)


def test_calls_that_nobody_compares() -> None:
    env = {"PYSCALE_TRANSPORT": "mpi", "PYSCALE_CHECK_CALLS": "0"}
    job = run("worker_conformance.py", 3, "-k", f"^test_(?!mismatch).*({MATCHING})", env=env, timeout=120)
    assert len(job.ranks[0].result["passed"]) > 20


def test_mpi_that_is_asked_for_is_no_reason_to_warn() -> None:
    job = run("worker_conformance.py", 2, "-k", "place|shapes", env={"PYSCALE_TRANSPORT": "mpi"})
    assert "Warning" not in job.stderr, str(job)


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root, to mount a small /dev/shm"
)
def test_a_small_dev_shm_does_not_matter() -> None:
    script = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"'
    wrapper = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    job = run("worker_conformance.py", 4, "-k", "place|large|empty", wrapper=wrapper, timeout=120)
    assert job.ranks[0].result["transport"] == "shm"
    assert "Warning" not in job.stderr, str(job)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("PYSCALE_TRANSPORT", "tcp", ("auto", "shm", "mpi", "'tcp'")),
        (
            "PYSCALE_ALLREDUCE_ALGORITHM",
            "ring",
            ("auto", "eager", "one_shot", "two_shot", "direct", "'ring'"),
        ),
        ("PYSCALE_CHECK_CALLS", "no", ("1, 0", "'no'")),
    ],
)
@pytest.mark.parametrize("ranks", [None, 2])
def test_a_setting_that_is_none(variable: str, value: str, words: tuple[str, ...], ranks: int | None) -> None:
    job = run(PROGRAM, ranks, "init", env={variable: value})
    for result in job.results:
        assert result["error"] == "ValueError"
        assert all(word in result["message"] for word in (variable, *words)), result


def test_every_rank_hears_of_a_setting_of_one() -> None:
    """Instruction sets that a machine has may differ; what else does not fit is said to all."""
    job = run(PROGRAM, 3, "init_with_its_own")
    same = "expected the same on every rank, got"
    for result in job.results:
        assert result["said"] == [
            f"ValueError: PYSCALE_ISA: expected one of {', '.join(_core.available_isas())} on this machine, "
            "got mmx on rank 2",
            f"ValueError: PYSCALE_TRANSPORT: {same} auto on ranks 0, 2; mpi on rank 1",
            "ValueError: PYSCALE_TRANSPORT: expected one of auto, shm, mpi, got 'tcp' on rank 1",
            f"ValueError: PYSCALE_ALLREDUCE_ALGORITHM: {same} auto on ranks 0, 1; eager on rank 2",
            "ValueError: init: expected timeout to be a positive number of seconds, got -1.0 on rank 1; "
            "init: expected timeout to be a positive number of seconds, got nan on rank 2",
            "ValueError: init: expected timeout to be a positive number of seconds, got 'soon' on rank 2",
        ], str(job)
        assert result["digest"] == job.results[0]["digest"]
    assert job.results[1]["isa"] == "baseline"


def test_the_shortest_timeout_ends_a_wait_for_all_of_a_node() -> None:
    job = run(PROGRAM, 3, "waits_by_its_own_timeout", hide_deaths=True, check=False)
    for result in job.results[:2]:
        assert result["error"] == "CommTimeout", str(job)
        assert "rank 2" in result["message"]
        assert 0.4 < result["seconds"] < 1.4, str(job)


@pytest.mark.parametrize(
    ("program", "size", "rank"),
    [
        (("init",), "PMI_SIZE", "PMI_RANK"),
        (("init",), "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
        (("init",), "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
        (("init",), "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
        (("init_of_the_programs_own_mpi", "world"), "PMI_SIZE", "PMI_RANK"),
    ],
)
def test_the_launcher_of_another_mpi(program: tuple[str, ...], size: str, rank: str) -> None:
    """MPI starts, and knows of one process, where the launcher has started four."""
    job = run(PROGRAM, None, *program, env={size: "4", rank: "0"})
    [result] = job.results
    assert result["error"] == "PyscaleError", str(job)
    assert "expected the 4 processes that the launcher has started, got 1" in result["message"]


@pytest.mark.parametrize(
    "env", [{"PMI_SIZE": "1", "PMI_RANK": "0"}, {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}]
)
def test_a_launcher_of_one_process(env: dict[str, str]) -> None:
    """Also the shell of a batch job, which is one process whatever the job has asked for."""
    job = run(PROGRAM, None, "init", env=env)
    assert job.results == [{"error": None, "size": 1}]


def test_mpi_that_the_program_has_not_initialized() -> None:
    job = run(PROGRAM, 2, "init_of_the_programs_own_mpi", "off")
    for result in job.results:
        assert result["error"] == "PyscaleError", str(job)
        assert (
            "expected MPI to run in the 2 processes of the job, got it not initialized" in result["message"]
        )


def test_without_mpi4py_under_a_launcher() -> None:
    job = run(PROGRAM, 2, "init", env={"PYSCALE_TEST_WITHOUT_MPI4PY": "1"}, check=False)
    for result in job.results:
        assert result["error"] == "ImportError"
        assert "pyscale-ml[mpi]" in result["message"]


def test_without_mpi4py_alone() -> None:
    job = run(PROGRAM, None, "init", env={"PYSCALE_TEST_WITHOUT_MPI4PY": "1"})
    assert job.results == [{"error": None, "size": 1}]


@pytest.mark.parametrize("transport", ["shm", "mpi"])
def test_shutdown_and_init_again(transport: str) -> None:
    job = run(PROGRAM, 3, "again", env={"PYSCALE_TRANSPORT": transport}, timeout=150)
    assert job.results == ["done"] * 3


@pytest.mark.slow
@pytest.mark.parametrize(("transport", "ranks"), [("shm", 3), ("mpi", 2)])
def test_more_communicators_than_mpi_has_one_after_the_other(transport: str, ranks: int) -> None:
    job = run(PROGRAM, ranks, "splits", "5000", env={"PYSCALE_TRANSPORT": transport}, timeout=200)
    refusal = "expected a working communicator, got one given up earlier: it was closed"
    assert all(refusal in result for result in job.results), str(job)


def test_a_world_of_some_ranks() -> None:
    job = run(PROGRAM, 5, "part_of_the_job")
    assert job.results == [True] * 5


def test_the_first_call_joins_the_job() -> None:
    job = run(PROGRAM, 3, "used_before_init")
    assert job.results == [{"initialized": True, "sum": 3.0}] * 3


@pytest.mark.parametrize("transport", ["shm", "mpi"])
def test_an_orderly_end_is_silent(transport: str) -> None:
    job = run(PROGRAM, 3, "ends_in_silence", env={"PYSCALE_TRANSPORT": transport})
    assert job.stderr == ""


def _available_bytes() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


@pytest.mark.slow
@pytest.mark.skipif(_available_bytes() < 16 << 30, reason="needs 16 GiB of memory")
@pytest.mark.parametrize("name", ["huge", "huge_elsewhere"])
@pytest.mark.parametrize("transport", ["shm", "mpi"])
def test_more_than_2_to_the_31_elements(transport: str, name: str) -> None:
    job = run(PROGRAM, 2, name, env={"PYSCALE_TRANSPORT": transport}, timeout=200)
    assert all(right and all(right) for right in job.results), str(job)


@pytest.mark.parametrize("transport", ["shm", "mpi"])
def test_what_split_has_made_ends_with_the_world(transport: str) -> None:
    job = run(PROGRAM, 2, "splits_after_shutdown", env={"PYSCALE_TRANSPORT": transport})
    for said in job.results:
        assert said.startswith("barrier"), said
        assert said.endswith(": expected a working communicator, got one given up earlier: it was closed")


def test_a_communicator_that_is_closed_beside_a_call() -> None:
    job = run(PROGRAM, 2, "closed_beside_a_call", hide_deaths=True, check=False)
    assert all(result["untouched"] for result in job.results), str(job)
    assert "the communicator was closed" in job.results[0]["said"]


def test_memory_comes_back_after_a_failure_elsewhere() -> None:
    job = run(PROGRAM, 2, "memory_after_a_failure", hide_deaths=True, check=False)
    assert job.results[0]["broken"], str(job)
    for result in job.results:
        assert result["grown"] < 8 << 20, str(job)


@pytest.mark.parametrize("transport", ["shm", "mpi"])
def test_a_forked_child_cannot_join(transport: str) -> None:
    job = run(PROGRAM, 2, "forks", env={"PYSCALE_TRANSPORT": transport}, timeout=60)
    said = job.results[0]
    assert len(said) == 4, str(job)
    for line, call in zip(said, ("empty", "split", "barrier", "init"), strict=True):
        assert call in line or call == "barrier", line
        assert "expected the process that joined the job, got a forked child of it" in line
