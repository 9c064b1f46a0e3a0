"""ONNX tree ensembles against onnxruntime: the same leaves, sums to the bit, the same labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pyscale.infer import Forest
from pyscale.infer.forest.trees import ModelDescription
from pyscale.infer.importers.onnx_trees import read_onnx_trees

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx_models as om  # noqa: E402
from forest_inputs import around_thresholds  # noqa: E402
from forest_reference import linked, sums  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402


def read(model: Any) -> ModelDescription:
    return read_onnx_trees(model.SerializeToString())


def inputs(description: ModelDescription, seed: int, rows: int = 150) -> NDArray[Any]:
    """Values around thresholds, and, as sets leave none to see, halves around whole numbers."""
    with np.errstate(over="ignore"):
        x = around_thresholds(description.trees, rows, seed).astype(description.trees.precision)
    rng = np.random.default_rng(seed)
    chosen = rng.random(x.shape) < 0.3
    x[chosen] = rng.integers(-16, 140, int(chosen.sum())) / 2
    return x


def answers(description: ModelDescription, x: NDArray[Any]) -> Any:
    return linked(description.link, sums(description.trees, x), description.trees.num_trees)


def labels(description: ModelDescription, x: NDArray[Any]) -> NDArray[Any]:
    assert description.classes is not None
    answer = answers(description, x)
    if description.kind != "binary":
        return np.asarray(description.classes[answer.argmax(axis=1)])
    positive = description.decides == "positive"
    second = sums(description.trees, x)[:, 0] > 0 if positive else answer[:, 0] > 0.5
    return np.asarray(description.classes[second * 1])


def assert_same_sums(model: Any, seed: int, rows: int = 150) -> ModelDescription:
    description = read(model)
    x = inputs(description, seed, rows)
    (expected,) = om.run(model, x)
    np.testing.assert_array_equal(sums(description.trees, x).astype(expected.dtype), expected)
    return description


@pytest.mark.parametrize("mode", om.MODES)
@pytest.mark.parametrize("dtype", ["float", "double"])
def test_each_mode(mode: str, dtype: str) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        trees = [
            om.random_tree(rng, features=2, targets=[0], inner=8, modes=(mode,), dtype=dtype)
            for _ in range(3)
        ]
        made = om.model("TreeEnsemble", 2, dtype, n_targets=1, **om.attributes_v5(trees, dtype))
        assert_same_sums(made, seed)
        if mode != "MEMBER":
            attributes = om.attributes(trees, "target", dtype, rng)
            made = om.model("TreeEnsembleRegressor", 2, dtype, n_targets=1, **attributes)
            description = assert_same_sums(made, seed)
            assert description.trees.sums == {"float": "float32", "double": "float64"}[dtype]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from(["float", "double"]), st.booleans())
def test_random_models_of_all_modes(seed: int, dtype: str, v5: bool) -> None:
    rng = np.random.default_rng(seed)
    modes = tuple(rng.choice(om.MODES if v5 else om.MODES[:-1], int(rng.integers(1, 6))))
    trees = [
        om.random_tree(rng, features=2, targets=[0], inner=int(rng.integers(1, 12)), modes=modes, dtype=dtype)
        for _ in range(int(rng.integers(1, 5)))
    ]
    if v5:
        made = om.model("TreeEnsemble", 2, dtype, n_targets=1, **om.attributes_v5(trees, dtype))
    else:
        attributes = om.attributes(trees, "target", dtype, rng)
        made = om.model("TreeEnsembleRegressor", 2, dtype, n_targets=1, **attributes)
    assert_same_sums(made, seed % 2**31)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 0.0, -0.0, 1e-45, 3.4028235e38, -3.4028235e38])
@pytest.mark.parametrize("mode", om.MODES[:-1])
@pytest.mark.parametrize("track", [0, 1])
def test_thresholds_at_the_ends(mode: str, value: float, track: int) -> None:
    tree = [om.Node(mode, 0, value, track=track, yes=1, no=2)]
    tree += [om.Node(weights={0: 1.0}), om.Node(weights={0: 2.0})]
    made = om.model(
        "TreeEnsembleRegressor", 1, "float", n_targets=1, **om.attributes([tree], "target", "float")
    )
    description = assert_same_sums(made, 0, 200)
    assert description.trees.num_trees == 1


@pytest.mark.parametrize(
    "members",
    [
        [30.0, 0.0],
        [31.0],
        [-1.0, 5.0],
        [-1.0],
        [*range(31)],
        [5.0] * 31,
        [2.5, 3.0],
        [*range(200), -7.0],
        [1e9],
    ],
)
@pytest.mark.parametrize("dtype", ["float", "double"])
@pytest.mark.parametrize("track", [0, 1])
def test_sets_that_onnxruntime_compares_in_two_ways(members: list[float], dtype: str, track: int) -> None:
    tree = [om.Node("MEMBER", 0, members=[float(v) for v in members], track=track, yes=1, no=2)]
    tree += [om.Node(weights={0: 1.0}), om.Node(weights={0: 2.0})]
    made = om.model("TreeEnsemble", 1, dtype, n_targets=1, **om.attributes_v5([tree], dtype))
    description = assert_same_sums(made, 0, 400)
    values = np.array([v + d for v in [*members, 0.0] for d in (0.0, 0.5, -0.5, 1e-3, -1e-3, 1.0)])
    x = np.append(values, np.nan).astype(om.TYPES[dtype])[:, None]
    np.testing.assert_array_equal(sums(description.trees, x), om.run(made, x)[0])


def test_equal_values_in_a_chain_and_weights_of_inner_nodes() -> None:
    tree = [om.Node("EQ", 0, 2.5, yes=1, no=2), om.Node(weights={0: 1.0})]
    tree += [om.Node("EQ", 0, 2.5, yes=3, no=4, track=1), om.Node(weights={0: 3.0})]
    tree += [
        om.Node("NEQ", 0, -0.0, yes=5, no=6, track=1, weights={0: 50.0}),
        om.Node(weights={0: 4.0}),
        om.Node(weights={0: 5.0}),
    ]
    made = om.model(
        "TreeEnsembleRegressor", 1, "float", n_targets=1, **om.attributes([tree], "target", "float")
    )
    assert_same_sums(made, 0, 400)


def test_a_chain_of_equalities_grows_by_its_length() -> None:
    tree = []
    for i in range(40):
        tree += [om.Node("EQ", 0, float(3 * i), track=int(i == 7), yes=2 * i + 1, no=2 * i + 2)]
        tree += [om.Node(weights={0: float(i)})]
    tree.append(om.Node(weights={0: -1.0}))
    made = om.model(
        "TreeEnsembleRegressor", 1, "float", n_targets=1, **om.attributes([tree], "target", "float")
    )
    description = assert_same_sums(made, 0, 300)
    assert description.trees.num_nodes == 4 * 40 + 1


def test_equalities_that_multiply_are_refused() -> None:
    tree = []
    for i in range(30):
        tree += [om.Node("EQ", i % 2, 0.5 + i, yes=2 * i + 1, no=2 * i + 2), om.Node(weights={0: float(i)})]
    tree.append(om.Node(weights={0: -1.0}))
    made = om.model(
        "TreeEnsembleRegressor", 2, "float", n_targets=1, **om.attributes([tree], "target", "float")
    )
    with pytest.raises(
        ValueError, match=r"TreeEnsembleRegressor: expected comparisons for equality that few"
    ):
        read(made)


@pytest.mark.parametrize("dtype", ["float", "double"])
@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("based", [False, True])
def test_sums_in_onnxruntimes_order(dtype: str, aggregate: str, outputs: int, based: bool) -> None:
    rng = np.random.default_rng(5)
    targets = list(range(outputs))
    trees = [om.random_tree(rng, features=3, targets=targets, inner=4, dtype=dtype) for _ in range(90)]
    more = om.attributes(trees, "target", dtype, rng)
    if based:
        base = om.TYPES[dtype](rng.normal(size=outputs) * 1000)
        more |= (
            {"base_values": base.tolist()}
            if dtype == "float"
            else {"base_values_as_tensor": numpy_helper.from_array(base)}
        )
    made = om.model(
        "TreeEnsembleRegressor", 3, dtype, n_targets=outputs, aggregate_function=aggregate, **more
    )
    description = read(made)
    x = inputs(description, 1)
    (expected,) = om.run(made, x)
    if aggregate == "SUM":
        np.testing.assert_array_equal(sums(description.trees, x).astype(np.float32), expected)
    else:
        assert description.link.divisor == 90
        np.testing.assert_allclose(answers(description, x), expected, rtol=1e-5, atol=1e-4)
        if not based:
            s = sums(description.trees, x)
            np.testing.assert_array_equal((s / s.dtype.type(90)).astype(np.float32), expected)


@pytest.mark.parametrize("seed", range(4))
def test_trees_of_some_of_the_targets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    trees = []
    for _ in range(6):
        targets = sorted(rng.choice(7, int(rng.integers(1, 4)), replace=False).tolist())
        tree = om.random_tree(rng, features=2, targets=targets, inner=5)
        for node in tree:
            if node.weights and rng.random() < 0.3:
                del node.weights[targets[0]]
        trees.append(tree)
    whole = om.random_tree(rng, features=2, targets=[1, 2], inner=3)
    trees.insert(int(rng.integers(7)), whole)
    base = [0.0, 2.5, -1e-3, 0.0, 0.0, 0.0, 0.0]
    more = om.attributes(trees, "target", "float", rng)
    assert_same_sums(
        om.model("TreeEnsembleRegressor", 2, "float", n_targets=7, base_values=base, **more), seed
    )


def test_a_base_that_onnxruntime_adds_at_times() -> None:
    tree = [om.Node("LEQ", 0, 0.5, yes=1, no=2), om.Node(weights={0: 1.0, 1: 2.0}), om.Node(weights={0: 4.0})]
    more = om.attributes([tree], "target", "float")
    made = om.model("TreeEnsembleRegressor", 1, "float", n_targets=3, base_values=[3.0, 0.0, 9.0], **more)
    assert read(made).trees.num_trees == 1
    assert_same_sums(made, 0)
    made = om.model("TreeEnsembleRegressor", 1, "float", n_targets=3, base_values=[3.0, 5.0, 9.0], **more)
    with pytest.raises(ValueError, match=r"base_values\[1\]: expected 0, or a tree with a weight"):
        read(made)


def test_a_class_a_tree_takes_no_more_than_that() -> None:
    rng = np.random.default_rng(0)
    trees = [om.random_tree(rng, features=2, targets=[i % 5], inner=3) for i in range(20)]
    made = om.model(
        "TreeEnsembleRegressor", 2, "float", n_targets=5, **om.attributes(trees, "target", "float")
    )
    description = assert_same_sums(made, 0)
    assert description.trees.values.shape == (80, 1)
    assert description.trees.output.tolist() == [0, 1, 2, 3, 4] * 4


@pytest.mark.parametrize("post", ["NONE", "SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize("outputs", [1, 2, 4])
@pytest.mark.parametrize("v5", [False, True])
def test_transforms(post: str, outputs: int, v5: bool) -> None:
    rng = np.random.default_rng(1)
    trees = [om.random_tree(rng, features=2, targets=[i % outputs], inner=3) for i in range(8)]
    for node in (node for tree in trees for node in tree):
        node.weights = {target: float(np.float32(weight / 500)) for target, weight in node.weights.items()}
    if v5:
        number = {"NONE": 0, "LOGISTIC": 1, "SOFTMAX": 2}[post]
        more = om.attributes_v5(trees, "float")
        made = om.model("TreeEnsemble", 2, "float", n_targets=outputs, post_transform=number, **more)
    else:
        more = om.attributes(trees, "target", "float")
        made = om.model("TreeEnsembleRegressor", 2, "float", n_targets=outputs, post_transform=post, **more)
    description = read(made)
    x = inputs(description, 2)
    np.testing.assert_allclose(answers(description, x), om.run(made, x)[0], rtol=1e-5, atol=1e-6)


def classifier(
    seed: int, classes: int, ids: list[int], post: str, *, positive: bool, text: bool = False, **more: Any
) -> Any:
    rng = np.random.default_rng(seed)
    trees = [om.random_tree(rng, features=2, targets=ids, inner=4, positive=positive) for _ in range(5)]
    for node in (node for tree in trees for node in tree):
        node.weights = {target: float(np.float32(weight / 500)) for target, weight in node.weights.items()}
    names: dict[str, Any] = {"classlabels_int64s": [7 * i - 3 for i in range(classes)]}
    if text:
        names = {"classlabels_strings": [f"{i}é" for i in range(classes)]}
    attributes = om.attributes(trees, "class", more.get("dtype", "float"), rng)
    dtype = more.pop("dtype", "float")
    return om.model("TreeEnsembleClassifier", 2, dtype, post_transform=post, **names, **attributes, **more)


def same_as_onnxruntime(made: Any, seed: int, column: int | None) -> ModelDescription:
    """Check probabilities, of one column or of all, and labels where there are any."""
    description = read(made)
    x = inputs(description, seed).astype(
        om.TYPES[{1: "float", 11: "double"}[made.graph.input[0].type.tensor_type.elem_type]]
    )
    label, scores = om.run(made, x)
    if column is not None:
        scores = scores[:, column : column + 1]
    np.testing.assert_allclose(answers(description, x), scores, rtol=1e-5, atol=1e-6)
    if (
        description.kind == "binary"
        and description.decides == "positive"
        and description.link.name == "identity"
    ):
        with pytest.raises(ValueError, match="expected a model of probabilities, got one of scores"):
            Forest(description).predict_proba(x)
    if description.classes is not None:
        np.testing.assert_array_equal(labels(description, x), label)
    return description


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("post", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("base", [[], [0.0625]])
def test_two_classes_with_weights_of_one(which: int, post: str, positive: bool, base: list[float]) -> None:
    more: dict[str, Any] = {"base_values": base} if base else {}
    made = classifier(3, 2, [which], post, positive=positive, **more)
    description = same_as_onnxruntime(made, 0, 1)
    assert description.kind == "binary"
    # Only with positive weights and a link is there a label that no link gives.
    assert (description.classes is None) == (positive and description.link.name == "logistic")


@pytest.mark.parametrize("post", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize("text", [False, True])
def test_more_classes(post: str, classes: int, text: bool) -> None:
    for seed in range(2):
        made = classifier(seed, classes, list(range(classes)), post, positive=False, text=text)
        description = same_as_onnxruntime(made, seed, None)
        assert description.kind == "multiclass"
        assert (description.classes is None) == (classes == 2)
        if text and classes > 2:
            assert isinstance(description.classes, np.ndarray)
            assert description.classes.tolist()[0] == "0é"


def test_classes_without_weights() -> None:
    made = classifier(0, 3, [1, 2], "NONE", positive=False)
    assert same_as_onnxruntime(made, 0, None).classes is None
    made = classifier(0, 3, [1, 2], "NONE", positive=True)
    assert same_as_onnxruntime(made, 0, None).classes is not None
    made = classifier(0, 3, [1, 2], "NONE", positive=False, base_values=[0.5, 0.25, 0.125])
    assert same_as_onnxruntime(made, 0, None).classes is not None


def test_classifier_of_doubles_and_of_whole_numbers() -> None:
    made = classifier(1, 3, [0, 1, 2], "SOFTMAX", positive=False, dtype="double")
    assert same_as_onnxruntime(made, 0, None).trees.precision == "float64"
    rng = np.random.default_rng(0)
    trees = [om.random_tree(rng, features=2, targets=[0, 1, 2], inner=6) for _ in range(3)]
    for node in trees[0]:
        node.value = float(np.float32(2**24 + 2 * rng.integers(8)))
    for dtype in ("int64", "int32"):
        attributes = om.attributes(trees, "class", "float")
        made = om.model("TreeEnsembleClassifier", 2, dtype, classlabels_int64s=[0, 1, 2], **attributes)
        description = read(made)
        x = rng.integers(-5, 45, (400, 2)).astype(om.TYPES[dtype])
        x[200:] = 2**24 + rng.integers(0, 20, (200, 2))
        label, scores = om.run(made, x)
        np.testing.assert_array_equal(sums(description.trees, x), scores)
        np.testing.assert_array_equal(labels(description, x), label)


OPTIONS = ("before", "after", "outputs", "initializers", "feed", "given", "of", "features")


def floats(values: Any) -> NDArray[Any]:
    return np.array(values, np.float32)


def small(**more: Any) -> Any:
    """A regressor of one tree."""
    tree = [om.Node("LEQ", 0, 0.1, yes=1, no=2), om.Node(weights={0: 1.0}), om.Node(weights={0: 2.0})]
    options = {key: more.pop(key) for key in list(more) if key in OPTIONS}
    attributes = om.attributes([tree, tree], "target", more.pop("dtype", "float"))
    attributes = {key: value for key, value in ({**attributes, **more}).items() if value is not None}
    operator, features = "TreeEnsembleRegressor", options.pop("features", 1)
    return om.model(
        operator, features, options.pop("of", "float"), **options, **{"n_targets": 1, **attributes}
    )


def test_casts_before_the_trees() -> None:
    cast = helper.make_node("Cast", ["X"], ["A"], to=1)
    for source in ("double", "int64", "int32"):
        made = small(before=(cast,), feed="A", given=source)
        description = read(made)
        assert description.trees.precision == "float32"
        at = float(np.float32(0.1))
        x = np.array([[0.1], [at], [at + 1e-12], [at + 1e-7], [0], [1]]).astype(om.TYPES[source])
        np.testing.assert_array_equal(sums(description.trees, x), om.run(made, x)[0])
    twice = (helper.make_node("Cast", ["X"], ["A"], to=1), helper.make_node("Cast", ["A"], ["B"], to=11))
    tree = [om.Node("EQ", 0, 0.1, yes=1, no=2), om.Node("LT", 0, 0.3, yes=3, no=4)]
    tree += [om.Node(weights={0: w}) for w in (1.0, 2.0, 4.0)]
    made = om.model(
        "TreeEnsembleRegressor",
        1,
        "double",
        before=twice,
        feed="B",
        given="double",
        n_targets=1,
        **om.attributes([tree], "target", "double"),
    )
    description = read(made)
    assert (description.trees.precision, description.trees.sums) == ("float32", "float64")
    near = floats([0.1, 0.3])
    x = np.concatenate([near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(1))])
    x = np.append(x.astype(np.float64), [0.1, 0.3, 0.2])[:, None]
    np.testing.assert_array_equal(sums(description.trees, x), om.run(made, x)[0])


def test_an_input_a_column() -> None:
    rng = np.random.default_rng(0)
    trees = [om.random_tree(rng, features=3, targets=[0], inner=8) for _ in range(3)]
    together = helper.make_node("Concat", ["age", "X", "bmi"], ["A"], axis=1)
    more = om.attributes(trees, "target", "float")
    made = om.model("TreeEnsembleRegressor", 1, "float", before=(together,), feed="A", n_targets=1, **more)
    made.graph.input.extend([helper.make_tensor_value_info(name, 1, [None, 1]) for name in ("bmi", "age")])
    description = read(made)
    assert description.feature_names == ("age", "X", "bmi")
    assert description.trees.num_features == 3
    x = inputs(description, 0)
    (expected,) = om.run(made, {name: x[:, i : i + 1] for i, name in enumerate(("age", "X", "bmi"))})
    np.testing.assert_array_equal(sums(description.trees, x), expected)


def after(*steps: str) -> tuple[Any, ...]:
    """Nodes in a line, from the trees' scores to Z."""
    extra: list[dict[str, Any]] = [{}, {"to": 11}]
    names = ["scores", *(f"t{i}" for i in range(len(steps) - 1)), "Z"]
    return tuple(
        helper.make_node(step, [names[i]], [names[i + 1]], **extra[step == "Cast"])
        for i, step in enumerate(steps)
    )


