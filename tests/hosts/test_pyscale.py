"""pyscale on several hosts: the whole conformance suite, where ranks are, and what a fault does."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import launch
import pytest
from simulated import Hosts, unavailable

pytestmark = [pytest.mark.hosts, pytest.mark.skipif(bool(reason := unavailable()), reason=reason or "")]

HERE = Path(__file__).parent
TIMEOUT = 5  # seconds, of the communicators in the tests of faults


def run(
    hosts: Hosts,
    ranks_per_host: int | list[int],
    program: str,
    *arguments: str,
    netmod: str = "ofi",
    **env: str,
) -> launch.Job:
    """Run a program of this folder or of the distributed tests on the hosts."""
    place = hosts.place(ranks_per_host, netmod)
    path = str(HERE / program) if (HERE / program).exists() else program
    return launch.run(
        path,
        place.ranks,
        *arguments,
        env=place.env | {"PYTHONPATH": str(Path(launch.__file__).parent)} | env,
        mpirun_options=place.mpirun_options,
        wrapper=place.wrapper,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "ranks_per_host", "netmod", "transport"),
    [(2, 2, "ofi", "hierarchical"), (3, 1, "ofi", "mpi"), (2, [2, 1], "ucx", "hierarchical")],
    ids=["2x2", "3x1", "2+1"],
)
def test_conformance(count: int, ranks_per_host: int | list[int], netmod: str, transport: str) -> None:
    with Hosts(count) as hosts:
        job = run(hosts, ranks_per_host, "worker_conformance.py", netmod=netmod)
        assert {result["transport"] for result in job.results} == {transport}
        assert len(job.results[0]["passed"]) > 40
        assert all(hosts.sent_bytes(i) > 1e6 for i in range(count))


@pytest.mark.parametrize("names", [["a", "b"], ["same", "same"]], ids=["names", "one name"])
def test_places(names: list[str]) -> None:
    with Hosts(2, names=names) as hosts:
        job = run(hosts, [2, 1], "worker_place.py")
    assert [result["host"] for result in job.results] == [names[0], names[0], names[1]]
    assert [result["place"] for result in job.results] == [
        [0, 3, 0, 2, 0, 2],
        [1, 3, 1, 2, 0, 2],
        [2, 3, 0, 1, 1, 2],
    ]
    assert all(result["right"] and result["transport"] == "hierarchical" for result in job.results)


def test_neighbours_by_mpi_that_share_no_memory() -> None:
    with Hosts(1) as hosts:
        job = run(hosts, 3, "worker_place.py", "--own-network", FI_TCP_IFACE="lo")
    assert all(result["mpi_neighbours"] == 3 for result in job.results)  # what pyscale must not believe
    assert all(result["right"] and result["transport"] == "mpi" for result in job.results)
    assert sum(len(result["warnings"]) for result in job.results) == 1


def outcomes(hosts: Hosts, folder: Path, *arguments: object) -> list[Any]:
    """Run worker_fault.py on 2 hosts x 2 ranks to its end; what each rank reported, None where nothing."""
    program = [sys.executable, str(HERE / "worker_fault.py"), str(TIMEOUT), *map(str, arguments)]
    env = {launch.FOLDER: str(folder), "PYTHONPATH": str(Path(launch.__file__).parent)}
    try:
        done = hosts.mpirun(2, program, env=env, timeout=60, survive=True)
    except subprocess.TimeoutExpired as hung:
        pytest.fail(f"hung: {[hosts.processes(i) for i in (0, 1)]}\n{hung.stdout!r}\n{hung.stderr!r}")
    print(done.stdout, done.stderr)  # shown where the test fails
    files = [folder / f"result.{rank}" for rank in range(4)]
    return [json.loads(file.read_text()) if file.exists() else None for file in files]


def test_a_rank_that_dies_ends_the_wait_of_all_others(tmp_path: Path) -> None:
    with Hosts(2) as hosts:
        results = outcomes(hosts, tmp_path, 3)
    assert results[3] is None
    for rank, result in enumerate(results[:3]):
        assert result is not None, f"rank {rank} raised nothing"
        kind, message, seconds = result
        assert kind in ("CommError", "CommTimeout"), message
        assert seconds < (2 if rank == 2 else TIMEOUT + 2), message  # rank 2 is the dead one's neighbour


@pytest.mark.parametrize("fault", ["link_down", "blackhole"])
def test_a_link_that_fails_ends_the_wait_of_all(fault: str, tmp_path: Path) -> None:
    with Hosts(2) as hosts, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(outcomes, hosts, tmp_path)
        while not (tmp_path / "note.running").exists() and not waiting.done():
            time.sleep(0.05)
        getattr(hosts, fault)(1)
        results = waiting.result()
    for rank, result in enumerate(results):
        assert result is not None, f"rank {rank} raised nothing"
        kind, message, seconds = result
        assert kind == "CommTimeout", message
        assert seconds < TIMEOUT + 2, message
