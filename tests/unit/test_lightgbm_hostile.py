"""Texts that are no models of LightGBM, or only nearly: a ValueError that names the place, and no more."""

from __future__ import annotations

import tracemalloc

import forest_reference as reference
import lightgbm_texts
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyscale.infer.forest.trees import Trees
from pyscale.infer.importers.lightgbm import read_lightgbm

TEXT = """tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=1
objective=binary sigmoid:1
feature_names=a b
feature_infos=[0:1] none
tree_sizes=300 300

Tree=0
num_leaves=4
num_cat=1
split_feature=0 1 0
threshold=0.5 0 -1.5
decision_type=2 1 8
left_child=1 -1 -2
right_child=2 -3 -4
leaf_value=0.1 0.2 0.3 0.4
cat_boundaries=0 2
cat_threshold=5 1
is_linear=0
shrinkage=1


Tree=1
num_leaves=1
num_cat=0
split_feature=
threshold=
decision_type=
left_child=
right_child=
leaf_value=0.25
is_linear=1
leaf_const=1.5
num_features=2
leaf_features=0 1
leaf_coeff=2.5 -1
shrinkage=1


end of trees
"""

EDITS = [
    ("tree\nversion", "tree2\nversion", "line 1: expected 'tree'"),
    ("version=v4", "version=v5", "version: expected v3 or v4, got 'v5'"),
    ("version=v4\n", "", "version: expected to be there"),
    ("version=v4", "version=v4\nversion=v4", "version: expected to be there once"),
    ("num_class=1", "num_class=0", "num_class: expected 1 to"),
    ("num_class=1", "num_class=99999999999999999", "num_class: expected 1 to"),
    ("num_class=1", "num_class=" + "9" * 5000, "num_class: expected a whole number"),
    ("num_class=1", "num_class=2", "num_tree_per_iteration: expected as many as num_class, 2, got 1"),
    ("num_class=1\nnum_tree_per_iteration=1", "num_class=2", "num_class: expected 1, with the objective"),
    ("num_class=1\nnum_tree_per_iteration=1", "num_class=3", "trees: expected a multiple"),
    ("max_feature_idx=1", "max_feature_idx=-1", "max_feature_idx: expected a whole number"),
    ("max_feature_idx=1", "max_feature_idx=2147483646", "feature_names: expected 2147483647"),
    ("max_feature_idx=1", "max_feature_idx=1.5", "max_feature_idx: expected a whole number"),
    ("feature_names=a b", "feature_names=a b c", "feature_names: expected 2"),
    ("feature_infos=[0:1] none", "feature_infos=", "feature_infos: expected 2"),
    ("objective=binary sigmoid:1", "objective=", "objective: expected one of LightGBM's, got ''"),
    ("objective=binary", "objective=unary", "objective: expected one of LightGBM's"),
    ("binary sigmoid:1", "binary", "objective: expected sigmoid:"),
    ("sigmoid:1", "sigmoid:x", "objective sigmoid: expected a number, got 'x'"),
    ("sigmoid:1", "sigmoid:-1", "objective: expected a sigmoid above 0"),
    ("sigmoid:1", "sigmoid:nan", "objective: expected a sigmoid above 0"),
    ("binary sigmoid:1", "multiclass num_class:2", "objective: expected num_class:1"),
    ("binary sigmoid:1", "multiclass", "objective: expected num_class:"),
    ("tree_sizes=300 300", "tree_sizes=300", "trees\\[1\\]: expected 'end of trees'"),
    ("tree_sizes=300 300", "tree_sizes=300 300 300", "trees: expected the 3 trees"),
    ("tree_sizes=300 300", "tree_sizes=x", "tree_sizes\\[0\\]: expected a whole number, got 'x'"),
    ("end of trees", "", "trees\\[2\\]: expected a tree or 'end of trees'"),
    ("num_leaves=4", "num_leaves=2147483647", "trees\\[0\\].num_leaves: expected 1 to"),
    ("num_leaves=4", "num_leaves=1073741824", "trees\\[0\\].leaf_value: expected 1073741824 numbers"),
    ("num_leaves=4", "num_leaves=0", "trees\\[0\\].num_leaves: expected 1 to"),
    ("num_leaves=4", "num_leaves=3", "trees\\[0\\].leaf_value: expected 3 numbers, got 4"),
    ("num_leaves=4\n", "", "trees\\[0\\].num_leaves: expected to be there"),
    ("num_leaves=4", "num_leaves=4\nnum_leaves=4", "trees\\[0\\].num_leaves: expected to be there once"),
    ("num_cat=1\n", "", "trees\\[0\\].num_cat: expected to be there"),
    ("num_cat=1", "num_cat=4", "trees\\[0\\].num_cat: expected 0 to 3"),
    ("num_cat=1", "num_cat=0", "trees\\[0\\].threshold\\[1\\]: expected one of 0 sets"),
    ("num_cat=1", "num_cat=2", "trees\\[0\\].cat_boundaries: expected 3 numbers"),
    ("threshold=0.5 0 ", "threshold=0.5 1 ", "trees\\[0\\].threshold\\[1\\]: expected one of 1 sets"),
    ("threshold=0.5 0 ", "threshold=0.5 -1 ", "trees\\[0\\].threshold\\[1\\]: expected one of 1 sets"),
    ("threshold=0.5 0 ", "threshold=0.5 0.5 ", "trees\\[0\\].threshold\\[1\\]: expected one of 1 sets"),
    ("threshold=0.5 0 ", "threshold=0.5 inf ", "trees\\[0\\].threshold\\[1\\]: expected one of 1 sets"),
    ("threshold=0.5", "threshold=nan", "trees\\[0\\].threshold\\[0\\]: expected a number, got nan"),
    ("threshold=0.5", "threshold=0x1", "trees\\[0\\].threshold\\[0\\]: expected a number, got '0x1'"),
    ("threshold=0.5", "threshold=1_0", "trees\\[0\\].threshold: expected numbers"),
    ("threshold=0.5", "threshold=\u0661", "trees\\[0\\].threshold: expected numbers"),
    ("threshold=0.5 0 -1.5", "threshold=0.5 0", "trees\\[0\\].threshold: expected 3 numbers, got 2"),
    ("split_feature=0 1 0", "split_feature=0 2 0", "trees\\[0\\].split_feature\\[1\\]: expected 0 to 1"),
    ("split_feature=0 1 0", "split_feature=0 1 -1", "trees\\[0\\].split_feature\\[2\\]: expected 0 to 1"),
    ("split_feature=0 1 0", "split_feature=0 1 1e0", "split_feature\\[2\\]: expected a whole number"),
    ("decision_type=2 1 8", "decision_type=2 1 12", "trees\\[0\\].decision_type\\[2\\]: expected 0 to 11"),
    ("decision_type=2 1 8\n", "", "trees\\[0\\].decision_type: expected to be there"),
    ("left_child=1 -1 -2", "left_child=1 -1 -5", "trees\\[0\\].left_child\\[2\\]: expected -4 to 2"),
    ("left_child=1 -1 -2", "left_child=1 -1 3", "trees\\[0\\].left_child\\[2\\]: expected -4 to 2"),
    (
        "left_child=1 -1 -2",
        "left_child=1 -1 9223372036854775808",
        "left_child\\[2\\]: expected a whole number",
    ),
    ("left_child=1 -1 -2", "left_child=0 -1 -2", "trees\\[0\\] split 0: expected 0 splits that lead to it"),
    ("left_child=1 -1 -2", "left_child=2 -1 -2", "trees\\[0\\] split 1: expected 1 splits .*, got 0"),
    ("left_child=1 -1 -2", "left_child=1 -2 -2", "trees\\[0\\] leaf 0: expected 1 splits .*, got 0"),
    ("left_child=1 -1 -2", "left_child=-1 1 -2", "trees\\[0\\] split 1: expected a way from the root"),
    ("leaf_value=0.1", "leaf_value=nan", "trees\\[0\\].leaf_value\\[0\\]: expected a number, got nan"),
    ("leaf_value=0.25\n", "", "trees\\[1\\].leaf_value: expected to be there"),
    ("cat_boundaries=0 2", "cat_boundaries=1 2", "trees\\[0\\].cat_boundaries\\[0\\]: expected 0, got 1"),
    ("cat_boundaries=0 2", "cat_boundaries=0 -2", "trees\\[0\\].cat_boundaries\\[1\\]: expected 0 to"),
    ("cat_boundaries=0 2", "cat_boundaries=0 67108865", "trees\\[0\\].cat_boundaries\\[1\\]"),
    ("cat_boundaries=0 2\n", "", "trees\\[0\\].cat_boundaries: expected to be there"),
    ("cat_threshold=5 1", "cat_threshold=5", "trees\\[0\\].cat_threshold: expected 2 numbers"),
    ("cat_threshold=5 1", "cat_threshold=5 4294967296", "cat_threshold\\[1\\]: expected 0 to 4294967295"),
    ("is_linear=1", "is_linear=2", "trees\\[1\\].is_linear: expected 0 to 1"),
    ("leaf_const=1.5", "leaf_const=", "trees\\[1\\].leaf_const: expected 1 numbers"),
    ("num_features=2", "num_features=3", "trees\\[1\\].num_features\\[0\\]: expected 0 to 2"),
    ("num_features=2", "num_features=1", "trees\\[1\\].leaf_features: expected 1 numbers"),
    ("leaf_features=0 1", "leaf_features=0 2", "trees\\[1\\].leaf_features\\[1\\]: expected 0 to 1"),
    ("leaf_coeff=2.5 -1", "leaf_coeff=2.5", "trees\\[1\\].leaf_coeff: expected 2 numbers"),
]


