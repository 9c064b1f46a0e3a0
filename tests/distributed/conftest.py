"""What the tests under mpirun need: the modules of this folder, and mpirun."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import launch  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("distributed")
            if launch.mpirun() is None:
                item.add_marker(pytest.mark.skip(reason="no mpirun: pip install mpich"))
