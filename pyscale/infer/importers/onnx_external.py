"""Values of ONNX tensors that lie in other files, beside the graph's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyscale.infer.importers.onnx_values import EXTERNAL
from pyscale.infer.importers.reading import refuse

__all__ = ["take_in"]

_MOST_BYTES = (1 << 31) - (1 << 20)  # what protobuf can hold


def take_in(graph: Any, folder: Path) -> None:
    """
    Read the values of a graph's constants that are in other files, as torch writes them.

    Parameters
    ----------
    graph : onnx.GraphProto
        Its tensors get the values.
    folder : path
        Where the graph's file is: others have to be in it, too.

    Raises
    ------
    ValueError
        Such a file is elsewhere, missing or too short; or values are used twice, or are too many.
    OSError
        It cannot be read.
    """
    left: dict[Path, int] = {}  # so many bytes of a file have not been used yet
    total = 0
    for place, tensor in enumerate(graph.initializer):
        if tensor.data_location != EXTERNAL:
            continue
        where = f"graph.initializer[{place}].external_data"
        said = {entry.key: entry.value for entry in tensor.external_data}
        path = _beside(folder, said.get("location"), where)
        size = path.stat().st_size
        offset = _number(said.get("offset", "0"), f"{where}.offset")
        length = _number(said.get("length", str(max(size - offset, 0))), f"{where}.length")
        if offset + length > size:
            refuse(where, f"{offset} + {length} bytes of {path.name}", f"{size} bytes in all: it was cut off")
        left[path] = left.get(path, size) - length
        total += length
        if left[path] < 0 or total > _MOST_BYTES:
            refuse(where, f"bytes of {path.name} once, and at most {_MOST_BYTES}", "more")
        with open(path, "rb") as file:
            file.seek(offset)
            tensor.raw_data = file.read(length)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def _beside(folder: Path, name: Any, where: str) -> Path:
    """Find a file in the folder, or in one of it: no link out of it, and no device."""
    expected = "a file beside the graph's"
    if not isinstance(name, str) or not name or "\0" in name:
        refuse(where, expected, name)
    inside = folder.resolve()
    try:
        path = (inside / name).resolve()
        found = not Path(name).is_absolute() and path.is_relative_to(inside) and path.is_file()
    except (OSError, RuntimeError):  # a name that is too long, links in a circle
        found = False
    if not found:
        refuse(where, expected, name)
    return path


def _number(text: Any, where: str) -> int:
    if not isinstance(text, str) or not text.isdecimal() or len(text) > 18:
        refuse(where, "a whole number", text)
    return int(text)
