"""pyscale on several hosts: the whole conformance suite, where ranks are, and what a fault does."""

from __future__ import annotations

import os
import random
from contextlib import AbstractContextManager
from pathlib import Path

import launch
import pytest
from simulated import Hosts
from worker_node_cache import ROWS
from worker_traffic import ROW

HERE = Path(__file__).parent
TIMEOUT = 5  # seconds, of the communicators in the tests of faults


def start(
    hosts: Hosts,
    ranks_per_host: int | list[int],
    program: str,
    *arguments: str,
    netmod: str = "ofi",
    hide_deaths: bool = False,
    env: dict[str, str] | None = None,
) -> AbstractContextManager[launch.Running]:
    """Start a program of this folder or of the distributed tests on the hosts."""
    place = hosts.place(ranks_per_host, netmod)
    folder = HERE if (HERE / program).exists() else Path(launch.__file__).parent
    env = place.env | {"PYTHONPATH": str(Path(launch.__file__).parent)} | (env or {})
    path, wrapper = str(folder / program), place.wrapper
    return launch.start(path, place.ranks, *arguments, env=env, hide_deaths=hide_deaths, wrapper=wrapper)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "ranks_per_host", "netmod", "transport"),
    [(2, 2, "ofi", "hierarchical"), (3, 1, "ofi", "mpi"), (2, [2, 1], "ucx", "hierarchical")],
    ids=["2x2", "3x1", "2+1"],
)
def test_conformance(count: int, ranks_per_host: int | list[int], netmod: str, transport: str) -> None:
    with Hosts(count) as hosts:
        with start(hosts, ranks_per_host, "worker_conformance.py", netmod=netmod) as running:
            job = running.wait(timeout=300)
        assert job.returncode == 0, str(job)
        assert {result["transport"] for result in job.results} == {transport}
        assert len(job.results[0]["passed"]) > 40
        assert all(hosts.sent_bytes(i) > 1e6 for i in range(count))


@pytest.mark.slow
def test_calls_that_nobody_compares() -> None:
    only = "^test_(?!mismatch).*(dtypes|shapes|layouts|large|gather|broadcast|all_to_all|scatter|objects)"
    env = {"PYSCALE_CHECK_CALLS": "0"}
    with Hosts(2) as hosts, start(hosts, 2, "worker_conformance.py", "-k", only, env=env) as running:
        job = running.wait(timeout=200)
    assert job.returncode == 0, str(job)
    assert len(job.results[0]["passed"]) > 15


@pytest.mark.slow
def test_stress() -> None:
    seed = os.environ.get("PYSCALE_TEST_SEED", str(random.SystemRandom().randrange(10**6)))
    with Hosts(2) as hosts, start(hosts, [2, 2], "worker_stress.py", "15", seed) as running:
        job = running.wait(timeout=120)
    assert job.returncode == 0, f"PYSCALE_TEST_SEED={seed}: {job} {job.ranks[0].result}"
    assert job.ranks[0].result["calls"] > 0


@pytest.mark.slow
def test_kill_at_any_instant() -> None:
    """A neighbour of the dead knows first, and tells the other host; where it has none, the time-out does."""
    env = {"PYSCALE_TEST_TIMEOUT": str(TIMEOUT)}
    base = int(os.environ.get("PYSCALE_TEST_SEED", random.SystemRandom().randrange(10**6)))
    for seed in range(base, base + 8):
        with (
            Hosts(2) as hosts,
            start(hosts, 2, "worker_kills.py", str(seed), "4", env=env, hide_deaths=True) as running,
        ):
            job = running.wait(timeout=60)
            killed_at = float((running.folder / "note.kill.0").read_text())
        survivors = [result for result in job.results if result is not None]
        # MPICH ends the process, whatever the error handler, where a connection breaks under a message.
        ended_by_mpi = sum("OFI poll failed" in rank.stderr for rank in job.ranks)
        assert len(survivors) + ended_by_mpi == 3, f"PYSCALE_TEST_SEED={seed}: {job}"
        assert survivors
        for result in survivors:
            told = f"PYSCALE_TEST_SEED={seed}: {result}"
            assert result["error"] in ("CommError", "CommTimeout"), told
            # A rank that has waited elsewhere for the dead one is late here, or has left: then it is the one
            # that is named.
            if "died" in result["message"] and result["expected"] is not None and not ended_by_mpi:
                assert f"rank {result['expected']}" in result["message"], told
            assert result["at"] - killed_at < TIMEOUT + 2, told


