"""Columns over real ranks: the same report and profile on any number of them, and faults heard by all."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from launch import Job, run, start

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

import columns_data  # noqa: E402

from pyscale.data import Permutation, Profile, to_parquet, validate  # noqa: E402

PROGRAM = "worker_columns.py"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("columns")
    columns_data.write_files(folder)
    return folder


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def report_by_parts(ranks: int) -> str:
    """The report of the rows of all ranks, by one process."""
    validator = columns_data.SCHEMA.validator()
    for rank in range(ranks):
        if len(part := columns_data.part_of(rank, ranks)):
            validator.add(part, file=f"{rank:02}")
    return repr(validator.finish())


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_any_number_of_ranks_finds_and_writes_the_same(files: Path, tmp_path: Path, ranks: int) -> None:
    job = run(PROGRAM, ranks, "works", str(files), str(tmp_path))
    names = [f"part-{i:05}-of-{2 * ranks:05}.parquet" for i in range(2 * ranks)]
    paths = [tmp_path / "t" / name for name in names]
    expected = {
        "files": repr(validate(files, columns_data.SCHEMA)),
        "profile of files": Profile.of(files / "good").to_json(),
        "rows": report_by_parts(ranks),
        "profile of rows": Profile.of(columns_data.table()).to_json(),
        "written": [str(path) for path in paths],
    }
    for result in job.results:
        for name, value in expected.items():
            assert result[name] == value, name
    assert left(tmp_path) == ["t", *(f"t/{name}" for name in names)]
    for rank in range(ranks):
        part = columns_data.part_of(rank, ranks)
        found = pa.concat_tables([pq.ParquetFile(path).read() for path in paths[2 * rank : 2 * rank + 2]])
        shuffled = part.take(Permutation(len(part), seed=4, stream=rank)[:])
        assert repr(found.to_pydict()) == repr(shuffled.to_pydict())  # in which NaN equals itself


def test_the_data_has_all_faults(files: Path) -> None:
    report = validate(files, columns_data.SCHEMA)
    assert {(failure.column, failure.check.split(" (")[0]) for failure in report.failures} == {
        (None, "readable"),
        (None, "cells of a row"),
        (None, "unique: x, name"),
        ("id", "int64"),
        ("id", "castable to int64"),
        ("id", "unique"),
        ("x", "required"),
        ("x", "< 3"),
        ("x", "like the profile"),
        ("name", "not null"),
        ("name", "matches 'name-[0-9]'"),
        ("name", "unique"),
    }


def test_ranks_that_do_not_agree_or_fail(files: Path) -> None:
    job = run(PROGRAM, 3, "validates_other_things", str(files))
    for rank, result in enumerate(job.results):
        schemas, likenesses, paths, memory, unreadable, column, ok = result
        assert schemas.startswith("ValueError: finish: expected the same schema on every rank"), str(job)
        assert likenesses.startswith("ValueError: finish: expected the same schema on every rank")
        assert paths == "ValueError: paths: expected the same on every rank, got others on rank 2"
        notes = "" if rank == 2 else " | validate: raised on rank 2"
        assert memory == f"MemoryError: no more memory{notes}"
        assert unreadable.startswith("OSError: ")
        assert "cut.parquet: expected a file that can be read, got ArrowInvalid" in unreadable
        assert column.startswith("KeyError: \"Profile.of: expected a column 'y', got x")
        assert ok == "False"


# ------------------------------------------------------------------------------------------------ cache


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("transport", ["shm", "mpi"])
def test_one_rank_computes_and_the_others_wait(tmp_path: Path, ranks: int, transport: str) -> None:
    job = run(PROGRAM, ranks, "keeps", str(tmp_path), env={"PYSCALE_TRANSPORT": transport})
    first = job.results[0]
    assert [hit for hit, *_ in first] == [False, True]
    assert all(rows == 5 and values == list(range(5)) for _, rows, _, values in first)
    assert job.results == [first] * ranks
    assert (tmp_path / "ran-0").read_text() == "x"
    assert not (tmp_path / "ran-1").exists()


def test_what_goes_wrong_in_a_step_is_raised_on_all_ranks(tmp_path: Path) -> None:
    job = run(PROGRAM, 3, "keeps_nothing", str(tmp_path))
    for rank, result in enumerate(job.results):
        at_once, later, own, interrupted, refused, unseen = result
        notes = " | cache: raised on rank 0" if rank else ""
        assert at_once == later == f"ZeroDivisionError: as it happens{notes}", str(job)
        if rank:
            assert own == "PyscaleError: cache: rank 0 has failed: OwnError: 1 and 2"
            assert interrupted == "PyscaleError: cache: rank 0 has failed: KeyboardInterrupt"
        else:
            assert own == "OwnError: 1 and 2"
            assert interrupted == "KeyboardInterrupt"
        assert refused.startswith("TypeError: cache: inputs: expected a value that has a fingerprint")
        assert "expected a directory that all ranks see" in unseen
        assert ("raised on rank 2" in unseen) == (rank != 2)
    [entry] = (tmp_path / "c").iterdir()
    assert entry.name.startswith("lambda-")


# ------------------------------------------------------------------------------------------- to_parquet


def test_a_failure_on_a_rank_leaves_nothing_of_any(tmp_path: Path) -> None:
    job = run(PROGRAM, 3, "writes_nothing", str(tmp_path))
    for rank, result in enumerate(job.results):
        fails, columns, files, _, repeats, disk, full, *others = result
        notes = "" if rank == 2 else " | to_parquet: raised on rank 2"
        assert fails == f"ZeroDivisionError: as it happens{notes}", str(job)
        assert columns.startswith("ValueError: to_parquet: expected the same columns on every rank")
        assert files == "ValueError: to_parquet: expected files to be a multiple of 3 ranks, got 4"
        assert repeats.startswith("SchemaError: schema: 3 rows, failures of 1 check")
        assert disk.startswith("OSError: ")
        assert "File too large" in disk
        assert disk.endswith(notes)
        assert full.startswith("FileExistsError: to_parquet: expected a new or empty folder")
        for name, text in zip(("files", "schema", "shuffle", "target"), others, strict=True):
            assert text.startswith(f"ValueError: to_parquet: expected {name} to be the same on every rank")
    assert left(tmp_path) == ["u", "u/file"]


def test_shards_of_which_a_rank_wants_what_cannot_be(tmp_path: Path) -> None:
    to_parquet({"x": np.arange(9)}, tmp_path / "x.parquet")
    job = run(PROGRAM, 3, "opens_other_shards", str(tmp_path))
    for rank, result in enumerate(job.results):
        *failures, rows = result
        assert rows == "9"
        for text in failures:
            assert text.startswith(("ValueError: ", "TypeError: ")), str(job)
            assert ("raised on rank 2" in text) == (rank != 2)


# ------------------------------------------------------------------------------------------------ faults


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root, to mount a small file system"
)
def test_a_full_disk(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"'
    wrapper = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(tmp_path)]
    job = run(PROGRAM, 2, "fills_the_disk", str(tmp_path), wrapper=wrapper)
    for result in job.results:
        kept, written, names = result
        for said in (kept, written):
            assert said.startswith("OSError: "), str(job)
            assert "No space left on device" in said
        assert names == []


@pytest.mark.parametrize(("what", "victim"), [("cache", 0), ("cache", 2), ("write", 0), ("write", 2)])
def test_a_rank_that_is_killed(tmp_path: Path, what: str, victim: int) -> None:
    (tmp_path / "alive").touch()
    with start(PROGRAM, 3, "dies", str(tmp_path), what, str(victim), hide_deaths=True) as running:
        job: Job = running.wait(timeout=40)
    assert job.ranks[victim].status == -signal.SIGKILL, str(job)
    for rank, result in enumerate(job.results):
        if rank != victim:
            assert result.startswith("CommError: "), str(job)
            assert f"rank {victim}" in result
    drafts: list[Any] = [name for name in left(tmp_path / "c") if name.endswith(".draft")]
    assert len(drafts) == (victim == 0)  # whose it was
    to_parquet({"x": [1]}, tmp_path / "c" / "later.parquet")
    kept = [path.name.split("-")[0] for path in sorted((tmp_path / "c").iterdir())]
    # What rank 0 has computed is whole, even if nobody is left to want it.
    assert kept == ["later.parquet", *(["step"] if (what, victim) == ("cache", 2) else [])]
