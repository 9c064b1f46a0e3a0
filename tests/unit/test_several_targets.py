"""Classifiers of several targets at once: scikit-learn's answers, their labels saved and refused."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyscale.infer import Batcher, Forest, convert, load, prune

datasets = pytest.importorskip("sklearn.datasets")
ensemble = pytest.importorskip("sklearn.ensemble")
tree = pytest.importorskip("sklearn.tree")

KINDS = [tree.DecisionTreeClassifier, tree.ExtraTreeClassifier]
KINDS += [ensemble.RandomForestClassifier, ensemble.ExtraTreesClassifier]


def targets(dtype: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Three of 3, 5 and 2 classes."""
    x, y = datasets.load_wine(return_X_y=True)
    return x, np.column_stack([y, np.digitize(x[:, 0], [12, 12.5, 13, 14]), x[:, 1] > 2]).astype(dtype)


def fitted(kind: Any, dtype: Any = np.int64) -> tuple[Any, Forest, NDArray[Any]]:
    x, y = targets(dtype)
    size = {"n_estimators": 7} if kind in KINDS[2:] else {}
    model = kind(max_depth=5, random_state=0, **size).fit(x, y)
    return model, convert(model), x


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.int64, float, "U3"])
def test_beside_scikit_learn(kind: Any, dtype: Any, tmp_path: Path) -> None:
    model, forest, x = fitted(kind, dtype)
    forest.save(tmp_path / "model")
    for found in (forest, pickle.loads(pickle.dumps(forest)), load(tmp_path / "model")):
        for rows in (x, x[:3], x[:1], x[:0]):
            if len(rows):
                wanted = model.predict(rows)
                assert np.array_equal(found.predict(rows), wanted)
                assert found.predict(rows).dtype.kind == wanted.dtype.kind
            parts = found.predict_proba(rows)
            assert [part.shape for part in parts] == [(len(rows), 3), (len(rows), 5), (len(rows), 2)]
        for part, other in zip(found.predict_proba(x), model.predict_proba(x), strict=True):
            assert np.array_equal(part, other)
        assert found.raw(x).shape == (len(x), 15)
        assert np.array_equal(found.leaf_index(x), model.apply(x).reshape(len(x), -1))


@pytest.mark.parametrize("kind", ["U", "S"])
def test_labels_of_other_lengths(kind: str, tmp_path: Path) -> None:
    y = np.array([["a", "a long label"], ["b", "c"]], kind)
    model = tree.DecisionTreeClassifier().fit([[0], [1]], y)
    convert(model).save(tmp_path / "model")
    for forest in (convert(model), load(tmp_path / "model")):
        assert np.array_equal(forest.predict(np.array([[0.0], [1.0]])), y)


def test_out_and_several_answers_are_refused() -> None:
    _, forest, x = fitted(KINDS[2])
    with pytest.raises(ValueError, match="out: expected none of a model of several targets"):
        forest.predict_proba(x, out=np.empty((len(x), 15)))
    with Batcher(forest) as batcher:
        assert np.array_equal(batcher.predict(x[:5]), forest.predict(x[:5]))
    with Batcher(forest, method="predict_proba") as batcher, pytest.raises(TypeError, match="got a list"):
        batcher.predict(x[:3])


def test_pruned() -> None:
    _, forest, x = fitted(KINDS[2])
    smaller, report = prune(forest, x, tolerance=0.05)
    assert report.score_after > 0.9
    assert smaller.predict(x).shape == (len(x), 3)
    _, report = prune(forest, x, y=forest.predict(x), tolerance=0.0)
    assert (report.measure, report.score_before) == ("accuracy", 1.0)


def test_descriptions_and_files_that_do_not_fit(tmp_path: Path) -> None:
    _, forest, _ = fitted(KINDS[0])
    description = forest._description
    labels = description.classes
    assert isinstance(labels, tuple)
    for classes in ((), labels[:1], labels[:2], (*labels, labels[1]), (labels[0], labels[2], labels[2])):
        with pytest.raises(ValueError, match="classes: expected 2 targets or more, of 15 classes"):
            Forest(dataclasses.replace(description, classes=classes))
    wrongs: list[Any] = [np.zeros((2, 2)), np.zeros(0), [1, 2]]
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"classes\[1\]: expected labels of one axis"):
            Forest(dataclasses.replace(description, classes=(labels[0], wrong, labels[2])))
    with pytest.raises(ValueError, match="kind"):
        Forest(dataclasses.replace(description, kind="binary"))
    path = tmp_path / "model"
    forest.save(path)
    saved = path.read_bytes()
    for number in (b"0", b"1", b"4", b"9"):
        path.write_bytes(saved.replace(b'"targets": 3', b'"targets": ' + number))
        with pytest.raises(ValueError, match=r"targets: expected|classes(\.3)?: expected"):
            load(path)
