"""What a caller gets for a batch: the arrays that were made, or tensors of torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from pyscale.data.loading.buffers import Columns


class Delivery:
    """Batches as they are: arrays."""

    def check(self, batch: Any) -> None:
        """Raise TypeError where batches like one without rows could not be delivered."""

    def batch(self, batch: Any) -> Any:
        """Return a batch, of which the structure is the source's."""
        return batch

    def cut(self, columns: Columns, bounds: Sequence[int]) -> Iterator[Any]:
        """Return the batches that columns hold one after the other; each begins where the last ends."""
        for low, high in pairwise(bounds):
            yield {name: array[low:high] for name, array in columns.items()}


class Tensors(Delivery):
    """Tensors of torch.

    Parameters
    ----------
    device : str or torch.device
        To a GPU batches are copied from pinned memory, while the caller goes on.
    """

    def __init__(self, device: Any) -> None:
        try:
            import torch
        except ImportError as error:
            raise ImportError(
                "Loader: expected torch for a device, got none: pip install 'pyscale-ml[torch]'"
            ) from error
        self._torch = torch
        self._device = torch.device(device)

    def check(self, batch: Any) -> None:
        """Raise TypeError where torch has no such tensors."""
        arrays = {"": batch}
        if isinstance(batch, dict):
            arrays = {f"[{name!r}]": array for name, array in batch.items()}
        elif isinstance(batch, tuple):
            arrays = {f"[{i}]": array for i, array in enumerate(batch)}
        for name, array in arrays.items():
            try:
                self._opened(array)
            except (TypeError, ValueError) as error:
                raise TypeError(
                    f"Loader: source{name}: expected numbers of which torch has tensors, got {array.dtype}"
                ) from error

    def batch(self, batch: Any) -> Any:
        """Return a batch of tensors."""
        if isinstance(batch, dict):
            return {name: self._tensor(array) for name, array in batch.items()}
        if isinstance(batch, tuple):
            return tuple(self._tensor(array) for array in batch)
        return self._tensor(batch)

    def cut(self, columns: Columns, bounds: Sequence[int]) -> Iterator[Any]:
        """Return batches of tensors."""
        if self._device.type == "cpu":
            # All parts at once: the indexing of a tensor in Python costs several times as much a part.
            sizes = np.diff(bounds).tolist()
            parts = zip(*(self._tensor(array).split(sizes) for array in columns.values()), strict=True)
            return (dict(zip(columns, part, strict=True)) for part in parts)
        return map(self.batch, super().cut(columns, bounds))

    def _tensor(self, array: Any) -> Any:
        array = self._opened(array)
        if self._device.type == "cuda":
            return array.pin_memory().to(self._device, non_blocking=True)
        return array.to(self._device)

    def _opened(self, array: Any) -> Any:
        return self._torch.from_numpy(array) if isinstance(array, np.ndarray) else array


def delivery(device: Any) -> Delivery:
    """Return what makes of a batch what the caller gets."""
    return Delivery() if device is None else Tensors(device)
