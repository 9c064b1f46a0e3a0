"""The conformance suite over every way of moving data; all must give the same bits."""

from typing import Any

import pytest
from launch import run

from pyscale import _core

ISAS = _core.available_isas()

#: (ranks, None: without mpirun) + settings of the environment + tests.
CONFIGURATIONS: dict[str, tuple[int | None, dict[str, str], str]] = {
    "alone, without mpi4py": (None, {"PYSCALE_TEST_WITHOUT_MPI4PY": "1", "PYSCALE_TEST_LIBRARIES": "1"}, ""),
    "one rank": (1, {}, ""),
    "shm 2": (2, {"PYSCALE_TRANSPORT": "shm", "PYSCALE_TEST_LIBRARIES": "1"}, ""),
    "shm 3": (3, {}, ""),
    "shm 4": (4, {}, ""),
    "shm 5": (5, {}, ""),
    "shm 8": (8, {}, ""),
    "mpi 2": (2, {"PYSCALE_TRANSPORT": "mpi"}, ""),
    "mpi 3": (3, {"PYSCALE_TRANSPORT": "mpi"}, ""),
    "mpi 4": (4, {"PYSCALE_TRANSPORT": "mpi"}, ""),
    **{
        f"shm {ranks} by {algorithm}": (
            ranks,
            {"PYSCALE_ALLREDUCE_ALGORITHM": algorithm},
            "reduce|shared|mean|wrap|ordin",
        )
        for algorithm, ranks in (
            ("eager", 3),
            ("one_shot", 3),
            ("two_shot", 3),
            ("two_shot", 4),
            ("direct", 3),
        )
    },
    **{f"shm 3 on {isa}": (3, {"PYSCALE_ISA": isa}, "reduce|shared|mean|wrap") for isa in ISAS[:-1]},
}

#: (ranks, test) -> the digest of its results, and who had it first.
_digests: dict[tuple[int, str], tuple[int, str]] = {}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_conformance(name: str) -> None:
    ranks, env, words = CONFIGURATIONS[name]
    job = run("worker_conformance.py", ranks, "-k", words, timeout=300, env=env)
    result: dict[str, Any] = job.ranks[0].result
    assert result["passed"], str(job)
    assert not result["failed"]
    print(job.ranks[0].stdout.splitlines()[-1])
    changed = {"test_place"}
    if "eager" in name:  # refuses some sizes
        changed.update(test for test in result["digests"] if "shared" in test or "all_reduce" in test)
    for test, digest in result["digests"].items():
        if test not in changed:
            first, where = _digests.setdefault((ranks or 1, test), (digest, name))
            assert digest == first, f"{test}: other bits than with {where}"