@pytest.mark.parametrize("names", [["a", "b"], ["same", "same"]], ids=["names", "one name"])
def test_places(names: list[str]) -> None:
    with Hosts(2, names=names) as hosts, start(hosts, [2, 1], "worker_place.py") as running:
        job = running.wait(timeout=60)
    assert job.returncode == 0, str(job)
    assert [result["host"] for result in job.results] == [names[0], names[0], names[1]]
    assert [result["place"] for result in job.results] == [
        [0, 3, 0, 2, 0, 2],
        [1, 3, 1, 2, 0, 2],
        [2, 3, 0, 1, 1, 2],
    ]
    assert all(result["right"] and result["transport"] == "hierarchical" for result in job.results)


def test_neighbours_by_mpi_that_share_no_memory() -> None:
    env = {"FI_TCP_IFACE": "lo"}
    with Hosts(1) as hosts, start(hosts, 3, "worker_place.py", "--own-network", env=env) as running:
        job = running.wait(timeout=60)
    assert job.returncode == 0, str(job)
    assert all(result["mpi_neighbours"] == 3 for result in job.results)  # what pyscale must not believe
    assert all(result["right"] and result["transport"] == "mpi" for result in job.results)
    assert sum(len(result["warnings"]) for result in job.results) == 1


@pytest.mark.parametrize("ranks_per_host", [[2, 2], [2, 1]], ids=["2x2", "2+1"])
@pytest.mark.parametrize("name", ["all_gather", "reduce_scatter", "all_reduce"])
def test_each_byte_crosses_a_link_once(name: str, ranks_per_host: list[int]) -> None:
    with Hosts(2) as hosts:
        with start(hosts, ranks_per_host, "worker_traffic.py", name) as running:
            job = running.wait(timeout=60)
        received = [hosts.received_bytes(host) for host in (0, 1)]
    assert all(job.results), str(job)
    for host, count in enumerate(received):
        # All rows of the other host for each of the two ways, gathering or reducing; headers come on top.
        gathered, reduced = ranks_per_host[1 - host], ranks_per_host[host]
        rows = {"all_gather": gathered, "reduce_scatter": reduced, "all_reduce": gathered + reduced}[name]
        assert rows * ROW < count < 1.2 * rows * ROW + 100_000


@pytest.mark.slow
@pytest.mark.parametrize("ranks_per_host", [[2, 2], [2, 1]], ids=["2x2", "2+1"])
def test_rows_go_where_they_should(ranks_per_host: list[int]) -> None:
    with Hosts(2) as hosts, start(hosts, ranks_per_host, "worker_exchange.py", "reference") as running:
        job = running.wait(timeout=100)
    for result in job.results:
        assert result["transport"] == "hierarchical"
        assert len(result["right"]) > 350
        assert all(result["right"]), str(job)


def test_rows_that_are_refused_are_so_on_all_hosts() -> None:
    with Hosts(2) as hosts, start(hosts, [2, 1], "worker_exchange.py", "refused") as running:
        job = running.wait(timeout=60)
    assert job.results[0] == job.results[1] == job.results[2], str(job)
    for name, kind, message in job.results[0]:
        assert kind != "nothing", name
        assert "rank 2" in message, message


