"""A kept result: there when the inputs and the code are the same, whole, and computed by one at a time."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from little_disk import little_disk

from pyscale.comm.together import packed
from pyscale.data import Cached, cache
from pyscale.data.caching import cache as cache_module

pa = pytest.importorskip("pyarrow")


class Calls(list[Any]):
    """What has no fingerprint, and so is not seen to change."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError


calls = Calls()


def step(n: int) -> dict[str, Any]:
    calls.append(n)
    return {"x": np.arange(n), "v": np.ones((n, 2), np.float32)}


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---------------------------------------------------------------------------------------------- results


def test_a_step_runs_once(tmp_path: Path) -> None:
    first, second = (cache(step, 5, directory=tmp_path / "c") for _ in range(2))
    assert (first.hit, second.hit, len(calls)) == (False, True, 1)
    assert first.path == second.path
    assert first.rows == second.rows == 5
    assert left(tmp_path / "c") == [first.path.parent.name]
    assert first.path.parent.name.startswith("step-")
    assert left(first.path.parent) == ["data.parquet", "entry.json"]
    assert not cache(step, 6, directory=tmp_path / "c").hit


TABLE = pa.table({"x": [1, 2, 3], "s": ["a", None, "c"]})
RESULTS: list[Callable[[], Any]] = [
    lambda: TABLE,
    lambda: TABLE.to_batches()[0],
    lambda: TABLE.to_reader(max_chunksize=1),
    lambda: iter(TABLE.to_batches(max_chunksize=2)),
    lambda: (TABLE.slice(i, 1) for i in range(3)),
    lambda: {"x": np.arange(1, 4), "s": TABLE["s"]},
]


@pytest.mark.parametrize("number", range(len(RESULTS)))
def test_results_of_any_kind(number: int, tmp_path: Path) -> None:
    for hit in (False, True):
        found = cache(lambda number: RESULTS[number](), number, directory=tmp_path)
        assert found.hit == hit
        assert found.table().equals(TABLE)
        assert found.table(["s"]).column_names == ["s"]
        assert pa.Table.from_batches(found.batches(["x"])).equals(TABLE.select(["x"]))


def test_arrays_come_back(tmp_path: Path) -> None:
    def arrays(n: int) -> dict[str, Any]:
        return {"v": np.arange(2 * n, dtype=np.float32).reshape(n, 2), "b": np.arange(n) > 1}

    for n in (0, 3):
        found = cache(arrays, n, directory=tmp_path).arrays()
        for name, expected in arrays(n).items():
            assert found[name].dtype == expected.dtype
            assert found[name].shape == expected.shape
            assert (found[name] == expected).all()
    with pytest.raises(ValueError, match="1 in column 's'"):
        cache(lambda table: table, TABLE, directory=tmp_path).arrays()


NULLS = [
    pa.array([[1, None], [2, 3]], pa.list_(pa.int64(), 2)),
    pa.array([[1], [None]]),
    pa.array([[[1, None]], []], pa.large_list(pa.list_(pa.float32()))),
]


@pytest.mark.parametrize("array", NULLS)
def test_arrays_have_no_nulls_anywhere(array: Any, tmp_path: Path) -> None:
    found = cache(lambda array: pa.table({"a": array}), array, directory=tmp_path)
    with pytest.raises(ValueError, match="1 in column 'a'"):
        found.arrays()


def test_columns_whose_names_are_like_paths(tmp_path: Path) -> None:
    table = pa.table({"a": [{"b": 1}], "a.b": [2], "a.b.c": [3]})
    found = cache(lambda _: table, None, directory=tmp_path)
    assert found.table(["a.b"]).equals(table.select(["a.b"]))
    assert list(found.arrays(["a.b.c", "a.b"])) == ["a.b.c", "a.b"]
    assert [batch.schema.names for batch in found.batches(["a.b"])] == [["a.b"]]


def test_columns_by_name(tmp_path: Path) -> None:
    found = cache(lambda table: table, TABLE, directory=tmp_path)
    for call in (found.table, found.arrays, lambda columns: list(found.batches(columns))):
        with pytest.raises(ValueError, match=r"columns of \['x', 's'\], got 'typo'"):
            call(["x", "typo"])
        with pytest.raises(TypeError, match="got the text 'xs'"):
            call("xs")
    assert found.table([]).num_columns == 0


