"""What a communicator asks of a transport."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from pyscale.comm.transports.shm import ShmTransport

Array = np.ndarray[Any, np.dtype[Any]]


class Transport(Protocol):
    """The collectives on C-contiguous arrays of a supported dtype.

    Sizes, dtypes and overlaps were checked by the caller on this rank; what the other ranks called is checked
    here, and differing calls raise `CommMismatch` on every rank. A rank that dies, leaves or is late raises
    `CommError` or `CommTimeout`.
    """

    name: str

    @property
    def local(self) -> ShmTransport | None:
        """The ranks that share memory with this one; None where it is alone."""

    @property
    def broken(self) -> bool:
        """Whether a rank has failed, so that nothing moves any more."""

    def all_reduce(self, x: Array, op: str, out: Array) -> None:
        """Reduce `x` over the ranks into `out`, which may be `x`."""

    def reduce_scatter(self, x: Array, op: str, out: Array) -> None:
        """Reduce block `rank` of `x` (``size`` equal blocks) into `out`."""

    def all_gather(
        self, x: Array, out: Array, call: str = "all_gather", rows_of: Array | None = None
    ) -> None:
        """Put every rank's `x` into `out`, in rank order.

        `call` is what the user called; `rows_of` what was given to an all_to_all that asks for its counts.
        """

    def broadcast(self, x: Array, root: int, call: str = "broadcast") -> None:
        """Put root's `x` into every rank's `x`; `call` is what the user called."""

    def all_to_all(self, x: Array, send_counts: list[int], out: Array, receive_counts: list[int]) -> None:
        """Send rows of `x` to each rank, and put those received into `out`, both in rank order."""

    def exchange(self, rows: Array, destinations: Array, outputs: Sequence[Array], chunk_bytes: int) -> None:
        """Send each row to the rank that it is for; what comes from rank i fills the contiguous `outputs[i]`.

        Rows are along the first axis, without gaps in them, and of any dtype without Python objects. Memory
        beyond these arrays is at most `chunk_bytes`.
        """

    def barrier(self) -> None:
        """Return once every rank has called it."""

    def check(self) -> None:
        """Raise CommError where a rank of this node has died or given up."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return an array where this transport moves it best."""

    def close(self) -> None:
        """Give back what the transport holds; its peers do not wait for it."""