def test_a_rank_that_is_killed_while_rows_move() -> None:
    arguments = ("worker_exchange.py", "killed", "0.02")
    with Hosts(2) as hosts, start(hosts, [2, 2], *arguments, hide_deaths=True) as running:
        *others, victim = running.wait(timeout=60).results
    assert victim is None
    for result in others:
        assert "rank 3 died" in result["message"], result
        assert result["seconds"] < 5


def test_each_host_has_one_copy_of_the_data() -> None:
    with Hosts(2) as hosts, start(hosts, [2, 1], "worker_node_cache.py", "nodes") as running:
        job = running.wait(timeout=60)
    half = ROWS // 2 + 1
    assert [result["node"] for result in job.results] == [0, 0, 1], str(job)
    assert [result["asked"] for result in job.results] == [[[0, half]], [[half, ROWS]], [[0, ROWS]]]
    for result in job.results:
        assert result["right"]
        assert "expected rows 0 to 9 from fill, got OSError: disk on fire on rank 2" in result["said"]


def raised(running: launch.Running) -> list[tuple[str, str, float] | None]:
    """What each rank of worker_fault.py raised and how many seconds it waited; None for no report."""
    return running.wait(timeout=60).results


def test_a_rank_that_dies_ends_the_wait_of_all_others() -> None:
    with (
        Hosts(2) as hosts,
        start(hosts, 2, "worker_fault.py", str(TIMEOUT), "3", hide_deaths=True) as running,
    ):
        *others, dead = raised(running)
    assert dead is None
    for rank, result in enumerate(others):
        assert result is not None, f"rank {rank} raised nothing"
        kind, message, seconds = result
        assert kind in ("CommError", "CommTimeout"), message
        assert message.startswith("all_reduce(op=sum, float32, shape ("), message
        assert "rank 3" in message, message
        assert seconds < (2 if rank == 2 else TIMEOUT + 2), message  # rank 2 is the dead one's neighbour


LATE = "all_reduce(op=max, float32, shape (2, 3)): expected every rank within 1 s, got no answer from rank {}"
GONE = "barrier(): expected every rank within 30 s, got no answer from rank {0}; rank {0} "


@pytest.mark.parametrize(
    ("name", "ranks_per_host", "kind", "message", "within"),
    [
        ("late", 2, "CommTimeout", LATE, 2.0),
        ("late", [1, 2], "CommTimeout", LATE, 2.0),
        ("late", [2, 1], "CommTimeout", LATE, 2.5),
        ("exits", 2, "CommError", GONE + "left (it has shut pyscale down, or is exiting)", 2.0),
        ("exits_at_once", 2, "CommError", GONE + "died", 2.0),
        ("exits_at_once", [1, 2], "CommError", GONE + "died", 2.0),
    ],
)
def test_all_hosts_name_the_rank_at_fault_and_the_users_call(
    name: str, ranks_per_host: int | list[int], kind: str, message: str, within: float
) -> None:
    """The last rank is at fault: its own node knows first, also where another waits for its leader only."""
    with Hosts(2) as hosts, start(hosts, ranks_per_host, "worker_faults.py", name, hide_deaths=True) as job:
        *others, _ = job.wait(timeout=30).results
    for result in others:
        assert result is not None
        assert (result["kind"], result["message"]) == (kind, message.format(len(others)))
        assert result["seconds"] < within
        assert result["again_seconds"] < 0.5


@pytest.mark.parametrize("fault", ["link_down", "blackhole"])
def test_a_link_that_fails_ends_the_wait_of_all(fault: str) -> None:
    with Hosts(2) as hosts, start(hosts, 2, "worker_fault.py", str(TIMEOUT), hide_deaths=True) as running:
        running.wait_for("running")
        getattr(hosts, fault)(1)
        results = raised(running)
    for rank, result in enumerate(results):
        assert result is not None, f"rank {rank} raised nothing"
        kind, message, seconds = result
        assert kind == "CommTimeout", message
        assert seconds < TIMEOUT + 2, message
