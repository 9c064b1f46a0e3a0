"""Rows between ranks, by name: `mpirun -n 3 python worker_exchange.py NAME`. The last rank is at fault."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from launch import note, report
from worker_kills import start_killer

import pyscale as ps
from pyscale.comm.transports import shm
from pyscale.data import Permutation, exchange, shuffle_in_memory

DTYPES: tuple[Any, ...] = (
    np.float32,
    np.uint8,
    ml_dtypes.bfloat16,
    "M8[us]",
    "S5",
    np.complex128,
    [("id", "i4"), ("weight", "f8")],
    ">i4",
    np.bool_,
    "V7",
)
SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (5, 7), (1,), (0,), (997,))
TARGETS = (np.int64, np.int8, np.uint16, np.int32, np.uint64)


def random_rows(rng: np.random.Generator, n: int, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    rows = np.empty((n, *shape), dtype)
    if rows.size:
        rows.reshape(-1).view(np.uint8)[...] = rng.integers(0, 256, rows.nbytes)
    return rows


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def expected(rank: int, rows: list[np.ndarray], targets: list[np.ndarray]) -> np.ndarray:
    parts = [x[to == rank] for x, to in zip(rows, targets, strict=True)]
    return np.concatenate(parts).astype(rows[0].dtype)  # which concatenate gives the machine's byte order


def reference() -> None:
    """Whatever the rows, the destinations and the chunk: what NumPy gives that sees all ranks' rows."""
    rank, size, right = ps.rank(), ps.world_size(), []
    for case in range(60):
        rng = np.random.default_rng(case)
        dtype, shape = DTYPES[case % len(DTYPES)], SHAPES[case % len(SHAPES)]
        # Windows of a few bytes: of few rows, for each window is a barrier.
        chunk_bytes = (1 << 12, 64, 1 << 16, 64 << 20)[case // 2 % 4]
        most_rows = 20 if chunk_bytes == 64 else 700
        if chunk_bytes < 1 << 16 and shape == (997,):
            shape = (11,)
        # An empty rank now and then, rows for all, for one rank alone, and for a rank that has none itself.
        lengths = [int(rng.integers(0, most_rows)) * (rng.random() > 0.2) for _ in range(size)]
        rows = [random_rows(rng, n, dtype, shape) for n in lengths]
        kind = TARGETS[case % len(TARGETS)]
        most = size if rng.random() < 0.7 else 1
        targets = [((rng.integers(0, most, n) + case) % size).astype(kind) for n in lengths]
        vars(shm)["_LARGE_EXCHANGE"] = 0 if case % 4 == 0 else 128 << 20
        x, to = rows[rank], targets[rank]
        right.append(same(exchange(x, to, chunk_bytes=chunk_bytes), expected(rank, rows, targets)))
        room = np.empty((sum(lengths) + 3, *x.shape[1:]), x.dtype)
        got = exchange(x, to, out=room if rank % 2 else None, chunk_bytes=chunk_bytes)
        right.append(same(got, expected(rank, rows, targets)) and (rank % 2 == 0 or got.base is room))
        # Backwards, rows with gaps between them and in them, and a table.
        wide = np.repeat(x, 2, axis=0)[::2]
        table = {"rows": x[::-1], "place": np.arange(len(x))[::-1], "wide": wide}
        if shape == (5, 7):
            table["turned"] = np.swapaxes(np.ascontiguousarray(np.swapaxes(x, 1, 2)), 1, 2)
        got = exchange(table, to[::-1], chunk_bytes=chunk_bytes)
        right.append(list(got) == list(table))
        backwards = [part[::-1] for part in targets]
        right.append(same(got["rows"], expected(rank, [part[::-1] for part in rows], backwards)))
        right.append(same(got["place"], expected(rank, [np.arange(n)[::-1] for n in lengths], backwards)))
        right.append(same(got["wide"], expected(rank, rows, backwards)))
        if "turned" in table:
            right.append(same(got["turned"], got["wide"]))
    report({"right": right, "transport": ps.world().transport})


def shuffles() -> None:
    """The same order on any number of ranks, whatever each of them has; shares are even."""
    rank, size, digests = ps.rank(), ps.world_size(), []
    for n in (0, 1, 2, 7, 1000, 70_000):
        everything = np.arange(3 * n, dtype=np.int32).reshape(n, 3)
        cuts = np.sort(np.random.default_rng(n + size).integers(0, n + 1, size - 1)).tolist()
        start, stop = [0, *cuts][rank], [*cuts, n][rank]
        mine = {"x": everything[start:stop], "name": np.arange(start, stop).astype("S6")}
        for seed, epoch in ((0, 0), (5, 3)):
            got = shuffle_in_memory(mine, seed=seed, epoch=epoch, chunk_bytes=1 << 16)
            parts = ps.all_gather_object(got)
            lengths = [len(part["x"]) for part in parts]
            assert max(lengths) - min(lengths) <= 1, lengths
            assert lengths == sorted(lengths, reverse=True), lengths
            whole = np.concatenate([part["x"] for part in parts])
            order = Permutation(n, seed=seed, epoch=epoch)[:]
            assert same(whole, everything[order])
            assert same(np.concatenate([part["name"] for part in parts]), order.astype("S6"))
            digests.append(zlib.crc32(whole.tobytes()))
    report(digests)


def refused() -> None:
    """What is wrong on the last rank is raised on all; then rows move as if nothing had been."""
    rank, size = ps.rank(), ps.world_size()
    last = rank == size - 1
    x, to, said = np.ones((4, 3), np.float32), np.arange(4) % size, []

    def at_last(good: Any, bad: Any) -> Any:
        return bad if last else good

    calls: dict[str, Callable[[], Any]] = {
        "dtype": lambda: exchange(x.astype(at_last(np.float32, np.float64)), to),
        "shape": lambda: exchange(at_last(x, x[:, :2]), to),
        "chunk": lambda: exchange(x, to, chunk_bytes=at_last(1000, 2000)),
        "small chunk": lambda: exchange(x, to, chunk_bytes=at_last(1000, 63)),
        "float chunk": lambda: exchange(x, to, chunk_bytes=at_last(1000, 1e6)),
        "columns": lambda: exchange(at_last({"a": x, "b": x}, {"a": x, "c": x}), to),
        "table or array": lambda: exchange(at_last(x, {"a": x}), to),
        "column lengths": lambda: exchange({"a": x, "b": at_last(x, x[:2])}, to),
        "column names": lambda: exchange(at_last({"a": x}, {1: x}), to),
        "too large": lambda: exchange(x, at_last(to, np.array([0, 0, size, 0]))),
        "below 0": lambda: exchange(x, at_last(to, np.array([0, 0, 0, -1], np.int8))),
        "floats": lambda: exchange(x, at_last(to, to.astype(np.float32))),
        "too few": lambda: exchange(x, at_last(to, to[:3])),
        "two axes": lambda: exchange(x, at_last(to, to[:, np.newaxis])),
        "objects": lambda: exchange(at_last(x, np.array([None] * 4)), to),
        "0-d": lambda: exchange(at_last(x, np.float32(1)), to),
        "list": lambda: exchange(at_last(x, [1.0, 2.0, 3.0, 4.0]), to),
        "masked": lambda: exchange(at_last(x, np.ma.masked_array(x, x > 0)), to),
        "small out": lambda: exchange(
            x, np.full(4, size - 1), out=np.empty((4 * size - last, 3), np.float32)
        ),
        "other out": lambda: exchange(x, to, out=np.empty((4 * size, 3), at_last(np.float32, np.int32))),
        "seed": lambda: shuffle_in_memory(x, seed=at_last(0, 1)),
        "bad seed": lambda: shuffle_in_memory(x, seed=at_last(0, -1)),
        "shuffled dtype": lambda: shuffle_in_memory(at_last(x, x.astype(int))),
    }
    for name, call in calls.items():
        try:
            call()
            said.append((name, "nothing", ""))
        except (TypeError, ValueError, IndexError, ps.CommError) as error:
            said.append((name, type(error).__name__, str(error)))
        assert exchange(np.full(size, rank), np.arange(size)).tolist() == list(range(size)), name
    report(said)


def no_memory() -> None:
    """One rank is sent more than it may have."""
    last = ps.rank() == ps.world_size() - 1
    if last:
        limit = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + (64 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    n = 0 if last else 128 << 20
    rows, to = np.broadcast_to(np.uint8(7), n), np.broadcast_to(np.int8(ps.world_size() - 1), n)
    try:
        exchange(rows, to)
        report("nothing")
    except MemoryError as error:
        report(str(error))


def changed_meanwhile() -> None:
    """Destinations that another thread changes under way end the call, and corrupt nothing."""
    n = 400_000
    to = np.zeros(n, np.int32)
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            to[n // 2 :] = 1 - to[n // 2]

    thread = threading.Thread(target=change)
    ps.barrier()
    if ps.rank() == 0:
        thread.start()
    errors = 0
    try:
        for _ in range(200):
            exchange(np.ones((n, 4), np.float32), to)
    except (ValueError, IndexError, ps.CommError):
        errors = 1
    stop.set()
    if ps.rank() == 0:
        thread.join()
    report(errors)
    time.sleep(0.5)  # mpirun ends the job at the first rank that fails: let the others report too


def peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def memory() -> None:
    """Beyond what goes in and comes out, no more than chunk_bytes."""
    chunk_bytes, n = map(int, sys.argv[2:])
    size = ps.world_size()
    rows = np.ones((n, 1000), np.uint8)
    # Half of all goes to rank 0.
    to = np.where(np.arange(n) % 2, np.arange(n) // 2 % size, 0).astype(np.int16)
    exchange(rows[:5000], to[:5000], chunk_bytes=chunk_bytes)  # what is loaded and mapped at first use
    ps.barrier()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what there is now
    before = peak_bytes()
    got = exchange(rows, to, chunk_bytes=chunk_bytes)
    report({"beyond": peak_bytes() - before - got.nbytes, "received": got.nbytes})


def killed() -> None:
    """The last rank is killed at some instant; the others, which exchange rows, hear of it."""
    rank_of = int(os.environ.get("PMI_RANK", "0"))
    victim = int(os.environ["PMI_SIZE"]) - 1
    killer = start_killer(0, float(sys.argv[2])) if rank_of == victim else -1
    ps.init(timeout=30.0)
    size = ps.world_size()
    rows, to = np.ones((200_000, 16), np.float32), np.arange(200_000) % size
    exchange(rows, to)
    ps.barrier()
    if ps.rank() == victim:
        os.write(killer, b"!")
    start = time.monotonic()
    try:
        while time.monotonic() < start + 20:
            exchange(rows, to)
        report({"error": "nothing", "message": "", "seconds": 20.0})
    except ps.CommError as error:
        seconds = time.monotonic() - start
        report({"error": type(error).__name__, "message": str(error), "seconds": seconds})
    time.sleep(0.5)  # mpirun ends the job at the first rank that fails: let the others report too


def late() -> None:
    ps.init(timeout=1.0)
    last = ps.rank() == ps.world_size() - 1
    if last:
        time.sleep(2.0)
    try:
        exchange(np.ones(10), np.zeros(10, np.int8))
        report("nothing")
    except ps.CommTimeout as error:
        report(str(error))
    except ps.CommError as error:
        report(f"CommError: {error}")
    time.sleep(0.5)
    if last:
        os._exit(0)  # MPI_Finalize would wait for those who have given up


def other_call() -> None:
    """One rank calls something else."""
    try:
        if ps.rank() == ps.world_size() - 1:
            ps.barrier()
        else:
            exchange(np.ones(10), np.zeros(10, np.int8))
        report("nothing")
    except ps.CommMismatch as error:
        report(str(error))


def interrupted() -> None:
    """Ctrl-C ends the wait for a rank that does not come."""
    ps.init(timeout=30.0)
    ps.barrier()
    if ps.rank() == ps.world_size() - 1:
        note("ready")
        time.sleep(3.0)
        report("awake")
        os._exit(0)
    try:
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        exchange(np.ones(10), np.zeros(10, np.int8))
        report("nothing")
    except KeyboardInterrupt:
        report("KeyboardInterrupt")
    except ps.CommError as error:
        report(str(error))
    os._exit(0)


def huge() -> None:
    """More than 2^31 rows, from the first rank to the last."""
    last, n = ps.world_size() - 1, 2**31 + 9
    places = [0, 1, n // 2, 2**31 - 1, 2**31, n - 1]
    rows = np.ones(n if ps.rank() == 0 else 0, np.uint8)
    if ps.rank() == 0:
        rows[places] = np.arange(2, 2 + len(places))
    got = exchange(rows, np.broadcast_to(np.uint8(last), len(rows)))
    right = len(got) == (n if ps.rank() == last else 0)
    if ps.rank() == last:
        others = sum(np.count_nonzero(got[start : start + (1 << 24)] == 1) for start in range(0, n, 1 << 24))
        right &= got[places].tolist() == list(range(2, 2 + len(places))) and others == n - len(places)
    report(bool(right))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
