"""Bad files of XGBoost are refused with the place that is bad."""

from __future__ import annotations

import copy
import functools
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyscale.infer.forest.trees import Trees
from pyscale.infer.importers.xgboost import read_xgboost

xgb = pytest.importorskip("xgboost")


@functools.cache
def model(form: str, kind: str = "plain") -> bytes:
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.integers(0, 9, 120), rng.normal(size=(120, 2))]).astype(np.float32)
    y = x[:, :2] if kind == "vector" else x[:, 0] % 3 + x[:, 1] + 0.5 * x[:, 2]
    params: dict[str, Any] = {"max_depth": 3, "nthread": 1, "max_cat_to_onehot": 1}
    if kind == "vector":
        params["multi_strategy"] = "multi_output_tree"
    if kind == "dart":
        params["booster"] = "dart"
    if kind == "linear":
        params = {"booster": "gblinear", "nthread": 1}
    types = ["q" if kind in ("linear", "vector") else "c", "q", "q"]
    return bytes(
        xgb.train(params, xgb.DMatrix(x, y, feature_types=types, enable_categorical=True), 3).save_raw(form)
    )


def changed(change: Callable[[dict[str, Any]], None], kind: str = "plain") -> bytes:
    document = copy.deepcopy(json.loads(model("json", kind)))
    change(document)
    return json.dumps(document).encode()


def trees(document: dict[str, Any]) -> Any:
    booster = document["learner"]["gradient_booster"]
    return booster.get("gbtree", booster)["model"]["trees"]


def setting(*path: Any, value: Any, tree: int | None = None) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place = document if tree is None else trees(document)[tree]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def removing(*path: Any, tree: int | None = None) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place = document if tree is None else trees(document)[tree]
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


