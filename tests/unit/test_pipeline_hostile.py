"""Files of pipelines that are cut off or make no sense: a ValueError that names the place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyscale.infer import Imputer, Linear, Pipeline, Scaler, files, load

Array = NDArray[Any]


def saved(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    imputer = Imputer(np.ones(3), kept=np.array([True, True, False]))
    model = Pipeline([imputer, Scaler(add=np.ones(2)), Linear(np.ones((2, 2)))], feature_names=list("abc"))
    model.save(path)
    header, arrays = files.read(path)
    return header, {name: array.copy() for name, array in arrays.items()}


def nested(depth: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"model": "pipeline", "stages": []}
    for _ in range(depth):
        entry = {"model": "pipeline", "stages": [entry]}
    return entry


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        (None, "stages", [], "stages: expected a list of 1 to"),
        (None, "stages", {"0": {}}, "stages: expected a list"),
        (None, "stages", [{"model": "scaler", "name": 40 * "x"}] * 10_001, "stages: expected a list of 1 to"),
        (None, "stages", [{"model": "imputer"}], r"arrays: expected the number of a stage, 0 to 0"),
        (None, "feature_names", 3, "feature_names: expected a list"),
        (None, "feature_names", ["a", "b"], "feature_names: expected 3"),
        (None, "feature_names", ["a", "b", 1], "feature_names: expected a sequence of text"),
        (0, "model", None, r"stages\[0\]\.model: expected one of scaler, imputer, forest, dense, onnx"),
        (0, "model", "topk", r"stages\[0\]\.model"),
        (0, "model", ["scaler"], r"stages\[0\]\.model"),
        (0, "model", "scaler", r"stages\[0\]\.arrays: expected some of subtract"),
        (0, "missing", "NaN", r"stages\[0\]\.missing"),
        (0, "missing", 10**30, r"stages\[0\]\.missing"),
        (0, "whole", 1, r"stages\[0\]\.whole: expected true or false"),
        (1, "narrow", None, r"stages\[1\]\.narrow"),
        (1, "clip", [1], r"stages\[1\]\.clip"),
        (1, "clip", [1, None], r"stages\[1\]\.clip"),
        (1, "clip", [float("nan"), 1], r"stages\[1\]\.clip"),
        (1, "clip", [2, 1], r"stages\[1\]\.clip"),
        (2, "layers", [], r"stages\[2\]\.layers"),
    ],
)
def test_headers(tmp_path: Path, place: int | None, key: str, value: Any, message: str) -> None:
    header, arrays = saved(tmp_path / "model")
    (header if place is None else header["stages"][place])[key] = value
    files.write(tmp_path / "wrong", header, arrays)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "wrong")


def test_stages_that_are_pipelines(tmp_path: Path) -> None:
    """Pipelines in each other are saved as one, so no file nests them: not once, and not ever so deep."""
    inner = Pipeline([Pipeline([Scaler(add=np.ones(2))]), Scaler(add=np.ones(2))])
    Pipeline([inner, inner]).save(tmp_path / "model")
    assert len(load(tmp_path / "model").stages) == 4
    for depth in (0, 1, 300):
        header = {"model": "pipeline", "feature_names": None, "stages": [nested(depth)]}
        files.write(tmp_path / "wrong", header, {})
        with pytest.raises(ValueError, match=r"stages\[0\]\.model: expected one of .*, got 'pipeline'"):
            load(tmp_path / "wrong")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("0/fill", None, r"stages\[0\]\.fill: expected an array"),
        ("0/fill", np.ones((3, 1)), r"stages\[0\]\.fill: expected a number of each column"),
        ("0/fill", np.ones(0), r"stages\[0\]\.fill"),
        ("0/fill", np.ones(3, bool), r"stages\[0\]\.fill: expected numbers"),
        ("0/fill", np.ones(2), r"stages\[0\]\.kept"),
        ("0/kept", np.ones(3), r"stages\[0\]\.kept"),
        ("0/kept", np.array([2, 1, 0], np.uint8).view(bool), r"stages\[0\]\.kept"),
        ("0/kept", np.zeros(3, bool), r"stages\[0\]\.kept"),
        ("0/kept", np.ones(3, bool), r"stages\[1\]: expected 3 features, got 2"),
        ("1/add", None, r"stages\[1\]"),
        ("1/add", np.ones(2, np.int64), r"stages\[1\]\.add: expected floats"),
        ("1/add", np.ones(3), r"stages\[1\]: expected 2 features, got 3"),
        ("1/clip", np.ones(2), r"stages\[1\]\.arrays"),
        ("2/0.weight", np.ones((2, 2)), r"stages\[2\]\.layers\[0\]"),
        ("2/0.bias", np.ones(3, np.float32), r"layers\[0\]"),
        ("3/add", np.ones(2), "arrays: expected the number of a stage, 0 to 2"),
        ("1", np.ones(2), "arrays: expected the number of a stage"),
        ("\N{SUPERSCRIPT TWO}/add", np.ones(2), "arrays: expected the number of a stage"),
        ("9" * 5000 + "/add", np.ones(2), "arrays: expected the number of a stage"),
    ],
)
def test_arrays(tmp_path: Path, name: str, value: Any, message: str) -> None:
    header, arrays = saved(tmp_path / "model")
    arrays[name] = value
    files.write(
        tmp_path / "wrong", header, {name: array for name, array in arrays.items() if array is not None}
    )
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "wrong")


def test_every_byte_and_every_end(tmp_path: Path) -> None:
    saved(tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    wrong = tmp_path / "wrong"
    for end in range(0, len(content), 7):
        wrong.write_bytes(content[:end])
        with pytest.raises(ValueError, match="wrong"):
            load(wrong)
    rows = np.ones((2, 3))
    for place in range(len(content)):
        wrong.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            model = load(wrong)
        except ValueError:
            continue
        assert model.predict(rows).shape[0] == 2
