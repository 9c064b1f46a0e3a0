"""config(), show_config() and what they read from the system."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pyscale
from pyscale.config import _numa_nodes, cgroup_quota, free_memory, num_cores, num_threads

LOCAL_SIZE_VARIABLES = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE")


def test_config() -> None:
    facts = pyscale.config()
    assert facts["version"] == pyscale.__version__
    assert facts["isa"] in facts["isa_available"]
    assert set(facts["isa_available"]) <= set(facts["isa_compiled"])
    assert facts["isa_available"][0] == "baseline"
    assert facts["threads"] >= 1
    assert 1 <= facts["cores"] <= len(os.sched_getaffinity(0))
    assert facts["numa_nodes"] >= 1
    assert facts["arrays"]["numpy"]


def test_show_config_says_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    pyscale.show_config()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(pyscale.config())


def test_imports_no_array_library_and_starts_no_mpi() -> None:
    code = (
        "import sys, pyscale; pyscale.config();"
        "print(*{'torch', 'jax', 'cupy', 'mpi4py', 'mpi4py.MPI'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize("level", pyscale.config()["isa_available"])
def test_isa_can_be_forced(level: str) -> None:
    code = "import pyscale; print(pyscale.config()['isa'])"
    environment = {**os.environ, "PYSCALE_ISA": level}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert run.stdout.strip() == level


def test_unknown_isa_is_refused() -> None:
    code = "import pyscale; pyscale.config()"
    environment = {**os.environ, "PYSCALE_ISA": "mmx"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("ValueError: PYSCALE_ISA: expected one of baseline")
    assert run.stderr.splitlines()[-1].endswith("got mmx")


@pytest.fixture
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", *LOCAL_SIZE_VARIABLES):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_no_launcher")
class TestNumThreads:
    def test_alone(self) -> None:
        assert num_threads() == num_cores()

    @pytest.mark.parametrize("variable", LOCAL_SIZE_VARIABLES)
    def test_a_rank_has_its_share(self, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(variable, "1000000")
        assert num_threads() == 1

    @pytest.mark.parametrize(("value", "threads"), [("3", 3), ("4,2", 4), (" 5 ", 5)])
    def test_omp_num_threads_wins(self, value: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MPI_LOCALNRANKS", "2")
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert num_threads() == threads

    @pytest.mark.parametrize("value", ["", "0", "-1", "all"])
    def test_nonsense_is_as_if_unset(self, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert num_threads() == num_cores()


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/\n", {}, math.inf),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n"}, math.inf),
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "200000 100000\n"}, 2),
        ("0::/a/b\n", {"a/cpu.max": "50000 100000\n"}, 0.5),
        (
            "4:memory:/m\n2:cpu,cpuacct:/c\n0::/\n",
            {"cpu/c/cpu.cfs_quota_us": "300000\n", "cpu/c/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        ("2:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ("", {}, math.inf),
    ],
)
def testcgroup_quota(groups: str, files: dict[str, str], cores: float, tmp_path: Path) -> None:
    write(tmp_path, {"self": groups} | {f"fs/{name}": text for name, text in files.items()})
    assert cgroup_quota(tmp_path / "self", tmp_path / "fs") == cores


MEMINFO = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    500 kB\n"


@pytest.mark.parametrize(
    ("meminfo", "groups", "files", "free"),
    [
        (MEMINFO, "0::/\n", {}, 500 * 1024),
        (MEMINFO, "0::/a\n", {"a/memory.max": "max\n", "a/memory.current": "5\n"}, 500 * 1024),
        (MEMINFO, "0::/a\n", {"a/memory.max": "9000\n", "a/memory.current": "5000\n"}, 4000),
        (
            MEMINFO,
            "0::/a/b\n",
            {
                "a/memory.max": "9000\n",
                "a/memory.current": "5000\n",
                "a/memory.stat": "anon 1000\ninactive_file 300\nactive_file 100\n",
                "a/b/memory.max": "90000\n",
                "a/b/memory.current": "5000\n",
            },
            4300,
        ),
        (
            MEMINFO,
            "4:memory:/m\n2:cpu,cpuacct:/c\n0::/\n",
            {
                "memory/m/memory.limit_in_bytes": "9000\n",
                "memory/m/memory.usage_in_bytes": "5000\n",
                "memory/m/memory.stat": "inactive_file 20\ntotal_inactive_file 200\n",
            },
            4200,
        ),
        (MEMINFO, "0::/a\n", {"a/memory.max": "5000\n", "a/memory.current": "6000\n"}, 0),
        ("", "", {}, math.inf),
    ],
)
def test_free_memory(meminfo: str, groups: str, files: dict[str, str], free: float, tmp_path: Path) -> None:
    write(
        tmp_path, {"meminfo": meminfo, "self": groups} | {f"fs/{name}": text for name, text in files.items()}
    )
    assert free_memory(tmp_path / "meminfo", tmp_path / "self", tmp_path / "fs") == free


@pytest.mark.parametrize(("text", "nodes"), [("0\n", 1), ("0-3\n", 4), ("0-1,4,8-9\n", 5), ("", 1)])
def test_numa_nodes(text: str, nodes: int, tmp_path: Path) -> None:
    (tmp_path / "online").write_text(text)
    assert _numa_nodes(tmp_path / "online") == nodes
    assert _numa_nodes(tmp_path / "missing") == 1
