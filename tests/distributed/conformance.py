"""What every transport must do: one suite, run inside each rank in lockstep.

A test makes the same calls on every rank and notes what is wrong instead of stopping there, so that the ranks
stay together; a rank that does stop (an exception nobody expected) makes the others time out, and the runner,
`worker_conformance.py`, starts afresh.

To check a new transport: inherit `Conformance`, say in `TRANSPORT` which one it is, and run it there.
"""

from __future__ import annotations

import array
import contextlib
import gc
import math
import os
import time
import unittest
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Any, ClassVar, Protocol

import ml_dtypes
import numpy as np
from reference import (
    BFLOAT16,
    DTYPES,
    FLOATS,
    INTEGERS,
    LAYOUTS,
    Array,
    Laid,
    first_difference,
    ops_of,
    reduced,
    values,
)

import pyscale as ps

BYTE = np.dtype(np.uint8)
FLOAT = np.dtype(np.float32)

Kinds = type[Exception] | tuple[type[Exception], ...]
Words = str | Sequence[str]


def _finfo(dtype: np.dtype[Any]) -> Any:
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


class Peers(Protocol):
    """A way between the ranks that does not depend on what is tested."""

    def gather(self, obj: Any) -> list[Any]: ...


class Conformance:
    """The tests, in the order of the text. `check`, `equal`, `refused` and `mismatched` note failures."""

    TRANSPORT: ClassVar[str]
    ALGORITHM: ClassVar[str] = "auto"  # or one that is forced, where that changes what may be asked
    ONLY: ClassVar[str] = ""  # a regular expression: the tests that such a class takes over
    MOST_BYTES: ClassVar[float] = math.inf  # of one all_reduce; more is refused

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
        self.failures: list[str] = []
        self.digest = 0  # of all results that must be the same on every rank
        self._calls: weakref.WeakKeyDictionary[ps.Communicator, int] = weakref.WeakKeyDictionary()
        self._nodes: dict[int, tuple[Any, list[list[int]] | None]] = {}

    @property
    def c(self) -> ps.Communicator:
        return ps.world()

    # -------------------------------------------------------------------------------- helpers

    def begin(self) -> None:
        """Forget the test before: what a test does must not depend on which ran before it."""
        self.failures, self.digest = [], 0
        self._calls.clear()

    def check(self, right: bool, message: str) -> None:
        if not right:
            self.failures.append(message)

    def equal(self, got: Any, expected: Array, what: str, *, everywhere: bool = True) -> None:
        """Compare to the bit; `everywhere`: it is the same on every rank of the world, NaNs included."""
        if not isinstance(got, np.ndarray):
            self.check(False, f"{what}: expected a NumPy array, got {type(got)}")
            return
        difference = first_difference(got, expected)
        self.check(difference is None, f"{what}: {difference}")
        if everywhere:
            self.digest = zlib.crc32(np.ascontiguousarray(got).reshape(-1).view(np.uint8), self.digest)

    def refused(
        self, kinds: Kinds, words: Words, call: Callable[..., Any], *args: Any, **options: Any
    ) -> None:
        """Check that `call(*args, **options)` raises one of `kinds`, with all `words` in its message."""
        words = (words,) if isinstance(words, str) else words
        try:
            result = call(*args, **options)
        except kinds as error:
            missing = [word for word in words if word not in str(error)]
            self.check(not missing, f"expected {missing} in the message, got {type(error).__name__}: {error}")
        else:
            self.check(False, f"expected {kinds} ({', '.join(words)}), got the result {result!r:.100}")

    def mismatched(self, words: Words, call: Callable[..., Any], *args: Any, **options: Any) -> None:
        """Check that a call that differs between ranks raises CommMismatch, and that others still work."""
        self.refused(ps.CommMismatch, words, call, *args, **options)
        self.all_reduce(self.c, (3,), what="after a mismatch")

    def nodes(self, c: ps.Communicator) -> list[list[int]] | None:
        """Return the ranks of each node of a communicator, None where there is one node."""
        if c.num_nodes == 1:
            return None
        if id(c) not in self._nodes:
            assert c.mpi is not None
            places = c.mpi.allgather(c.node_rank)
            found = [
                [rank for rank, place in enumerate(places) if place == node] for node in sorted(set(places))
            ]
            self._nodes[id(c)] = (c, sorted(found))
        return self._nodes[id(c)][1]

    def salt(self, c: ps.Communicator) -> int:
        """Return another number for each call of a communicator; the same on each of its ranks."""
        self._calls[c] = self._calls.get(c, 0) + 1
        return self._calls[c]

    def all_reduce(
        self,
        c: ps.Communicator,
        shape: tuple[int, ...],
        dtype: np.dtype[Any] = FLOAT,
        op: str = "sum",
        *,
        source: str = "contiguous",
        target: str | None = None,
        shared: bool | tuple[bool, bool] = False,
        salt: int | None = None,
        what: str = "",
        method: Callable[..., Any] | None = None,
    ) -> None:
        """Call all_reduce and check all there is: the result, its kind, the input, the memory around both.

        `source` and `target` are layouts; a `target` of None makes a new array, "in place" is the source
        itself. `shared` says whether they lie in shared memory.
        """
        salt = self.salt(c) if salt is None else salt
        shared = shared if isinstance(shared, tuple) else (shared, shared)
        inputs = [values(rank, shape, dtype, op, salt) for rank in range(c.size)]
        expected = reduced(op, inputs, self.nodes(c))
        x = Laid(inputs[c.rank], source, c.empty if shared[0] else np.empty)
        if x.array.nbytes > self.MOST_BYTES:
            self.refused(ValueError, str(self.MOST_BYTES), c.all_reduce, x.array, op)
            return
        label = f"all_reduce({op}, {dtype}, {shape}) {what} from {source} to {target}, shared {shared}"
        call = method or c.all_reduce
        everywhere = c is self.c
        if target is None:
            y = call(x.array, op)
            self.check(
                not np.may_share_memory(y, x.array) or x.array.size == 0,
                f"{label}: the result is no new array",
            )
        elif target == "in place":
            y = call(x.array, op, out=x.array)
            self.check(y is x.array, f"{label}: the result is not out")
        else:
            out = Laid(values(99, shape, dtype, op), target, c.empty if shared[1] else np.empty)
            y = call(x.array, op, out=out.array)
            self.check(y is out.array, f"{label}: the result is not out")
            self.check(out.rest_untouched(), f"{label}: memory beside out was changed")
        self.equal(y, expected, label, everywhere=everywhere)
        if target != "in place":
            self.equal(x.array, inputs[c.rank], f"{label}: the input afterwards", everywhere=False)
        self.check(x.rest_untouched(), f"{label}: memory beside the input was changed")

    @contextlib.contextmanager
    def split(self, color: int | None, key: int = 0) -> Iterator[Any]:
        """Split the world, for the length of a block."""
        c = self.c.split(color, key)
        yield c

    # -------------------------------------------------------------------------------- who is where

    def test_place(self) -> None:
        c = self.c
        self.check(c.transport == self.TRANSPORT, f"expected transport {self.TRANSPORT}, got {c.transport}")
        places = self.peers.gather((c.rank, c.size, c.local_rank, c.local_size, c.node_rank, c.num_nodes))
        self.check([p[0] for p in places] == list(range(c.size)), f"ranks {places}")
        self.check({p[1] for p in places} == {len(places)}, f"sizes {places}")
        nodes: dict[int, list[Any]] = {}
        for place in places:
            nodes.setdefault(place[4], []).append(place)
        self.check(
            list(nodes) == list(range(c.num_nodes)), f"nodes are ordered by their first ranks: {places}"
        )
        for members in nodes.values():
            self.check([p[2] for p in members] == list(range(len(members))), f"local ranks {members}")
            self.check({p[3] for p in members} == {len(members)}, f"local sizes {members}")
        self.check(
            (ps.rank(), ps.world_size(), ps.local_rank(), ps.local_size(), ps.node_rank(), ps.num_nodes())
            == places[c.rank],
            "the functions of the module say the same",
        )
        self.check(ps.is_initialized() and ps.world() is c, "one world")
        ps.init()  # again: nothing happens
        self.check(ps.world() is c, "init is idempotent")
        if c.mpi is not None:
            self.check((c.mpi.rank, c.mpi.size) == (c.rank, c.size), "c.mpi has the same ranks")
        self.check(c.timeout > 0, "timeout in seconds")

    # -------------------------------------------------------------------------------- all_reduce

    def test_all_reduce_dtypes_and_ops(self) -> None:
        for dtype in DTYPES:
            for op in ops_of(dtype):
                for n in (1, 5, 33, 1021, 9001):
                    self.all_reduce(self.c, (n,), dtype, op)

    def test_all_reduce_shapes(self) -> None:
        shapes = [
            (),
            (0,),
            (0, 3),
            (3, 0, 2),
            (1,),
            (2,),
            (7,),
            (3, 5, 7),
            (13, 17),
            (1, 1, 1),
            (2,) * 10,
            (1, 2) * 6,
        ]
        for shape in shapes:
            for dtype in (FLOAT, BFLOAT16, np.dtype(np.int64), np.dtype(bool)):
                op = "max" if dtype.kind == "b" else "sum"
                self.all_reduce(self.c, shape, dtype, op)
                self.all_reduce(self.c, shape, dtype, op, target="in place")
                self.all_reduce(self.c, shape, dtype, op, shared=True, target="in place")

    def test_all_reduce_every_small_size(self) -> None:
        for n in range(1, 140):
            self.all_reduce(self.c, (n,), BYTE, target="in place" if n % 2 else None)
        for n in range(1, 70):
            self.all_reduce(self.c, (n,), BFLOAT16, "mean", target="in place" if n % 2 else None)

    def test_all_reduce_sizes_around_thresholds(self) -> None:
        for k in range(7, 22):
            for n in (2**k - 1, 2**k, 2**k + 1):
                self.all_reduce(self.c, (n,), BYTE, target="in place" if k % 2 else None)
        for k in range(3, 20):
            for n in (2**k - 1, 2**k, 2**k + 1):
                self.all_reduce(self.c, (n,), FLOAT, target=None if k % 2 else "contiguous")

    def test_all_reduce_large(self) -> None:
        for dtype, op, n in (
            (FLOAT, "sum", 2_000_003),
            (BFLOAT16, "mean", 3 * 2**20 + 1),
            (BYTE, "sum", 3 * 2**20 + 1),
        ):
            self.all_reduce(self.c, (n,), dtype, op)
            self.all_reduce(self.c, (n,), dtype, op, target="in place")

    def test_all_reduce_layouts(self) -> None:
        for shape, dtype in (((5, 7, 3), FLOAT), ((65, 33), BFLOAT16), ((300, 211), np.dtype(np.float64))):
            for source in LAYOUTS:
                self.all_reduce(self.c, shape, dtype, source=source)
                self.all_reduce(self.c, shape, dtype, source=source, target="in place")
                for target in LAYOUTS:
                    self.all_reduce(self.c, shape, dtype, source=source, target=target)

    def test_all_reduce_layouts_that_differ_between_ranks(self) -> None:
        for turn in range(len(LAYOUTS)):
            source = LAYOUTS[(self.c.rank + turn) % len(LAYOUTS)]
            target = (*LAYOUTS, None, "in place")[(self.c.rank * 3 + turn) % (len(LAYOUTS) + 2)]
            for shape in ((3, 4), (257, 63), (511, 600)):
                self.all_reduce(self.c, shape, source=source, target=target)

    def test_all_reduce_input_that_overlaps_itself(self) -> None:
        rows = [values(rank, (31,), FLOAT) for rank in range(self.c.size)]
        y = self.c.all_reduce(np.broadcast_to(rows[self.c.rank], (9, 31)))
        self.equal(y, np.broadcast_to(reduced("sum", rows, self.nodes(self.c)), (9, 31)), "broadcast_to")

    def test_all_reduce_into_a_part_of_the_input(self) -> None:
        """Right or refused."""
        inputs = [values(rank, (300,), FLOAT) for rank in range(self.c.size)]
        for shift in (1, 100):
            x = np.concatenate([inputs[self.c.rank], np.zeros(shift, FLOAT)])
            try:
                y = self.c.all_reduce(x[:300], out=x[shift:])
            except ValueError:
                continue
            self.equal(y, reduced("sum", inputs, self.nodes(self.c)), f"out is x moved by {shift}")

    def test_all_reduce_special_values(self) -> None:
        c = self.c
        for dtype in FLOATS:
            info = _finfo(dtype)
            tiny, big = float(info.smallest_subnormal), float(info.max)
            special = np.array(
                [np.nan, np.inf, -np.inf, 1.0, -2.0, tiny, -tiny, big, -big, big / 2, 3 * tiny], dtype
            )
            inputs = [np.roll(np.tile(special, 3 * c.size), rank) for rank in range(c.size)]
            for op in ("sum", "mean", "min", "max", "prod"):
                for shared in (False, True):
                    x = Laid(inputs[c.rank], allocate=c.empty if shared else np.empty).array
                    y = c.all_reduce(x, op, out=x)
                    self.equal(y, reduced(op, inputs, self.nodes(c)), f"{op} of special {dtype}")

    def test_all_reduce_signed_zeros_are_the_same_everywhere(self) -> None:
        x = np.full(1000, -0.0 if self.c.rank % 2 else 0.0, FLOAT)
        for op in ("sum", "mean", "min", "max", "prod"):
            y = self.c.all_reduce(x, op)
            self.check(bool((y == 0).all()), f"{op} of zeros")
            self.digest = zlib.crc32(y, self.digest)

    def test_mean_neither_overflows_nor_underflows(self) -> None:
        for dtype in FLOATS:
            info = _finfo(dtype)
            for value in (info.max, info.smallest_subnormal, info.smallest_normal, 1.0):
                for n in (3, 4000):
                    x = np.full(n, value, dtype)
                    y = self.c.all_reduce(x, "mean")
                    expected = reduced("mean", [x] * self.c.size, self.nodes(self.c))
                    self.equal(y, expected, f"mean of equal {dtype} {value}")
                    ratio = float(y[0]) / float(value)
                    self.check(
                        bool(abs(ratio - 1) <= 4 * info.eps), f"mean of equal {dtype} {value} is {y[0]}"
                    )

    def test_integers_wrap(self) -> None:
        for dtype in INTEGERS:
            x = np.full(77, np.iinfo(dtype).max, dtype)
            expected = np.full(
                77, int(np.iinfo(dtype).max) * self.c.size % 2 ** (8 * dtype.itemsize), np.uint64
            )
            self.equal(self.c.all_reduce(x), expected.astype(dtype), f"sum of the largest {dtype}")

    # -------------------------------------------------------------------------------- c.empty

    def test_empty(self) -> None:
        c = self.c
        for dtype in DTYPES:
            for shape in ((3, 4), (), (0,), (0, 5), 7):
                x = c.empty(shape, dtype)
                self.check(type(x) is np.ndarray, f"empty gives a NumPy array, got {type(x)}")
                self.check(x.shape == (shape if isinstance(shape, tuple) else (shape,)), f"shape {x.shape}")
                self.check(
                    x.dtype == dtype and x.flags.c_contiguous and x.flags.writeable, f"empty of {dtype}"
                )
        self.check(c.empty(3).dtype == FLOAT and ps.empty(3).dtype == FLOAT, "float32 unless said otherwise")
        self.refused(TypeError, "object", c.empty, 3, object)
        self.refused(TypeError, "complex64", c.empty, 3, np.complex64)
        self.refused(ValueError, "-1", c.empty, -1)
        self.refused((MemoryError, ValueError), "", c.empty, 2**62)
        wrong: tuple[Any, ...] = ((2.7, 3), ("4",), "4", 2.5, None)
        for bad in wrong:
            self.refused(TypeError, "expected shape of integers", c.empty, bad)
        self.all_reduce(c, (5,))

    def test_empty_gives_its_memory_back(self) -> None:
        if self.c.rank == 0:
            for _ in range(20):
                x = self.c.empty((256, 1 << 20), np.uint8)  # 5 GiB in all
                x[:16, ::4096] = 1
                del x
        self.all_reduce(self.c, (100,), shared=True)

    def test_empty_outlives_its_communicator(self) -> None:
        with self.split(0) as c:
            x = c.empty(1000)
            x[:] = self.c.rank
            del c
        gc.collect()
        self.check(bool((x == self.c.rank).all()), "the array is still there")
        x[:] = 1
        self.equal(self.c.all_reduce(x, out=x), np.full(1000, self.c.size, FLOAT), "it is still shared")

    def test_shared_dtypes_and_ops(self) -> None:
        for dtype in DTYPES:
            for op in ops_of(dtype):
                for n in (1, 33, 9001):
                    self.all_reduce(self.c, (n,), dtype, op, shared=True, target="in place")
                    self.all_reduce(self.c, (n,), dtype, op, shared=True, target="contiguous")

    def test_shared_sizes_around_thresholds(self) -> None:
        for k in range(20):
            for n in (2**k - 1, 2**k, 2**k + 1):
                self.all_reduce(self.c, (n,), FLOAT, shared=True, target="in place")
        for k in range(4, 22, 2):
            for n in (2**k - 1, 2**k, 2**k + 1):
                self.all_reduce(self.c, (n,), BYTE, shared=True, target="contiguous")

    def test_shared_large(self) -> None:
        for dtype, op, n in ((FLOAT, "sum", 2_000_003), (BFLOAT16, "mean", 3 * 2**20 + 1)):
            self.all_reduce(self.c, (n,), dtype, op, shared=True, target="in place")

    def test_shared_parts_of_arrays(self) -> None:
        """Arrays that begin anywhere inside a shared one, elsewhere on each rank."""
        c = self.c
        for dtype in (BYTE, BFLOAT16, FLOAT, np.dtype(np.float64)):
            for n in (1, 17, 1000, 40_001):
                buffer, before = c.empty(n + 64, dtype), values(50, (n + 64,), dtype)
                for start in (0, 1, 3 + c.rank, 63):
                    inputs = [
                        values(rank, (n,), dtype, salt=n + start * (c.rank == rank)) for rank in range(c.size)
                    ]
                    inputs = [values(rank, (n,), dtype, salt=n) for rank in range(c.size)]
                    buffer[:] = before
                    part = buffer[start : start + n]
                    part[:] = inputs[c.rank]
                    c.all_reduce(part, out=part)
                    self.equal(
                        part, reduced("sum", inputs, self.nodes(c)), f"{n} {dtype} from element {start}"
                    )
                    self.equal(buffer[:start], before[:start], "before it", everywhere=False)
                    self.equal(buffer[start + n :], before[start + n :], "behind it", everywhere=False)

    def test_shared_layouts(self) -> None:
        for shape, dtype in (((5, 7, 3), FLOAT), ((301, 211), BFLOAT16)):
            for source in LAYOUTS:
                self.all_reduce(self.c, shape, dtype, source=source, shared=True, target="in place")
                self.all_reduce(self.c, shape, dtype, source=source, shared=True)

    def test_shared_on_some_ranks_only(self) -> None:
        rank = self.c.rank
        for turn in range(8):
            shared = ((rank + turn) % 2 == 0, (rank // 2 + turn // 2) % 2 == 0)
            for n in (1, 100, 10_000, 70_001, 400_003):
                target = (None, "in place", "contiguous")[(turn + n) % 3]
                self.all_reduce(self.c, (n,), shared=shared, target=target)
                self.all_reduce(
                    self.c, (n,), BFLOAT16, "mean", shared=shared, target=("in place", None)[rank % 2]
                )

    def test_shared_array_of_another_communicator(self) -> None:
        x = self.c.empty(50_000)
        with self.split(self.c.rank % 2) as c:
            inputs = [values(rank, (50_000,), FLOAT) for rank in range(c.size)]
            x[:] = inputs[c.rank]
            self.equal(
                c.all_reduce(x, out=x), reduced("sum", inputs, self.nodes(c)), "in a part", everywhere=False
            )
            y = c.empty(50_000)
        y[:] = 2
        self.equal(self.c.all_reduce(y, out=y), np.full(50_000, 2 * self.c.size, FLOAT), "in the world")

    # -------------------------------------------------------------------------------- reduce_scatter

    def test_reduce_scatter(self) -> None:
        c = self.c
        for dtype in DTYPES:
            for op in ops_of(dtype):
                for rows, rest in ((1, ()), (3, (5,)), (0, (2,)), (1001, ()), (2, (0, 3)), (7, (3, 11))):
                    self._reduce_scatter(c, (rows * c.size, *rest), dtype, op)
        for rows in (16_384, 65_537, 300_001):
            self._reduce_scatter(c, (rows * c.size,), FLOAT, "sum")
            self._reduce_scatter(c, (rows * c.size,), FLOAT, "mean", shared=True)

    def test_reduce_scatter_layouts(self) -> None:
        for source in LAYOUTS:
            for target in (None, *LAYOUTS):
                self._reduce_scatter(self.c, (3 * self.c.size, 7), FLOAT, "sum", source, target)
                self._reduce_scatter(self.c, (100 * self.c.size, 97), BFLOAT16, "mean", source, target)

    def _reduce_scatter(
        self,
        c: ps.Communicator,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        op: str,
        source: str = "contiguous",
        target: str | None = None,
        shared: bool = False,
    ) -> None:
        salt = self.salt(c)
        inputs = [values(rank, shape, dtype, op, salt) for rank in range(c.size)]
        rows = shape[0] // c.size
        expected = reduced(op, inputs, self.nodes(c))[c.rank * rows : (c.rank + 1) * rows]
        allocate = c.empty if shared else np.empty
        x = Laid(inputs[c.rank], source, allocate)
        label = f"reduce_scatter({op}, {dtype}, {shape}) from {source} to {target}"
        if target is None:
            y = c.reduce_scatter(x.array, op)
        else:
            out = Laid(values(99, expected.shape, dtype, op), target, allocate)
            y = c.reduce_scatter(x.array, op, out=out.array)
            self.check(y is out.array and out.rest_untouched(), f"{label}: out, and only it, is written")
        self.equal(y, expected, label, everywhere=False)
        self.equal(x.array, inputs[c.rank], f"{label}: the input afterwards", everywhere=False)

    # -------------------------------------------------------------------------------- all_gather

    def test_all_gather(self) -> None:
        for dtype in DTYPES:
            for shape in ((), (1,), (3,), (0,), (0, 4), (2, 0), (5, 7), (4099,)):
                self._all_gather(self.c, shape, dtype)
        for n in (8191, 8192, 8193, 100_003, 1_100_003):
            self._all_gather(self.c, (n,), FLOAT)
            self._all_gather(self.c, (n,), FLOAT, target="contiguous", shared=True)

    def test_all_gather_layouts(self) -> None:
        for source in LAYOUTS:
            for target in (None, *LAYOUTS):
                self._all_gather(self.c, (3, 7), FLOAT, source, target)
                self._all_gather(self.c, (150, 97), BFLOAT16, source, target)

    def _all_gather(
        self,
        c: ps.Communicator,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        source: str = "contiguous",
        target: str | None = None,
        shared: bool = False,
    ) -> None:
        salt = self.salt(c)
        inputs = [values(rank, shape, dtype, "sum", salt) for rank in range(c.size)]
        expected = np.concatenate([np.atleast_1d(x) for x in inputs])
        allocate = c.empty if shared else np.empty
        x = Laid(inputs[c.rank], source, allocate)
        label = f"all_gather({dtype}, {shape}) from {source} to {target}"
        if target is None:
            y = c.all_gather(x.array)
        else:
            out = Laid(np.zeros_like(expected), target, allocate)
            y = c.all_gather(x.array, out=out.array)
            self.check(y is out.array and out.rest_untouched(), f"{label}: out, and only it, is written")
        self.equal(y, expected, label, everywhere=c is self.c)
        self.equal(x.array, inputs[c.rank], f"{label}: the input afterwards", everywhere=False)

    def test_all_gather_from_a_part_of_out(self) -> None:
        c = self.c
        inputs = [values(rank, (100,), FLOAT) for rank in range(c.size)]
        out = np.zeros(100 * c.size, FLOAT)
        part = out[100 * c.rank : 100 * (c.rank + 1)]
        part[:] = inputs[c.rank]
        self.equal(c.all_gather(part, out=out), np.concatenate(inputs), "x is its place in out")

    # -------------------------------------------------------------------------------- broadcast

    def test_broadcast(self) -> None:
        for dtype in DTYPES:
            for root in range(self.c.size):
                for shape in ((), (3,), (0, 2), (5, 7), (4099,)):
                    self._broadcast(self.c, shape, dtype, root)
        for n in (8191, 8192, 8193, 100_003, 1_100_003):
            for target in (None, "in place"):
                self._broadcast(self.c, (n,), FLOAT, self.c.size - 1, target=target)
                self._broadcast(self.c, (n,), FLOAT, 0, target=target, shared=True)

    def test_broadcast_layouts(self) -> None:
        for source in LAYOUTS:
            for target in (None, "in place", *LAYOUTS):
                self._broadcast(self.c, (3, 7), FLOAT, self.c.size // 2, source, target)
                self._broadcast(self.c, (150, 97), BFLOAT16, self.c.size // 2, source, target)

    def _broadcast(
        self,
        c: ps.Communicator,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        root: int,
        source: str = "contiguous",
        target: str | None = None,
        shared: bool = False,
    ) -> None:
        salt = self.salt(c)
        mine, expected = (values(rank, shape, dtype, "sum", salt) for rank in (c.rank, root))
        allocate = c.empty if shared else np.empty
        x = Laid(mine, source, allocate)
        label = f"broadcast({dtype}, {shape}, root {root}) from {source} to {target}"
        if target is None:
            y = c.broadcast(x.array, root)
            self.check(y is not x.array, f"{label}: a new array")
        elif target == "in place":
            y = c.broadcast(x.array, root, out=x.array)
            self.check(y is x.array and x.rest_untouched(), f"{label}: x, and only it, is written")
        else:
            out = Laid(np.zeros_like(expected), target, allocate)
            y = c.broadcast(x.array, root, out=out.array)
            self.check(y is out.array and out.rest_untouched(), f"{label}: out, and only it, is written")
        self.equal(y, expected, label, everywhere=c is self.c)
        if target != "in place":
            self.equal(x.array, mine, f"{label}: the input afterwards", everywhere=False)

    # -------------------------------------------------------------------------------- all_to_all

    def test_all_to_all_equal_blocks(self) -> None:
        size = self.c.size
        for dtype in DTYPES:
            for rows, rest in ((1, ()), (3, (5,)), (0, (2,)), (257, (3,))):
                self._all_to_all([[rows] * size] * size, rest, dtype, counts=False)
        for rows in (8191, 8192, 65_537):
            self._all_to_all([[rows] * size] * size, (2,), FLOAT, counts=False)
            self._all_to_all([[rows] * size] * size, (2,), FLOAT, counts=False, shared=True)

    def test_all_to_all_counts(self) -> None:
        size = self.c.size
        tables = [
            [[(3 * sender + 5 * receiver) % 7 for receiver in range(size)] for sender in range(size)],
            [[0] * size for _ in range(size)],
            [[11 if receiver == 0 else 0 for receiver in range(size)] for _ in range(size)],
            [[13 if sender == size - 1 else 0 for _ in range(size)] for sender in range(size)],
            [[sender * 1000 + receiver * 777 for receiver in range(size)] for sender in range(size)],
        ]
        for table in tables:
            for dtype in (FLOAT, BFLOAT16, BYTE):
                for rest in ((), (3,), (0,)):
                    self._all_to_all(table, rest, dtype)
                    self._all_to_all(table, rest, dtype, target="contiguous", shared=True)

    def test_all_to_all_layouts(self) -> None:
        size = self.c.size
        table = [[(sender + 2 * receiver) % 5 for receiver in range(size)] for sender in range(size)]
        for source in LAYOUTS:
            for target in (None, *LAYOUTS):
                self._all_to_all(table, (4,), FLOAT, source, target)

    def test_all_to_all_without_receive_counts(self) -> None:
        """Right or refused."""
        size = self.c.size
        table = [[1 + (sender + 2 * receiver) % 5 for receiver in range(size)] for sender in range(size)]
        with contextlib.suppress(ValueError):
            self._all_to_all(table, (2,), FLOAT, receive_counts=False)

    def _all_to_all(
        self,
        table: list[list[int]],
        rest: tuple[int, ...],
        dtype: np.dtype[Any],
        source: str = "contiguous",
        target: str | None = None,
        *,
        counts: bool = True,
        receive_counts: bool = True,
        shared: bool = False,
    ) -> None:
        c, salt = self.c, self.salt(self.c)
        inputs = [values(rank, (sum(table[rank]), *rest), dtype, "sum", salt) for rank in range(c.size)]
        starts = [np.cumsum([0, *row]) for row in table]
        expected = np.concatenate(
            [inputs[rank][starts[rank][c.rank] : starts[rank][c.rank + 1]] for rank in range(c.size)]
        )
        allocate = c.empty if shared else np.empty
        x = Laid(inputs[c.rank], source, allocate)
        label = f"all_to_all({table}, {dtype}, rows {rest}) from {source} to {target}"
        options: dict[str, Any] = {}
        if counts:
            options["send_counts"] = table[c.rank]
        if counts and receive_counts:
            options["recv_counts"] = [row[c.rank] for row in table]
        if target is None:
            y = c.all_to_all(x.array, **options)
        else:
            out = Laid(np.zeros_like(expected), target, allocate)
            y = c.all_to_all(x.array, **options, out=out.array)
            self.check(y is out.array and out.rest_untouched(), f"{label}: out, and only it, is written")
        self.equal(y, expected, label, everywhere=False)
        self.equal(x.array, inputs[c.rank], f"{label}: the input afterwards", everywhere=False)

    # -------------------------------------------------------------------------------- barrier, objects

    def test_barrier(self) -> None:
        for turn in range(2 * self.c.size):
            if turn % self.c.size == self.c.rank:
                time.sleep(0.02)
            came = time.monotonic()
            self.c.barrier()
            went = time.monotonic()
            times = self.peers.gather((came, went))
            self.check(
                max(t[0] for t in times) <= min(t[1] for t in times),
                f"nobody leaves before all came: {times}",
            )

    def test_objects(self) -> None:
        c = self.c
        for make in (
            lambda rank: None,
            lambda rank: {"rank": rank, "text": "ü" * rank, "nested": [(1, 2.5), {3}]},
            lambda rank: b"x" * (rank * 1000),
            lambda rank: array.array("d", range(rank * 10_000)),
            lambda rank: [os.getcwd()] * 1000 + [rank],
            lambda rank: bytes(1_000_001),
        ):
            expected = [make(rank) for rank in range(c.size)]
            got = c.all_gather_object(expected[c.rank])
            self.check(got == expected, f"all_gather_object of {expected[0]!r:.60}")
            for root in {0, c.size - 1}:
                got = c.broadcast_object(expected[c.rank], root)
                self.check(got == expected[root], f"broadcast_object of {expected[0]!r:.60} from {root}")

    def test_the_functions_of_the_module(self) -> None:
        c, size = self.c, self.c.size
        x = np.arange(size * 2, dtype=FLOAT)
        self.equal(ps.all_reduce(x), x * size, "all_reduce")
        self.equal(ps.all_reduce_async(x).wait(), x * size, "all_reduce_async")
        self.equal(
            ps.reduce_scatter(x), x[2 * c.rank : 2 * c.rank + 2] * size, "reduce_scatter", everywhere=False
        )
        self.equal(ps.all_gather(x), np.tile(x, size), "all_gather")
        self.equal(ps.broadcast(x + c.rank, root=size - 1), x + (size - 1), "broadcast")
        self.equal(
            ps.all_to_all(x), np.tile(x[2 * c.rank : 2 * c.rank + 2], size), "all_to_all", everywhere=False
        )
        ps.barrier()
        self.check(ps.broadcast_object(c.rank) == 0, "broadcast_object")
        self.check(ps.all_gather_object(c.rank) == list(range(size)), "all_gather_object")

    # -------------------------------------------------------------------------------- async

    def test_async(self) -> None:
        c = self.c
        for n in (1, 1000, 300_001):
            inputs = [[values(rank, (n,), FLOAT, salt=i) for rank in range(c.size)] for i in range(5)]
            expected = [reduced("sum", x, self.nodes(c)) for x in inputs]
            works = [c.all_reduce_async(x[c.rank]) for x in inputs]
            for i in (3, 0, 4, 2, 1):  # in any order, and again
                self.equal(works[i].wait(), expected[i], f"async {i} of {n}")
                self.check(works[i].done(), "done after wait")
                self.equal(works[i].wait(), expected[i], f"async {i} of {n}, again")
            x = inputs[0][c.rank].copy()
            work = c.all_reduce_async(x, "sum", out=x)
            self.check(work.wait() is x, "the result is out")
            self.equal(x, expected[0], "async in place")
            work = c.all_reduce_async(inputs[1][c.rank])
            end = time.monotonic() + 10
            while not work.done() and time.monotonic() < end:
                time.sleep(0.001)
            self.check(work.done(), "done without a wait")

    def test_async_between_other_calls(self) -> None:
        c = self.c
        works = []
        for i in range(30):
            n = (1, 700, 50_000)[i % 3]
            inputs = [values(rank, (n,), FLOAT, salt=i) for rank in range(c.size)]
            works.append((c.all_reduce_async(inputs[c.rank]), reduced("sum", inputs, self.nodes(c))))
            if i % 3 == 0:
                self.all_reduce(c, (i + 1,), BFLOAT16, "mean")
            if i % 5 == 0:
                self._all_gather(c, (i + 1,), FLOAT)
                c.barrier()
            if i % 7 == 0 and i:
                work, expected = works.pop(0)
                self.equal(work.wait(), expected, "async among others")
        for work, expected in works:
            self.equal(work.wait(), expected, "async among others")

    def test_async_on_several_communicators(self) -> None:
        with self.split(self.c.rank % 2) as halves, self.split(0, -self.c.rank) as turned:
            works = []
            for i in range(12):
                c = (self.c, halves, turned)[i % 3]
                inputs = [values(rank, (20_000,), FLOAT, salt=i) for rank in range(c.size)]
                works.append((c.all_reduce_async(inputs[c.rank]), reduced("sum", inputs, self.nodes(c))))
            for work, expected in reversed(works):
                self.equal(work.wait(), expected, "async", everywhere=False)

    def test_async_that_nobody_waits_for(self) -> None:
        for i in range(10):
            self.c.all_reduce_async(np.full(10_000, i, FLOAT))
        gc.collect()
        self.all_reduce(self.c, (100,))

    def test_async_keeps_nothing_alive(self) -> None:
        x = self.c.empty(1000)
        x[:] = 1
        kept = weakref.ref(x)
        self.c.all_reduce_async(x, out=x).wait()
        del x
        gc.collect()
        self.check(kept() is None, "nobody has the array any more")

    def test_async_that_fails_and_nobody_waits_for(self) -> None:
        """The next blocking call says so, once."""
        self.needs_peers()
        self.c.all_reduce_async(np.ones(10 + (self.c.rank == 0), FLOAT))
        words = ("(10,)", "(11,)")
        self.mismatched(words, self.c.barrier)
        kept = self.c.all_reduce_async(np.ones(10 + (self.c.rank == 0), FLOAT))
        self.c.barrier()
        self.mismatched(words, kept.wait)

    def test_async_wait_with_a_timeout(self) -> None:
        c = self.c
        if c.size == 1:
            raise unittest.SkipTest("nobody to wait for")
        x = np.ones(1000, FLOAT)
        if c.rank == c.size - 1:
            time.sleep(0.5)
        work = c.all_reduce_async(x)
        if c.rank != c.size - 1:
            start = time.monotonic()
            self.refused(ps.CommTimeout, "all_reduce", work.wait, timeout=0.1)
            self.check(time.monotonic() - start < 0.4, "the wait ends when it should")
        self.equal(work.wait(), x * c.size, "the same work, waited for again")

    def test_async_errors_before_communicating(self) -> None:
        self.refused(TypeError, "list", self.c.all_reduce_async, [1.0, 2.0])
        self.refused(ValueError, "median", self.c.all_reduce_async, np.ones(3), "median")
        self.all_reduce(self.c, (100,))

    # -------------------------------------------------------------------------------- split

    def test_split(self) -> None:
        c = self.c
        for colors in (
            [r % 2 for r in range(c.size)],
            [r // 2 for r in range(c.size)],
            [0] * c.size,
            list(range(c.size)),
        ):
            for reverse in (False, True):
                members = [r for r in range(c.size) if colors[r] == colors[c.rank]]
                if reverse:
                    members.reverse()
                with self.split(colors[c.rank], -c.rank if reverse else 0) as part:
                    self._use(part, members)

    def _use(self, part: ps.Communicator, members: list[int]) -> None:
        """Check a communicator of the given ranks of the world, with data that no other has."""
        self.check(
            (part.rank, part.size) == (members.index(self.c.rank), len(members)), f"place in {members}"
        )
        self.check(part.timeout == self.c.timeout, "the timeout is inherited")
        if part.mpi is not None:
            self.check((part.mpi.rank, part.mpi.size) == (part.rank, part.size), f"mpi of {members}")
        for n in (3, 3000, 60_000):
            self.all_reduce(part, (n,), salt=members[0] * 1000 + n)
            self.all_reduce(
                part, (n,), BFLOAT16, "mean", salt=members[0] * 1000 + n, shared=True, target="in place"
            )
        self.check(part.all_gather_object(self.c.rank) == members, f"all_gather_object in {members}")
        self._all_gather(part, (5, 3), FLOAT)
        self._reduce_scatter(part, (2 * part.size,), FLOAT, "sum")
        self._broadcast(part, (1000,), FLOAT, part.size - 1)
        part.barrier()

    def test_split_none(self) -> None:
        part = self.c.split(None if self.c.rank == 0 else 1)
        self.check((part is None) == (self.c.rank == 0), "None joins none")
        if part is not None:
            self._use(part, list(range(1, self.c.size)))
        self.check(self.c.split(None) is None, "None on every rank")
        self.all_reduce(self.c, (10,))

    def test_split_many_at_once(self) -> None:
        rank, size = self.c.rank, self.c.size
        parts = []
        for stride in range(1, 5):
            color = rank % stride
            members = [r for r in range(size) if r % stride == color]
            parts.append((self.c.split(color), members))
            color = rank // stride
            members = [r for r in range(size) if r // stride == color]
            parts.append((self.c.split(color), members))
        for _ in range(3):
            for part, members in [*parts, *reversed(parts)]:
                assert part is not None
                self.all_reduce(part, (500,), salt=members[0])
                self.all_reduce(self.c, (10,))
        for part, members in parts:
            assert part is not None
            self._use(part, members)

    def test_split_of_a_split(self) -> None:
        members = list(range(self.c.size))
        part: ps.Communicator | None = self.c
        while part is not None and part.size > 1:
            half = part.size // 2
            upper = part.rank >= half
            members = members[half:] if upper else members[:half]
            part = part.split(int(upper))
            assert part is not None
            self._use(part, members)
        self.all_reduce(self.c, (10,))

    def test_split_orders_by_key_and_equal_keys_by_rank(self) -> None:
        rank, size = self.c.rank, self.c.size
        most, least = 2**31 - 1, -(2**31)
        for keys in (
            [r % 2 for r in range(size)],
            [(most, 0, least)[r % 3] for r in range(size)],
            [-(r // 2) for r in range(size)],
        ):
            members = sorted(range(size), key=lambda r, keys=keys: (keys[r], r))  # type: ignore[misc]
            part = self.c.split(most, np.int64(keys[rank]))  # type: ignore[arg-type]
            assert part is not None
            self._use(part, members)

    def test_split_errors(self) -> None:
        split = self.c.split
        others: tuple[Any, ...] = ("blue", 1.5, np.float64(1), [0], b"1", np.array([1, 2]))
        for other in others:
            self.refused(TypeError, ("color", type(other).__name__), split, other)
        for other in (*others, None):
            self.refused(TypeError, ("key", type(other).__name__), split, 0, other)
        for number in (-1, np.int32(-1), 2**31, np.uint64(2**63), 2**100):
            self.refused(ValueError, ("color", str(number)), split, number)
        for number in (2**31, -(2**31) - 1, 2**100):
            self.refused(ValueError, ("key", str(number)), split, 0, number)
        self.all_reduce(self.c, (10,))

    def test_split_and_drop_a_hundred_times(self) -> None:
        def held() -> tuple[int, int]:
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            return len(os.listdir("/proc/self/fd")), pages * os.sysconf("SC_PAGE_SIZE")

        before = held()
        for i in range(100):
            part = self.c.split(self.c.rank % 2)
            assert part is not None
            self.all_reduce(part, (1000,), shared=bool(i % 2), target="in place")
            if i == 20:
                before = held()
        del part
        files, memory = (after - before for after, before in zip(held(), before, strict=True))
        self.check(files <= 2, f"80 communicators that are gone hold {files} files")
        self.check(memory < 24 << 20, f"80 communicators that are gone hold {memory / 2**20:.0f} MiB")

    # -------------------------------------------------------------------------------- mismatches

    def needs_peers(self) -> None:
        if self.c.size == 1:
            raise unittest.SkipTest("one rank always agrees")

    def test_mismatch_of_op(self) -> None:
        self.needs_peers()
        for n in (1, 1000, 100_000):
            op = "max" if self.c.rank == self.c.size - 1 else "sum"
            x = np.ones(n, FLOAT)
            words = ("all_reduce: expected the same call", "sum", "max", "float32", f"({n},)")
            self.mismatched(words, self.c.all_reduce, x, op, out=x)
            self.equal(x, np.ones(n, FLOAT), "nothing was changed")
            rows = np.ones((self.c.size, n), FLOAT)
            self.mismatched(("reduce_scatter", "sum", "max"), self.c.reduce_scatter, rows, op)

    def test_mismatch_of_dtype(self) -> None:
        self.needs_peers()
        kinds: list[tuple[Any, Any]] = [
            (np.float32, np.int32),
            (np.float32, np.float64),
            (ml_dtypes.bfloat16, np.float16),
        ]
        for n in (1, 1000, 100_000):
            for a, b in kinds:
                x = np.ones((self.c.size, n), a if self.c.rank == 0 else b)
                for call in (self.c.all_reduce, self.c.all_gather, self.c.broadcast, self.c.all_to_all):
                    self.mismatched((np.dtype(a).name, np.dtype(b).name, call.__name__), call, x)

    def test_mismatch_of_shape(self) -> None:
        self.needs_peers()
        c, size = self.c, self.c.size
        last = c.rank == size - 1
        shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
            *(((4,), (5,)), ((6 * size,), (2 * size, 3)), ((2, 3), (3, 2)), ((1,), ()), ((0,), (3,))),
            *(((1000,), (100_000,)), ((100_000,), (100_001,)), ((1_000_000,), (1,))),
        ]
        for a, b in shapes:
            x = np.ones(a if last else b, FLOAT)
            for call in (c.all_reduce, c.all_gather, c.broadcast):
                self.mismatched((str(a), str(b), call.__name__), call, x)
            shared = c.empty(x.shape)
            self.mismatched((str(a), str(b)), c.all_reduce, shared, out=shared)
        self.mismatched("all_to_all", c.all_to_all, np.ones((size, 3 if last else 4), FLOAT))

    def test_mismatch_of_shape_beyond_what_is_written_down(self) -> None:
        self.needs_peers()
        shape = [1] * 20
        shape[15 + (self.c.rank == 0)] = 2
        # Two texts: what is not written down is told apart all the same.
        words = ("on rank 0", "; all_reduce(op=sum, float32, shape (1, 1, ")
        self.mismatched(words, self.c.all_reduce, np.ones(shape, FLOAT))

    def test_mismatch_of_collective(self) -> None:
        self.needs_peers()
        c = self.c
        for x in (np.ones(2 * c.size, FLOAT), np.ones(100_000 * c.size, FLOAT)):
            calls: list[Callable[..., Any]] = [
                c.all_reduce,
                c.all_gather,
                c.broadcast,
                c.reduce_scatter,
                c.all_to_all,
                c.all_reduce,
            ]
            for first, others in pairwise(calls):
                words = (first.__name__, others.__name__)
                self.mismatched(words, first if c.rank == 0 else others, x)
                if c.rank == 0:
                    self.mismatched(("barrier", first.__name__), c.barrier)
                else:
                    self.mismatched(("barrier", first.__name__), first, x)

    def test_mismatch_of_root(self) -> None:
        self.needs_peers()
        for n in (3, 100_000):
            root = int(self.c.rank == 0)
            self.mismatched(("root=0", "root=1"), self.c.broadcast, np.ones(n, FLOAT), root)

    def test_mismatch_of_counts(self) -> None:
        """A rank sends other numbers of rows than the receiver expects."""
        self.needs_peers()
        for rows in (1, 30_000):
            send, receive = [rows] * self.c.size, [rows] * self.c.size
            if self.c.rank == 0:
                receive[1] += 1
            x = np.ones((sum(send), 2), FLOAT)
            self.mismatched(("rank 0", "rank 1"), self.c.all_to_all, x, send, receive)

    def test_mismatch_of_objects(self) -> None:
        """A call with an object, with an array, in the background, or with neither: any beside any other."""
        self.needs_peers()
        c = self.c
        x = np.ones((c.size, 700), FLOAT)
        calls: dict[str, Callable[[], Any]] = {
            "broadcast_object(root=0)": lambda: c.broadcast_object(list(range(900 * c.rank))),
            "all_gather_object()": lambda: c.all_gather_object("x" * 5000 * c.rank),
            "broadcast_object(root=1)": lambda: c.broadcast_object({}, 1),
            "all_reduce(op=sum, float32": lambda: c.all_reduce(x),
            "split()": lambda: c.split(0),
            "all_reduce(op=max, float32": lambda: c.all_reduce_async(x, "max").wait(),
            "barrier()": c.barrier,
            "broadcast(root=0, float32": lambda: c.broadcast(x),
            "all_gather(float32": lambda: c.all_gather(x),
            "all_to_all(float32": lambda: c.all_to_all(x),
        }
        for (one, first), (other, rest) in combinations(calls.items(), 2):
            said = ("expected the same call on every rank", one, "on rank 0", other, str(c.size - 1))
            self.mismatched(said, first if c.rank == 0 else rest)

    def test_a_blocking_call_meets_one_in_the_background(self) -> None:
        c = self.c
        for n in (3, 50_000):
            x = np.full(n, c.rank + 1.0, FLOAT)
            y = c.all_reduce(x) if c.rank == 0 else c.all_reduce_async(x).wait()
            self.equal(y, np.full(n, c.size * (c.size + 1) / 2, FLOAT), "blocking on one rank alone")

    def test_mismatch_of_what_a_call_asks_first(self) -> None:
        """Counts, lengths and colors are exchanged in the name of the user's call."""
        self.needs_peers()
        c, first = self.c, self.c.rank == 0
        x, sends = np.ones(c.size, FLOAT), [1] * c.size
        asks = "all_to_all(recv_counts=None, float32, rows of shape ())"
        words = ("all_to_all: expected" if first else "all_gather: expected", asks, "all_gather(float32")
        self.mismatched(words, lambda: c.all_to_all(x, sends) if first else c.all_gather(x))
        told = (asks, "all_to_all(float32, rows of shape ())")
        self.mismatched(told, lambda: c.all_to_all(x, sends, None if first else sends))
        rows = np.ones((c.size, 2 + first), FLOAT)
        self.mismatched(("rows of shape (2,)", "rows of shape (3,)"), c.all_to_all, rows, sends)

    def test_mismatch_changes_nothing(self) -> None:
        """Not even on root, which has what it is to get."""
        self.needs_peers()
        for n in (3, 100_000):
            for make in (np.empty, self.c.empty):
                out = make(n + (self.c.rank == 0), FLOAT)
                out[:] = 7
                for call in (self.c.broadcast, self.c.all_reduce):
                    self.mismatched(call.__name__, call, np.ones_like(out), out=out)
                self.check(bool((out == 7).all()), "out is as it was")

    def test_mismatch_everywhere(self) -> None:
        """Every rank calls something else."""
        self.needs_peers()
        words = [f"({rank + 1},)" for rank in range(self.c.size)]
        self.mismatched(words, self.c.all_reduce, np.ones(self.c.rank + 1, FLOAT))

    def test_mismatch_in_a_part(self) -> None:
        self.needs_peers()
        with self.split(self.c.rank % 2) as part:
            if part.size > 1:
                x = np.ones(10 + (part.rank == 0), FLOAT)
                self.refused(ps.CommMismatch, ("(10,)", "(11,)"), part.all_reduce, x)
            self.all_reduce(part, (100,))
        self.all_reduce(self.c, (100,))

    def test_mismatch_of_async(self) -> None:
        self.needs_peers()
        work = self.c.all_reduce_async(np.ones(10 + (self.c.rank == 0), FLOAT))
        self.mismatched(("(10,)", "(11,)"), work.wait)

    # -------------------------------------------------------------------------------- bad arguments

    def test_bad_arguments(self) -> None:
        """Refused before anything moves: also where one rank alone is wrong, and the communicator goes on."""
        c, size = self.c, self.c.size
        x = np.ones(2 * size, FLOAT)
        flags, halves, doubles = np.ones(3, bool), np.ones(3, np.float16), np.ones(2 * size)
        read_only = np.ones(2 * size, FLOAT)
        read_only.flags.writeable = False
        overlapping = np.lib.stride_tricks.as_strided(np.ones(2, FLOAT), x.shape, (0,))
        either = (TypeError, ValueError)
        reduce, all_to_all = c.all_reduce, c.all_to_all
        cases: list[tuple[Kinds, Words, Callable[..., Any], tuple[Any, ...], Any]] = [
            (TypeError, "list", reduce, ([1.0],), None),
            (TypeError, "float", reduce, (1.0,), None),
            (TypeError, "NoneType", reduce, (None,), None),
            (TypeError, "object", reduce, (np.ones(3, object),), None),
            (TypeError, "complex128", reduce, (np.ones(3, complex),), None),
            (TypeError, ">f4", reduce, (np.ones(3, ">f4"),), None),
            (ValueError, ("median", "sum", "mean", "min", "max", "prod"), reduce, (x, "median"), None),
            (ValueError, "sum", reduce, (x, ""), None),
            (either, "None", reduce, (x, None), None),
            (either, "sum", reduce, (x, ["sum"]), None),
            (either, "sum", reduce, (x, np), None),
            (TypeError, ("bool", "max"), reduce, (flags,), None),
            (TypeError, "bool", reduce, (flags, "mean"), None),
            (TypeError, "bool", reduce, (flags, "prod"), None),
            *(
                (TypeError, (dtype.name, "mean"), reduce, (np.ones(3, dtype), "mean"), None)
                for dtype in INTEGERS
            ),
            (ValueError, "shape", reduce, (x,), np.ones(2 * size + 1, FLOAT)),
            (ValueError, "shape", reduce, (x,), np.ones((size, 2), FLOAT)),
            (either, ("float32", "float64"), reduce, (x,), doubles),
            (either, ("float16", "bool"), reduce, (halves,), flags),
            (ValueError, "read-only", reduce, (x,), read_only),
            (ValueError, "read-only", reduce, (read_only,), read_only),
            (ValueError, "share no memory", reduce, (x,), overlapping),
            (TypeError, "list", reduce, (x,), [0.0]),
            (ValueError, "divisible", c.reduce_scatter, (np.float32(1),), None),
            (TypeError, "mean", c.reduce_scatter, (np.ones(size, np.int32), "mean"), None),
            (ValueError, "median", c.reduce_scatter, (x, "median"), None),
            (ValueError, "shape", c.reduce_scatter, (x,), np.ones(3, FLOAT)),
            (TypeError, "list", c.all_gather, ([1.0],), None),
            (ValueError, "shape", c.all_gather, (x,), np.ones(3, FLOAT)),
            (ValueError, ("root", str(size)), c.broadcast, (x, size), None),
            (ValueError, ("root", "-1"), c.broadcast, (x, -1), None),
            (TypeError, "root", c.broadcast, (x, 0.5), None),
            (TypeError, "root", c.broadcast, (x, "0"), None),
            (ValueError, "read-only", c.broadcast, (x,), read_only),
            (ValueError, "root", lambda root, out: c.broadcast_object(1, root), (size,), None),
            (ValueError, "0-d", all_to_all, (np.float32(1),), None),
            (ValueError, "send_counts", all_to_all, (x, [1] * size, [1] * size), None),
            (ValueError, "send_counts", all_to_all, (x, [2] * (size + 1), [2] * size), None),
            (ValueError, "recv_counts", all_to_all, (x, [2] * size, [2] * (size + 1)), None),
            (ValueError, "recv_counts", all_to_all, (x, [2] * size, [-1] * size), None),
            (TypeError, "send_counts", all_to_all, (x, [2.0] * size, [2] * size), None),
            (ValueError, "shape", all_to_all, (x,), np.ones(0, FLOAT)),
        ]
        if size > 1:
            uneven = np.ones(size + 1, FLOAT)
            cases += [
                (ValueError, ("divisible", str(size)), f, (uneven,), None)
                for f in (c.reduce_scatter, all_to_all)
            ]
        for i, (kinds, words, call, args, out) in enumerate(cases):
            if i % (size + 1) in (c.rank, size):  # on one rank alone, now and then on all
                try:
                    self.refused(kinds, words, call, *args, out=out)
                except Exception as error:
                    self.check(
                        False, f"case {i}: expected {kinds} ({words}), got {type(error).__name__}: {error}"
                    )
            if i % 10 == 0:
                self.all_reduce(c, (3,))
        self.all_reduce(c, (3,))

    def test_arrays_that_no_collective_takes(self) -> None:
        """As `x` and as `out`, on one rank alone; nothing is sent."""
        c, size = self.c, self.c.size
        good = np.ones(size, FLOAT)
        masked = np.ma.masked_array(good, np.arange(size) == 0)
        bad: list[tuple[Any, str]] = [
            (masked, "without a mask, got numpy.ma.MaskedArray"),
            (masked[1:] if size > 1 else masked, "without a mask"),
            (np.ones(size, ">f4"), ">f4"),
            (np.ones(size, ">i8"), ">i8"),
            (np.ones(size, [("a", "f4"), ("b", "i4")]), "'a'"),
            (np.ones(size, object), "object"),
            (np.ones(size, np.complex64), "complex64"),
            (np.ones(size, np.longdouble), np.dtype(np.longdouble).name),
            (np.zeros(size, "M8[s]"), "datetime64"),
        ]
        calls = (c.all_reduce, c.all_reduce_async, c.reduce_scatter, c.all_gather, c.broadcast, c.all_to_all)
        for i, (call, (refused, words)) in enumerate(product(calls, bad)):
            if i % size == c.rank:
                self.refused(TypeError, ("x: ", words), call, refused)
                self.refused(TypeError, ("out: ", words), call, good, out=refused)
        self.all_reduce(c, (3,))

    def test_out_that_overlaps_the_input(self) -> None:
        """Right or refused, whatever the overlap."""
        c, n = self.c, 60 * self.c.size
        inputs = [values(rank, (n,), FLOAT) for rank in range(c.size)]
        share = n // c.size
        own = slice(share * c.rank, share * (c.rank + 1))
        total = reduced("sum", inputs, self.nodes(c))
        cases: list[tuple[Callable[..., Any], int, Array, bool]] = [
            (c.all_reduce, n, total, True),
            (c.reduce_scatter, share, reduced("sum", [x[own] for x in inputs], self.nodes(c)), False),
            (c.all_gather, n * c.size, np.concatenate(inputs), True),
            (c.broadcast, n, inputs[0], True),
            (c.all_to_all, n, np.concatenate([x[own] for x in inputs]), False),
        ]
        for (call, length, expected, everywhere), shift, shared in product(
            cases, (0, 1, share - 1, n - 1), (False, True)
        ):
            memory = (c.empty if shared else np.empty)(2 * n * c.size, FLOAT)
            x, out = memory[:n], memory[shift : shift + length]
            for source, target in ((x, out), (memory[shift : shift + n], memory[:length])):
                source[:] = inputs[c.rank]
                try:
                    y = call(source, out=target)
                except ValueError:
                    continue
                self.equal(y, expected, f"{call.__name__}, {shift} apart, {shared=}", everywhere=everywhere)

    def test_gpu_arrays_are_refused(self) -> None:
        class Cuda:
            __cuda_array_interface__: ClassVar[dict[str, Any]] = {}

        self.refused(TypeError, "GPU arrays are not supported yet", self.c.all_reduce, Cuda())
        self.all_reduce(self.c, (3,))

    # -------------------------------------------------------------------------------- other arrays

    def test_buffers(self) -> None:
        c = self.c
        numbers = array.array("f", [1.5, c.rank, 3])
        total = [1.5 * c.size, c.size * (c.size - 1) / 2, 3.0 * c.size]
        self.check(c.all_reduce(numbers).tolist() == total, "array.array")
        self.check(
            c.all_reduce(numbers, out=numbers) is numbers and numbers.tolist() == total,
            "array.array in place",
        )
        data = bytearray([1, 2, 3])
        c.all_reduce(memoryview(data), out=data)
        self.check(list(data) == [c.size, 2 * c.size, 3 * c.size], "memoryview into bytearray")
        self.refused(ValueError, "read-only", c.all_reduce, data, out=bytes(3))
        self.check(float(c.all_reduce(np.float32(2))) == 2 * c.size, "a NumPy scalar")
        self.check(c.all_gather(np.float32(c.rank)).tolist() == list(range(c.size)), "NumPy scalars")

    def test_torch(self) -> None:
        torch: Any = self._library("torch")
        c = self.c
        for name in ("float32", "float64", "float16", "bfloat16", "int32", "uint8", "bool"):
            op = "max" if name == "bool" else "sum"
            for shape in ((), (3,), (0, 2), (17, 33), (70_000,)):
                dtype = BFLOAT16 if name == "bfloat16" else np.dtype(name)
                inputs = [values(rank, shape, dtype, op) for rank in range(c.size)]
                expected = reduced(op, inputs, self.nodes(c))
                x = _as_torch(torch, inputs[c.rank])
                y = c.all_reduce(x, op)
                self.check(isinstance(y, torch.Tensor) and y.dtype == x.dtype, f"a tensor of {name}")
                self.equal(_from_torch(torch, y), expected, f"torch {name} {shape}")
                self.check(c.all_reduce(x, op, out=x) is x, "in place")
                self.equal(_from_torch(torch, x), expected, f"torch {name} {shape} in place")
        x = _as_torch(torch, values(c.rank, (6, 5), FLOAT)).T
        inputs = [values(rank, (6, 5), FLOAT).T for rank in range(c.size)]
        self.equal(c.all_reduce(x).numpy(), reduced("sum", inputs, self.nodes(c)), "transposed")
        for y in (
            c.all_gather(x),
            c.broadcast(x),
            c.all_reduce_async(x).wait(),
            c.all_to_all(x, [5] + [0] * (c.size - 1)),
        ):
            self.check(isinstance(y, torch.Tensor), "a tensor")
        leaf = torch.nn.Parameter(torch.ones(3))
        self.check(not c.all_reduce(leaf).requires_grad, "the result is detached")
        self.refused(ValueError, "requires grad", c.all_reduce, leaf, out=leaf)
        with torch.no_grad():
            c.all_reduce(leaf, out=leaf)
        self.check(leaf.tolist() == [c.size] * 3, "a parameter in place")
        self.check(isinstance(c.all_reduce(torch.ones(3), out=np.ones(3, FLOAT)), np.ndarray), "out decides")
        self.refused(TypeError, "dense", c.all_reduce, torch.eye(3).to_sparse())

    def test_jax(self) -> None:
        jax: Any = self._library("jax")
        c = self.c
        for dtype in (FLOAT, BFLOAT16, np.dtype(np.float16), np.dtype(np.int32), np.dtype(bool)):
            op = "max" if dtype.kind == "b" else "sum"
            for shape in ((), (3,), (0, 2), (17, 33), (70_000,)):
                inputs = [values(rank, shape, dtype, op) for rank in range(c.size)]
                x = jax.numpy.asarray(inputs[c.rank])
                y = c.all_reduce(x, op)
                self.check(isinstance(y, jax.Array), f"a JAX array, got {type(y)}")
                self.equal(np.asarray(y), reduced(op, inputs, self.nodes(c)), f"JAX {dtype} {shape}")
        for y in (c.all_gather(x), c.broadcast(x), c.all_reduce_async(x, "max").wait()):
            self.check(isinstance(y, jax.Array), "a JAX array")
        self.refused(TypeError, "immutable", c.all_reduce, x, "max", out=x)
        self.all_reduce(c, (3,))

    def _library(self, name: str) -> Any:
        if not os.environ.get("PYSCALE_TEST_LIBRARIES"):
            raise unittest.SkipTest(
                "importing it takes seconds on every rank: with PYSCALE_TEST_LIBRARIES=1 only"
            )
        try:
            return __import__(name)
        except ImportError as error:
            raise unittest.SkipTest(f"{name} is not installed") from error

    # -------------------------------------------------------------------------------- waiting

    def test_other_threads_go_on_while_a_rank_waits(self) -> None:
        import threading

        self.needs_peers()
        turns, stop = [0], threading.Event()

        def work() -> None:
            while not stop.wait(0.005):
                turns[0] += 1

        thread = threading.Thread(target=work)
        thread.start()
        try:
            if self.c.rank == self.c.size - 1:
                time.sleep(0.5)
            self.c.barrier()
        finally:
            stop.set()
            thread.join()
        self.check(turns[0] > 10, f"expected about 100 turns of another thread, got {turns[0]}")

    def test_threads_take_turns(self) -> None:
        """No call of one is mixed with another's; whose meets whose is the program's affair."""
        import threading

        results: list[Array] = []

        def work(value: int) -> None:
            x = np.full(60_000, value, FLOAT)
            results.extend(self.c.all_reduce(x, "max") for _ in range(20))

        threads = [threading.Thread(target=work, args=(value,)) for value in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.check(len(results) == 40, f"expected 40 results, got {len(results)}")
        for result in results:
            self.check(len(np.unique(result)) == 1, f"expected one value, got {np.unique(result)}")
        self.all_reduce(self.c, (100,))

    def test_a_long_wait_costs_no_cpu(self) -> None:
        self.needs_peers()
        for call in (self.c.barrier, lambda: self.c.all_reduce(np.ones(300_000, FLOAT))):
            self.peers.gather(None)
            before = time.process_time()
            if self.c.rank == self.c.size - 1:
                time.sleep(1.0)
            call()
            used = time.process_time() - before
            self.check(used < 0.3, f"a wait of 1 s took {used:.2f} s of CPU")


def _as_torch(torch: Any, x: Array) -> Any:
    return (
        torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
        if x.dtype == BFLOAT16
        else torch.from_numpy(x.copy())
    )


def _from_torch(torch: Any, x: Any) -> Array:
    y: Array = x.view(torch.int16).numpy().view(BFLOAT16) if x.dtype == torch.bfloat16 else x.numpy()
    return y


class OneProcess(Conformance):
    """One rank, with or without MPI."""

    TRANSPORT = "self"


class SharedMemory(Conformance):
    """One node."""

    TRANSPORT = "shm"


class Eager(SharedMemory):
    """The algorithm for small arrays says how large they may be."""

    ALGORITHM = "eager"
    ONLY = "all_reduce|shared_(dtypes|sizes|large|layouts|on_some)|mean|wrap"
    MOST_BYTES = 32 * 1024


class Direct(SharedMemory):
    """The algorithm that works in shared buffers alone says so where they are not."""

    ALGORITHM = "direct"
    ONLY = "shared_(dtypes|sizes|large|parts)|ordinary"

    def test_ordinary_arrays_are_refused(self) -> None:
        for n in (1, 1000, 100_000):
            self.refused(ValueError, "direct", self.c.all_reduce, np.ones(n, FLOAT))
        self.all_reduce(self.c, (1000,), shared=True, target="in place")


class Mpi(Conformance):
    """No shared memory, on any number of nodes."""

    TRANSPORT = "mpi"


class Hierarchical(Conformance):
    """Several nodes with several ranks."""

    TRANSPORT = "hierarchical"


SUITES: tuple[type[Conformance], ...] = (OneProcess, SharedMemory, Eager, Direct, Mpi, Hierarchical)
