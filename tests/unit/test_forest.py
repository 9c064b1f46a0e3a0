"""Every engine gives the plain walk's bits, whatever the batch, the threads, the layout and the callers."""

from __future__ import annotations

import itertools
import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import forest_reference as reference
import numpy as np
import pytest
from forest_random import close_rows, random_trees
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pyscale import _core
from pyscale.infer import Forest, LinearLeaves, Link, ModelDescription, Trees

ENGINES = ("masks", "hybrid", "walk")  # where one cannot take the trees, it is the walk

KINDS: list[dict[str, Any]] = [
    {},
    {"most_leaves": 4, "precision": "float64", "sums": "float64", "zeros": True},
    {"most_leaves": 256, "thresholds": 600, "num_outputs": 3, "width": 2},
    {"most_leaves": 64, "categories": True, "precision": "float64", "sums": "float64", "zeros": True},
    {"most_leaves": 40, "categories": True, "num_outputs": 2},
    {"most_leaves": 400, "num_trees": 5, "categories": True},  # too many leaves for one of the engines
    {"most_leaves": 3000, "num_trees": 10, "num_outputs": 2, "width": 2, "thresholds": 700},
    {"most_leaves": 1, "num_trees": 3},
    {"num_trees": 0},
]


@pytest.fixture(params=_core.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _core.isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)


def forest(trees: Trees, **more: Any) -> Forest:
    return Forest(ModelDescription(trees=trees, link=Link(), kind="regression", source="a test", **more))


def by_engine(model: Forest, x: NDArray[Any], engine: str, end: int | None = None) -> NDArray[Any]:
    trees = model.num_trees if end is None else end
    out: NDArray[Any] = model._native.answer(x, None, "raw", 0, trees, 1, engine)
    return out.reshape(len(x), model.num_outputs)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_sums(isa: str, kind: int, engine: str) -> None:
    for seed in range(1 if KINDS[kind].get("most_leaves", 0) > 1000 else 3):
        trees = random_trees(seed + 10 * kind, **KINDS[kind])
        model = forest(trees)
        x = close_rows(trees, 600, seed)
        expected = reference.sums(trees, x)
        for rows in (1, 2, 4, 5, 63, 64, 65, 600):
            assert np.array_equal(by_engine(model, x[:rows], engine), expected[:rows])
        some = trees.num_trees // 2
        few = reference.sums(trees, x[:70], some)
        assert np.array_equal(by_engine(model, x[:70], engine, some), few)


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_leaves(isa: str, kind: int) -> None:
    trees = random_trees(kind, **KINDS[kind])
    x = close_rows(trees, 100, 1)
    assert np.array_equal(forest(trees).leaf_index(x), reference.leaves(trees, x))


@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(0, 200),
    most_leaves=st.integers(1, 300),
    precision=st.sampled_from(["float32", "float64"]),
    sums=st.sampled_from(["float32", "float64"]),
    dtype=st.sampled_from(["float32", "float64"]),
    outputs=st.integers(1, 4),
    thresholds=st.sampled_from([4, 15, 16, 17, 255, 256, 257, 3000]),
    categories=st.booleans(),
    zeros=st.booleans(),
    layout=st.sampled_from(["C", "F", "steps", "backwards"]),
)
@settings(deadline=None, max_examples=60)
def test_any_trees_and_rows(
    seed: int,
    rows: int,
    most_leaves: int,
    precision: Any,
    sums: Any,
    dtype: str,
    outputs: int,
    thresholds: int,
    categories: bool,
    zeros: bool,
    layout: str,
) -> None:
    trees = random_trees(
        seed,
        num_trees=6,
        most_leaves=most_leaves,
        precision=precision,
        sums=sums,
        num_outputs=outputs,
        width=1 + seed % outputs,
        thresholds=thresholds,
        categories=categories,
        zeros=zeros,
    )
    with np.errstate(over="ignore"):
        x = close_rows(trees, rows, seed, dtype)
    expected = reference.sums(trees, x)
    if layout == "F":
        x = np.asfortranarray(x)
    elif layout == "steps":
        x = np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)[::2, ::3]
    elif layout == "backwards":
        x = x[::-1, ::-1].copy()[::-1, ::-1]
    model = forest(trees)
    assert np.array_equal(model.raw(x).reshape(expected.shape), expected)
    for engine in ENGINES:
        assert np.array_equal(by_engine(model, x, engine), expected)


