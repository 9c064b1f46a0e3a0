"""A pipeline as a header and arrays, and back: those of its stages, one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.importers.reading import refuse
from pyscale.infer.pipeline.fusing import Stage
from pyscale.infer.pipeline.stages import Imputer, Scaler

__all__ = ["pack", "unpack"]

Array = NDArray[Any]
_Opener = Callable[[dict[str, Any], dict[str, Any]], Any]

_MOST_STAGES = 10_000
_SCALING = ("subtract", "divide", "multiply", "add")


def pack(stages: Sequence[Stage], names: Sequence[str] | None) -> tuple[dict[str, Any], dict[str, Array]]:
    """Give what :func:`pyscale.infer.files.write` takes; ValueError if a stage cannot be written."""
    if len(stages) > _MOST_STAGES:
        refuse("stages", f"at most {_MOST_STAGES}, to be saved", f"{len(stages)}")
    listed, arrays = [], {}
    for place, stage in enumerate(stages):
        header, own = _columnwise(stage) if isinstance(stage, Scaler | Imputer) else stage._packed()
        listed.append(header)
        arrays.update({f"{place}/{name}": array for name, array in own.items()})
    return {
        "model": "pipeline",
        "stages": listed,
        "feature_names": None if names is None else list(names),
    }, arrays


def unpack(
    header: Mapping[str, Any], arrays: Mapping[str, Array], models: Mapping[str, _Opener]
) -> tuple[list[Any], list[str] | None]:
    """
    Make stages, and names of columns, of what :func:`pyscale.infer.files.read` gave.

    Parameters
    ----------
    header, arrays
        As read.
    models : mapping
        What opens stages that are models, by their kinds; none of them a pipeline: those are not nested.

    Raises
    ------
    ValueError
        They are none; the message names the place.
    """
    listed, names = header.get("stages"), header.get("feature_names")
    if not isinstance(listed, list) or not 0 < len(listed) <= _MOST_STAGES:
        refuse("stages", f"a list of 1 to {_MOST_STAGES} stages", listed)
    if names is not None and not isinstance(names, list):
        refuse("feature_names", "a list", names)
    parts: list[dict[str, Array]] = [{} for _ in listed]
    for name, array in arrays.items():
        number, found, rest = name.partition("/")
        if not found or not number.isdecimal() or len(number) > 5 or int(number) >= len(listed):
            refuse("arrays", f"the number of a stage, 0 to {len(listed) - 1}, and / and a name", name)
        parts[int(number)][rest] = array
    openers = {"scaler": _scaler, "imputer": _imputer, **models}
    stages = []
    for place, (entry, own) in enumerate(zip(listed, parts, strict=True)):
        kind = entry.get("model") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or kind not in openers:
            refuse(f"stages[{place}].model", f"one of {', '.join(openers)}", kind)
        try:
            stages.append(openers[kind](entry, own))
        except ValueError as error:
            raise ValueError(f"stages[{place}].{error}") from error
    return stages, names


def _columnwise(stage: Scaler | Imputer) -> tuple[dict[str, Any], dict[str, Array]]:
    if isinstance(stage, Scaler):
        clip = None if stage.clip is None else list(stage.clip)
        given = {name: getattr(stage, name) for name in _SCALING}
        header: dict[str, Any] = {"model": "scaler", "clip": clip, "narrow": stage.narrow}
        return header, {name: array for name, array in given.items() if array is not None}
    missing = None if math.isnan(stage.missing) else stage.missing
    arrays = {"fill": stage.fill} if stage.kept is None else {"fill": stage.fill, "kept": stage.kept}
    return {"model": "imputer", "missing": missing, "whole": stage.whole}, arrays


def _scaler(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Scaler:
    _only(arrays, _SCALING)
    return Scaler(**arrays, clip=header.get("clip"), narrow=_flag(header, "narrow"))


def _imputer(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> Imputer:
    _only(arrays, ("fill", "kept"))
    missing, kept = header.get("missing"), arrays.get("kept")
    if "fill" not in arrays:
        refuse("fill", "an array", "none")
    if kept is not None and (kept.dtype != np.bool_ or (kept.view(np.uint8) > 1).any()):
        refuse("kept", "an array of bool", str(kept.dtype))
    return Imputer(arrays["fill"], math.nan if missing is None else missing, kept, _flag(header, "whole"))


def _only(arrays: Mapping[str, Array], known: Sequence[str]) -> None:
    strange = next((name for name in arrays if name not in known), None)
    if strange is not None:
        refuse("arrays", f"some of {', '.join(known)}", strange)


def _flag(header: Mapping[str, Any], name: str) -> bool:
    value = header.get(name)
    if not isinstance(value, bool):
        refuse(name, "true or false", value)
    return value
