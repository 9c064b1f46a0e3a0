"""Files that older versions of XGBoost wrote, with what those versions predicted; read without XGBoost."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import forest_reference as reference
import numpy as np
import pytest

from pyscale.infer.importers.xgboost import read_xgboost

FILES = sorted((Path(__file__).parent / "xgboost_files").glob("*.json"))


def test_there_are_files() -> None:
    assert {file.stem.rpartition("-")[2] for file in FILES} == {"1.7.6", "2.1.4", "3.0.5"}


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_predictions(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    case = json.loads(file.read_text())
    found = read_xgboost(json.dumps(case["model"]).encode())
    assert found.source == "XGBoost " + file.stem.rpartition("-")[2]
    assert found.feature_names == ("a", "b", "c")
    x = np.array(case["inputs"], np.float32)
    sums = reference.sums(found.trees, x)
    # The logarithm of a base score may differ in its last bit between C libraries.
    np.testing.assert_allclose(sums, np.reshape(case["margins"], sums.shape), rtol=1e-6, atol=1e-7)
    leaves = reference.leaves(found.trees, x)
    np.testing.assert_array_equal(leaves, np.array(case["leaves"]).reshape(leaves.shape))
    answers = np.reshape(case["predictions"], (len(x), -1))
    np.testing.assert_allclose(reference.linked(found.link, sums, found.trees.num_trees), answers, rtol=1e-5)
