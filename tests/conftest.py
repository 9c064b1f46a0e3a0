"""What all tests share."""

import pytest
from hypothesis import settings

import pyscale

# A shared machine stalls now and then; what takes long is for the benchmarks to find.
settings.register_profile("pyscale", deadline=None)
settings.load_profile("pyscale")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is tested: a report from elsewhere is of little use without it."""
    facts = pyscale.config()
    arrays = ", ".join(f"{name} {version}" for name, version in facts["arrays"].items() if version)
    return [
        f"pyscale {facts['version']}: {facts['compiler']}, {facts['isa']} of {facts['isa_available']},"
        f" {facts['cores']} cores, {facts['mpi'] or 'no MPI'}",
        f"arrays: {arrays}",
    ]
