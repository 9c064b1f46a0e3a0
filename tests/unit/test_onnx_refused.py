"""What is no ONNX tree ensemble, or one that trees do not express, is refused by a message with its place."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from pyscale.infer.importers.onnx_trees import read_onnx_trees

onnx = pytest.importorskip("onnx")

import onnx_models as om  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402

TREE = [
    om.Node("LEQ", 0, 0.5, yes=1, no=2),
    om.Node("LT", 1, 1.5, yes=3, no=4),
    om.Node(weights={0: 1.0}),
    om.Node(weights={0: 2.0}),
    om.Node(weights={0: 3.0}),
]
SET = [
    om.Node("MEMBER", 0, members=[1.0, 2.0], yes=1, no=2),
    om.Node(weights={0: 1.0}),
    om.Node(weights={0: 2.0}),
]


def changed(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**base, **change}.items() if value is not None}


def regressor(**change: Any) -> bytes:
    base = {"n_targets": 1, **om.attributes([TREE, TREE], "target", "float")}
    made = om.model("TreeEnsembleRegressor", 2, "float", **changed(base, change))
    return bytes(made.SerializeToString())


def classifier(**change: Any) -> bytes:
    base = {"classlabels_int64s": [0, 1, 2], **om.attributes([TREE], "class", "float")}
    made = om.model("TreeEnsembleClassifier", 2, "float", **changed(base, change))
    return bytes(made.SerializeToString())


def ensemble(**change: Any) -> bytes:
    base = {"n_targets": 1, **om.attributes_v5([TREE, SET], "float")}
    made = om.model("TreeEnsemble", 2, "float", **changed(base, change))
    return bytes(made.SerializeToString())


def tensor(values: Any, dtype: Any) -> Any:
    return numpy_helper.from_array(np.array(values, dtype))


INF, NAN = float("inf"), float("nan")
LEQ, LT, LEAF = "BRANCH_LEQ", "BRANCH_LT", "LEAF"


def test_what_these_tests_change_is_read() -> None:
    for content in (regressor(), classifier(), ensemble()):
        assert read_onnx_trees(content).trees.num_nodes > 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes_modes": [LEQ, "LEAFY", *[LEAF] * 3] * 2}, r"nodes_modes\[1\]: expected a known mode"),
        ({"nodes_modes": None}, "nodes_modes: expected a node or more"),
        ({"nodes_modes": [1, 2]}, "nodes_modes: expected an attribute of type STRINGS, got 'INTS'"),
        ({"nodes_values": [NAN, *[0.5] * 9]}, r"nodes_values\[0\]: expected a number"),
        ({"nodes_values": [0.5] * 9}, "nodes_values: expected 10 values, got '9'"),
        ({"nodes_values": None}, "nodes_values: expected 10 values, got '0'"),
        ({"nodes_values_as_tensor": tensor([1.0] * 10, np.float32)}, "one of nodes_values and"),
        ({"nodes_featureids": [0, 2, *[0] * 8]}, "features of 2 columns, got 'feature 2'"),
        ({"nodes_featureids": [0, -1, *[0] * 8]}, r"nodes_featureids\[1\]: expected 0 or more"),
        ({"nodes_featureids": [2**40, *[0] * 9]}, r"nodes_featureids\[0\]: expected -2147483647 to"),
        ({"nodes_truenodeids": [1, 9, *[0] * 8]}, r"nodes_truenodeids\[1\]: expected a node of the tree"),
        ({"nodes_truenodeids": [1, -3, *[0] * 8]}, r"nodes_truenodeids\[1\]: expected 0 to"),
        ({"nodes_truenodeids": [1, 2**62, *[0] * 8]}, r"nodes_truenodeids\[1\]: expected 0 to"),
        ({"nodes_truenodeids": [1, 2, *[0] * 3, 1, 3, 0, 0, 0]}, "each node a child once"),
        ({"nodes_truenodeids": [1, 1, *[0] * 3, 1, 3, 0, 0, 0]}, "got 'node 1, its own child'"),
        (
            {"nodes_truenodeids": [0, 3, *[0] * 3, 1, 3, 0, 0, 0]},
            "of other nodes, got 'node 0, its own child'",
        ),
        ({"nodes_nodeids": [0, 1, 2, 3, 3] * 2}, r"nodes_nodeids\[4\]: expected a number of its own"),
        ({"nodes_nodeids": [0, 1, 2, 3, -4] * 2}, r"nodes_nodeids\[4\]: expected 0 to"),
        (
            {"nodes_treeids": [0, 0, 1, 0, 0, *[1] * 5]},
            r"nodes_treeids\[3\]: expected a tree's nodes together",
        ),
        ({"nodes_missing_value_tracks_true": [0, 1]}, "tracks_true: expected 10 values"),
        ({"nodes_missing_value_tracks_true": [2] * 10}, r"tracks_true\[0\]: expected 0 to 1"),
        ({"nodes_falsenodeids": [2, 0, *[0] * 3, 2, 4, 0, 0, 0]}, "begin at a root, got 'node 0, a child'"),
        ({"target_ids": [0, 0, 0, 0, 0, 1]}, r"target_ids\[5\]: expected 0 to 0, got 1"),
        ({"target_nodeids": [2, 3, 4, 2, 3, 9]}, r"target_nodeids\[5\]: expected a node of the tree"),
        ({"target_treeids": [0, 0, 0, 1, 1, 7]}, r"target_nodeids\[5\]: expected a node of a known tree"),
        ({"target_weights": [1.0, NAN, *[1.0] * 4]}, r"target_weights\[1\]: expected a number"),
        ({"target_weights": [1.0] * 5}, "target_weights: expected 6 values"),
        ({"target_nodeids": [2, 3, 4, 2, 3, 3]}, "one weight a leaf and target, got 'two of node 8'"),
        ({"target_nodeids": [2, 3, 4, 2, 3, 1]}, "a weight for each leaf, got 'none for node 9'"),
        ({"n_targets": 0}, "n_targets: expected 1 to 65536, got 0"),
        ({"n_targets": 2**40}, "n_targets: expected 1 to 65536"),
        ({"n_targets": [1]}, "n_targets: expected an attribute of type INT, got 'INTS'"),
        ({"base_values": [1.0, 2.0]}, "base_values: expected 1 values, or none"),
        ({"base_values": [NAN]}, r"base_values\[0\]: expected a number"),
        ({"aggregate_function": "MIN"}, "aggregate_function: expected SUM or AVERAGE, got 'MIN'"),
        ({"aggregate_function": "MAX"}, "aggregate_function: expected SUM or AVERAGE, got 'MAX'"),
        ({"post_transform": "PROBIT"}, "post_transform: expected NONE or SOFTMAX or LOGISTIC, got 'PROBIT'"),
        ({"post_transform": "SOFTMAX_ZERO", "n_targets": 2}, "got 'SOFTMAX_ZERO'"),
        ({"post_transform": b"\xff\xfe"}, "post_transform: expected text in UTF-8"),
    ],
)
def test_regressors(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_onnx_trees(regressor(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classlabels_int64s": [5]}, "classlabels: expected 2 to 65536 labels, got '1'"),
        ({"classlabels_int64s": None}, "classlabels: expected 2 to 65536 labels, got '0'"),
        ({"classlabels_strings": [b"\xff", b"a"]}, r"classlabels_strings\[0\]: expected text in UTF-8"),
        ({"class_ids": [0, 1, 3]}, r"class_ids\[2\]: expected 0 to 2"),
        ({"base_values": [1.0]}, "base_values: expected 3 values, or none"),
        ({"post_transform": "PROBIT"}, "got 'PROBIT'"),
        ({"classlabels_int64s": [0, 1], "base_values": [1.0, 2.0]}, "at most one value for two classes"),
    ],
)
def test_classifiers(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_onnx_trees(classifier(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes_modes": tensor([0, 7, 6], np.uint8)}, r"nodes_modes\[1\]: expected 0 to 6, got 7"),
        ({"nodes_modes": tensor([0, 1, 6], np.int64)}, "nodes_modes: expected a tensor of uint8"),
        ({"nodes_modes": tensor([0, 1, 6], np.float16)}, "nodes_modes: expected a tensor of uint8"),
        ({"nodes_modes": None}, "expected the attribute nodes_modes"),
        ({"nodes_splits": tensor([0.5, NAN, 0.0], np.float32)}, r"nodes_splits\[1\]: expected a number"),
        ({"nodes_splits": tensor([0.5, 1.0, 0.0], np.float64)}, "nodes_splits: expected a tensor of float"),
        ({"nodes_splits": tensor([0.5, 1.0], np.float32)}, "nodes_splits: expected 3 values"),
        ({"nodes_truenodeids": [9, 1, 3]}, r"nodes_truenodeids\[0\]: expected one of 3 nodes, got 9"),
        ({"nodes_truenodeids": [1, 9, 3]}, r"nodes_truenodeids\[1\]: expected one of 5 leaves, got 9"),
        ({"nodes_truenodeids": [0, 1, 3]}, "children of other nodes, got 'node 0, its own child'"),
        ({"nodes_trueleafs": [2, 1, 1]}, r"nodes_trueleafs\[0\]: expected 0 to 1, got 2"),
        ({"tree_roots": [0, 1]}, "begin at a root, got 'node 1, a child'"),
        ({"tree_roots": [0, 0]}, "each tree once"),
        ({"tree_roots": [0]}, "roots that lead to all nodes, got 'node 2 not reached'"),
        ({"tree_roots": None}, "tree_roots: expected a tree or more"),
        ({"tree_roots": [0, 3]}, r"tree_roots\[1\]: expected 0 to 2"),
        (
            {"membership_values": tensor([1.0, NAN, NAN], np.float32)},
            "membership_values: expected 1 sets, got '2'",
        ),
        (
            {"membership_values": tensor([NAN], np.float32)},
            "membership_values: expected sets that are not empty",
        ),
        ({"membership_values": tensor([40.5], np.float32)}, "node 2: expected whole numbers of 32 bits"),
        ({"membership_values": tensor([2.0**31], np.float32)}, "node 2: expected whole numbers of 32 bits"),
        ({"membership_values": None}, "expected the attribute membership_values"),
        ({"leaf_targetids": [0, 0, 0, 0, 1]}, r"leaf_targetids\[4\]: expected 0 to 0"),
        ({"leaf_weights": tensor([1, 2, 3, 4, NAN], np.float32)}, r"leaf_weights\[4\]: expected a number"),
        ({"aggregate_function": 2}, "expected SUM or AVERAGE, got 'MIN'"),
        ({"aggregate_function": 9}, "aggregate_function: expected 0 to 3, got 9"),
        ({"post_transform": 4}, "got 'PROBIT'"),
        ({"post_transform": -1}, "post_transform: expected 0 to 4, got -1"),
        ({"base_values": [1.0]}, "base_values: expected an attribute that the operator has"),
    ],
)
def test_ensembles(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_onnx_trees(ensemble(**change))


def test_tensors_that_lie() -> None:
    for edit, message in (
        (lambda t: t.dims.__setitem__(0, 2**40), "expected 1099511627776 values"),
        (lambda t: t.dims.__setitem__(0, -3), "at most 8 sizes of 0 or more"),
        (lambda t: (t.dims.__setitem__(0, 0), t.dims.extend([2**60])), "a shape that can be"),
        (lambda t: t.dims.extend([2**60] * 500), "at most 8 sizes of 0 or more"),
        (lambda t: setattr(t, "raw_data", t.raw_data[:-1]), "expected 3 values, got '11 bytes'"),
        (lambda t: setattr(t, "data_location", 1), "a tensor whose values are in another file"),
        (lambda t: t.external_data.add(key="location", value="/etc/passwd"), "in another file"),
        (lambda t: setattr(t, "data_type", 8), "expected a tensor of float"),
        (lambda t: setattr(t, "data_type", 77), "expected a tensor of float"),
    ):
        model = onnx.ModelProto.FromString(ensemble())
        for attribute in model.graph.node[0].attribute:
            if attribute.name == "nodes_splits":
                edit(attribute.t)
        with pytest.raises(ValueError, match=f"TreeEnsemble.nodes_splits: .*{message}"):
            read_onnx_trees(model.SerializeToString())


def around(
    before: tuple[Any, ...] = (), after: tuple[Any, ...] = (), output: str = "scores", feed: str = "X"
) -> Any:
    attributes = om.attributes([TREE], "target", "float")
    return om.model(
        "TreeEnsembleRegressor",
        2,
        "float",
        before=before,
        after=after,
        feed=feed,
        outputs=((output, "float"),),
        n_targets=1,
        **attributes,
    )


def constant(shape: tuple[int, ...]) -> Any:
    value = numpy_helper.from_array(np.ones(shape, np.float32))
    return helper.make_node("Constant", [], ["c"], value=value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            around((helper.make_node("Normalizer", ["X"], ["A"], domain="ai.onnx.ml"),), feed="A"),
            "got 'Norma",
        ),
        (around((helper.make_node("Mul", ["X", "X"], ["A"]),), feed="A"), "constants, got '2 of"),
        (around((helper.make_node("Cast", ["X"], ["A"], to=7),), feed="A"), "got 'a cast to int64'"),
        (around((helper.make_node("Cast", ["X"], ["A"], to=10),), feed="A"), "got 'type 10'"),
        (
            around((helper.make_node("Cast", ["A"], ["A"], to=1),), feed="A"),
            "what comes from the graph's input",
        ),
        (around((helper.make_node("Concat", ["X", "X"], ["A"], axis=1),), feed="A"), "each input once"),
        (around((helper.make_node("Concat", ["X"], ["A"], axis=1),), feed="A"), "of one column, got 'X'"),
        (around(feed="nowhere"), "what comes from the graph's input, got 'nowhere'"),
        (around(after=(helper.make_node("Tanh", ["scores"], ["Z"]),), output="Z"), "got 'Tanh'"),
        (around(after=(helper.make_node("Cast", ["scores"], ["Z"], to=7),), output="Z"), "got 'Cast'"),
        (around(after=(helper.make_node("Mul", ["scores", "scores"], ["Z"]),), output="Z"), "got 'Mul'"),
        (
            around(after=(helper.make_node("Exp", ["other"], ["Z"]),), output="Z"),
            "follows the trees, got 'Exp'",
        ),
        (
            around(after=(helper.make_node("Sigmoid", ["scores"], ["Z"], domain="my"),), output="Z"),
            "got 'Sigmoid'",
        ),
        *[
            (
                around((constant(shape), helper.make_node("Mul", ["X", "c"], ["A"])), feed="A"),
                "Constant.*one axis, or one row",
            )
            for shape in ((2, 1), (1, 1, 2), (1, 1, 1))
        ],
        (around(output="nothing"), r"graph.output \(nothing\): expected what the trees lead to"),
    ],
)
def test_other_nodes(model: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_onnx_trees(model.SerializeToString())


def test_scores_of_several_targets_stay_rows() -> None:
    attributes = om.attributes([TREE], "target", "float")
    shape = helper.make_node("Constant", [], ["s"], value=numpy_helper.from_array(np.array([-1, 1])))
    for targets, message in ((1, ""), (3, "scores of one target, to be reshaped, got 'several'")):
        made = om.model(
            "TreeEnsembleRegressor",
            2,
            "float",
            after=(shape, helper.make_node("Reshape", ["scores", "s"], ["Z"])),
            outputs=(("Z", "float"),),
            n_targets=targets,
            **attributes,
        ).SerializeToString()
        if not message:
            assert read_onnx_trees(made).trees.num_outputs == 1
            continue
        with pytest.raises(ValueError, match=message):
            read_onnx_trees(made)


def test_constants_that_are_read_again_and_again() -> None:
    names = ["X", *(f"t{i}" for i in range(100))]
    adds = [helper.make_node("Add", [a, "c"], [b]) for a, b in pairwise(names)]
    made = around((constant((200_000,)), *adds), feed=names[-1])
    with pytest.raises(ValueError, match="constants that are used a few times"):
        read_onnx_trees(made.SerializeToString())


def test_graphs_of_another_form() -> None:
    def edited(edit: Any) -> bytes:
        model = onnx.ModelProto.FromString(regressor())
        edit(model)
        return bytes(model.SerializeToString())

    for edit, message in (
        (lambda m: m.graph.node.pop(), "one of TreeEnsembleRegressor, .* got '0 of them'"),
        (lambda m: m.graph.node.append(m.graph.node[0]), "got '2 of them'"),
        (lambda m: m.opset_import.pop(), "version 1 to 5, got 0"),
        (lambda m: setattr(m.opset_import[1], "version", 6), "version 1 to 5, got 6"),
        (lambda m: m.graph.input.append(helper.make_tensor_value_info("B", 1, [1])), "one input, got 'X, B'"),
        (lambda m: m.graph.input.pop(), "comes from the graph's input"),
        (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 10), "got '10'"),
        (lambda m: m.graph.node[0].input.append("X"), "1 input and 1 outputs, got '2 and 1'"),
        (lambda m: m.graph.node[0].output.append("X2"), "1 input and 1 outputs, got '1 and 2'"),
        (lambda m: m.graph.node[0].attribute.append(m.graph.node[0].attribute[0]), "one attribute of a name"),
        (lambda m: m.graph.output.pop(), "graph.output: expected an output or more"),
        (
            lambda m: m.graph.input[0].type.tensor_type.shape.dim[1].__setattr__("dim_value", 2**40),
            "1 column",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            read_onnx_trees(edited(edit))
    for content in (b"", b"\x08", b"not a model at all", b"\xff" * 100):
        with pytest.raises(ValueError, match=r"expected an ONNX model|of them"):
            read_onnx_trees(content)


@pytest.mark.parametrize("make", [regressor, classifier, ensemble])
def test_damaged_files_are_read_or_refused(make: Any) -> None:
    content = make()
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(600):
        damaged = bytearray(content)
        if trial % 3 == 0:
            del damaged[int(rng.integers(len(damaged))) :]
        for _ in range(int(rng.integers(1, 4)) * (trial % 3 > 0)):
            damaged[int(rng.integers(len(damaged)))] = int(rng.integers(256))
        try:
            read_onnx_trees(bytes(damaged))
        except ValueError:
            refused += 1
    assert refused > 200


def test_deep_trees_and_cycles_take_no_recursion() -> None:
    deep = 50_000
    tree = []
    for i in range(deep):
        tree += [om.Node("LEQ", 0, float(i), yes=2 * i + 1, no=2 * i + 2), om.Node(weights={0: 1.0})]
    tree.append(om.Node(weights={0: 2.0}))
    attributes = {"n_targets": 1, **om.attributes([tree], "target", "float")}
    content = om.model("TreeEnsembleRegressor", 1, "float", **attributes).SerializeToString()
    start = time.perf_counter()
    assert read_onnx_trees(content).trees.num_nodes == 2 * deep + 1
    assert time.perf_counter() - start < 5
    # The last node's child is an inner one whose parent is below it then, which nothing else leads to.
    attributes["nodes_falsenodeids"][-3] = attributes["nodes_truenodeids"][20]
    attributes["nodes_truenodeids"][20] = attributes["nodes_nodeids"][-1]
    attributes["nodes_falsenodeids"][-3], attributes["nodes_falsenodeids"][20] = 22, 2 * deep
    attributes["nodes_truenodeids"][20] = 21
    content = om.model("TreeEnsembleRegressor", 1, "float", **attributes).SerializeToString()
    with pytest.raises(ValueError, match="roots that lead to all nodes, got 'node 22 not reached'"):
        read_onnx_trees(content)
    tree[0].mode = "EQ"
    attributes = {"n_targets": 1, **om.attributes([tree], "target", "float")}
    content = om.model("TreeEnsembleRegressor", 1, "float", **attributes).SerializeToString()
    with pytest.raises(ValueError, match="comparisons for equality that few nodes can stand for"):
        read_onnx_trees(content)


def test_memory_stays_near_the_files_size() -> None:
    """Sets, copies and targets that would multiply are refused before they do."""
    wide = om.attributes([TREE] * 400, "target", "float")
    wide["target_ids"] = [0, 65535, 0] * 400
    multiplied = []
    for i in range(60):
        multiplied += [om.Node("EQ", i % 3, i + 0.5, yes=2 * i + 1, no=2 * i + 2), om.Node(weights={0: 1.0})]
    multiplied.append(om.Node(weights={0: 2.0}))
    copies = om.attributes([multiplied], "target", "float")
    for attributes, targets in ((wide, 65536), (copies, 1)):
        made = om.model("TreeEnsembleRegressor", 3, "float", n_targets=targets, **attributes)
        content = made.SerializeToString()
        tracemalloc.start()
        with pytest.raises(ValueError, match="expected"):
            read_onnx_trees(content)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20_000_000


def test_onnx_is_imported_when_it_is_needed() -> None:
    code = "import sys, pyscale.infer.importers.onnx_trees; print('onnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'pyscale-ml\[onnx\]'"):
        read_onnx_trees(b"")
