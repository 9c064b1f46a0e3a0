"""What all tests share: the facts at the top of a report, and what the folders need to run."""

import signal
from collections.abc import Iterator
from pathlib import Path

import launch
import pytest
import simulated
from hypothesis import settings

import pyscale

HERE = Path(__file__).parent

# A shared machine stalls now and then; what takes long is for the benchmarks to find.
settings.register_profile("pyscale", deadline=None)
settings.load_profile("pyscale")


def pytest_report_header() -> list[str]:
    """Say what is tested: a report from elsewhere is of little use without it."""
    facts = pyscale.config()
    arrays = ", ".join(f"{name} {version}" for name, version in facts["arrays"].items() if version)
    return [
        f"pyscale {facts['version']}: {facts['compiler']}, {facts['isa']} of {facts['isa_available']},"
        f" {facts['cores']} cores, {facts['mpi'] or 'no MPI'}",
        f"arrays: {arrays}",
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of a folder, and skip them where it cannot run."""
    for marker, unavailable in {
        "distributed": lambda: None if launch.mpirun() else "no mpirun: pip install mpich",
        "hosts": simulated.unavailable,
    }.items():
        ours = [item for item in items if item.path.is_relative_to(HERE / marker)]
        reason = unavailable() if ours else None
        for item in ours:
            item.add_marker(marker)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Have SIGINT raise KeyboardInterrupt: what starts tests in the background may have it ignored."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)
