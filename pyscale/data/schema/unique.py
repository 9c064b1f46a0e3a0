"""Which rows hold a value that another row holds too, on any rank.

Memory, a row: 8 bytes for types of up to 64 bits, 16 for all others, and 60 more for each row at fault; and
150 MB beside, since hashes are exchanged a slice of the hash space after the other. Equal first words make
rows suspects, and equal second words prove it: 128 bits, so that a false alarm among 10^12 rows has a
probability below 10^-14, unless the values were made to collide.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pyscale.comm import Communicator
from pyscale.data.schema.hashing import Hashes, Words

SLICE = 1 << 21  # hashes of a rank that are exchanged at a time

Mask = npt.NDArray[np.bool_]


@dataclass
class Seen:
    """The hashes of a rank's rows, batch by batch."""

    batches: list[Hashes] = field(default_factory=list)

    def add(self, batch: Hashes) -> None:
        """Take up a batch."""
        self.batches.append(batch)

    def repeated(self, comm: Communicator | None) -> list[Mask]:
        """Return for each batch which of its rows are not the only ones of their value. Collective."""
        suspects = _repeated_words([batch.first for batch in self.batches], comm)
        masks = [_is_in(batch.first, suspects) for batch in self.batches]
        pairs = [
            np.stack([batch.first[mask], batch.second[mask]], axis=1)
            for batch, mask in zip(self.batches, masks, strict=True)
            if batch.second is not None
        ]
        if not _anyone(bool(pairs), comm):
            return masks
        proven = iter(_repeated_pairs(pairs, comm))
        for batch, mask in zip(self.batches, masks, strict=True):
            if batch.second is not None:
                mask[mask] = next(proven)
        return masks


def _repeated_words(batches: list[Words], comm: Communicator | None) -> Words:
    """Return the words, sorted, that this rank has and that occur more than once on all ranks."""
    rows = sum(map(len, batches))
    most = rows if comm is None else int(comm.all_reduce(np.array([rows]), "max")[0])
    slices = 1 << max(0, -(-most // SLICE) - 1).bit_length()
    found = []
    for number in range(slices):
        low_bits = np.uint64(slices - 1)
        some = [batch[(batch & low_bits) == np.uint64(number)] for batch in batches]
        words = np.sort(np.concatenate([np.empty(0, np.uint64), *some]))
        firsts = np.flatnonzero(np.append(True, words[1:] != words[:-1])[: len(words)])
        distinct, counts = words[firsts], np.diff(firsts, append=len(words))
        found.append(distinct[(counts > 1) | _on_several_ranks(distinct, comm)])
    return np.sort(np.concatenate(found))


def _on_several_ranks(distinct: Words, comm: Communicator | None) -> Mask:
    """Return which of the words, or pairs of words, another rank has too. Collective.

    They are sorted and each is there once: so a value that all rows have is sent once a rank.
    """
    if comm is None or comm.size == 1:
        return np.zeros(len(distinct), bool)
    # A rank judges a range of the first words. Sorted, those for it lie together.
    starts = np.array([-(-(rank << 64) // comm.size) for rank in range(1, comm.size)], np.uint64)
    borders = np.searchsorted(distinct if distinct.ndim == 1 else distinct[:, 0], starts)
    sends = np.diff(np.concatenate([[0], borders, [len(distinct)]])).tolist()
    receives = comm.all_to_all(np.array(sends)).tolist()
    received = comm.all_to_all(distinct, sends, receives)
    told = _shared(received) if distinct.ndim == 1 else _shared_pairs(received)
    return comm.all_to_all(told, receives, sends)  # type: ignore[no-any-return]


def _shared(words: Words) -> Mask:
    in_order = np.sort(words)
    return _is_in(words, in_order[1:][in_order[1:] == in_order[:-1]])


def _shared_pairs(pairs: Words) -> Mask:
    order, group = _groups(pairs)
    mask = np.empty(len(pairs), bool)
    mask[order] = (np.bincount(group) > 1)[group]
    return mask


def _is_in(words: Words, table: Words) -> Mask:
    """Return which of the words are in a sorted table."""
    if not table.size:
        return np.zeros(len(words), bool)
    order = np.argsort(words)  # in order, searches run through the table instead of jumping about in it
    in_order = words[order]
    places = np.minimum(np.searchsorted(table, in_order), len(table) - 1)
    mask = np.empty(len(words), bool)
    mask[order] = table[places] == in_order
    return mask


def _repeated_pairs(batches: list[Words], comm: Communicator | None) -> list[Mask]:
    """Return which pairs of words occur more than once on all ranks."""
    pairs = np.concatenate([np.empty((0, 2), np.uint64), *batches])
    order, group = _groups(pairs)
    distinct = pairs[order[np.diff(group, prepend=-1) > 0]]
    repeated = (np.bincount(group) > 1) | _on_several_ranks(distinct, comm)
    mask = np.empty(len(pairs), bool)
    mask[order] = repeated[group]
    return np.split(mask, np.cumsum([len(batch) for batch in batches])[:-1]) if batches else []


def _groups(pairs: Words) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return an order in which equal pairs are together, and the number of each one's group in that order."""
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    in_order = pairs[order]
    is_new = (in_order[1:] != in_order[:-1]).any(axis=1)
    return order, np.concatenate([np.zeros(min(1, len(pairs)), np.int64), np.cumsum(is_new)])


def _anyone(value: bool, comm: Communicator | None) -> bool:
    return value if comm is None else bool(comm.all_reduce(np.array([value]), "max")[0])