def test_the_same_bits_for_any_batch_threads_and_callers() -> None:
    trees = random_trees(1, num_trees=300, most_leaves=64)
    model = forest(trees)
    x = close_rows(trees, 5000, 2)
    expected = model.raw(x, num_threads=1)
    assert np.array_equal(model.raw(x, num_threads=3), expected)
    cuts = [0, 1, 3, 10, 100, 163, 700, 1212, 5000]
    parts = [model.raw(x[a:b]) for a, b in itertools.pairwise(cuts)]
    assert np.array_equal(np.concatenate(parts), expected)
    different = []

    def call(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(100):
            begin = int(rng.integers(0, 4000))
            end = begin + int(rng.integers(1, 900))
            if not np.array_equal(model.raw(x[begin:end]), expected[begin:end]):
                different.append((begin, end))

    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert different == []


def test_more_thresholds_than_codes_have() -> None:
    """A feature whose thresholds are more than 16 bits can count: they are spread over columns."""
    count = 140_000
    thresholds = np.arange(count, dtype=np.float64)
    trees = random_trees(0, num_trees=count, num_features=1, most_leaves=1, sums="float64")
    feature = np.tile(np.array([0, -1, -1], np.int32), count)
    trees = replace(
        trees,
        first=np.arange(0, 3 * count + 1, 3, dtype=np.int64),
        feature=feature,
        threshold=np.repeat(thresholds, 3),
        left=np.tile(np.array([1, 0, 1], np.int32), count),
        right=np.tile(np.array([2, 0, 0], np.int32), count),
        missing_left=np.arange(3 * count) % 2 == 0,
        values=np.array([[0.0], [1.0]]),
        base=np.zeros(1),
    )
    model = forest(trees)
    x = np.array([-1, 0, 0.5, 65_533, 65_534, 65_535, 70_000, 131_068.5, count, np.nan], np.float32)[:, None]
    expected = np.append(np.minimum(np.ceil(x[:-1, 0].clip(0)), count), count / 2)
    for engine in ENGINES:
        assert by_engine(model, x, engine)[:, 0].tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_linear_leaves(dtype: str) -> None:
    rng = np.random.default_rng(0)
    trees = random_trees(5, precision="float64", sums="float64")
    counts = rng.integers(0, 4, len(trees.values))
    terms = int(counts.sum())
    linear = LinearLeaves(
        constant=rng.standard_normal(len(counts)),
        first=np.cumsum([0, *counts]).astype(np.int64),
        feature=rng.integers(0, trees.num_features, terms).astype(np.int32),
        coefficient=rng.standard_normal(terms),
    )
    trees = replace(trees, linear=linear)
    x = rng.standard_normal((300, trees.num_features)).astype(dtype)
    x[rng.random(x.shape) < 0.1] = np.nan
    x[rng.random(x.shape) < 0.1] = 1e-36
    model = forest(trees)
    expected = reference.sums(trees, x)[:, 0]
    assert np.array_equal(model.raw(x), expected)
    assert np.array_equal(np.array([model.raw(row[None])[0] for row in x]), expected)


LINKS = [
    Link(name="identity", divisor=7),
    Link(name="logistic", scale=0.5),
    Link(name="softmax"),
    Link(name="exp"),
    Link(name="log1p_exp"),
    Link(name="signed_square"),
    Link(name="step"),
    Link(name="argmax"),
    Link(name="identity", divisor=0),
]


@pytest.mark.parametrize("sums", ["float32", "float64"])
@pytest.mark.parametrize("link", LINKS, ids=lambda link: f"{link.name} / {link.divisor:g}")
def test_links(link: Link, sums: Any) -> None:
    for outputs in (1, 3):
        trees = random_trees(outputs, num_outputs=outputs, sums=sums, num_trees=9)
        model = Forest(
            ModelDescription(trees=trees, link=link, kind="regression", source="a test", trees_per_round=3)
        )
        x = close_rows(trees, 90, 1)
        raw = reference.sums(trees, x)
        assert np.array_equal(model.raw(x).reshape(raw.shape), raw)
        expected = reference.linked(link, raw, 3)
        found = model.predict(x)
        assert found.dtype == sums
        assert found.shape == ((90, outputs) if outputs > 1 and link.name != "argmax" else (90,))
        np.testing.assert_allclose(
            found.reshape(expected.shape), expected, rtol=1e-6 if sums == "float32" else 1e-13
        )
        assert np.array_equal(model.predict(x[:1]), found[:1])


def test_probabilities_and_labels() -> None:
    trees = random_trees(3)
    binary = ModelDescription(trees=trees, link=Link(name="logistic"), kind="binary", source="a test")
    x = close_rows(trees, 80, 1)
    model = Forest(binary)
    both = model.predict_proba(x)
    assert both.shape == (80, 2)
    assert np.array_equal(both[:, 1], model.predict(x))
    assert np.array_equal(both[:, 0], 1 - both[:, 1])
    labels = np.array(["no", "yes"])
    named = Forest(replace(binary, classes=labels))
    assert np.array_equal(named.predict(x), labels[(both[:, 1] > 0.5).astype(int)])
    assert np.array_equal(named.predict(x[:1]), named.predict(x)[:1])
    raw = model.raw(x)
    positive = Forest(replace(binary, classes=labels, decides="positive"))
    assert np.array_equal(positive.predict(x), labels[(raw > 0).astype(int)])
    zero = replace(trees, values=np.zeros_like(trees.values), base=np.zeros(1))
    for decides, label in (("probability", "no"), ("positive", "no"), ("not_negative", "yes")):
        tie = Forest(replace(binary, trees=zero, classes=labels, decides=decides))
        assert set(tie.predict(x)) == {label}
    with pytest.raises(ValueError, match="expected a model that classifies"):
        forest(trees).predict_proba(x)


def test_out() -> None:
    trees = random_trees(3, num_outputs=2)
    model = forest(trees)
    x = close_rows(trees, 80, 1)
    out = np.empty((80, 2), np.float32)
    assert model.raw(x, out=out) is out
    assert np.array_equal(out, model.raw(x))
    for wrong in (np.empty((80, 2)), np.empty((79, 2), np.float32), np.empty((2, 80), np.float32).T):
        before = wrong.copy()
        with pytest.raises(ValueError, match="out: expected a contiguous array of float32 and shape"):
            model.raw(x, out=wrong)
        assert np.array_equal(wrong, before, equal_nan=True)
    shared = np.zeros((80, 6), np.float32)
    with pytest.raises(ValueError, match="memory of its own"):
        model.raw(shared, out=shared.reshape(-1)[:160].reshape(80, 2))


def test_refuses_other_rows() -> None:
    trees = random_trees(3)
    model = forest(trees)
    for wrong in (np.zeros((3, 5)), np.zeros(6), np.zeros((2, 3, 6))):
        with pytest.raises(ValueError, match="X: expected rows x 6 features, got shape"):
            model.predict(wrong)
    others: list[Any] = ["rows", [[1.0] * 6], np.full((2, 6), "x"), np.zeros((2, 6), complex)]
    for other in others:
        with pytest.raises(TypeError, match="X: expected"):
            model.predict(other)
    with pytest.raises(ValueError, match="num_trees: expected 0 to 20, got 21"):
        model.predict(np.zeros((1, 6)), num_trees=21)
    with pytest.raises(ValueError, match="num_threads: expected 1 or more"):
        model.predict(np.zeros((1, 6)), num_threads=0)
    assert model.predict(np.zeros((0, 6))).shape == (0,)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "int64", "float16", "bool"])
