"""Fingerprints: what differs has different ones, and what is the same has the same in every process."""

from __future__ import annotations

import ctypes
import dataclasses
import datetime
import decimal
import enum
import functools
import importlib
import logging
import math
import os
import random
import re
import subprocess
import sys
import threading
import types
import uuid
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyscale.data.caching.fingerprint import Fingerprints
from pyscale.data.caching.installed import is_installed

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


class Access(enum.Flag):
    READ = 1
    WRITE = 2


def enum_of(value: int) -> Any:
    class Level(enum.Enum):
        LOW = value

    return Level.LOW


class Structure(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int),)


class Slotted(Plain):
    __slots__ = ("width",)

    def __init__(self, width: int) -> None:
        self.width = width


class Numbers(list[int]):
    pass


class Named(dict[str, int]):
    pass


class Grouped(defaultdict[str, int]):
    pass


class Some(set[str]):
    pass


class Vector(np.ndarray[Any, Any]):
    pass


class Hidden(int):
    def __repr__(self) -> str:
        return "hidden"


class Failure(ValueError):
    pass


def noted(value: Any, note: int) -> Any:
    value.note = note
    return value


def one() -> int:
    return 1


def two() -> int:
    return 2


class Retry:
    def __init__(self, function: Callable[[], int], times: int) -> None:
        functools.update_wrapper(self, function)
        self.times = times

    def __call__(self) -> int:
        return self.times


def dispatched(case: Callable[..., int]) -> Callable[..., int]:
    @functools.singledispatch
    def general(value: Any) -> int:
        return 0

    general.register(int, case)
    return general


def kept(function: Callable[..., Any], size: int) -> Callable[..., Any]:
    return functools.lru_cache(size)(function)


def times(function: Callable[..., Any], factor: int) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*arguments: Any) -> Any:
        return function(*arguments) * factor

    return wrapper


def executed(text: str) -> Any:
    names: dict[str, Any] = {}
    exec(f"def f(x): return {text}", names)
    return names["f"]


def lists_of(text: str) -> Any:
    return pa.array([[text]], pa.list_(pa.dictionary(pa.int32(), pa.string())))


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
    pa.table({"values": [1]}),
    pa.chunked_array([[1]]),
    pa.table({"a": pa.array(["a", "b"]).dictionary_encode()}),
    pa.table({"a": pa.array(["x", "y"]).dictionary_encode()}),
    lists_of("a"),
    lists_of("x"),
    pa.table({"a": pa.array(["a", None], pa.string_view())}),
    pa.table({"a": pa.array(["x", None], pa.string_view())}),
    pa.table({"a": pa.array(["a", None], pa.large_string())}),
    pa.py_buffer(b"a"),
    pa.py_buffer(b"b"),
    np.ma.array([1, 2], mask=[False, True]),
    np.ma.array([1, 2], mask=[True, False]),
    np.array([(1, 2)], [("a", "i4"), ("b", "i4")]),
    np.array([(1, 2)], [("a", "i4"), ("b", "i4")])[["b", "a"]],
    np.array([(1, 2)], np.dtype([("a", "i1"), ("b", "i4")], align=True)),
    np.array(["a"], np.dtypes.StringDType()),
    noted(np.arange(2).view(Vector), 1),
    noted(np.arange(2).view(Vector), 2),
    np.random.default_rng(1),
    np.random.default_rng(2),
    random.Random(1),
    random.Random(2),
    enum_of(1),
    enum_of(2),
    Sort.RED,
    Access(0),
    Access.READ,
    Access.READ | Access.WRITE,
    {Color.RED, Color.BLUE},
    {Access.READ, Color.RED, Pair("a", Color.BLUE)},
    ValueError("a"),
    ValueError("b"),
    TypeError("a"),
    noted(Failure("a"), 1),
    noted(Failure("a"), 2),
    Structure(1),
    Structure(2),
    Slotted(1),
    Slotted(2),
    noted(Options(1), 1),
    noted(Options(1), 2),
    Numbers([1]),
    noted(Numbers([1]), 1),
    noted(Numbers([1]), 2),
    noted(Named(a=1), 1),
    noted(Named(a=1), 2),
    defaultdict(int, a=1),
    defaultdict(str, a=1),
    noted(Grouped(int, a=1), 1),
    noted(Grouped(int, a=1), 2),
    Counter("a"),
    Some("abc"),
    noted(Some("abc"), 1),
    noted(Some("abc"), 2),
    Hidden(1),
    Hidden(2),
    10**5000,
    deque([1]),
    deque([1], 1),
    uuid.UUID(int=1),
    memoryview(b"ab"),
    memoryview(b"ab").cast("B", (2, 1)),
    types.MappingProxyType({"a": 1}),
    re.compile("a").sub,
    re.compile("b").sub,
    {1: 2}.get,
    {1: 3}.get,
    [1].__len__,
    np.random.default_rng(1).normal,
    np.random.default_rng(2).normal,
    np.frompyfunc(one, 0, 1),
    np.frompyfunc(two, 0, 1),
    np.vectorize(one),
    np.vectorize(two),
    kept(one, 1),
    kept(two, 1),
    kept(one, 2),
    dispatched(lambda x: 1),
    dispatched(lambda x: 2),
    Retry(one, 1),
    Retry(one, 2),
    Retry(two, 1),
    times(np.mean, 1),
    times(np.mean, 2),
    executed("x + 1"),
    executed("x + 2"),
    noted(staticmethod(one), 1),
    noted(staticmethod(one), 2),
    types.FunctionType(one.__code__, {}),
    types.FunctionType(two.__code__, {}),
    noted(lambda: 1, 1),
    noted(lambda: 1, 2),
    logging.getLogger("fingerprint"),
    logging.getLogger("fingerprint.other"),
    dict.fromkeys,
    dict.get,
    random.shuffle,
    random.sample,
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


