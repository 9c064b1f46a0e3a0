"""The beginning and the end of a job, by name: `mpirun -n 3 python worker_lifecycle.py NAME`."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import runpy
import sys
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from launch import report
from prelude import rank_in_environment

import pyscale as ps


def conformance_with_memory_refused() -> None:
    """Run the suite where this rank's shared memory cannot be made: no file may grow. MPI's own is there."""
    from mpi4py import MPI

    if str(MPI.COMM_WORLD.rank) in os.environ["PYSCALE_TEST_REFUSED"].split(","):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))
    sys.argv = ["worker_conformance.py", *sys.argv[2:]]
    runpy.run_path(os.path.join(os.path.dirname(__file__), "worker_conformance.py"), run_name="__main__")


def memory_demanded_and_refused() -> None:
    from mpi4py import MPI

    if MPI.COMM_WORLD.rank == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))
    try:
        ps.init()
    except ps.PyscaleError as error:
        report(str(error))


def init() -> None:
    """Whatever `init` raises."""
    try:
        ps.init()
        report({"error": None, "size": ps.world_size()})
    except Exception as error:
        report({"error": type(error).__name__, "message": str(error)})


DIFFERENT_SETTINGS: tuple[tuple[str, tuple[str, str, str]], ...] = (
    ("PYSCALE_ISA", ("", "baseline", "mmx")),  # which a process reads once
    ("PYSCALE_TRANSPORT", ("auto", "mpi", "")),
    ("PYSCALE_TRANSPORT", ("", "tcp", "")),
    ("PYSCALE_ALLREDUCE_ALGORITHM", ("", "", "eager")),
    ("timeout", ("5", "-1", "nan")),
    ("timeout", ("5", "5", "soon")),
)


def init_with_its_own() -> None:
    """Every rank with its own value of a setting: of one after another, and what it says to each."""
    rank, said = rank_in_environment(), []
    for name, values in DIFFERENT_SETTINGS:
        if name != "timeout" and values[rank]:
            os.environ[name] = values[rank]
        try:
            given: Any = 20.0
            if name == "timeout":
                given = "soon" if values[rank] == "soon" else float(values[rank])
            ps.init(timeout=given)
        except Exception as error:
            said.append(f"{type(error).__name__}: {error}")
        os.environ.pop(name, None)
    ps.init(timeout=20.0)
    total = ps.all_reduce(np.full(10_001, 0.1 * rank, np.float32), "mean")
    report({"said": said, "isa": ps.config()["isa"], "digest": zlib.crc32(total)})


def waits_by_its_own_timeout() -> None:
    """Rank 0 is soon out of patience with the last rank; the others would wait longer."""
    ps.init(timeout=0.5 if rank_in_environment() == 0 else 20.0)
    start = time.monotonic()
    if ps.rank() == ps.world_size() - 1:
        time.sleep(1.5)
        return
    try:
        ps.barrier()
    except ps.CommError as error:
        report({"error": type(error).__name__, "message": str(error), "seconds": time.monotonic() - start})
    time.sleep(0.5)  # mpirun ends the job at the first rank that fails: let the others report too


def init_of_the_programs_own_mpi() -> None:
    """`world`: pass MPI's communicator; `off`: MPI is loaded, and not initialized."""
    import mpi4py

    mpi4py.rc.initialize = sys.argv[2] == "world"
    from mpi4py import MPI

    try:
        ps.init(MPI.COMM_WORLD if sys.argv[2] == "world" else None)
        report({"error": None, "size": ps.world_size()})
    except Exception as error:
        report({"error": type(error).__name__, "message": str(error)})


def held() -> dict[str, int]:
    """What this process has open: files, and mappings of shared memory."""
    gc.collect()
    maps = Path("/proc/self/maps").read_text()
    return {"files": len(os.listdir("/proc/self/fd")), "mappings": maps.count("/memfd:pyscale")}


