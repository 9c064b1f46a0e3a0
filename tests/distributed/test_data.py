"""Files read by several ranks: every row once, the same global batches at any number of them; failures."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flights_csv import flights_csv
from launch import run, start

pa = pytest.importorskip("pyarrow")
import pyarrow.csv as csv  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from pyscale.data import to_parquet  # noqa: E402

PROGRAM = "worker_data.py"
ROWS = 30_000
RANKS = (1, 2, 3, 8)


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
    results = {ranks: run(PROGRAM, ranks, "epoch", str(folder)).results for ranks in RANKS}
    expected = results[1][0]
    assert [rows for rows, _ in expected] == [ROWS, ROWS]
    assert expected[0] != expected[1]
    for of_ranks in results.values():
        assert all(one == expected for one in of_ranks)


def test_flights_to_files_and_back(tmp_path: Path) -> None:
    """Real rows, cell for cell: numbers, dates, and numbers that are missing."""
    (tmp_path / "flights.csv").write_bytes(flights_csv())
    table = csv.read_csv(tmp_path / "flights.csv", convert_options=csv.ConvertOptions(null_values=["NA"]))
    columns: dict[str, Any] = {"row": np.arange(table.num_rows)}
    for name in ("month", "day", "hour", "distance", "dep_delay", "arr_delay", "air_time", "time_hour"):
        columns[name] = table.column(name).to_numpy()
    columns["time_hour"] = columns["time_hour"].astype("M8[us]")  # Parquet has no seconds
    assert table.num_rows == 336_776
    assert np.isnan(columns["arr_delay"]).sum() == 9430
    assert columns["time_hour"].dtype.kind == "M"
    to_parquet(columns, tmp_path / "flights", files=5, row_group_rows=7919, shuffle=2)
    np.savez(tmp_path / "flights.npz", **columns)
    results = {ranks: run(PROGRAM, ranks, "flights", str(tmp_path / "flights")).results for ranks in RANKS}
    for ranks, of_ranks in results.items():
        assert sum(rows for _, rows, _ in of_ranks) == len(columns["row"])
        assert min(rows for _, rows, _ in of_ranks) >= len(columns["row"]) // ranks - 2400
        # As many steps, and the same global batches, whatever the number of ranks.
        assert {(steps, digest) for steps, _, digest in of_ranks} == {(141, results[1][0][2])}


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
