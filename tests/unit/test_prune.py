"""Pruned forests are smaller, and as far from the old ones as they may be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import forest_reference as reference
import numpy as np
import pytest
from forest_random import close_rows, random_trees
from hypothesis import given, settings
from hypothesis import strategies as st

from pyscale.infer import Forest, LinearLeaves, Link, ModelDescription, prune


def forest(trees: Any, kind: str = "regression") -> Forest:
    link = Link(name="logistic") if kind == "binary" else Link()
    return Forest(ModelDescription(trees=trees, link=link, kind=kind, source="a test"))


@given(
    seed=st.integers(0, 10**6), tolerance=st.floats(0, 6), width=st.integers(1, 2), categories=st.booleans()
)
@settings(deadline=None, max_examples=40)
def test_a_tree_changes_by_half_the_tolerance_at_most(
    seed: int, tolerance: float, width: int, categories: bool
) -> None:
    trees = random_trees(
        seed, num_trees=6, sums="float64", num_outputs=width, width=width, categories=categories
    )
    x = close_rows(trees, 60, seed)
    smaller, report = prune(forest(trees), x, tolerance=tolerance)
    pruned = smaller._description.trees
    assert pruned.num_nodes <= trees.num_nodes
    assert report.notes == (f"{trees.num_nodes:,} nodes became {pruned.num_nodes:,}",)
    assert np.array_equal(smaller.raw(x).reshape(60, width), reference.sums(pruned, x))
    if categories:
        assert pruned.category_set is not None
        assert pruned.set_first is not None
        assert set(pruned.category_set) - {-1} == set(range(len(pruned.set_first) - 1))
    for tree in range(trees.num_trees):
        old = reference.sums(trees, x, tree + 1) - reference.sums(trees, x, tree)
        new = reference.sums(pruned, x, tree + 1) - reference.sums(pruned, x, tree)
        assert np.abs(new - old).max() <= tolerance / 2 + 1e-9
    change = np.abs(reference.sums(pruned, x) - reference.sums(trees, x))
    assert report.max_error == pytest.approx(change.max(), abs=1e-12)


def test_nothing_merges_without_a_tolerance_but_equal_leaves() -> None:
    trees = random_trees(1)
    x = close_rows(trees, 50, 1)
    same, report = prune(forest(trees), x, tolerance=0)
    assert same._description.trees.num_nodes == trees.num_nodes
    assert report.size_after == report.size_before
    assert report.max_error == 0
    assert np.array_equal(same.raw(x), forest(trees).raw(x))
    equal = replace(trees, values=np.ones_like(trees.values))
    one, report = prune(forest(equal), x, tolerance=0)
    assert one._description.trees.num_nodes == trees.num_trees
    assert report.size_after < report.size_before
    assert np.array_equal(one.raw(x), forest(equal).raw(x))


def test_report_of_a_classifier() -> None:
    trees = random_trees(1)
    x = close_rows(trees, 300, 1)
    model = forest(trees, "binary")
    smaller, report = prune(model, x, tolerance=3)
    old, new = model.predict_proba(x), smaller.predict_proba(x)
    assert report.measure == "agreement"
    assert report.score_before == 1
    assert report.score_after == (old.argmax(1) == new.argmax(1)).mean() < 1
    assert report.speed_before > 0
    assert report.speed_after > 0
    y = np.arange(300) % 2
    report = prune(model, x, tolerance=3, y=y)[1]
    assert report.measure == "accuracy"
    assert report.score_before == (old.argmax(1) == y).mean()
    assert report.score_after == (new.argmax(1) == y).mean()


def test_refuses() -> None:
    trees = random_trees(1, sums="float64")
    x = close_rows(trees, 5, 1)
    for tolerance in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="tolerance: expected 0 or more"):
            prune(forest(trees), x, tolerance=tolerance)
    count = len(trees.values)
    linear = LinearLeaves(
        constant=np.zeros(count),
        first=np.zeros(count + 1, np.int64),
        feature=np.zeros(0, np.int32),
        coefficient=np.zeros(0),
    )
    with pytest.raises(ValueError, match="got linear functions"):
        prune(forest(replace(trees, linear=linear)), x, tolerance=1)


def test_sets_that_no_node_has_any_more_go() -> None:
    trees = random_trees(4, sums="float64", categories=True)
    assert trees.set_values is not None
    assert len(trees.set_values)
    smaller, _ = prune(forest(trees), close_rows(trees, 20, 4), tolerance=np.inf)
    pruned = smaller._description.trees
    assert pruned.num_nodes == pruned.num_trees
    assert pruned.set_values is not None
    assert not len(pruned.set_values)


def test_infinite_leaves_stay() -> None:
    trees = random_trees(2, sums="float64")
    values = trees.values.copy()
    values[: len(values) // 2] = np.inf  # some of them siblings
    model = forest(replace(trees, values=values))
    x = close_rows(trees, 50, 2)
    smaller, report = prune(model, x, tolerance=1)
    assert np.array_equal(np.isfinite(smaller.raw(x)), np.isfinite(model.raw(x)))
    assert report.max_error < 10


def test_a_classifier_is_compared_by_its_own_rule() -> None:
    trees = replace(random_trees(3, num_trees=1, sums="float64"), base=np.zeros(1))
    description = ModelDescription(
        trees=replace(trees, values=np.zeros_like(trees.values)),
        link=Link(name="logistic"),
        kind="binary",
        source="a test",
        classes=np.array(["n", "y"]),
        decides="not_negative",
    )
    x = close_rows(trees, 9, 3)
    assert set(Forest(description).predict(x)) == {"y"}
    assert prune(Forest(description), x, tolerance=0, y=["y"] * 9)[1].score_before == 1
