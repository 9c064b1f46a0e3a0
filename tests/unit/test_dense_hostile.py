"""Files of dense models that are cut off or make no sense: a ValueError that names the place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyscale.infer import Activation, Dense, LayerNorm, Linear, QuantizedLinear, files, load

Array = NDArray[Any]


def saved(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    last = QuantizedLinear(np.ones((2, 3), np.int8), np.ones(2, np.float32), np.ones(2, np.float32), 0.5, 9)
    model = Dense([Linear(np.ones((3, 2))), Activation("relu"), LayerNorm(np.ones(3), np.ones(3)), last])
    model.save(path)
    header, arrays = files.read(path)
    return header, {name: array.copy() for name, array in arrays.items()}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("layers", [], "1 to"),
        ("layers", "linear", "1 to"),
        ("layers", [{"type": "linear"}] * 4, r"layers\[1\]: expected array 1.weight"),
        ("layers", [{"type": "rope"}], r"layers\[0\]"),
        ("layers", [[]], r"layers\[0\]"),
        ("layers", [{"type": "linear"}, {"type": "activation", "name": "relu"}], "parameter"),
        (
            "layers",
            [{"type": "linear"}, {"type": "activation", "name": 3, "parameter": 1}],
            "expected one of",
        ),
        ("layers", [{"type": "linear"}, {"type": "activation", "name": "elu", "parameter": 1e999}], "number"),
        ("layers", [{"type": "activation", "name": "relu", "parameter": 0}], "how many inputs"),
        ("layers", [{"type": "linear"}, {"type": "linear"}, {"type": "layer_norm"}], r"layers\[1\]"),
        ("weights", "int1", "weights"),
        ("kind", None, "kind"),
        ("kind", "binary", "one output"),
        ("flat", 1, "flat"),
        ("classes", 3, "classes"),
    ],
)
def test_headers(tmp_path: Path, key: str, value: Any, message: str) -> None:
    header, arrays = saved(tmp_path / "model")
    header[key] = value
    files.write(tmp_path / "model", header, arrays)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("0.weight", np.ones((3, 2))),
        ("0.weight", np.ones(6, np.float32)),
        ("0.weight", np.ones((0, 2), np.float32)),
        ("0.bias", np.ones(4, np.float32)),
        ("2.weight", np.ones(2)),
    ],
)
def test_arrays(tmp_path: Path, name: str, array: Array) -> None:
    header, arrays = saved(tmp_path / "model")
    arrays[name] = array
    files.write(tmp_path / "model", header, arrays)
    with pytest.raises(ValueError, match=r"layers\[\d\]"):
        load(tmp_path / "model")


def test_cut_off_and_changed(tmp_path: Path) -> None:
    saved(tmp_path / "model")
    whole = (tmp_path / "model").read_bytes()
    for end in range(0, len(whole), 7):
        (tmp_path / "part").write_bytes(whole[:end])
        with pytest.raises(ValueError, match="part"):
            load(tmp_path / "part")
    random = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(whole)
        changed[random.integers(len(whole))] = random.integers(256)
        (tmp_path / "part").write_bytes(changed)
        try:
            load(tmp_path / "part")
        except ValueError:
            continue


def test_arrays_that_share_bytes(tmp_path: Path) -> None:
    layers, arrays = [], []
    for place in range(40):
        layers.append({"type": "linear"})
        arrays.append({"name": f"{place}.weight", "dtype": "<f4", "shape": [64, 64], "at": 0})
        arrays.append({"name": f"{place}.bias", "dtype": "<f4", "shape": [64], "at": 0})
    header = {"model": "dense", "layers": layers, "weights": "float32", "kind": "values", "flat": False}
    text = json.dumps({"version": 1, "header": header, "arrays": arrays, "bytes": 64 * 64 * 4}).encode()
    text += b" " * (-(len(files.MAGIC) + 8 + len(text)) % 64)
    path = tmp_path / "model"
    path.write_bytes(files.MAGIC + len(text).to_bytes(8, "little") + text + bytes(64 * 64 * 4))
    with pytest.raises(ValueError, match="share"):
        load(path)