def walk(trees: Trees) -> None:
    x = np.random.default_rng(0).normal(size=(5, trees.num_features))
    with np.errstate(all="ignore"):
        reference.sums(trees, x)


def test_the_text_that_the_others_are_made_of() -> None:
    found = read_lightgbm(TEXT)
    trees = found.trees
    assert found.feature_names == ("a", "b")
    np.testing.assert_array_equal(trees.first, [0, 7, 8])
    np.testing.assert_array_equal(trees.feature, [0, 1, 0, -1, -1, -1, -1, -1])
    np.testing.assert_array_equal(trees.left, [1, 3, 4, 0, 1, 2, 3, 4])
    np.testing.assert_array_equal(trees.right, [2, 5, 6, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(trees.missing_left, [True] + [False] * 7)
    assert trees.set_values is not None
    np.testing.assert_array_equal(trees.set_values, [0, 2, 32])
    x = np.array([[0.0, 2.0], [0.0, 1.0], [9.0, 0.0], [np.nan, 32.0]])
    second = np.array([-0.5, 0.5, 24.0, 0.25])
    np.testing.assert_array_equal(reference.sums(trees, x)[:, 0], np.array([0.1, 0.3, 0.4, 0.1]) + second)


@pytest.mark.parametrize(("old", "new", "message"), EDITS)
def test_what_cannot_be_is_refused_by_its_place(old: str, new: str, message: str) -> None:
    assert TEXT.count(old) >= 1
    with pytest.raises(ValueError, match=message):
        read_lightgbm(TEXT.replace(old, new, 1))


def test_texts_that_are_cut_off() -> None:
    end = TEXT.index("end of trees") + len("end of trees")
    for cut in range(end):
        with pytest.raises(ValueError, match="expected"):
            read_lightgbm(TEXT[:cut])
    read_lightgbm(TEXT[:end])


@settings(max_examples=300)
@given(st.data())
def test_texts_with_a_few_wrong_characters(data: st.DataObject) -> None:
    text = lightgbm_texts.model(np.random.default_rng(data.draw(st.integers(0, 50))), linear=True)
    raw = bytearray(text.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place : place + data.draw(st.integers(0, 2))] = data.draw(
            st.binary(max_size=2) | st.sampled_from([b"-", b" ", b"\n", b"=", b"9" * 30, b"e999", b"nan"])
        )
    try:
        trees = read_lightgbm(bytes(raw)).trees
    except ValueError:
        return
    walk(trees)


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_what_is_no_model_at_all(content: bytes | str) -> None:
    with pytest.raises(ValueError, match="expected"):
        read_lightgbm(content)


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("num_leaves=4", "num_leaves=1073741824"),
        TEXT.replace("max_feature_idx=1", "max_feature_idx=2147483646"),
        TEXT.replace("cat_boundaries=0 2", "cat_boundaries=0 67108864"),
        "tree\n" * 100_000,
        "tree\n" + "\n" * 500_000,
    ],
)
def test_memory_is_not_taken_for_what_is_only_said(text: str) -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match="expected"):
        read_lightgbm(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000 + len(text)


@pytest.mark.parametrize("word", ["1", "10", "4294967295"])
def test_long_lines_take_memory_like_their_length(word: str) -> None:
    count = 600_000
    text = TEXT.replace("cat_threshold=5 1", "cat_threshold=" + f"{word} " * count)
    text = text.replace("cat_boundaries=0 2", f"cat_boundaries=0 {count}")
    tracemalloc.start()
    trees = read_lightgbm(text).trees
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert trees.set_values is not None
    bits = [b for b in range(32) if int(word) >> b & 1]
    np.testing.assert_array_equal(trees.set_values[-len(bits) :], 32 * (count - 1) + np.array(bits))
    assert len(trees.set_values) == count * len(bits)
    assert peak < 4_000_000 + 20 * len(text) + 3 * trees.set_values.nbytes


def test_a_tree_that_is_one_long_way_down() -> None:
    count = 50_000
    tree = {
        "num_leaves": count + 1,
        "num_cat": 0,
        "split_feature": lightgbm_texts.joined([0] * count),
        "threshold": lightgbm_texts.joined(range(count)),
        "decision_type": lightgbm_texts.joined([2] * count),
        "left_child": lightgbm_texts.joined(~i for i in range(count)),
        "right_child": lightgbm_texts.joined([*range(1, count), ~count]),
        "leaf_value": lightgbm_texts.joined(range(count + 1)),
    }
    head = TEXT[: TEXT.index("tree_sizes")]
    text = head + "\nTree=0\n" + "\n".join(f"{k}={v}" for k, v in tree.items()) + "\n\nend of trees\n"
    trees = read_lightgbm(text).trees
    assert trees.num_nodes == 2 * count + 1
    np.testing.assert_array_equal(reference.sums(trees, np.array([[2.5, 0.0]])), [[3]])
