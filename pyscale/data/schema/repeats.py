"""The rows of a pass over data whose values must differ, and do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pyscale.comm import Communicator
from pyscale.data.schema.checks import Rows
from pyscale.data.schema.hashing import combined, family_of, hashes
from pyscale.data.schema.tally import Place
from pyscale.data.schema.unique import Seen
from pyscale.data.schema.values import Batch, Values, in_common


class Repeats:
    """Keeps the hashes of a column, or of several together, and where they are from.

    Memory: that of `unique`, and a bit a row of batches in which some rows have null.
    """

    def __init__(self) -> None:
        self._seen = Seen()
        self._batches: list[tuple[Place, int, npt.NDArray[np.uint8] | None]] = []
        self._families: set[tuple[str, ...]] = set()

    def add(self, batch: Batch, columns: Sequence[Values]) -> None:
        """Take up the rows of a batch in which none of the columns is null.

        Raises
        ------
        TypeError
            Values that cannot be compared.
        """
        length = len(batch.data)
        together = in_common(columns, length)
        if not len(together[0].array):
            return
        hashed = [hashes(column.array) for column in together]
        self._families.add(tuple(family_of(column.array.type) for column in together))
        rows, present = together[0].rows, None
        if rows is not None:
            mask = np.zeros(length, bool)
            mask[rows] = True
            present = np.packbits(mask)
        self._seen.add(hashed[0] if len(hashed) == 1 else combined(hashed))
        self._batches.append((batch.place, batch.first_row, present))

    def mixed(self, comm: Communicator | None) -> list[str]:
        """Return the types of values that cannot be compared with each other; ``[]`` if all can. Collective.

        So it is in columns of no certain type: an integer has another hash than the float that equals it.
        """
        families = self._families
        if comm is not None and comm.size > 1:
            families = set().union(*comm.all_gather_object(families))
        return sorted(" and ".join(family) for family in families) if len(families) > 1 else []

    def find(self, comm: Communicator | None) -> Iterator[tuple[Place, Rows]]:
        """Yield the rows, by their number in the file, whose values other rows of any rank have too.

        Collective, before the first is yielded.
        """
        masks = self._seen.repeated(comm)
        for (place, first_row, present), mask in zip(self._batches, masks, strict=True):
            rows = np.flatnonzero(mask)
            if present is not None:
                rows = np.flatnonzero(np.unpackbits(present))[rows]
            if rows.size:
                yield place, first_row + rows
