"""What ranks tell each other of their calls, and what they say where those differ."""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pyscale.comm.transports.base import Array
from pyscale.errors import CommMismatch

HASH_BYTES = 8  # at the beginning of a record
RECORD_BYTES = 256  # of one call: as many for all, so that ranks that differ still understand each other
_HEADER = struct.Struct("=QH")  # the hash of the call, the length of the text
_TEXT_BYTES = RECORD_BYTES - _HEADER.size


def describe(
    collective: str,
    x: Array | None,
    *,
    op: str = "",
    root: int = -1,
    rows: bool = False,
    asks_for_counts: bool = False,
) -> str:
    """Return the call as messages have it: ``all_reduce(op=sum, float32, shape (4, 3))``.

    `x` is the user's array, None where the call has none.
    """
    kind = None if x is None else (x.dtype, x.shape[1:] if rows else x.shape)
    return _described(collective, kind, op, root, rows, asks_for_counts)


@functools.lru_cache(1024)
def _described(collective: str, kind: Any, op: str, root: int, rows: bool, asks_for_counts: bool) -> str:
    parts = [f"op={op}"] if op else []
    if root >= 0:
        parts.append(f"root={root}")
    if asks_for_counts:
        parts.append("recv_counts=None")
    if kind is not None:
        dtype, shape = kind
        parts += [str(dtype), f"{'rows of ' * rows}shape {shape}"]
    return f"{collective}({', '.join(parts)})"


@functools.lru_cache(1024)
def record(call: str) -> Array:
    """Return what the others are told of a call."""
    text = call.encode()
    kept = text[:_TEXT_BYTES]
    digest = int.from_bytes(hashlib.blake2b(text, digest_size=HASH_BYTES).digest(), "little")
    return np.frombuffer((_HEADER.pack(digest, len(kept)) + kept).ljust(RECORD_BYTES, b"\0"), np.uint8)


def is_one_call(records: Array) -> bool:
    """Return whether all records (one a row) are of the same call."""
    return bool((records[:, :HASH_BYTES] == records[0, :HASH_BYTES]).all())


def mismatch(records: Array, call: str) -> CommMismatch:
    """Return the error of calls that differ; `records` are in rank order, `call` is this rank's own."""
    said = []
    for rank, row in enumerate(records):
        _, length = _HEADER.unpack_from(row)
        text = row[_HEADER.size : _HEADER.size + length].tobytes().decode(errors="replace")
        said.append((text, rank))
    name = call.partition("(")[0]
    return CommMismatch(f"{name}: expected the same call on every rank, got {who_said(sorted(said))}")


def who_said(said: Iterable[tuple[str, int]]) -> str:
    """Return what ranks have said, each text once: ``auto on ranks 0, 2; mpi on rank 1``."""
    speakers: dict[str, list[int]] = {}
    for text, rank in said:
        speakers.setdefault(text, []).append(rank)
    return "; ".join(f"{text} on {name_ranks(ranks)}" for text, ranks in speakers.items())


def name_ranks(ranks: Sequence[int]) -> str:
    """Return ``rank 3``, or ``ranks 1, 2``."""
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"


def check_counts(tables: Array) -> None:
    """Raise CommMismatch unless what each rank sends is what the receiver expects.

    ``tables[r]`` is rank r's: the rows that it sends to each rank, and those that it expects from each.
    """
    wrong = np.argwhere(tables[:, 0, :] != tables[:, 1, :].T)
    if len(wrong):
        sender, receiver = map(int, wrong[0])
        raise CommMismatch(
            f"all_to_all: expected {tables[receiver, 1, sender]} rows at rank {receiver} "
            f"from rank {sender}, which sends {tables[sender, 0, receiver]}"
        )
