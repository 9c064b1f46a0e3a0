"""Times `pyscale.data.exchange` beside mpi4py's Alltoallv with packing in NumPy, and checks every row of all.

    mpirun -n 2 python bench/bench_exchange.py

Each row of 1 GB, spread over the ranks, goes to a random rank. NumPy packs by a stable argsort of the
destinations, or by one take a destination. All make new arrays in each call, or all use theirs again.
The ways are taken in turn, each after a call of its own that is not timed; a time is the median over batches
of the slowest rank, and a ratio how many times as long as pyscale the best of the others took.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _sizes import human_size, parse_size
from _timing import interleave
from numpy.typing import NDArray

import pyscale as ps
from pyscale.data import exchange
from pyscale.data.rows.exchange import CHUNK_BYTES

Array = NDArray[Any]

ROW_BYTES = (4, 64, 256, 4096)
TOTAL_BYTES, QUICK_BYTES = 10**9, 10**7
REUSED = ", arrays used again"
_BLOCK = 1 << 16  # rows that are made or checked at a time
_ODD = 2654435761


class Rows:
    """What each rank sends, and must get, for rows of one size: it follows from rank and place."""

    def __init__(self, row_bytes: int, total_bytes: int, rank: int, size: int) -> None:
        self._rank, self._size = rank, size
        self.count = total_bytes // size // row_bytes
        self._words = row_bytes // 4
        self.sent = np.empty((self.count, self._words), np.uint32)
        for start in range(0, self.count, _BLOCK):
            places = np.arange(start, min(start + _BLOCK, self.count))
            self.sent[places[0] : places[-1] + 1] = self._of(rank, places)
        self.destinations = self._destinations(rank)

    def _of(self, rank: int, places: NDArray[np.int64]) -> Array:
        return (places[:, np.newaxis] * _ODD + np.arange(self._words) + rank).astype(np.uint32)

    def _destinations(self, rank: int) -> NDArray[np.int32]:
        return np.random.default_rng(rank).integers(0, self._size, self.count, np.int32)

    def count_wrong(self, got: Array) -> int:
        """Rows that are not what they should be, missing ones included."""
        at, wrong = 0, 0
        for source in range(self._size):
            mine = np.flatnonzero(self._destinations(source) == self._rank)
            for start in range(0, len(mine), _BLOCK):
                places = mine[start : start + _BLOCK]
                part = got[at : at + len(places)]
                if len(part) < len(places):
                    return self.count
                wrong += int(np.count_nonzero((part != self._of(source, places)).any(axis=1)))
                at += len(places)
        return wrong + abs(len(got) - at)


class Alltoallv:
    """mpi4py's, on rows that NumPy has packed: by `argsort`, or by one `take` a destination."""

    def __init__(self, mpi: Any, rows: Rows, pack: str, room: Array | None = None) -> None:
        self._mpi, self._rows, self._pack = mpi, rows, pack
        self._room = room  # for what is received, used again and again
        self._packed = None if room is None else np.zeros_like(rows.sent)

    def __call__(self) -> Array:
        """Return the rows received."""
        from mpi4py import MPI

        sent, to, size = self._rows.sent, self._rows.destinations, self._mpi.size
        counts = np.bincount(to, minlength=size)
        arriving = np.empty_like(counts)
        self._mpi.Alltoall(counts, arriving)
        total = int(arriving.sum())
        packed = np.empty_like(sent) if self._packed is None else self._packed
        got = np.empty((total, sent.shape[1]), sent.dtype) if self._room is None else self._room[:total]
        # mode="clip" spares NumPy a buffer of its own for the output.
        if self._pack == "argsort":
            kind: type = np.uint8 if size <= 256 else np.uint16  # which NumPy sorts by radix
            np.take(sent, np.argsort(to.astype(kind), kind="stable"), axis=0, out=packed, mode="clip")
        else:
            end = 0
            for rank, count in enumerate(counts.tolist()):
                here = packed[end : end + count]
                np.take(sent, np.flatnonzero(to == rank), axis=0, out=here, mode="clip")
                end += count
        row = MPI.BYTE.Create_contiguous(sent.strides[0]).Commit()
        self._mpi.Alltoallv([packed, counts, row], [got, arriving, row])
        row.Free()
        return got


