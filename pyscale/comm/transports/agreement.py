"""What ranks on several nodes tell each other before a collective: who calls what, and small payloads.

One record a rank, of a fixed size, so that ranks that call different things still understand each other.
"""

from __future__ import annotations

import struct

import numpy as np

from pyscale.comm.transports.base import Array
from pyscale.errors import CommMismatch

RECORD_BYTES = 1024
_HEADER_BYTES = 256
PAYLOAD_BYTES = RECORD_BYTES - _HEADER_BYTES
_TEXT_BYTES = _HEADER_BYTES - struct.calcsize("=QH")


def describe(collective: str, x: Array | None, *, op: str = "", root: int = -1, rows: bool = False) -> str:
    """Return the call as messages have it: ``all_reduce(op=sum, float32, shape (4, 3))``.

    `x` is the user's array, None where the call has none.
    """
    parts = [f"op={op}"] if op else []
    if root >= 0:
        parts.append(f"root={root}")
    if x is not None:
        parts += [str(x.dtype), f"rows of shape {x.shape[1:]}" if rows else f"shape {x.shape}"]
    return f"{collective}({', '.join(parts)})"


def pack(call: str, payload: Array | None) -> Array:
    """Return a rank's record."""
    text = call.encode()
    record = np.zeros(RECORD_BYTES, np.uint8)
    kept = text[:_TEXT_BYTES]
    header = struct.pack("=QH", _hash(text), len(kept)) + kept
    record[: len(header)] = np.frombuffer(header, np.uint8)
    if payload is not None:
        raw = payload.reshape(-1).view(np.uint8)
        record[_HEADER_BYTES : _HEADER_BYTES + raw.size] = raw
    return record


def check(records: Array, call: str) -> None:
    """Raise CommMismatch unless all records (one a row, in rank order) are of `call`, this rank's own."""
    hashes = [record[:8].tobytes() for record in records]
    if all(value == hashes[0] for value in hashes):
        return
    callers: dict[str, list[int]] = {}
    for rank, record in enumerate(records):
        (length,) = struct.unpack("=H", record[8:10].tobytes())
        callers.setdefault(record[10 : 10 + length].tobytes().decode(errors="replace"), []).append(rank)
    said = "; ".join(
        f"{text} on {'rank' if len(ranks) == 1 else 'ranks'} {', '.join(map(str, ranks))}"
        for text, ranks in sorted(callers.items())
    )
    raise CommMismatch(f"{call.partition('(')[0]}: expected the same call on every rank, got {said}")


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


def payloads(records: Array, like: Array) -> list[Array]:
    """Return every rank's payload, as arrays of the dtype and shape of `like`."""
    return [
        record[_HEADER_BYTES : _HEADER_BYTES + like.nbytes].view(like.dtype).reshape(like.shape)
        for record in records
    ]


def _hash(text: bytes) -> int:
    import hashlib

    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
