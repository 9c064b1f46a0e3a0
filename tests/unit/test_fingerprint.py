"""Fingerprints: what differs has different ones, and what is the same has the same in every process."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import importlib
import os
import re
import subprocess
import sys
import threading
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyscale.data.caching.fingerprint import Fingerprints

pa = pytest.importorskip("pyarrow")


def of(value: Any, files: str = "stat") -> bytes:
    return Fingerprints(files).of(value, "value")


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Sort(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Options:
    depth: int
    name: str = "a"


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    depth: int


class Plain:
    def __init__(self, depth: int) -> None:
        self.depth = depth


Pair = namedtuple("Pair", "a b")

DIFFERENT: list[Any] = [
    None,
    True,
    1,
    1.0,
    1j,
    "1",
    b"1",
    "",
    b"",
    -0.0,
    0.0,
    float("inf"),
    ...,
    (),
    [],
    {},
    set(),
    frozenset(),
    (1,),
    [1],
    {1},
    [[1], []],
    [[], [1]],
    [1, [2, 3]],
    [1, 2, 3],
    ["ab", "c"],
    ["a", "bc"],
    {"a": 1, "b": 2},
    {"a": 2, "b": 1},
    {1: "a"},
    {"1": "a"},
    OrderedDict(a=1, b=2),
    range(3),
    slice(3),
    np.int32(1),
    np.int64(1),
    np.float64(1),
    np.array([1]),
    np.array([[1]]),
    np.array([1, 2], np.int16),
    np.array([1, 2], np.uint16),
    np.array(["a"]),
    np.array(["a"], object),
    np.array(["2013"], "datetime64[Y]"),
    np.array(["2013"], "datetime64[D]"),
    np.zeros((2, 0)),
    np.zeros((0, 2)),
    np.dtype("i4"),
    datetime.date(2013, 1, 1),
    datetime.datetime(2013, 1, 1),
    datetime.datetime(2013, 1, 1, tzinfo=datetime.UTC),
    datetime.timedelta(1),
    decimal.Decimal("1.0"),
    decimal.Decimal("1.00"),
    Color.RED,
    Color.BLUE,
    Options(1),
    Options(1, "b"),
    Options(2),
    Frozen(1),
    Plain(1),
    Plain(2),
    Pair(1, 2),
    re.compile("a"),
    re.compile("a", re.IGNORECASE),
    pa.table({"a": [1]}),
    pa.table({"b": [1]}),
    pa.table({"a": [1.0]}),
    pa.array([1]),
    pa.array([1, None]),
    pa.scalar(1, pa.timestamp("ns")),
    pa.int8(),
    pa.schema({"a": pa.int8()}),
    int,
    np.sort,
    np.add,
    len,
    np,
    os,
    functools.partial(len, [1]),
    functools.partial(len, [2]),
]


def test_what_differs_differs() -> None:
    found: dict[bytes, Any] = {}
    for value in DIFFERENT:
        fingerprint = of(value)
        assert fingerprint not in found, (value, found[fingerprint])
        found[fingerprint] = value


def test_what_is_the_same_is_the_same() -> None:
    array = np.arange(12).reshape(3, 4)
    assert of(array.T) == of(np.ascontiguousarray(array.T))
    assert of(array[:, ::2]) == of(array[:, ::2].copy())
    assert of({3, 1, 2}) == of({2, 3, 1})
    table = pa.table({"a": range(10), "s": list("abcdefghij")})
    parts = pa.concat_tables([table.slice(0, 3), table.slice(3)])
    assert of(parts) == of(table)
    assert of(table.slice(2, 3)) == of(pa.table({"a": range(2, 5), "s": list("cde")}))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=3)
    ),
)


@given(VALUES, VALUES)
def test_values_of_any_depth(a: Any, b: Any) -> None:
    same = type(a) is type(b) and repr(a) == repr(b)
    assert (of(a) == of(b)) == same


PROGRAM = """
import sys
sys.path[:0] = [{folder!r}]
import test_fingerprint as tests
print([tests.of(value).hex() for value in tests.DIFFERENT + [tests.of, tests.Plain, {{"b", "a", "c"}}]])
"""


def test_they_are_the_same_in_every_process() -> None:
    program = PROGRAM.format(folder=str(Path(__file__).parent))
    runs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.count("'") == 2 * (len(DIFFERENT) + 3)


def numbers() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    "value",
    [
        object(),
        threading.Lock(),
        np.random.default_rng(0),
        numbers(),
        pa.table({"a": [1]}).to_reader(),
        [1, {"a": (object(),)}],
        Plain(threading.Lock()),  # type: ignore[arg-type]
    ],
)
def test_what_has_none_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^value"):
        of(value)


def test_the_place_is_named() -> None:
    with pytest.raises(TypeError, match=re.escape("value[1]['a'][0]: expected")):
        of([1, {"a": (object(),)}])


# ------------------------------------------------------------------------------------------------ files


def test_files_by_their_facts_and_by_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    facts, content = of(path), of(path, "content")
    assert of(str(path)) != facts  # but
    text = of(str(path))
    os.utime(path, ns=(1, 2))
    assert of(path) != facts
    assert of(str(path)) != text
    assert of(path, "content") == content
    facts = of(path)
    path.write_text("two")
    os.utime(path, ns=(1, 2))
    assert of(path) == facts  # as far as can be seen
    assert of(path, "content") != content
    path.write_text("one")
    path.rename(tmp_path / "b.txt")
    assert of(tmp_path / "b.txt", "content") == content
    assert of(tmp_path / "b.txt") != facts
    with pytest.raises(FileNotFoundError):
        of(path)


def test_folders_are_the_files_in_them(tmp_path: Path) -> None:
    (tmp_path / "f" / "g").mkdir(parents=True)
    found = set()
    for name in ("f/a", "f/g/b", "f/g/c"):
        (tmp_path / name).write_text("x")
        found.add(of(tmp_path / "f", "content"))
    (tmp_path / "f" / "a").rename(tmp_path / "f" / "d")
    found.add(of(tmp_path / "f", "content"))
    assert len(found) == 4


# ------------------------------------------------------------------------------------------------- code

MODULE = """
import functools
import numpy as np
import {other}