def test_other_numbers_are_converted(dtype: str) -> None:
    trees = random_trees(3)
    x = np.random.default_rng(0).integers(0, 2, (50, 6)).astype(dtype)
    assert np.array_equal(forest(trees).raw(x), reference.sums(trees, x.astype(np.float64))[:, 0])


def test_other_arrays_and_tables() -> None:
    trees = random_trees(3)
    names = ("a", "b", "c", "d", "e", "f")
    model = forest(trees, feature_names=names)
    x = close_rows(trees, 50, 1)
    expected = model.raw(x)
    torch = pytest.importorskip("torch")
    assert np.array_equal(model.raw(torch.from_numpy(x)), expected)
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({name: x[:, place] for place, name in enumerate(names)})
    assert np.array_equal(model.raw(table), expected)
    with_nulls = arrow.table(
        {name: arrow.array(x[:, place], from_pandas=True) for place, name in enumerate(names)}
    )
    assert np.array_equal(model.raw(with_nulls), expected)
    with pytest.raises(ValueError, match="expected column 1 to be 'b', got 'z'"):
        model.raw(table.rename_columns(["a", "z", *names[2:]]))
    with pytest.raises(ValueError, match="expected 6 columns, got 5"):
        forest(trees).raw(table.drop_columns(["a"]))
    coded = table.set_column(0, "a", arrow.array([1.0] * 50).dictionary_encode())
    with pytest.raises(TypeError, match=r"X\['a'\]: expected numbers, got dictionary: give the numbers"):
        model.raw(coded)
    words = table.set_column(0, "a", arrow.array(["x"] * 50))
    with pytest.raises(TypeError, match=r"X\['a'\]: expected numbers"):
        model.raw(words)


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"right": [0, 0, 0]}, "right of node 0 of tree 0: expected 1 to 2, got 0"),
    ({"right": [3, 0, 0]}, "right of node 0 of tree 0: expected 1 to 2, got 3"),
    ({"right": [1, 0, 0]}, "node 1 again"),
    ({"left": [-1, 0, 0]}, "left of node 0 of tree 0: expected 1 to 2, got -1"),
    ({"left": [1, 5, 0]}, "left of node 1 of tree 0: expected 0 to 1, got 5"),
    ({"feature": [7, -1, -1]}, "feature of node 0 of tree 0: expected 0 to 1, got 7"),
    ({"threshold": [np.nan, 0, 0]}, "threshold of node 0 of tree 0: expected a number, got NaN"),
    ({"threshold": [0.1, 0, 0]}, "threshold of node 0 of tree 0: expected a float32"),
    ({"first": [0, 2]}, "first: expected 3 last, got 2"),
    ({"first": [1, 3]}, "first: expected 0 first, got 1"),
    ({"output": [1]}, "output of node 0 of tree 0: expected 0 to 0, got 1"),
    ({"category_set": [0, -1, -1], "set_first": [0, 2], "set_values": [5, 5]}, "ascending categories"),
    ({"category_set": [1, -1, -1], "set_first": [0, 1], "set_values": [5]}, "category_set of node 0"),
    ({"base": [0.0, 1.0]}, "base: expected 1 elements, got 2"),
    ({"threshold": [0.0]}, "threshold: expected 3 elements, got 1"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=lambda x: str(x)[:40])