@pytest.mark.parametrize(
    ("rows", "groups"), [(0, []), (5, [5]), (1 << 17, [1 << 17]), (3 << 16, [1 << 17, 1 << 16])]
)
def test_no_row_group_is_empty(rows: int, groups: list[int], tmp_path: Path) -> None:
    found = cache(lambda n: {"x": np.arange(n)}, rows, directory=tmp_path)
    facts = pa.parquet.read_metadata(found.path)
    assert [facts.row_group(i).num_rows for i in range(facts.num_row_groups)] == groups
    assert found.arrays()["x"].tolist() == list(range(rows))


def test_batches_are_not_held_in_memory(tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()

    def many(n: int) -> Iterator[Any]:
        for i in range(n):
            assert pa.total_allocated_bytes() - before < 20 << 20
            yield pa.record_batch({"x": np.full(10_000, i)})

    found = cache(many, 400, directory=tmp_path)
    assert sum(len(batch) for batch in found.batches()) == found.rows == 4_000_000
    groups = pa.parquet.read_metadata(found.path).num_row_groups
    assert groups == 31


# ------------------------------------------------------------------------------------------------- keys


def test_a_file_that_changes(tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("1\n2\n")

    def lines(path: Path) -> dict[str, Any]:
        calls.append(path)
        return {"x": path.read_text().split()}

    def hits(**options: Any) -> list[bool]:
        return [cache(lines, source, directory=tmp_path / "c", **options).hit for _ in range(2)]

    assert hits() == [False, True]
    assert hits(files="content") == [False, True]
    os.utime(source, ns=(1, 2))
    assert hits() == [False, True]
    assert hits(files="content") == [True, True]
    source.write_text("1\n3\n")
    os.utime(source, ns=(1, 2))
    assert hits() == [True, True]  # the price of not reading it
    assert hits(files="content") == [False, True]
    assert cache(lines, source, directory=tmp_path / "c", files="content").table()["x"].to_pylist() == [
        "1",
        "3",
    ]


def test_a_key_stands_for_inputs_without_a_fingerprint(tmp_path: Path) -> None:
    inputs = iter([1, 2, 3])

    def total(numbers: Iterator[int]) -> dict[str, Any]:
        return {"x": [sum(numbers)]}

    with pytest.raises(TypeError, match=r"cache: inputs: expected a value that has a fingerprint"):
        cache(total, inputs, directory=tmp_path)
    assert not cache(total, inputs, directory=tmp_path, key="numbers of March").hit
    found = cache(total, inputs, directory=tmp_path, key="numbers of March")
    assert found.hit
    assert found.table()["x"].to_pylist() == [6]
    assert not cache(total, inputs, directory=tmp_path, key="numbers of April").hit


def test_a_key_is_not_an_input(tmp_path: Path) -> None:
    hits = [
        cache(step, 1, directory=tmp_path).hit,
        cache(step, 2, directory=tmp_path, key=1).hit,
        cache(lambda inputs: {"x": [1]}, ("k",), directory=tmp_path).hit,
        cache(lambda inputs: {"x": [1]}, "other", directory=tmp_path, key="k").hit,
    ]
    assert hits == [False] * 4


def test_code_that_changes(tmp_path: Path) -> None:
    def scaled(factor: int) -> Callable[[int], dict[str, Any]]:
        return lambda n: {"x": np.arange(n) * factor}

    for factor in (2, 3):
        for hit in (False, True):
            found = cache(scaled(factor), 4, directory=tmp_path)
            assert found.hit == hit
            assert found.table()["x"].to_pylist() == [0, factor, 2 * factor, 3 * factor]
    named = cache(functools.partial(step), 3, directory=tmp_path)
    assert named.path.parent.name.startswith("step-")


USUAL = """
import collections, dataclasses, enum, functools, logging, re, threading, typing
from pathlib import Path
import numpy as np, pyarrow as pa
from numpy.random import normal
from pyscale.data import cache

log = logging.getLogger(__name__)
lock = threading.Lock()
spaces = re.compile(" +")
words = {"b", "a", "c"}
Item = typing.TypeVar("Item")

class Kind(enum.StrEnum):
    A = "a"
    B = "b"

@dataclasses.dataclass(frozen=True)
class Options:
    kinds: frozenset = frozenset(Kind)
    names: set = dataclasses.field(default_factory=lambda: {"x", "y"})

class Row(typing.NamedTuple):
    a: int
    b: Kind = Kind.A

class Rows(typing.Generic[Item], collections.abc.Sized):
    def __len__(self): return 0

options = Options()

@functools.cache
def twice(x): return 2 * x

def step(inputs):
    import json
    log.info("%s %s %s", spaces, words, options)
    with lock:
        return {"x": [twice(i) + normal() for i in range(3 + len(Rows()))], "kind": [Row(1).b] * 3}

for _ in range(2):
    inputs = {"path": Path(__file__), "options": options, "some": {1, 2, "c"}, "row": Row(1)}
    print(cache(step, inputs, directory="c").hit)
"""


def test_what_programs_are_made_of_is_found_again(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(USUAL)
    runs = [
        subprocess.run(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]
    assert runs == [["False", "True"], ["True", "True"]]


def test_other_compression_is_another_result(tmp_path: Path) -> None:
    hits = [cache(step, 5, directory=tmp_path, compression=name).hit for name in ("zstd", None, "zstd", None)]
    assert hits == [False, False, True, True]


# ------------------------------------------------------------------------------------------- corruption


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


DAMAGES: list[Callable[[Path], object]] = [
    lambda data: os.truncate(data, data.stat().st_size - 1),
    lambda data: os.truncate(data, 0),
    lambda data: data.unlink(),
    lambda data: flip(data, 10),
    lambda data: flip(data, -20),
    lambda data: (data.parent / "entry.json").unlink(),
    lambda data: (data.parent / "entry.json").write_text("{"),
    lambda data: (data.parent / "entry.json").write_text("[]"),
    lambda data: (data.parent / "entry.json").write_text('{"version": 2}'),
    lambda data: (shutil.rmtree(data.parent), data.parent.write_text("a file")),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_corrupt_is_computed_again(damage: Callable[[Path], object], tmp_path: Path) -> None:
    path = cache(step, 5, directory=tmp_path).path
    damage(path)
    found = cache(step, 5, directory=tmp_path)
    assert (found.hit, found.path) == (False, path)
    assert found.arrays()["x"].tolist() == list(range(5))
    assert cache(step, 5, directory=tmp_path).hit
    assert left(tmp_path) == [path.parent.name]


@pytest.mark.parametrize("back", [True, False])
def test_what_another_is_replacing(back: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cache(step, 5, directory=tmp_path / "c").path.parent
    away = tmp_path / "away"
    rows = cache_module._Entry.rows
    timers = [threading.Timer(0.05, lambda: away.rename(folder) if back else None)]

    def then_it_goes(entry: Any, verify: bool) -> int | None:
        found = rows(entry, verify)
        if timers:
            folder.rename(away)
            timers.pop().start()
        return found

    monkeypatch.setattr(cache_module._Entry, "rows", then_it_goes)
    monkeypatch.setattr(cache_module, "_ATTEMPTS", 20)
    found = cache(step, 5, directory=tmp_path / "c")
    assert (found.hit, len(calls)) == ((True, 1) if back else (False, 2))
    assert found.arrays()["x"].tolist() == list(range(5))


def test_without_verifying_only_the_size_is_looked_at(tmp_path: Path) -> None:
    path = cache(step, 5, directory=tmp_path).path
    flip(path, 10)
    assert cache(step, 5, directory=tmp_path, verify=False).hit
    os.truncate(path, path.stat().st_size - 1)
    assert not cache(step, 5, directory=tmp_path, verify=False).hit


# ------------------------------------------------------------------------------------- what goes wrong


def test_a_step_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fails(when: int) -> Iterator[Any]:
        if when == 0:
            raise RuntimeError("at once")
        yield pa.record_batch({"x": [1]})
        raise RuntimeError("later")

    for when, said in ((0, "at once"), (1, "later")):
        with pytest.raises(RuntimeError, match=said):
            cache(fails, when, directory=tmp_path)
    with pytest.raises(TypeError, match="cache: the result: expected a pyarrow Table"):
        cache(lambda n: n, 3, directory=tmp_path)
    with pytest.raises(ValueError, match="at least one record batch"):
        cache(lambda n: iter([]), 3, directory=tmp_path)
    assert left(tmp_path) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    def noise(n: int) -> dict[str, Any]:
        return {"x": np.random.default_rng(0).random(n)}

    with little_disk(), pytest.raises(OSError, match="File too large"):
        cache(noise, 100_000, directory=tmp_path)
    assert left(tmp_path) == []
    assert not cache(noise, 100_000, directory=tmp_path).hit


PROGRAM = """
import os, signal, sys, time
from pathlib import Path
import numpy as np, pyarrow as pa
from pyscale.data import cache

folder = Path(sys.argv[1])

def slow(n):
    environment = __import__("os").environ
    (folder / f"ran-{os.getpid()}").touch()
    for i in range(n):
        if environment.get("KILLED") and i == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield pa.record_batch({"x": np.full(1000, i), "by": np.full(1000, os.getpid())})
        if i == 0:  # until all have begun
            while len(list(folder.glob("ran-*"))) < int(environment.get("TOGETHER", "1")):
                time.sleep(0.001)

found = cache(slow, 5, directory=folder / "c")
print(found.hit, found.path, set(found.table()["by"].to_pylist()), len(found.table()))
"""


def start(folder: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_of_several_processes_the_first_wins(tmp_path: Path) -> None:
    processes = [start(tmp_path, TOGETHER="3") for _ in range(3)]
    said = [process.communicate()[0].split(" ", 2) for process in processes]
    assert len(list(tmp_path.glob("ran-*"))) == 3  # all have computed it
    assert [hit for hit, *_ in said] == ["False"] * 3
    assert len({(path, made_by) for _, path, made_by in said}) == 1  # and all have that of one
    assert said[0][2].endswith("} 5000\n")
    assert len(left(tmp_path / "c")) == 1


def test_what_the_dead_have_left_goes_away_with_the_next_call(tmp_path: Path) -> None:
    process = start(tmp_path, KILLED="1")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert [name.endswith(".draft") for name in left(tmp_path / "c")] == [True]
    cache(step, 5, directory=tmp_path / "c")
    assert [name.startswith("step-") for name in left(tmp_path / "c")] == [True]


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ((step, 5, {"files": "size"}), ValueError, "'stat' or 'content'"),
        ((step, 5, {"compression": "zip"}), ValueError, "compression that pyarrow has"),
        (("step", 5, {}), TypeError, "expected a callable"),
        ((step, Path("/does/not/exist"), {}), FileNotFoundError, "exist"),
    ],
)
def test_bad_arguments(arguments: Any, kind: type[Exception], said: str, tmp_path: Path) -> None:
    fn, inputs, options = arguments
    with pytest.raises(kind, match=said):
        cache(fn, inputs, directory=tmp_path / "c", **options)
    assert left(tmp_path) == []
    assert not calls


class Ranks:
    """Two ranks: this is the second, and of the first is known what it has found and how it has failed."""

    size, rank = 2, 1

    def __init__(self, found: Cached, theirs: Any = None) -> None:
        self.found, self.theirs, self.met = found, theirs, 0

    def broadcast(self, array: Any) -> Any:
        return np.ones_like(array)

    def broadcast_object(self, _: Any) -> Any:
        return self.found, None

    def all_reduce(self, array: Any, op: str) -> Any:
        self.met += 1
        return np.maximum(array, self.theirs is not None)

    def all_gather_object(self, mine: Any) -> list[Any]:
        return [self.theirs, mine]


@pytest.mark.parametrize("options", [{"files": "size"}, {"compression": "zip"}, {"fn": 3}, {"directory": 3}])
def test_a_bad_argument_on_one_rank_reaches_all(options: Any, tmp_path: Path) -> None:
    found = cache(step, 5, directory=tmp_path)
    arguments = {"fn": step, "inputs": 5, "directory": tmp_path}
    ranks: Any = Ranks(found)
    with pytest.raises((ValueError, TypeError)):
        cache(**{**arguments, "comm": ranks, **options})
    assert ranks.met == 1
    others: Any = Ranks(found, packed(ValueError("what was bad")))
    with pytest.raises(ValueError, match="what was bad"):
        cache(**{**arguments, "comm": others})


def test_the_facts_of_an_entry(tmp_path: Path) -> None:
    found = cache(step, 5, directory=tmp_path)
    facts = json.loads((found.path.parent / "entry.json").read_text())
    assert facts["rows"] == 5
    assert facts["bytes"] == found.path.stat().st_size
    assert isinstance(found, Cached)
