"""One copy of the data a node: `mpirun -n 3 python worker_node_cache.py NAME`. The last rank is at fault."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from launch import FOLDER, note, report

import pyscale as ps
from pyscale.comm import node
from pyscale.data import NodeCache
from pyscale.data.rows import node_cache

ROWS = 1_000_001


def squares(part: np.ndarray, start: int, stop: int) -> None:
    part[...] = np.square(np.arange(start, stop))


def shared_bytes() -> int:
    """What all ranks hold of shared memory, apart from what was there at first."""
    gc.collect()
    ps.barrier()  # whatever ranks let go of before, they have
    own = node._own.arena.resident_bytes if node._own is not None else 0
    return int(ps.all_reduce(np.array([own], np.int64))[0])


def is_last() -> bool:
    return ps.rank() == ps.world_size() - 1


def cached() -> None:
    """Right on every rank, not to be written, and there once."""
    asked: list[tuple[int, int]] = []

    def fill(part: np.ndarray, start: int, stop: int) -> None:
        asked.append((start, stop))
        squares(part, start, stop)

    before = shared_bytes()
    cache = NodeCache()
    x = cache.array(ROWS, np.int64, fill)
    taken = shared_bytes() - before
    right = [bool((x == np.square(np.arange(ROWS))).all()), not x.flags.writeable, cache.nbytes == x.nbytes]
    if ps.world().transport != "self":
        try:
            x.flags.writeable = True
            right.append(False)
        except ValueError:
            right.append(True)
    # Fewer rows than ranks, none at all, and a dtype of several fields.
    few = cache.array((1, 3), "S7", lambda part, start, stop: part.fill(b"abc"))
    right.append(few.tolist() == [[b"abc"] * 3])
    none = cache.array((0, 3), np.float32, squares)
    right.append(none.shape == (0, 3))
    file = Path(os.environ[FOLDER]) / "x.npy"
    if ps.rank() == 0:
        pairs = np.zeros(1000, [("id", "i4"), ("weight", "f8")])
        pairs["id"] = np.arange(1000)
        np.save(file, pairs)
        np.save(file.with_name("turned.npy"), np.asfortranarray(np.arange(20).reshape(5, 4)))
    ps.barrier()
    loaded = cache.load(file)
    right += [loaded["id"].tolist() == list(range(1000)), loaded.dtype.names == ("id", "weight")]
    turned = cache.load(str(file.with_name("turned.npy")))
    right += [turned.tolist() == np.arange(20).reshape(5, 4).tolist(), turned.flags.c_contiguous]
    right.append((cache.load(np.load(file, mmap_mode="r")) == loaded).all())
    report({"right": list(map(bool, right)), "taken": taken, "asked": asked, "bytes": x.nbytes})


def lets_go() -> None:
    """Memory goes back when the last rank has let go of an array, in whichever order they do."""
    before, said = shared_bytes(), []
    for order in range(ps.world_size()):
        with NodeCache() as cache:
            x = cache.array(ROWS, np.int64, squares)
            part = x[100:200]
            del x
        for turn in range(ps.world_size()):
            mine = (ps.rank() + order) % ps.world_size() == turn
            if mine:
                assert int(part[7]) == 107**2  # as long as anybody has it
                del part
            held = shared_bytes() - before
            said.append(held > ROWS * 8 if turn + 1 < ps.world_size() else held < 100_000)
    for _ in range(20):  # and the next array finds room where the last one was
        NodeCache().array(ROWS, np.int64, squares)
    assert node._own is not None
    report({"said": said, "held": shared_bytes() - before})


def refused() -> None:
    """What is wrong on the last rank is raised on all; then the cache works as if nothing had been."""
    last = is_last()
    cache, closed = NodeCache(), NodeCache()
    if last:
        closed.close()
    missing = "no such file.npy" if last else np.arange(10)
    folder = Path(os.environ[FOLDER])
    if last:
        np.savez(folder / "many.npz", x=np.arange(10))
        np.save(folder / "objects.npy", np.array([None]))
        (folder / "short.npy").write_bytes(b"\x93NUMPY")

    def fails(part: np.ndarray, start: int, stop: int) -> None:
        if last:
            raise KeyError("no such row")

    calls: dict[str, Callable[[], object]] = {
        "shape": lambda: cache.array(10 + last, np.int64, squares),
        "dtype": lambda: cache.array(10, np.float64 if last else np.int64, squares),
        "negative": lambda: cache.array(-1 if last else 10, np.int64, squares),
        "no axis": lambda: cache.array(() if last else (10,), np.int64, squares),
        "float": lambda: cache.array(1.5 if last else 10, np.int64, squares),  # type: ignore[arg-type]
        "objects": lambda: cache.array(10, object if last else np.int64, squares),
        "fill": lambda: cache.array(10, np.int64, None if last else squares),  # type: ignore[arg-type]
        "fails": lambda: cache.array(ROWS, np.int64, fails),
        "closed": lambda: closed.array(10, np.int64, squares),
        "missing": lambda: cache.load(missing),
        "many": lambda: cache.load(folder / "many.npz" if last else np.arange(10)),
        "object file": lambda: cache.load(folder / "objects.npy" if last else np.arange(10)),
        "short file": lambda: cache.load(folder / "short.npy" if last else np.arange(10)),
        "list": lambda: cache.load([1, 2] if last else np.arange(10)),  # type: ignore[arg-type]
    }
    said, before = [], shared_bytes()
    for name, call in calls.items():
        try:
            call()
            said.append((name, "nothing", ""))
        except (TypeError, ValueError, ps.PyscaleError) as error:
            said.append((name, type(error).__name__, str(error)))
        assert cache.array(9, np.int64, squares).tolist() == np.square(np.arange(9)).tolist(), name
    cache.close()
    report({"said": said, "held": shared_bytes() - before})


def too_small() -> None:
    """The node has less memory than is asked for: by the figures, and where it turns out only then."""
    said, before = [], shared_bytes()
    if ps.rank() == 0:
        vars(node_cache)["free_memory"] = lambda: 7 << 20
    for pretend in (True, False):
        try:
            NodeCache().array(ROWS if pretend else 1 << 56, np.int64, squares)
            said.append("nothing")
        except MemoryError as error:
            said.append(str(error))
        vars(node_cache)["free_memory"] = lambda: float("inf")
    right = bool(NodeCache().array(ROWS, np.int64, squares)[-1] == (ROWS - 1) ** 2)
    report({"said": said, "right": right, "held": shared_bytes() - before})


def large() -> None:
    """More than a small /dev/shm has."""
    x = NodeCache().array((200, 1 << 20), np.uint8, lambda part, start, stop: part.fill(7))
    report(bool((x[::7, ::4096] == 7).all()))


def killed() -> None:
    """Everything is cached, and the test kills whom it likes."""
    ps.init(timeout=20.0)
    x = NodeCache().array((100, 1 << 20), np.uint8, lambda part, start, stop: part.fill(7))
    note(f"ready.{ps.rank()}")
    try:
        while True:
            ps.barrier()
            assert x[-1, -1] == 7
            time.sleep(0.01)
    except ps.CommError as error:
        report({"message": str(error), "still": bool((x == 7).all())})
    time.sleep(0.5)  # mpirun ends the job at the first rank that fails: let the others report too


def killed_in_fill() -> None:
    ps.init(timeout=20.0)

    def fill(part: np.ndarray, start: int, stop: int) -> None:
        if is_last():
            os.kill(os.getpid(), signal.SIGKILL)
        part.fill(7)

    try:
        NodeCache().array((100, 1 << 16), np.uint8, fill)
        report("nothing")
    except ps.CommError as error:
        report(str(error))
    time.sleep(0.5)


def forks() -> None:
    """Children read the array, as a loader's workers do, and take nothing with them when they end."""
    x = NodeCache().array(ROWS, np.int64, squares)
    child = os.fork()
    if child == 0:
        ok = int(x[12345]) == 12345**2
        del x
        gc.collect()
        os._exit(0 if ok else 1)
    _, status = os.waitpid(child, 0)
    report({"child": status, "right": bool((x == np.square(np.arange(ROWS))).all())})
    ps.barrier()


def parts() -> None:
    """A communicator of some ranks, of which one is alone."""
    world = ps.world()
    part = world.split(0 if world.rank < world.size - 1 else 1)
    assert part is not None
    x = NodeCache(part).array(1000, np.int64, squares)
    report([bool(x[-1] == 999**2), part.transport])


def nodes() -> None:
    """Where ranks are on several nodes: who was asked for what, and whether all have the same."""
    asked: list[tuple[int, int]] = []

    def fill(part: np.ndarray, start: int, stop: int) -> None:
        asked.append((start, stop))
        squares(part, start, stop)

    c = ps.world()
    x = NodeCache().array(ROWS, np.int64, fill)
    right = bool((x == np.square(np.arange(ROWS))).all())

    def fails(part: np.ndarray, start: int, stop: int) -> None:
        if is_last():
            raise OSError("disk on fire")

    try:
        NodeCache().array(10, np.int64, fails)
        said = "nothing"
    except ps.PyscaleError as error:
        said = str(error)
    report({"node": c.node_rank, "right": right, "asked": asked, "said": said})


if __name__ == "__main__":
    globals()[sys.argv[1]]()