def ways_for(rows: Rows, communicator: ps.Communicator, chunks: list[int]) -> dict[str, Callable[[], Array]]:
    """Return what is compared: with several chunk sizes, those alone."""
    if chunks:
        return {
            f"chunk_bytes {human_size(size)}": lambda size=size: exchange(  # type: ignore[misc]
                rows.sent, rows.destinations, communicator, chunk_bytes=size
            )
            for size in chunks
        }
    room = np.zeros((rows.count + rows.count // 16 + 1000, *rows.sent.shape[1:]), rows.sent.dtype)
    return {
        "pyscale": lambda: exchange(rows.sent, rows.destinations, communicator),
        "argsort": Alltoallv(communicator.mpi, rows, "argsort"),
        "take": Alltoallv(communicator.mpi, rows, "take"),
        f"pyscale{REUSED}": lambda: exchange(rows.sent, rows.destinations, communicator, out=room),
        f"argsort{REUSED}": Alltoallv(communicator.mpi, rows, "argsort", room),
        f"take{REUSED}": Alltoallv(communicator.mpi, rows, "take", room),
    }


def ratio(seconds: dict[str, float], kind: str) -> float | None:
    """Return how many times as long as pyscale the better of the others took."""
    ours = seconds.get(f"pyscale{kind}")
    return ours and min(seconds[f"{name}{kind}"] for name in ("argsort", "take")) / ours


def measure(
    quick: bool = False,
    *,
    total_bytes: int | None = None,
    row_bytes: tuple[int, ...] = ROW_BYTES,
    chunks: list[int] | None = None,
) -> list[dict[str, Any]]:
    """Compare all ways at each size of a row; collective.

    Returns
    -------
    list of dict
        On rank 0, one for each size of a row: ``row_bytes``, ``bytes`` (of all ranks), ``ranks``,
        ``transport``, ``seconds`` (median by way), and the best other way's time over pyscale's: ``ratio``
        with new arrays, ``ratio_reused`` with arrays that are used again. Empty on the other ranks.

    Raises
    ------
    AssertionError
        A way gave a wrong answer.
    """
    communicator = ps.world()
    total = total_bytes or (QUICK_BYTES if quick else TOTAL_BYTES)
    measured = []
    for size in row_bytes:
        rows = Rows(size, total, communicator.rank, communicator.size)
        ways = ways_for(rows, communicator, chunks or [])
        for name, way in ways.items():
            wrong = sum(communicator.all_gather_object(rows.count_wrong(way())))
            assert wrong == 0, f"{name}: expected all rows right, got {wrong} wrong of {size} B"
        timings = interleave(communicator, ways, seconds=0.1 if quick else 10.0, iterations=1, warm_long=True)
        seconds = {name: timing.median for name, timing in timings.items()}
        measured.append(
            {
                "row_bytes": size,
                "bytes": rows.count * size * communicator.size,
                "ranks": communicator.size,
                "transport": communicator.transport,
                "seconds": seconds,
                "ratio": ratio(seconds, ""),
                "ratio_reused": ratio(seconds, REUSED),
            }
        )
    return measured if communicator.rank == 0 else []


def main() -> None:
    """Run on every rank; rank 0 prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="10 MB and few batches: to see that it works")
    add("--bytes", type=parse_size, metavar="SIZE", help="over all ranks (1 GB)")
    add("--rows", default=",".join(map(str, ROW_BYTES)), help="sizes of a row, in bytes: multiples of 4")
    add("--chunks", help=f"compare these chunk_bytes with each other instead (the default is {CHUNK_BYTES})")
    add("--json", type=Path, metavar="FILE", help="write what was measured")
    options = parser.parse_args()
    sizes = tuple(parse_size(text) for text in options.rows.split(","))
    if any(size <= 0 or size % 4 for size in sizes):
        parser.error(f"--rows: expected multiples of 4, got {options.rows}")
    chunks = [parse_size(text) for text in options.chunks.split(",")] if options.chunks else []
    measured = measure(options.quick, total_bytes=options.bytes, row_bytes=sizes, chunks=chunks)
    for result in measured:
        title = f"{result['bytes'] / 1e6:.0f} MB in rows of {human_size(result['row_bytes'])}"
        print(f"{title}, {result['ranks']} ranks, {result['transport']}")
        for name, seconds in result["seconds"].items():
            print(f"{seconds * 1e3:>10.1f} ms  {result['bytes'] / seconds / 1e9:>6.2f} GB/s  {name}")
        if not chunks:
            print(f"{result['ratio']:>10.2f} times as long: the best of the others")
            print(f"{result['ratio_reused']:>10.2f} times as long: the best of the others{REUSED}")
    if options.json and measured:
        options.json.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
    sys.exit()