def test_what_holds_itself() -> None:
    def circle(depth: int) -> Any:
        first, second = Plain(depth), Plain(2)
        first.other, second.other = second, [first]  # type: ignore[attr-defined]
        return first

    assert of(circle(1)) == of(circle(1))
    assert of([0, circle(1)]) == of([0, circle(1)])
    assert of(circle(1)) != of(circle(2))
    assert of(circle(1)) != of(circle(1).other)
    loop: list[Any] = [1]
    loop.append(loop)
    assert of(loop) != of([1, [1]])
    assert of(loop) != of([1, loop])


def test_the_same_object_twice_counts_as_two_equal_ones() -> None:
    one, other = [[1], Plain(1)], [[1], Plain(1)]
    assert of([one, one]) == of([one, other])
    assert of([one, {"a": one}]) == of([other, {"a": one}])


def test_tensors() -> None:
    torch = pytest.importorskip("torch")

    def tensors() -> list[Any]:
        return [
            torch.zeros(2),
            torch.ones(2),
            torch.zeros(2, 1),
            torch.zeros(2, dtype=torch.bfloat16),
            torch.zeros(()),
            torch.zeros(2, requires_grad=True),
            torch.nn.Parameter(torch.zeros(2)),
            noted(torch.zeros(2), 1),
        ]

    found = [of(tensor) for tensor in tensors()]
    assert found == [of(tensor) for tensor in tensors()]
    assert len(set(found)) == len(found)


def test_any_depth() -> None:
    def nested(value: Any, depth: int) -> Any:
        for _ in range(depth):
            value = [value]
        return value

    assert of(nested(1, 20_000)) == of(nested(1, 20_000))
    assert of(nested(1, 20_000)) != of(nested(2, 20_000))
    wide: list[Any] = []
    for _ in range(100):
        wide = [wide, wide]
    assert of(wide) == of(wide)
    with pytest.raises(TypeError, match=r"^value\[0\]\[0\].*: expected"):
        of(nested(object(), 20_000))


def test_an_enum_that_was_used_is_the_same() -> None:
    before = of(Access.READ)
    assert ~Access.READ is Access.WRITE
    assert Access(3) is Access.READ | Access.WRITE
    assert of(Access.READ) == before


def test_looking_changes_nothing() -> None:
    class Triple(namedtuple("Triple", "a b c")):
        pass

    before = of(Triple), of(Triple(1, 2, 3))
    assert (of(Triple), of(Triple(1, 2, 3))) == before


class Unlike:
    """One whose pickles fail, in a way of its own."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise ZeroDivisionError


def numbers() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    "value",
    [
        object(),
        threading.Lock(),
        numbers(),
        iter([1]),
        Unlike(),
        open(__file__),  # noqa: SIM115
        pa.Tensor.from_numpy(np.zeros(2)),
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


def test_folders_behind_links(tmp_path: Path) -> None:
    folder, real = tmp_path / "f", tmp_path / "real"
    folder.mkdir()
    real.mkdir()
    (folder / "link").symlink_to(real)
    (folder / "link2").symlink_to(real)
    (real / "up").symlink_to(folder)
    (folder / "nowhere").symlink_to(tmp_path / "nothing")
    found = {of(folder)}
    for text in ("1", "22"):
        (real / "a").write_text(text)
        found.add(of(folder))
        found.add(of(folder, "content"))
    (folder / "link2").unlink()
    found.add(of(folder))
    assert len(found) == 6


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff\xfe")
    path.write_text("a")
    for files in ("stat", "content"):
        before = of(tmp_path, files), of(path, files)
        path.write_text(f"{files} has changed")
        assert not {of(tmp_path, files), of(path, files)} & set(before)


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


# Of which another fingerprint is expected where VALUE is another
PROGRAMS = {
    "decorated": """
