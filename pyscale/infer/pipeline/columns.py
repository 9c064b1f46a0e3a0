"""Scalers and imputers, checked, and run one after the other in one copy of the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.reading import refuse
from pyscale.infer.pipeline.stages import Columnwise, Imputer, Scaler

__all__ = ["checked", "runner", "widths"]

Array = NDArray[Any]
# Takes rows, and whether they may be written to; gives rows that may be.
_Step = Callable[[Array, bool], Array]

_FLOATS = tuple(np.dtype(code) for code in ("f2", "f4", "f8"))
_OPERATIONS = (
    ("subtract", np.subtract), ("divide", np.divide), ("multiply", np.multiply), ("add", np.add),
)  # fmt: skip


def checked(stage: Columnwise, where: str) -> Columnwise:
    """Give a stage with copies of its arrays; ValueError of what is none, or does not fit together."""
    if isinstance(stage, Scaler):
        arrays = {
            name: _column(getattr(stage, name), f"{where}.{name}", "f")
            for name, _ in _OPERATIONS
            if getattr(stage, name) is not None
        }
        sizes = {len(array) for array in arrays.values()}
        if len(sizes) != 1:
            refuse(where, "numbers of as many columns each, of one operation or more", sorted(sizes))
        clip = stage.clip
        if clip is not None:
            if not isinstance(clip, list | tuple) or len(clip) != 2:
                refuse(f"{where}.clip", "two ascending numbers", clip)
            low, high = (float(_number(end, f"{where}.clip")) for end in clip)
            if not low <= high:
                refuse(f"{where}.clip", "two ascending numbers", clip)
            clip = low, high
        return replace(stage, **arrays, clip=clip, narrow=bool(stage.narrow))
    fill = _column(stage.fill, f"{where}.fill", "fiu")
    kept = stage.kept
    if kept is not None:
        kept = np.array(kept)
        if kept.dtype != np.bool_ or kept.shape != fill.shape or not kept.any():
            refuse(f"{where}.kept", f"{len(fill)} of bool, one of them true", f"{kept.dtype} {kept.shape}")
    return Imputer(fill, _number(stage.missing, f"{where}.missing"), kept, bool(stage.whole))


def widths(stage: Columnwise) -> tuple[int, int]:
    """Say how many columns go into a checked stage, and how many come out."""
    if isinstance(stage, Imputer):
        return len(stage.fill), len(stage.fill) if stage.kept is None else int(stage.kept.sum())
    found = next(array for name, _ in _OPERATIONS if (array := getattr(stage, name)) is not None)
    return len(found), len(found)


def runner(stages: Sequence[Columnwise]) -> Callable[[Array], Array]:
    """Make of checked stages a function of rows, which never writes to those that it is given."""
    steps = [step for stage in stages for step in _steps(stage)]

    def run(x: Array) -> Array:
        own = False
        with np.errstate(all="ignore"):  # what is out of a type's range is infinite, or NaN
            for step in steps:
                changed = step(x, own)
                own |= changed is not x
                x = changed
        return x

    return run


def _column(values: Any, where: str, kinds: str) -> Array:
    array = np.array(values)
    if array.dtype.kind not in kinds or array.dtype.itemsize > 8:
        refuse(where, "floats of 64 bits at most" if kinds == "f" else "numbers", str(array.dtype))
    if array.ndim != 1 or not len(array):
        refuse(where, "a number of each column", f"shape {array.shape}")
    array.flags.writeable = False  # a pipeline shows its stages, and computes with these
    return array


def _number(value: Any, where: str) -> float:
    """Open a number of Python's: NumPy's own is not rounded to the type of the rows it is compared with."""
    plain = value.item() if isinstance(value, np.number) else value
    # A whole number of many digits would take long to compare with each of a row's.
    whole = type(plain) is int and abs(plain) < 2**64
    if not whole and type(plain) is not float:
        refuse(where, "a number of 64 bits at most", value)
    return plain  # type: ignore[no-any-return]


def _steps(stage: Columnwise) -> list[_Step]:
    if isinstance(stage, Imputer):
        return [_imputing(stage)]
    steps = [
        _operation(ufunc, values, stage.narrow)
        for name, ufunc in _OPERATIONS
        if (values := getattr(stage, name)) is not None
    ]
    return steps if stage.clip is None else [*steps, _clipping(*stage.clip)]


def _operation(ufunc: np.ufunc, values: Array, narrow: bool) -> _Step:
    with np.errstate(over="ignore"):
        of_type = {dtype: values.astype(dtype) if narrow else values for dtype in _FLOATS}

    def step(x: Array, own: bool) -> Array:
        if x.dtype.kind != "f":
            x, own = x.astype(np.float64), True
        out = x if own else np.empty_like(x)
        ufunc(x, of_type[x.dtype], out=out, casting="same_kind")
        return out

    return step


def _clipping(low: float, high: float) -> _Step:
    def step(x: Array, own: bool) -> Array:  # its own by now: an operation was before
        return x.clip(low, high, out=x)

    return step


def _imputing(stage: Imputer) -> _Step:
    missing = stage.missing
    columns = None if stage.kept is None or stage.kept.all() else np.flatnonzero(stage.kept)
    fill = stage.fill if columns is None else stage.fill[columns]
    with np.errstate(all="ignore"):
        of_type = {dtype: fill.astype(dtype) for dtype in _FLOATS}

    def step(x: Array, own: bool) -> Array:
        if x.dtype.kind not in ("fiu" if stage.whole else "f"):
            x, own = x.astype(np.float64), True
        if columns is not None:
            x, own = x[:, columns], True
        if missing != missing:
            if x.dtype.kind != "f":
                return x if own else x.copy(order="K")
            gaps = np.isnan(x)
        else:
            gaps = x == missing
        if not own:
            x = x.copy(order="K")
        np.copyto(x, of_type.get(x.dtype, fill), casting="unsafe", where=gaps)
        return x

    return step
