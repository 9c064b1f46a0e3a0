"""Rows through a graph at once, or in pieces of as many as it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.graph.ports import Port
from pyscale.infer.graph.session import run

__all__ = ["batch_of", "run_in_pieces"]

Array = NDArray[Any]


def batch_of(ports: Sequence[Port]) -> int | None:
    """Give the number of rows that a graph takes at once; None of any."""
    if not ports:
        raise ValueError("model: expected a graph with an input or more, got none")
    sizes = {size for port in ports for size in port.shape[:1]} - {None}
    if len(sizes) > 1 or 0 in sizes:
        raise ValueError(f"model: expected inputs of as many rows each, got {sorted(map(str, sizes))}")
    return next(iter(sizes), None)


def run_in_pieces(
    session: Any, names: tuple[str, ...], feeds: dict[str, Array], rows: int, batch: int | None
) -> list[Array]:
    """
    Run a graph on any number of rows.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        The graph.
    names : tuple of str
        The outputs that are wanted.
    feeds : dict of numpy.ndarray
        The inputs, by their names.
    rows : int
        How many each has.
    batch : int or None
        How many the graph takes at once; None of any number but 0.

    Returns
    -------
    list of numpy.ndarray
        The outputs, with an answer a row.

    Raises
    ------
    ValueError
        The rows do not fit the graph, or its answers are not one a row.
    """
    size = batch or rows
    if rows == size and rows:
        return _checked(names, run(session, names, feeds), rows)
    size = size or 1
    pieces = []
    for begin in range(0, max(rows, 1), size):
        piece = {name: _filled(array[begin : begin + size], size) for name, array in feeds.items()}
        pieces.append(_checked(names, run(session, names, piece), size))
    return [np.concatenate(arrays)[:rows] for arrays in zip(*pieces, strict=True)]


def _checked(names: tuple[str, ...], found: list[Any], rows: int) -> list[Array]:
    for name, array in zip(names, found, strict=True):
        if array.ndim == 0 or len(array) != rows:
            raise ValueError(
                f"output {name!r}: expected an answer for each of {rows} rows, got shape {array.shape}"
            )
    return found


def _filled(rows: Array, size: int) -> Array:
    """Give `size` rows: the last one again and again, or, where there is none, zeros."""
    if len(rows) == size:
        return rows
    if not len(rows):
        return np.full((size, *rows.shape[1:]), "" if rows.dtype == object else 0, rows.dtype)
    return np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), axis=0)])