import functools
def step(x):
    return helper(x)
def wrapped(function):
    @functools.wraps(function)
    def inner(x):
        return function(x) * VALUE
    return inner
import numpy as np
helper = wrapped(np.mean)
""",
    "executed": "exec('def helper(x): return x + VALUE')\ndef step(x): return helper(x)",
    "context manager": """
import contextlib
@contextlib.contextmanager
def helper():
    yield VALUE
def step(x):
    with helper() as y:
        return y
""",
    "callable": """
import functools
class Retry:
    def __init__(self, function): functools.update_wrapper(self, function)
    def __call__(self, x): return x + VALUE
@Retry
def helper(x): return x
def step(x): return helper(x)
""",
    "dispatch": """
import functools
@functools.singledispatch
def helper(x): return x
@helper.register
def _(x: int): return VALUE
def step(x): return helper(x)
""",
    "built-in method": "import re\nhelper = re.compile('VALUE').sub\ndef step(x): return helper('', x)",
    "universal function": """
import numpy as np
helper = np.frompyfunc(lambda x: x + VALUE, 1, 1)
def step(x): return helper(x)
""",
    "submodule": "import fingerprint_pk.sub\ndef step(x): return fingerprint_pk.sub.g(x)",
    "submodule by from": "from fingerprint_pk import sub\ndef step(x): return sub.g(x)",
    "module passed on": """
from fingerprint_pk import sub
def call(module, x): return module.g(x)
def step(x): return call(sub, x)
""",
    "module in a default": "from fingerprint_pk import sub\ndef step(x, module=sub): return module.g(x)",
    "module in a closure": """
def make():
    from fingerprint_pk import sub
    return lambda x: sub.g(x)
step = make()
""",
    "module in a list": "from fingerprint_pk import sub\nall = [sub]\ndef step(x): return all[0].g(x)",
    "import in a body": "def step(x):\n from fingerprint_pk.sub import g\n return g(x)",
    "import of a submodule in a body": "def step(x):\n from fingerprint_pk import sub\n return sub.g(x)",
    "import as in a body": "def step(x):\n import fingerprint_pk.sub as other\n return other.g(x)",
    "plain import in a body": "def step(x):\n import fingerprint_pk.sub\n return fingerprint_pk.sub.g(x)",
    "beside a lock in a closure": """
import threading
def make():
    lock = threading.Lock()
    def helper(x):
        with lock: return x + VALUE
    return helper
helper = make()
def step(x): return helper(x)
""",
    "beside a lock among globals": """
import threading
lock = threading.Lock()
def helper(x):
    with lock: return x + VALUE
helper.lock = lock
def step(x): return helper(x)
""",
    "beside a lock in an object": """
import threading
class Helper:
    def __init__(self): self.lock, self.value = threading.Lock(), VALUE
helper = Helper()
def step(x): return helper.value
""",
    "of a class that has no fingerprint": """
import threading
class Helper(threading.local):
    def run(self, x): return x + VALUE
helper = Helper()
def step(x): return helper.run(x)
""",
    "attribute of what has no fingerprint": """
class Helper(list):
    def __reduce_ex__(self, protocol): raise TypeError
helper = Helper()
helper.value = VALUE
def step(x): return helper.value
""",
    "in what can be read once": """
helper = map(lambda x: x + VALUE, [1, 2])
def step(x): return list(helper)
""",
    "in what pretends to be a function": """
class Proxy:
    def __init__(self, function): self.function = function
    @property
    def __class__(self): return type(self.function)
    def __getattr__(self, name): return getattr(self.function, name)
    def __call__(self, x): return self.function(x) + VALUE
@Proxy
def helper(x): return x
def step(x): return helper(x)
""",
    "under the name of a package": """
import types
helper = types.ModuleType("numpy")
helper.value = VALUE
def step(x): return helper.value
""",
    "metaclass": """
class Meta(type):
    def __call__(cls, x): return x + VALUE
class Helper(metaclass=Meta): pass
def step(x): return Helper(x)
""",
    "cyclic global": "helper = [VALUE]\nhelper.append(helper)\ndef step(x): return helper[0]",
    "deep global": """
helper = [VALUE]
for _ in range(5000): helper = [helper]
def step(x): return helper
""",
    "beside what is odd": """
import enum, itertools, logging
import numpy as np, pyarrow as pa
class Flags(enum.Flag): A = 1
class Odd:
    def __reduce_ex__(self, protocol): raise ZeroDivisionError