def again() -> None:
    """Shut down and begin anew, many times, in one job: more communicators in all than MPI has."""
    warnings.simplefilter("error")
    before = {}
    for turn in range(50):
        ps.init(timeout=20.0)
        assert ps.is_initialized()
        total = ps.all_reduce(np.full(1000 * 10 ** (turn % 4), ps.rank() + 1.0))
        assert total[-1] == sum(range(1, ps.world_size() + 1)), total
        parts = [ps.world().split(0) for _ in range(42)]
        if turn < 4 and ps.rank() == turn % ps.world_size():
            time.sleep(0.4)  # longer than a waiting rank takes to look at its peers
        ps.barrier()
        kept = ps.empty(10)
        kept[:] = turn
        ps.barrier()
        ps.shutdown()
        assert not ps.is_initialized()
        assert (kept == turn).all()
        del parts
        if turn == 3:
            before = held()
    after = held()
    assert all(after[what] <= before[what] for what in before), (before, after)
    from mpi4py import MPI

    assert MPI.COMM_WORLD.allreduce(1) == MPI.COMM_WORLD.size
    report("done")


def part_of(c: ps.Communicator, color: int, key: int = 0) -> ps.Communicator:
    part = c.split(color, key)
    assert part is not None
    return part


def splits() -> None:
    """Make more communicators than MPI has, each for a while."""
    ps.init(timeout=30.0)
    world, rank = ps.world(), ps.rank()
    lasting = part_of(world, 0)
    of_mpi = part_of(world, 0, -rank).mpi  # outlives its communicator
    for turn in range(int(sys.argv[2])):
        part = part_of(world, turn % 3 if rank else 0)  # all ranks', or some's
        if turn % 50 == 0:
            x = np.full(300 * (turn % 100), 1.0)
            assert (part.all_reduce(x) == part.size).all()
            inner = part_of(part, part.rank % 2)
            assert inner.all_reduce(x[:1]).size <= 1
            part.mpi.Barrier()
        if turn % 2:
            part.close()
            assert part.mpi is None
            part.close()  # again: nothing happens
        if turn % 100 == 1 and rank == 0:
            time.sleep(0.01)  # not all ranks let go of it before the next
    assert lasting.all_reduce(np.ones(3))[0] == world.size
    assert of_mpi.allreduce(1) == world.size
    lasting.close()
    refusal = ""
    try:
        lasting.barrier()
    except ps.CommError as error:
        refusal = str(error)
    report(refusal)


def part_of_the_job() -> None:
    """Some ranks make a world of their own; the others make another, or none."""
    from mpi4py import MPI

    rank = MPI.COMM_WORLD.rank
    part = MPI.COMM_WORLD.Split(0 if rank < 2 else 1, -rank)
    ps.init(part, timeout=20.0)
    expected = [1, 0] if rank < 2 else list(range(MPI.COMM_WORLD.size - 1, 1, -1))
    report(ps.all_gather_object(rank) == expected and ps.world_size() == part.size)


def used_before_init() -> None:
    """The functions of the module join the job by themselves."""
    total = ps.all_reduce(np.ones(3))
    report({"initialized": ps.is_initialized(), "sum": float(total[0])})


def ends_in_silence() -> None:
    """An orderly end with work left undone and arrays alive: no warning, no message."""
    globals()["leftover"] = [ps.empty(1000), ps.world().split(0), ps.all_reduce_async(np.ones(1000))]
    ps.barrier()


def closed_beside_a_call() -> None:
    """What a call was to get is not given to another while a late peer may still write there."""
    import threading

    ps.init(timeout=20.0)
    part = part_of(ps.world(), 0)
    is_first = ps.rank() == 0
    x = part.empty(1 << 18)
    x[:] = 1 + 100 * ps.rank()
    said = []

    def reduce(x: np.ndarray) -> None:
        try:
            part.all_reduce(x, out=x)
            said.append("nothing")
        except ps.CommError as error:
            said.append(str(error))

    if is_first:
        thread = threading.Thread(target=reduce, args=(x,))
        thread.start()
        time.sleep(0.3)
        part.close()
        thread.join()
        del thread
    else:
        time.sleep(0.8)
        reduce(x)
    del x
    gc.collect()
    y = ps.empty(1 << 18)
    y[:] = 7
    time.sleep(1.0)
    report({"said": said[0], "untouched": bool((y == 7).all())})