GB = ("learner", "gradient_booster")
PARAM = ("learner", "learner_model_param")
REFUSED = [
    (setting("version", value=[4, 0, 0]), "version: expected 1.6 to 3, got [4, 0, 0]"),
    (setting("version", value=[1, 5, 9]), "version: expected 1.6 to 3, got [1, 5, 9]"),
    (setting("version", value="3.2"), "version: expected a list of numbers, got '3.2'"),
    (removing("version"), "version: expected a list of numbers, got None"),
    (removing("learner"), "learner: expected an object, got 'nothing'"),
    (setting("learner", value=[]), "learner: expected an object, got 'list'"),
    (setting(*GB, "name", value="gbfoo"), "gradient_booster.name: expected gbtree or dart"),
    (
        setting("learner", "objective", "name", value="reg:mine"),
        "objective.name: expected an objective that is known",
    ),
    (setting("learner", "objective", "name", value=7), "objective.name: expected a string, got 'int'"),
    (setting(*PARAM, "num_feature", value="0"), "num_feature: expected a string of a number from 1 to"),
    (setting(*PARAM, "num_feature", value="1_0"), "num_feature: expected a string of a number from 1 to"),
    (
        setting(*PARAM, "num_feature", value="9" * 5000),
        "num_feature: expected a string of a number from 1 to",
    ),
    (setting(*PARAM, "num_feature", value="2"), "split_indices["),
    (setting(*PARAM, "num_class", value="2000000000"), "num_class: expected a string of a number from 0 to"),
    (setting(*PARAM, "num_target", value="-1"), "num_target: expected a string of a number from 0 to"),
    (setting(*PARAM, "base_score", value="NaN"), "base_score: expected finite numbers, got 'NaN'"),
    (setting(*PARAM, "base_score", value="[1E400]"), "base_score: expected finite numbers"),
    (setting(*PARAM, "base_score", value="[1,2]"), "base_score: expected 1 or 1 numbers, got '2'"),
    (setting(*PARAM, "base_score", value="x"), "base_score: expected numbers, got 'x'"),
    (setting(*GB, "model", "trees", value={}), "trees: expected a list, got 'dict'"),
    (setting(*GB, "model", "trees", 1, value=None), "trees[1]: expected an object, got 'NoneType'"),
    (setting(*GB, "model", "tree_info", value=[0, 1, 0]), "tree_info[1]: expected 0 to 0, got 1"),
    (setting(*GB, "model", "tree_info", value=[0]), "tree_info: expected 3 numbers, got '1'"),
    (
        setting(*GB, "model", "iteration_indptr", value=[0, 2, 1, 3]),
        "iteration_indptr: expected rising numbers",
    ),
    (setting(*GB, "model", "iteration_indptr", value=[0, 1]), "iteration_indptr: expected rising numbers"),
    (setting("learner", "feature_names", value=["a"]), "feature_names: expected 3 names, got '1'"),
    (setting("learner", "feature_names", value=[1, 2, 3]), "feature_names: expected a list of strings"),
    (setting("learner", "feature_names", value=""), "feature_names: expected a list of strings, got ''"),
    (
        setting("learner", "feature_names", value=False),
        "feature_names: expected a list of strings, got False",
    ),
    (setting("id", value=0, tree=1), "trees[1].id: expected 1, got 0"),
    (setting("id", value=[1], tree=1), "trees[1].id: expected 1, got [1]"),
    (removing("left_children", tree=1), "trees[1].left_children: expected a list of numbers, got None"),
    (setting("left_children", 0, value=0, tree=1), "trees[1].left_children[0]: expected a later node"),
    (setting("left_children", 2, value=1, tree=1), "trees[1].left_children[2]: expected a later node"),
    (
        setting("left_children", 1, value=5, tree=1),
        "trees[1].right_children[1]: expected the left child's + 1, got",
    ),
    (
        setting("left_children", 0, value=2**31 - 1, tree=0),
        "trees[0].left_children[0]: expected a later node",
    ),
    (setting("left_children", 0, value=2**31, tree=0), "trees[0].left_children[0]: expected -1 to"),
    (setting("left_children", 0, value=1e300, tree=0), "trees[0].left_children[0]: expected -1 to"),
    (
        setting("left_children", 0, value=10**400, tree=0),
        "trees[0].left_children: expected a list of numbers",
    ),
    (setting("left_children", 0, value=[1], tree=0), "trees[0].left_children: expected a list of numbers"),
    (
        setting("left_children", 0, value=-1, tree=0),
        "trees[0].left_children[1]: expected -1 where no node leads to",
    ),
    (
        setting("right_children", 0, value=1, tree=2),
        "trees[2].right_children[0]: expected the left child's + 1, got 1",
    ),
    (
        setting("tree_param", "num_nodes", value="2147483647", tree=0),
        "left_children: expected 2147483647 numbers",
    ),
    (
        setting("tree_param", "num_deleted", value="2", tree=0),
        "num_deleted: expected 0, as many as no node leads to",
    ),
    (
        setting("tree_param", "size_leaf_vector", value="1000000000", tree=0),
        "size_leaf_vector: expected 0, 1 or 1, got",
    ),
    (removing("tree_param", tree=0), "trees[0].tree_param: expected an object, got 'nothing'"),
    (setting("split_indices", 0, value=3, tree=0), "trees[0].split_indices[0]: expected 0 to 2, got 3"),
    (setting("split_indices", 0, value=-1, tree=0), "trees[0].split_indices[0]: expected 0 to"),
    (setting("split_indices", 0, value=0.5, tree=0), "trees[0].split_indices: expected whole numbers"),
    (setting("default_left", 0, value=2, tree=0), "trees[0].default_left[0]: expected 0 to 1, got 2"),
    (setting("split_conditions", value="x", tree=0), "trees[0].split_conditions: expected a list of numbers"),
    (setting("split_conditions", -1, value=float("nan"), tree=0), "expected a finite number, got nan"),
    (setting("split_conditions", -1, value=1e39, tree=0), "expected a finite number, got inf"),
    (setting("split_type", 0, value=2, tree=0), "trees[0].split_type[0]: expected 0 to 1, got 2"),
    (setting("categories", 0, value=-1, tree=0), "trees[0].categories[0]: expected 0 to 16777215, got -1"),
    (
        setting("categories", 0, value=2**24, tree=0),
        "trees[0].categories[0]: expected 0 to 16777215, got 16777216",
    ),
    (
        setting("categories_nodes", value=[], tree=0),
        "categories_nodes: expected the nodes whose split_type is 1",
    ),
    (setting("categories_sizes", 0, value=0, tree=0), "trees[0].categories_sizes[0]: expected 1 to"),
    (
        setting("categories_segments", 0, value=1, tree=0),
        "trees[0].categories_segments: expected one set after",
    ),
    (setting("categories_segments", 0, value=2**31, tree=0), "trees[0].categories_segments[0]: expected"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_places_are_named(change: Callable[[dict[str, Any]], None], message: str) -> None:
    read_xgboost(model("json"))
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared below
        read_xgboost(changed(change))
    assert message in str(caught.value)


def test_arrays_of_numbers_where_none_can_be() -> None:
    """Of UBJSON they come as NumPy's, which are neither true nor false."""
    numbers = b"[$d#L" + (2).to_bytes(8, "big") + bytes(8)
    key = b"feature_names"
    content = model("ubj").replace(key + b"[#L" + bytes(8), key + numbers)
    with pytest.raises(ValueError, match=r"learner.feature_names: expected a list of strings"):
        read_xgboost(content)

    def change(document: dict[str, Any]) -> None:
        document["learner"]["learner_model_param"]["boost_from_average"] = 1
        document["learner"]["gradient_booster"]["model"] |= {"trees": [], "tree_info": []}

    with pytest.raises(ValueError, match=r"boost_from_average: expected a string, got 'int'"):
        read_xgboost(changed(change))


def test_leaves_beyond_float32() -> None:
    def change(document: dict[str, Any]) -> None:
        trees(document)[1]["split_conditions"][-1] = 1e38
        document["learner"]["gradient_booster"]["weight_drop"][1] = 5

    with pytest.raises(ValueError, match="weight_drop: expected weights that keep leaves finite"):
        read_xgboost(changed(change, "dart"))


def test_shared_children() -> None:
    def change(document: dict[str, Any]) -> None:
        tree = trees(document)[1]
        for key in ("left_children", "right_children"):
            tree[key][1] = tree[key][2]

    with pytest.raises(
        ValueError, match=r"trees\[1\]\.left_children\[1\]: expected no other's children, got"
    ):
        read_xgboost(changed(change))


def test_nan_thresholds_and_categories_out_of_order() -> None:
    def nan(document: dict[str, Any]) -> None:
        tree = trees(document)[0]
        numeric = [
            i for i, left in enumerate(tree["left_children"]) if left > 0 and not tree["split_type"][i]
        ]
        tree["split_conditions"][numeric[0]] = float("nan")

    def falling(document: dict[str, Any]) -> None:
        tree = next(tree for tree in trees(document) if max(tree["categories_sizes"], default=0) > 1)
        tree["categories"].reverse()

    with pytest.raises(ValueError, match=r"trees\[0\]\.split_conditions\[.\]: expected a number, got nan"):
        read_xgboost(changed(nan))
    with pytest.raises(ValueError, match=r"categories\[.\]: expected ascending categories"):
        read_xgboost(changed(falling))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("right_children", -1, value=99, tree=0), "expected a leaf's row, 0 to"),
        (setting("right_children", -1, value=-1, tree=0), "expected a leaf's row, 0 to"),
        (
            setting("leaf_weights", 0, value=float("inf"), tree=0),
            "trees[0].leaf_weights[0]: expected 2 finite numbers",
        ),
        (
            setting("leaf_weights", value=[1.0], tree=0),
            "trees[0].leaf_weights: expected rows of 2 numbers, got '1'",
        ),
        (
            setting("tree_param", "size_leaf_vector", value="3", tree=0),
            "size_leaf_vector: expected 0, 1 or 2, got 3",
        ),
    ],
)
def test_vector_leaves(change: Callable[[dict[str, Any]], None], message: str) -> None:
    content = changed(change, "vector")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared below
        read_xgboost(content)
    assert message in str(caught.value)