log, root, flags, odd, count = logging.getLogger("x"), logging.getLogger(), Flags(0), Odd(), itertools.count()
fields = np.zeros(2, [("a", "i4"), ("b", "i4")])[["b", "a"]]
views = pa.table({"a": pa.array(["x"], pa.string_view())})
path = __import__("pathlib").Path("/does/not/exist")
def step(x, value=VALUE): return log, root, flags, odd, count, fields, views, path, not_there
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_that_change(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def step(value: str) -> Any:
        for module in ("fingerprint_c", "fingerprint_pk", "fingerprint_pk.sub"):
            sys.modules.pop(module, None)
        (tmp_path / "fingerprint_pk").mkdir(exist_ok=True)
        (tmp_path / "fingerprint_pk" / "__init__.py").touch()
        (tmp_path / "fingerprint_pk" / "sub.py").write_text(f"def g(x):\n    return x + {value}\n")
        (tmp_path / "fingerprint_c.py").write_text(PROGRAMS[name].replace("VALUE", value))
        importlib.invalidate_caches()
        return importlib.import_module("fingerprint_c").step

    first = of(step("1"))
    assert of(step("1")) == first
    assert of(step("222")) != first


def test_what_a_body_imports_may_be_missing() -> None:
    def step() -> None:
        import xml.dom.minidom  # noqa: F401  # installed, and imported or not

        import fingerprint_nothing  # type: ignore[import-not-found]  # noqa: F401

    before = of(step)
    importlib.import_module("xml.dom.minidom")
    assert of(step) == before


def test_what_was_left_out_is_refused_later() -> None:
    fingerprints = Fingerprints("stat")
    locked = made(threading.Lock())
    module = types.ModuleType("fingerprint_d")
    module.locked = locked  # type: ignore[attr-defined]
    fingerprints.of(module, "fn")
    with pytest.raises(TypeError, match=r"^inputs: value of made"):
        fingerprints.of(locked, "inputs")


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


def test_modules_without_a_file_are_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as those that are made of text; but for Python's own, and parts of extensions."""

    def step(text: str) -> Any:
        module = ModuleType("made_of_text")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(text, vars(module))
        return module.step

    assert of(step("def step(x): return x + 1")) != of(step("def step(x): return x + 2"))
    assert of(step("G = 1\ndef step(x): return G")) != of(step("G = 2\ndef step(x): return G"))
    assert all(map(is_installed, ("sys", "math", "time")))


def test_the_version_of_what_is_installed_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = of(np.sort), of(lambda: np.sort)
    monkeypatch.setattr(np, "__version__", "0")
    assert of(np.sort) != before[0]
    assert of(lambda: np.sort) != before[1]


def test_frames_of_pandas_differ_by_what_arrow_has_not() -> None:
    pd = pytest.importorskip("pandas")

    def objects(*values: Any) -> Any:
        column = np.empty(len(values), object)
        column[:] = values
        return pd.DataFrame({"x": pd.Series(column, dtype=object)})

    days = pd.date_range("2020-01-01", periods=3)
    structs = pd.arrays.ArrowExtensionArray(pa.array([{"a": 1}, {"a": 2}]))
    different = [
        objects("x", None),
        objects("x", math.nan),
        objects("x", pd.NA),
        objects(1, 2.0),
        objects(1.0, 2.0),
        objects((1,), (2,)),
        objects([1], [2]),
        objects({"a": 1}, {"a": 2}),
        objects({"a": 1, "b": None}, {"a": 2}),
        objects(decimal.Decimal("1.0"), decimal.Decimal("2.00")),
        objects(decimal.Decimal("1.00"), decimal.Decimal("2.00")),
        objects(b"x", b"y"),
        objects(bytearray(b"x"), bytearray(b"y")),
        pd.DataFrame({"x": [1, 2]}, index=pd.Index([1, 2.0], dtype=object)),
        pd.DataFrame({"x": [1, 2]}, index=pd.Index([1.0, 2.0], dtype=object)),
        pd.DataFrame({"x": pd.Categorical([1, 2.0], pd.Index([1, 2.0], dtype=object))}),
        pd.DataFrame({"x": pd.Categorical([1, 2.0], pd.Index([1.0, 2.0], dtype=object))}),
        pd.DataFrame([[1, 2]], columns=pd.Index([1, "1"])),
        pd.DataFrame([[1, 2]], columns=pd.Index(["1", 1])),
        pd.DataFrame({"x": [1, 2, 3]}, index=days),
        pd.DataFrame({"x": [1, 2, 3]}, index=pd.DatetimeIndex(days, freq=None)),
        pd.Series(structs),
        pd.Series(structs, index=[5, 6]),
        pd.Series(structs, name="x"),
    ]
    assert len({of(value) for value in different}) == len(different)


def test_frames_of_pandas_are_the_same_however_they_were_made() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1, 2], "o": np.array(["x", None], object)}, index=["i", "j"])
    other = pd.DataFrame({"a": [1, 2]}, index=["i", "j"])
    other["o"] = np.array(["x", None], object)
    turned = frame.iloc[::-1].iloc[::-1]
    assert of(frame) == of(other) == of(turned) == of(frame.copy())