def test_refuses_what_is_no_tree(change: dict[str, Any], message: str) -> None:
    arrays: dict[str, Any] = {
        "first": np.array([0, 3], np.int64),
        "output": np.zeros(1, np.int32),
        "feature": np.array([0, -1, -1], np.int32),
        "threshold": np.zeros(3),
        "left": np.array([1, 0, 1], np.int32),
        "right": np.array([2, 0, 0], np.int32),
        "missing_left": np.zeros(3, np.bool_),
        "values": np.array([[1.0], [2.0]]),
        "base": np.zeros(1),
    }
    kinds = {"category_set": np.int32, "set_first": np.int64, "set_values": np.int32}
    for name, value in change.items():
        arrays[name] = np.array(value, kinds.get(name) or arrays[name].dtype)
    with pytest.raises(ValueError, match=message):
        forest(Trees(num_features=2, num_outputs=1, precision="float32", sums="float32", **arrays))


def test_a_chain_of_a_million_nodes_is_walked_without_recursion() -> None:
    count = 500_001
    nodes = np.arange(count - 1, dtype=np.int32)
    size = 2 * count - 1
    left, right = np.zeros(size, np.int32), np.zeros(size, np.int32)
    left[nodes], right[nodes] = count - 1 + nodes, nodes + 1
    right[count - 2] = size - 1
    feature = np.full(size, -1, np.int32)
    feature[nodes] = 0
    left[count - 1 :] = np.arange(count)
    threshold = np.zeros(size)
    threshold[nodes] = nodes
    trees = Trees(
        num_features=1,
        num_outputs=1,
        precision="float64",
        sums="float64",
        first=np.array([0, size], np.int64),
        output=np.zeros(1, np.int32),
        feature=feature,
        threshold=threshold,
        left=left,
        right=right,
        missing_left=np.zeros(size, np.bool_),
        values=np.arange(count, dtype=np.float64)[:, None],
        base=np.zeros(1),
    )
    assert forest(trees).raw(np.array([[-1.0], [70_000.5], [1e9]])).tolist() == [0, 70_001, 500_000]


