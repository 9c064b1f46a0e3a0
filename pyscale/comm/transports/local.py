"""One process: every collective is a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyscale import _core
from pyscale.comm.transports.base import Array


class LocalTransport:
    """A communicator of one rank. Reductions go through the same kernels, so that NaNs come out alike."""

    name = "self"
    broken = False
    local = None

    def all_reduce(self, x: Array, op: str, out: Array) -> None:
        _core.fold(op, [x], out)

    def reduce_scatter(self, x: Array, op: str, out: Array) -> None:
        _core.fold(op, [x], out)

    def all_gather(
        self, x: Array, out: Array, call: str = "all_gather", rows_of: Array | None = None
    ) -> None:
        out.reshape(-1)[...] = x.reshape(-1)

    def broadcast(self, x: Array, root: int, call: str = "broadcast") -> None:
        pass

    def all_to_all(self, x: Array, send_counts: list[int], out: Array, receive_counts: list[int]) -> None:
        out[...] = x

    def exchange(self, rows: Array, destinations: Array, outputs: Sequence[Array], chunk_bytes: int) -> None:
        outputs[0][...] = rows

    def barrier(self) -> None:
        pass

    def check(self) -> None:
        pass

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        return np.empty(shape, dtype)

    def close(self) -> None:
        pass
