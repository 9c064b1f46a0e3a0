"""A minute of random collectives; PYSCALE_STRESS_SECONDS sets its seconds."""

import os
import random

import pytest
from launch import JobFailedError, run

SECONDS = float(os.environ.get("PYSCALE_STRESS_SECONDS", "60"))
CONFIGURATIONS = [("shm", 4), ("shm", 7), ("mpi", 3)]


@pytest.mark.slow
@pytest.mark.parametrize(("transport", "ranks"), CONFIGURATIONS)
def test_stress(transport: str, ranks: int) -> None:
    seconds = SECONDS / len(CONFIGURATIONS)
    seed = int(os.environ.get("PYSCALE_TEST_SEED", random.SystemRandom().randrange(10**6)))
    env = {"PYSCALE_TRANSPORT": transport}
    try:
        job = run(
            "worker_stress.py", ranks, str(seconds), str(seed), env=env, timeout=seconds + 120, check=False
        )
    except JobFailedError as error:
        raise JobFailedError(f"PYSCALE_TEST_SEED={seed}: {error}") from None
    assert job.returncode == 0, f"PYSCALE_TEST_SEED={seed}: {job} {job.ranks[0].result}"
    calls = job.ranks[0].result["calls"]
    assert calls > 0
    print(f"{transport} on {ranks} ranks: {calls} calls, seed {seed}")