LIMIT = 3
lock = __import__("threading").Lock()

def decorated(function):
    @functools.wraps(function)
    def inner(x):
        return function(x) + 1
    return inner

class Base:
    def scale(self, x):
        return x * 2

class Model(Base):
    depth = 1
    @property
    def width(self):
        return 4
    @staticmethod
    def shift(x):
        return x + 5
    def run(self, x):
        return self.scale(x) + self.depth + self.width

@decorated
def helper(x):
    return np.abs(x) + LIMIT

@functools.lru_cache
def kept(x):
    return x + 6

def even(n):
    return n == 0 or odd(n - 1)

def odd(n):
    return n != 0 and even(n - 1)

def step(x, y=7, *, z=8):
    # a comment
    with lock:
        return [helper(i) for i in range(9)], Model().run(x), {other}.far(x), kept(x), even(x)
"""
OTHER = """
def far(x):
    return near(x)
def near(x):
    return x + 10
def apart(x):
    return x + 11
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Loads the module above, with some of it replaced."""
    monkeypatch.syspath_prepend(str(tmp_path))
    count = iter(range(1000))

    def loaded(*replaced: tuple[str, str]) -> ModuleType:
        # Under the same names, since these are part of what a class is.
        for name in ("fingerprint_a", "fingerprint_b"):
            sys.modules.pop(name, None)
        texts = {"fingerprint_a": MODULE.format(other="fingerprint_b"), "fingerprint_b": OTHER}
        for name, text in texts.items():
            for old, new in replaced:
                text = text.replace(old, new)
            (tmp_path / f"{name}.py").write_text(text)
            os.utime(tmp_path / f"{name}.py", (next(count), next(count)))  # else old byte code is taken
        importlib.invalidate_caches()
        return importlib.import_module("fingerprint_a")

    return loaded


def test_code_that_is_the_same(load: Callable[..., ModuleType]) -> None:
    first = of(load().step)
    assert of(load().step) == first
    assert of(load(("# a comment", "# another\n\n")).step) == first
    assert of(load(("x + 11", "x + 12")).step) == first  # of a function that nobody names


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("range(9)", "range(10)"),
        ("y=7", "y=8"),
        ("z=8", "z=9"),
        ("y=7, *, z=8", "y=7, *, w=8"),
        ("LIMIT = 3", "LIMIT = 4"),
        ("np.abs", "np.sign"),
        ("function(x) + 1", "function(x) + 2"),
        ("x * 2", "x * 3"),
        ("depth = 1", "depth = 2"),
        ("return 4", "return 5"),
        ("x + 5", "x + 6"),
        ("x + 6", "x + 7"),
        ("x + 10", "x + 11"),
        ("class Model(Base)", "class Model(Base, dict)"),
        ("return n != 0 and", "return n != 0 or"),
        ("with lock", "if lock"),
    ],
)
def test_code_that_has_changed(old: str, new: str, load: Callable[..., ModuleType]) -> None:
    assert of(load((old, new)).step) != of(load().step)


def made(value: Any) -> Callable[[], Any]:
    return lambda: value


def test_closures_count() -> None:
    assert of(made(1)) == of(made(1))
    assert of(made(1)) != of(made(2))
    assert of(made(np.arange(3))) != of(made(np.arange(4)))
    with pytest.raises(TypeError, match=r"value: value of made\.<locals>\.<lambda>: expected"):
        of(made(object()))


def test_lambdas_of_one_line_differ() -> None:
    both = (lambda x: x + 1, lambda x: x + 2)
    assert of(both[0]) != of(both[1])


def test_methods_count_with_their_object() -> None:
    assert of(Plain(1).__init__) != of(Plain(2).__init__)  # type: ignore[misc]


def test_code_that_names_itself() -> None:
    def recursive(n: int) -> int:
        return n and recursive(n - 1)

    assert of(recursive) == of(recursive)


def test_the_version_of_what_is_installed_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = of(np.sort), of(lambda: np.sort)
    monkeypatch.setattr(np, "__version__", "0")
    assert of(np.sort) != before[0]
    assert of(lambda: np.sort) != before[1]