@pytest.mark.parametrize(
    ("steps", "link"),
    [
        (("Identity",), "identity"),
        (("Cast",), "identity"),
        (("Neg",), "identity"),
        (("Neg", "Sigmoid"), "logistic"),
        (("Sigmoid", "Identity"), "logistic"),
        (("Exp",), "exp"),
        (("Neg", "Neg", "Softmax"), "softmax"),
    ],
)
def test_nodes_after_the_trees(steps: tuple[str, ...], link: str) -> None:
    kind = "double" if "Cast" in steps else "float"
    made = small(after=after(*steps), outputs=(("Z", kind),))
    description = read(made)
    assert description.link.name == link
    x = floats([[0], [1], [np.nan]])
    np.testing.assert_allclose(answers(description, x), om.run(made, x)[0], rtol=1e-5)


def test_probabilities_and_labels_put_together() -> None:
    def tensor(name: str, values: list[Any], dtype: Any) -> Any:
        return numpy_helper.from_array(np.array(values, dtype), name)

    nodes = (
        helper.make_node("Div", ["scores", "three"], ["mean"]),
        helper.make_node("Sigmoid", ["mean"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["P"], axis=1),
        helper.make_node("ArgMax", ["P"], ["best"], axis=1, keepdims=0),
        helper.make_node("ArrayFeatureExtractor", ["names", "best"], ["wide"], domain="ai.onnx.ml"),
        helper.make_node("Reshape", ["wide", "flat"], ["L"]),
    )
    constants = (
        tensor("three", [3.0], np.float32),
        tensor("one", [1.0], np.float32),
        tensor("names", [40, 50], np.int64),
        tensor("flat", [-1], np.int64),
    )
    made = small(
        after=nodes,
        outputs=(("L", "int64"), ("P", "float")),
        initializers=constants,
        target_weights=[1.0, -2.0, 0.5, 1.5],
    )
    description = read(made)
    assert (description.kind, description.link.name, description.link.divisor) == ("binary", "logistic", 3.0)
    x = floats([[0], [1]])
    label, p = om.run(made, x)
    np.testing.assert_allclose(answers(description, x)[:, 0], p[:, 1], rtol=1e-6)
    assert labels(description, x).tolist() == label.tolist() == [50, 40]


def test_labels_of_several_targets() -> None:
    rng = np.random.default_rng(0)
    trees = [om.random_tree(rng, features=2, targets=[0, 1, 2], inner=6) for _ in range(2)]
    nodes = (
        helper.make_node("Softmax", ["scores"], ["P"], axis=1),
        helper.make_node("ArgMax", ["P"], ["L"], axis=1, keepdims=0),
    )
    made = om.model(
        "TreeEnsembleRegressor",
        2,
        "float",
        after=nodes,
        outputs=(("L", "int64"), ("P", "float")),
        n_targets=3,
        **om.attributes(trees, "target", "float"),
    )
    description = read(made)
    assert (description.kind, description.link.name) == ("multiclass", "softmax")
    x = inputs(description, 0)
    np.testing.assert_array_equal(labels(description, x), om.run(made, x)[0])


def test_fewer_trees_keep_the_base() -> None:
    rng = np.random.default_rng(0)
    trees = [om.random_tree(rng, features=2, targets=[0], inner=5) for _ in range(4)]

    def made(count: int) -> Any:
        more = om.attributes(trees[:count], "target", "float")
        return om.model("TreeEnsembleRegressor", 2, "float", n_targets=1, base_values=[2.5], **more)

    model = Forest(read(made(4)))
    assert model.num_trees == 4
    x = rng.normal(size=(50, 2)).astype(np.float32) * 10
    for count in range(1, 5):
        expected = om.run(made(count), x)[0][:, 0]
        np.testing.assert_array_equal(model.predict(x, num_trees=count), expected)
    np.testing.assert_array_equal(model.predict(x, num_trees=0), np.full(50, 2.5, np.float32))