def memory_after_a_failure() -> None:
    """Only what was in use when a part failed is lost."""
    from pyscale.comm import node

    ps.init(timeout=1.0)
    world = ps.world()
    part = part_of(world, 0)
    if ps.rank():
        time.sleep(1.5)
    with contextlib.suppress(ps.CommError):
        part.barrier()
    time.sleep(0.5 * (1 - ps.rank()))
    ps.barrier()
    assert node._own is not None
    before = node._own.arena.resident_bytes
    for _ in range(10):
        x = world.empty(4 << 20)
        x[:] = 1
        world.all_reduce(x, out=x)
        del x
    report({"broken": part._transport.broken, "grown": node._own.arena.resident_bytes - before})


def forks() -> None:
    """A child can neither use its parent's job nor join it anew."""
    ps.init(timeout=20.0)
    world, said = ps.world(), []
    if ps.rank() == 0:
        read, write = os.pipe()
        if os.fork() == 0:
            for call in (lambda: world.empty(3), lambda: world.split(0), ps.barrier, ps.init):
                if call is ps.init:
                    ps.shutdown()
                try:
                    call()
                    os.write(write, b"nothing\n")
                except ps.CommError as error:
                    os.write(write, f"{error}\n".encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as lines:
            said = lines.read().splitlines()
    assert world.mpi.allgather(ps.rank()) == list(range(world.size))
    report(said)


def huge_elsewhere() -> None:
    """More than 2^31 elements in the other collectives, each on ordinary memory and then on shared."""
    half = 2**30 + 8
    ps.init(timeout=200.0)
    world, rank = ps.world(), ps.rank()
    right = []
    for make in (np.empty, ps.empty):
        if make is ps.empty and world.transport != "shm":
            continue
        large, small = make(2 * half, np.uint8), make(half, np.uint8)
        marks = [0, 1, half - 1, half, 2**31 - 1, 2**31, 2 * half - 1]
        large[:] = 5
        large[marks] = np.arange(7) if rank == 1 else 99
        world.broadcast(large, 1, out=large)
        right.append(large[marks].tolist() == list(range(7)) and int(large[half // 3]) == 5)
        small[:] = 10 + rank
        small[-1] = 20 + rank
        world.all_gather(small, out=large)
        right.append(large[[0, half - 1, half, 2 * half - 1]].tolist() == [10, 20, 11, 21])
        world.reduce_scatter(large, "sum", out=small)
        right.append(small[[0, half // 2, half - 1]].tolist() == [20 + 2 * rank] * 2 + [40 + 2 * rank])
        received = world.all_to_all(large)
        right.append(received[[0, half - 1, half, 2 * half - 1]].tolist() == 2 * [10 + rank, 20 + rank])
        del large, small, received
    report(right)


def huge() -> None:
    """More than 2^31 elements, in place: ordinary memory, then shared."""
    n = 2**31 + 9
    places = [0, 1, n // 2, 2**31 - 1, 2**31, n - 2, n - 1]
    ps.init(timeout=200.0)
    right = []
    for make in (np.empty, ps.empty):
        if make is ps.empty and ps.world().transport != "shm":
            continue
        x = make(n, np.uint8)
        x[:] = 1
        for i, place in enumerate(places):
            x[place] = 10 * (i + 1) + ps.rank()
        y = ps.all_reduce(x, out=x)
        size = ps.world_size()
        expected = [10 * (i + 1) * size + size * (size - 1) // 2 for i in range(len(places))]
        right.append([int(y[place]) for place in places] == expected)
        others = sum(np.count_nonzero(y[start : start + (1 << 24)] == size) for start in range(0, n, 1 << 24))
        right.append(int(others) == n - len(places))
        del x, y
    report(right)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
