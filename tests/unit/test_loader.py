"""The loader: the rows that its sampler names, ahead, and nothing left of it afterwards."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyscale import PyscaleError
from pyscale.data import Loader, ParquetShards, ShardedBatchSampler, ShardedSampler, to_parquet


def rows(n: int) -> dict[str, np.ndarray[Any, Any]]:
    return {"id": np.arange(n), "x": np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)}


def batches(n: int, size: int, ranks: int = 1, rank: int = 0, **options: Any) -> ShardedBatchSampler:
    return ShardedBatchSampler(n, size, num_replicas=ranks, rank=rank, **options)


def num_threads() -> int:
    """Return the threads of this process, those of C++ included.

    The kernel lists one for a moment after it was joined: so what counts is what stays.
    """
    looks = deque([0], maxlen=5)
    while len(looks) < 5 or len(set(looks)) > 1:
        looks.append(len(os.listdir("/proc/self/task")))
        time.sleep(0.002)
    return looks[0]


@given(
    n=st.integers(0, 200),
    size=st.integers(1, 40),
    prefetch=st.integers(0, 5),
    threads=st.integers(1, 3),
    ranks=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_batches_are_what_the_sampler_says(
    n: int, size: int, prefetch: int, threads: int, ranks: int
) -> None:
    data = rows(n)
    for rank in range(ranks):
        loader = Loader(data, batches(n, size, ranks, rank), prefetch=prefetch, num_threads=threads)
        for expected in (batches(n, size, ranks, rank),):
            delivered = list(loader)
            assert len(delivered) == len(expected)
            for batch, indices in zip(delivered, expected, strict=True):
                assert batch["id"].tolist() == indices
                assert np.array_equal(batch["x"], data["x"][indices])


def test_structures() -> None:
    data = rows(100)
    order = list(batches(100, 8))
    x, y = data["x"], data["id"]
    assert all(
        np.array_equal(batch, x[i]) for batch, i in zip(Loader(x, batches(100, 8)), order, strict=True)
    )
    for batch, i in zip(Loader((x, y), batches(100, 8)), order, strict=True):
        assert isinstance(batch, tuple)
        assert np.array_equal(batch[0], x[i])
        assert np.array_equal(batch[1], y[i])


class Pair(NamedTuple):
    x: Any
    y: Any


def test_named_tuples_and_keys_that_look_alike() -> None:
    x, y = np.arange(20), np.arange(20) * 2
    for batch in Loader(Pair(x, y), batches(20, 8)):
        assert isinstance(batch, Pair)
        assert np.array_equal(batch.y, batch.x * 2)
    for batch in Loader({1: x, "1": y}, batches(20, 8)):
        assert np.array_equal(batch["1"], batch[1] * 2)


def test_dtypes_and_strides(tmp_path: Path) -> None:
    n = 50
    mapped = np.lib.format.open_memmap(tmp_path / "rows.npy", mode="w+", dtype=np.int16, shape=(n, 2, 3))
    mapped[:] = np.arange(n * 6).reshape(n, 2, 3)
    data = {
        "bool": np.arange(n) % 3 == 0,
        "bytes": np.array([b"%d" % i for i in range(n)]),
        "date": np.datetime64("2013-01-01") + np.arange(n),
        "record": np.array([(i, i / 2) for i in range(n)], dtype=[("a", "i4"), ("b", "f8")]),
        "backwards": np.arange(n)[::-1],
        "every other": np.arange(2 * n)[::2],
        "mapped": np.load(tmp_path / "rows.npy", mmap_mode="r"),
        "none": np.zeros((n, 0)),
    }
    indices = list(batches(n, 8))
    for batch, chosen in zip(Loader(data, batches(n, 8)), indices, strict=True):
        for name, array in data.items():
            assert batch[name].dtype == array.dtype
            assert np.array_equal(batch[name], array[chosen])


def test_other_samplers() -> None:
    data = np.arange(103)
    assert [b.tolist() for b in Loader(data, [[3, 1], [2], []])] == [[3, 1], [2], []]
    loader = Loader(data, range(103), batch_size=10)
    assert len(loader) == 11
    assert np.concatenate(list(loader)).tolist() == list(range(103))
    single = ShardedSampler(103, num_replicas=2, rank=1)
    expected = list(ShardedSampler(103, num_replicas=2, rank=1))
    assert np.concatenate(list(Loader(data, single, batch_size=10))).tolist() == expected
    with pytest.raises(TypeError, match="a sampler of pyscale"):
        loader.state_dict()


def test_an_iterator_is_a_sampler_for_one_epoch() -> None:
    class Again:
        """An iterator that begins anew whenever it is asked for one."""

        def __iter__(self) -> Again:
            self.left = 3
            return self

        def __next__(self) -> list[int]:
            if not self.left:
                raise StopIteration
            self.left -= 1
            return [self.left]

    data = np.arange(103)
    once = Loader(data, iter([[1], [2]]))
    assert [b.tolist() for b in once] == [[1], [2]]
    with pytest.raises(ValueError, match="for every epoch, got a list_iterator at its end"):
        list(once)
    again = Loader(data, Again())
    assert [[b.tolist() for b in again] for _ in range(2)] == [[[2], [1], [0]]] * 2
    assert list(Loader(data, iter([]))) == []


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("prefetch", [0, 1, 7])
def test_states_are_exact_with_batches_under_way(single: bool, prefetch: int) -> None:
    def make() -> Loader:
        if single:
            return Loader(
                np.arange(1000), ShardedSampler(1000, num_replicas=1, rank=0), 32, prefetch=prefetch
            )
        return Loader(np.arange(1000), batches(1000, 32), prefetch=prefetch)

    whole = make()
    epochs = [np.concatenate(list(whole)).tolist() for _ in range(3)]
    for steps in (0, 1, 5, 31, 32):
        first = make()
        iterator = iter(first)
        delivered = [batch.tolist() for batch in islice(iterator, steps)]
        state = first.state_dict()
        first.close()
        assert first.state_dict() == state
        second = make()
        second.load_state_dict(state)
        assert second.state_dict()["position"] == state["position"]
        if steps < 32:
            assert len(second) == 32 - steps
            delivered += [batch.tolist() for batch in second]
        assert list(chain.from_iterable(delivered)) == epochs[0]
        assert len(second) == 32
        assert np.concatenate(list(second)).tolist() == epochs[1]


def test_a_new_iteration_ends_the_one_before() -> None:
    loader = Loader(np.arange(100), batches(100, 10), prefetch=3)
    first = iter(loader)
    next(first)
    second = iter(loader)
    with pytest.raises(PyscaleError, match="a later one has ended"):
        next(first)
    assert len(list(second)) == 10


def test_nothing_is_left() -> None:
    before = num_threads()
    loader = Loader(np.arange(10_000), batches(10_000, 10), prefetch=50, num_threads=3)
    iterator = iter(loader)
    next(iterator)
    assert num_threads() == before + 3
    loader.close()
    assert num_threads() == before
    for _ in loader:
        assert num_threads() == before + 3
        break
    assert num_threads() == before, "so does leaving its loop"
    with pytest.raises(ZeroDivisionError):
        _fail_within_a_loop(loader)
    assert num_threads() == before
    with Loader(np.arange(100), batches(100, 10)) as opened:
        next(iter(opened))
    assert num_threads() == before
    list(loader)
    assert num_threads() == before, "the end of an epoch ends the threads"
    iterator = iter(loader)
    next(iterator)
    del iterator, loader
    gc.collect()
    assert num_threads() == before


@pytest.mark.parametrize("how", ["close", "again"])
def test_closing_under_a_thread_that_waits(how: str) -> None:
    x = np.ones((100_000, 32))
    loader = Loader(x, [np.arange(100_000)] * 6, num_threads=1, prefetch=4)
    for _ in range(10):
        iterator = iter(loader)
        said: list[str] = []
        thread = threading.Thread(target=_iterate, args=(iterator, said))
        thread.start()
        time.sleep(0.01)
        if how == "close":
            loader.close()
        else:
            later = iter(loader)
            next(later)
        thread.join(30)
        assert not thread.is_alive()
        assert all("was closed, or that a later one has ended" in text for text in said)
    loader.close()


def _fail_within_a_loop(loader: Loader) -> None:
    for batch in loader:
        _ = 1 // int(batch[0] * 0)


def _iterate(iterator: Iterator[Any], said: list[str]) -> None:
    try:
        for batch in iterator:
            assert batch[-1, -1] == 1
    except PyscaleError as error:
        said.append(str(error))


def test_threads_share_an_iteration() -> None:
    before = num_threads()
    for source in (np.arange(20_000), np.ones((20_000, 9)) * np.arange(20_000)[:, None]):
        iterator = iter(Loader(source, batch_size=33, num_threads=2, prefetch=3))
        taken: list[Any] = []

        def work(iterator: Iterator[Any] = iterator, taken: list[Any] = taken) -> None:
            for batch in iterator:
                taken.append(batch.reshape(len(batch), -1)[:, 0].copy())

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert np.sort(np.concatenate(taken)).tolist() == list(range(20_000))
        del iterator
    assert num_threads() == before


def test_buffers_do_not_add_up() -> None:
    x = np.ones((1000, 4))
    rng = np.random.default_rng(0)
    loader = Loader(x, [rng.integers(0, 1000, k) for k in range(100, 900)], num_threads=1)
    for batch in loader:
        assert len(batch)
    assert sum(len(kept) for kept in loader._buffers._kept.values()) <= 8
    held = list(loader)
    assert all((batch == 1).all() for batch in held)
    del held, batch
    for _ in islice(loader, 3):
        pass
    assert sum(len(kept) for kept in loader._buffers._kept.values()) <= 8


def test_a_sampler_that_gives_nothing_for_a_batch() -> None:
    for prefetch in (0, 2):
        with pytest.raises((TypeError, ValueError), match="expected"):
            list(Loader(np.arange(9), [[1], None, [2]], prefetch=prefetch))


def test_an_index_that_is_out_of_range() -> None:
    before = num_threads()
    for bad in (100, -1):
        loader = Loader(np.arange(100), [[0, 1], [2, bad]], prefetch=0)
        iterator = iter(loader)
        assert next(iterator).tolist() == [0, 1]
        with pytest.raises(IndexError, match=f"0 to 100 - 1, got {bad} at 1|got {bad}"):
            next(iterator)
        assert num_threads() == before


def test_control_c_while_a_batch_is_waited_for(interrupts: None) -> None:
    # A gather of this size takes long enough for the signal to come within it.
    data = np.zeros((1, 1 << 14))
    before = num_threads()
    loader = Loader(data, repeat(np.zeros(4_000, np.int64), 100), prefetch=0, num_threads=1)
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        deque(loader, maxlen=0)
    assert num_threads() == before


def test_torch() -> None:
    torch = pytest.importorskip("torch")
    x = torch.arange(300, dtype=torch.bfloat16).reshape(100, 3)
    y = torch.arange(100)
    order = list(batches(100, 8))
    for batch, i in zip(Loader({"x": x, "y": y}, batches(100, 8)), order, strict=True):
        assert torch.equal(batch["x"], x[i])
        assert torch.equal(batch["y"], y[i])
    for batch, i in zip(Loader(np.arange(100), batches(100, 8), device="cpu"), order, strict=True):
        assert batch.dtype == torch.int64
        assert batch.tolist() == i
    with pytest.raises(TypeError, match="numbers of which torch has tensors"):
        next(iter(Loader(np.array([b"a"] * 9), batches(9, 3), device="cpu")))


def test_what_is_refused() -> None:
    x = np.arange(10)
    for error, message, arguments in (
        (TypeError, "a sampler or a batch_size", (x,)),
        (ValueError, "batch_size from 1", (x, None, 0)),
        (ValueError, "arrays of one length", ({"a": x, "b": x[:5]}, None, 2)),
        (ValueError, "arrays of one length, got none", ({}, None, 2)),
        (TypeError, "got object", (np.array([None, 1]), None, 2)),
        (ValueError, "contiguous", (np.zeros((10, 4))[:, ::2], None, 2)),
        (ValueError, "no dimensions", (np.array(3), None, 2)),
        (TypeError, "iterable, got int", (x, 3, 2)),
        (ValueError, "the sampler's batch_size 2, got 3", (x, batches(10, 2), 3)),
        (TypeError, "batch_size with a ShardedSampler", (x, ShardedSampler(10))),
    ):
        with pytest.raises(error, match=message):
            Loader(*arguments)
    with pytest.raises(ValueError, match="prefetch from 0"):
        Loader(x, None, 2, prefetch=-1)
    with pytest.raises(ValueError, match="num_threads from 1"):
        Loader(x, None, 2, num_threads=0)
    with pytest.raises(TypeError, match="of integers"):
        list(Loader(x, [[0.5]]))


def test_memory_is_used_again_but_not_while_anybody_has_a_part_of_it() -> None:
    data = {"id": np.arange(640), "x": np.random.default_rng(0).normal(size=(640, 3))}
    loader = Loader(data, batches(640, 64), prefetch=1)
    kept = []
    places = set()
    for _ in range(20):
        for step, batch in enumerate(loader):
            places.add(batch["x"].__array_interface__["data"][0])
            if step == 4:
                kept.append((batch["id"].copy(), batch["id"][:10], batch["x"][5:].T))
            del batch
    assert len(places) < 60, "of 200 batches"
    for ids, some_ids, some_x in kept:
        assert np.array_equal(some_ids, ids[:10])
        assert np.array_equal(some_x, data["x"][ids][5:].T)


def test_a_sampler_may_use_its_memory_again() -> None:
    def reused() -> Iterator[np.ndarray[Any, Any]]:
        indices = np.arange(4)
        for _ in range(5):
            yield indices
            indices += 4

    loader = Loader(np.arange(20), reused(), prefetch=3)
    assert [batch.tolist() for batch in loader] == [list(range(i, i + 4)) for i in range(0, 20, 4)]


def test_an_iteration_is_its_own() -> None:
    sampler = batches(100, 10)
    first, second = Loader(np.arange(100), sampler), Loader(np.arange(100), sampler)
    one = iter(first)
    ids = [next(one).tolist(), next(one).tolist()]
    other = [batch.tolist() for batch in second]
    sampler.set_epoch(7)
    ids += [batch.tolist() for batch in one]
    plain = batches(100, 10)
    assert ids == list(plain)
    assert other == list(plain)


def test_ranks_have_as_many_batches_of_single_samples() -> None:
    loaders = [Loader(np.arange(257), ShardedSampler(257, num_replicas=2, rank=r), 128) for r in range(2)]
    assert [len(loader) for loader in loaders] == [2, 2]
    sizes = [[len(batch) for batch in loader] for loader in loaders]
    assert sizes == [[128, 1], [128, 0]]
    states = [loader.state_dict() for loader in loaders]
    assert states[0] == states[1]
    assert states[0]["position"] == 257


def fork_with_an_iteration_open() -> None:
    iterator = iter(Loader(np.arange(100), batches(100, 10), prefetch=2))
    next(iterator)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            next(iterator)
        except PyscaleError as error:
            status = 0 if "a fork of it" in str(error) else 2
        del iterator
        gc.collect()
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(list(iterator)) == 9


def test_a_forked_child_refuses_and_ends() -> None:
    # In a process of its own, since this one may have threads of others.
    program = "import test_loader; test_loader.fork_with_an_iteration_open()"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("dtype", [">f4", "U3", "O", "M8[s]", np.longdouble])
def test_what_torch_has_not_is_refused_at_once(dtype: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    column = np.zeros(4, dtype)
    for source, name in (({"x": column}, "['x']"), ((column,), "[0]"), (column, "")):
        if column.dtype.hasobject:
            continue  # refused anyhow
        with pytest.raises(TypeError) as raised:
            Loader(source, batch_size=2, device="cpu")
        assert str(raised.value).startswith(
            f"Loader: source{name}: expected numbers of which torch has tensors"
        )
    if column.dtype.kind in "UO":
        pytest.importorskip("pyarrow")
        path = to_parquet({"n": [1, 2], "x": ["a", "b"]}, tmp_path / "a.parquet")[0]
        with pytest.raises(TypeError, match=r"source\['x'\]: expected numbers of which torch has"):
            Loader(ParquetShards(path), batch_size=2, device="cpu")
        [batch] = Loader(ParquetShards(path, ["n"]), batch_size=2, device="cpu")
        assert sorted(batch["n"].tolist()) == [1, 2]
