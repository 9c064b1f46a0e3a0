"""The benchmarks run, and write what they say they write."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from launch import run

BENCH = Path(__file__).resolve().parents[2] / "bench"
ENV = {"PYTHONPATH": str(BENCH)}  # where a script's neighbours are
QUICK = ("--seconds", "0.01", "--iterations", "2", "--step-factor", "16")
SIZES = [4, 64, 1024, 16384]


def test_allreduce_prints_nccls_columns_and_writes_json(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    arguments = (*QUICK, "--max", "16K", "--buffers", "both", "--json", str(file))
    job = run(str(BENCH / "allreduce.py"), 2, *arguments, env=ENV)
    about, placements, names, units, *rows = job.ranks[0].stdout.splitlines()
    assert about.startswith("# 2 ranks, shm, "), str(job)
    assert placements.split() == ["#", "out-of-place", "in-place"]
    columns = ["time", "algbw", "busbw", "#wrong", "mpi", "ratio"]
    assert names.split() == ["#", "size", "count", "type", "redop", "buffer", *columns * 2]
    assert units.count("(GB/s)") == 4
    cells = [row.split() for row in rows]
    assert [row[:5] for row in cells] == [
        [str(size), str(size // 4), "float32", "sum", buffers]
        for size in SIZES
        for buffers in ("shared", "ordinary")
    ]
    for row in cells:
        assert len(row) == 17
        assert row[8] == row[14] == "0", f"wrong elements: {row}"
        assert all(float(cell) >= 0 for cell in row[5:])
    assert job.ranks[1].stdout == ""

    written = json.loads(file.read_text())
    assert set(written) == {"command", "ranks", "transport", "pyscale", "numpy", "machine", "mpi", "results"}
    assert (written["ranks"], written["transport"]) == (2, "shm")
    keys = {
        "contestant",
        "placement",
        "ranks",
        "size",
        "count",
        "dtype",
        "op",
        "seconds",
        "batches",
        "iterations",
        "wrong",
    }
    assert all(set(result) == keys for result in written["results"])
    points = {(result["contestant"], result["placement"], result["size"]) for result in written["results"]}
    assert points == {
        (name, placement, size)
        for name in ("pyscale-shared", "pyscale-ordinary", "mpi")
        for placement in ("out-of-place", "in-place")
        for size in SIZES
    }
    assert all(len(result["batches"]) >= 5 and result["wrong"] == 0 for result in written["results"])


def test_allreduce_prints_osus_text() -> None:
    job = run(str(BENCH / "allreduce.py"), 2, *QUICK, "--max", "16K", "--osu", "--dtype", "bfloat16", env=ENV)
    blocks = job.ranks[0].stdout.split("# OSU MPI Allreduce Latency Test, by ")[1:]
    assert [block.splitlines()[0] for block in blocks][:1] == ["pyscale-shared"], str(job)
    for block in blocks:
        _, about, columns, *rows = block.splitlines()
        assert about == "# Datatype: bfloat16, operation: sum, ranks: 2."
        assert columns.split() == ["#", "Size", "Avg", "Latency(us)"]
        assert [int(row.split()[0]) for row in rows] == SIZES
        assert all(float(row.split()[1]) > 0 for row in rows)


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="no matplotlib")
def test_allreduce_draws(tmp_path: Path) -> None:
    file = tmp_path / "plot.png"
    arguments = (*QUICK, "--max", "1K", "--against", "none", "--plot", str(file))
    run(str(BENCH / "allreduce.py"), 2, *arguments, env=ENV)
    assert file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert file.stat().st_size > 10_000


def test_memory_names_its_stages(tmp_path: Path) -> None:
    file = tmp_path / "memory.json"
    job = run(str(BENCH / "memory.py"), 2, "--json", str(file), env=ENV)
    written = json.loads(file.read_text())
    assert written["ranks"] == 2
    stages = written["bytes"]
    assert len(stages) == len(job.ranks[0].stdout.splitlines()) - 1 >= 5
    for line, (stage, value) in zip(job.ranks[0].stdout.splitlines()[1:], stages.items(), strict=True):
        assert line.split(maxsplit=2) == [f"{value / 2**20:.1f}", "MiB", stage]
    assert 0 < stages["of it in shared memory"] < 64 << 20