def test_says_which_engine() -> None:
    text = forest(random_trees(1, num_trees=100)).explain_engine()
    assert "logic on bits" in text
    assert "65536 rows: masks" in text
    assert "hybrid" not in text
    deep = forest(random_trees(5, most_leaves=600, num_trees=50))
    assert "not taken" in deep.explain_engine()
    assert "hybrid (logic" in deep.explain_engine()
    # What is said to be chosen is what was measured to be the cheapest.
    deep_costs = deep._native.costs()
    cheapest = "hybrid" if deep_costs["hybrid"] < 32 * deep_costs["group"] else "walk"
    assert deep._native.engine_for(512) == cheapest
    with pytest.raises(ValueError, match="engine: expected masks, hybrid or walk, got mask"):
        by_engine(deep, np.zeros((1, deep.num_features)), "mask")


def test_scores_of_an_isolation_forest() -> None:
    trees = random_trees(4, sums="float64")
    description = ModelDescription(
        trees=trees, link=Link(name="isolation", scale=3), kind="anomaly", source="a test"
    )
    x = close_rows(trees, 90, 1)
    scores = -(2 ** -(reference.sums(trees, x)[:, 0] / 3))
    # To the last bit: a contamination makes the score of a row the offset.
    model = Forest(replace(description, offset=float(scores[7])))
    assert np.array_equal(model.score_samples(x), scores)
    assert np.array_equal(model.decision_function(x), scores - scores[7])
    assert np.array_equal(model.predict(x), np.where(scores < scores[7], -1, 1))
    assert model.predict(x[7:8]).tolist() == [1]
    for count in (-7, 1, True):
        for method in (model.predict, model.decision_function, model.score_samples, model.raw):
            with pytest.raises((TypeError, ValueError), match="num_trees: expected"):
                method(x, num_trees=count)
    assert np.array_equal(model.score_samples(x, num_trees=model.num_trees), scores)


def test_is_pickled() -> None:
    trees = random_trees(4, categories=True)
    model = forest(trees)
    x = close_rows(trees, 50, 1)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).raw(x), model.raw(x))