def test_right_children_of_leaves_are_not_looked_at() -> None:
    expected = read_xgboost(model("json")).trees
    found = read_xgboost(changed(setting("right_children", -1, value=2**24, tree=0))).trees
    for name in ("left", "right", "feature"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_other_boosters() -> None:
    with pytest.raises(ValueError, match=r"name: expected gbtree or dart; other boosters.*got 'gblinear'"):
        read_xgboost(model("ubj", "linear"))
    drop = (*GB, "weight_drop")
    for value, message in [
        ([1.0], "weight_drop: expected 3 numbers"),
        ([1e39, 1, 1], "weight_drop: expected numbers of float32"),
        ([float("nan"), 1, 1], r"weight_drop\[0\]: expected a number, got nan"),
    ]:
        with pytest.raises(ValueError, match=message):
            read_xgboost(changed(setting(*drop, value=value), "dart"))


@pytest.mark.parametrize(
    "content", [b"", b"binf\0\0\0", b"[]", b"PK\3\4", b"{", b"{}", b"\xff{", b'{"a":1}', b"{\xff}"]
)
def test_other_content(content: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        read_xgboost(content)


@pytest.mark.parametrize(
    "content",
    [
        b'{"a":' * 10**5,
        b'{"version":' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"a":[' + b"[]," * 10**6 + b"[]]}",
        b'{"version":' + b"9" * 10**5 + b"}",
        b'{"version":[3,2,0],"learner":{"learner_model_param":' + b"[" * 300 + b"]" * 300 + b"}}",
    ],
)
def test_deep_or_dense_json(content: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="expected"):
            read_xgboost(content)
        assert tracemalloc.get_traced_memory()[1] < 12 * len(content) + 10**6
    finally:
        tracemalloc.stop()


def sound(trees: Trees) -> None:
    """What is taken over is trees, whatever the file was."""
    for place in range(trees.num_trees):
        begin, end = trees.first[place : place + 2]
        feature, left, right = (array[begin:end] for array in (trees.feature, trees.left, trees.right))
        inner = feature >= 0
        children = np.sort(np.concatenate([left[inner], right[inner]]))
        np.testing.assert_array_equal(children, np.arange(1, end - begin))
        assert (left[~inner] < len(trees.values)).all()
        assert (feature < trees.num_features).all()
    assert not np.isnan(trees.threshold).any()
    assert np.isfinite(trees.values).all()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_byte(data: st.DataObject) -> None:
    """Cut off, or with bytes of it changed, a file is refused or still is trees."""
    content = model(
        data.draw(st.sampled_from(["json", "ubj"])), data.draw(st.sampled_from(["plain", "vector", "dart"]))
    )
    with pytest.raises(ValueError, match="expected"):
        read_xgboost(content[: data.draw(st.integers(0, len(content) - 1))])
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_xgboost(bytes(damaged))
    except ValueError:
        return
    sound(found.trees)


ANYTHING: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        3,
        2**31,
        10**30,
        1e300,
        float("nan"),
        float("inf"),
        "",
        "7",
        "x",
        [],
        [0],
        [[]],
        {},
        {"a": 1},
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_value(data: st.DataObject) -> None:
    """With anything put anywhere, a file is refused or still is trees."""
    document = json.loads(model("json", data.draw(st.sampled_from(["plain", "vector", "dart"]))))
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.integers(0, 4)):
            place = place[key]
            continue
        place[key] = data.draw(ANYTHING)
        break
    try:
        found = read_xgboost(json.dumps(document).encode())
    except ValueError:
        return
    sound(found.trees)
