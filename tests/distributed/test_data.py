"""Files read by several ranks: every row once, the same global batches at any number of them; failures."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from launch import run, start

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402

PROGRAM = "worker_data.py"
ROWS = 30_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    edges = [0, 4000, 4001, 15_000, ROWS]
    for number, group in enumerate([500, 1, 3000, 900]):
        ids = np.arange(edges[number], edges[number + 1])
        pq.write_table(
            pa.table({"id": ids, "delay": ids * 2.0}), tmp_path / f"{number}.parquet", row_group_size=group
        )
    return tmp_path


def test_global_batches_do_not_depend_on_the_number_of_ranks(folder: Path) -> None:
    results = {ranks: run(PROGRAM, ranks, "epoch", str(folder)).results for ranks in (1, 2, 3, 8)}
    expected = results[1][0]
    assert [rows for rows, _ in expected] == [ROWS, ROWS]
    assert expected[0] != expected[1]
    for of_ranks in results.values():
        assert all(one == expected for one in of_ranks)


def test_filters_are_counted_by_all_ranks(folder: Path) -> None:
    for ranks in (1, 3):
        for steps, complete in run(PROGRAM, ranks, "filtered", str(folder)).results:
            assert complete
            assert steps == -(-12_345 // 240)


def test_a_file_that_one_rank_cannot_read(folder: Path) -> None:
    for rank, (message, notes) in enumerate(run(PROGRAM, 3, "unreadable_on_one_rank", str(folder)).results):
        assert "a disk of rank 1 has failed" in message
        assert rank == 1 or any("rank 1" in note for note in notes)


def test_other_files_on_one_rank(folder: Path) -> None:
    for message in run(PROGRAM, 2, "other_files_on_one_rank", str(folder)).results:
        assert "the same on every rank" in message


def test_other_filters_on_one_rank(folder: Path) -> None:
    for message in run(PROGRAM, 2, "other_filters_on_one_rank", str(folder)).results:
        assert "expected filters to be the same on every rank" in message


def test_files_that_vanish_within_an_epoch(folder: Path) -> None:
    job = run(PROGRAM, 3, "vanishing_file", str(folder), check=False, hide_deaths=True)
    # Nobody catches it, so that it ends the job: ranks that were waiting for this one are told, or ended.
    kinds = [result and result[0] for result in job.results]
    assert "DataError" in kinds
    assert set(kinds) <= {"DataError", "CommError", None}
    assert job.returncode != 0
    assert (
        "No such file or directory" in job.stderr
    )  # found by looking at it, or a moment later by opening it
    assert ".parquet: expected" in job.stderr


def test_a_rank_that_is_killed_while_others_read(folder: Path) -> None:
    with start(PROGRAM, 3, "killed", str(folder), hide_deaths=True) as running:
        for rank in range(3):
            running.wait_for(f"reading.{rank}")
        os.kill(running.pid(1), signal.SIGKILL)
        job = running.wait(timeout=30)
    for rank in (0, 2):
        assert "rank 1" in job.ranks[rank].result


def test_states_are_the_same_on_all_ranks(folder: Path) -> None:
    states = [run(PROGRAM, ranks, "state", str(folder)).results for ranks in (1, 3)]
    assert all(state == states[0][0] for of_ranks in states for state in of_ranks)
    assert states[0][0]["position"] == 7 * 240
