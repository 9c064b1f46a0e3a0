"""Forests in files: what is saved is loaded, whole or not at all, and files that are wrong are refused."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forest_random import close_rows, random_trees
from hypothesis import given
from hypothesis import strategies as st
from little_disk import little_disk
from numpy.typing import NDArray

from pyscale.infer import Forest, LinearLeaves, Link, ModelDescription, Trees, files, load
from pyscale.infer.forest.saving import pack, unpack
from pyscale.infer.labels import pack_labels

PREAMBLE = len(files.MAGIC) + 8


def described(trees: Trees, **more: Any) -> ModelDescription:
    given = {"link": Link(), "kind": "regression", "source": "a test", **more}
    return ModelDescription(trees=trees, **given)


def plain(seed: int = 0, **more: Any) -> ModelDescription:
    return described(random_trees(seed, num_trees=3, num_features=3, most_leaves=4), **more)


def linear(seed: int) -> Trees:
    rng = np.random.default_rng(seed)
    trees = random_trees(seed, precision="float64", sums="float64")
    counts = rng.integers(0, 3, len(trees.values))
    terms = int(counts.sum())
    leaves = LinearLeaves(
        constant=rng.standard_normal(len(counts)),
        first=np.cumsum([0, *counts]).astype(np.int64),
        feature=rng.integers(0, 6, terms).astype(np.int32),
        coefficient=rng.standard_normal(terms),
    )
    return replace(trees, linear=leaves)


SEVERAL = random_trees(7, num_outputs=3, width=2)
CATEGORIES = random_trees(6, categories=True, zeros=True)  # with known categories and fractions below 0
MIXED = np.array(["a", 2, True], object)
MODELS: dict[str, ModelDescription] = {
    "plain": plain(),
    "no trees": described(random_trees(0, num_trees=0)),
    "names": plain(feature_names=("a", "ü\ud800", "")),
    "categories": described(CATEGORIES),
    "whole categories": described(replace(CATEGORIES, whole_categories=True)),
    "a base that is added last": described(replace(CATEGORIES, base_last=True)),
    "linear": described(linear(2)),
    "several outputs": described(SEVERAL, trees_per_round=np.int64(3)),
    "link": plain(link=Link(name="logistic", divisor=2, scale=float(np.float32(0.3)))),
    "rounds": plain(link=Link(divisor=0)),
    "offset": plain(kind="anomaly", link=Link(name="isolation", scale=3), offset=np.float64(-0.5)),
    "an offset that is whole": plain(offset=1),
    "decides": plain(kind="binary", classes=np.array([3, 5]), decides="not_negative"),
    "argmax": described(SEVERAL, kind="multiclass", link=Link(name="argmax"), classes=np.arange(3)),
    "one class": plain(kind="multiclass", classes=np.array([4])),
    **{
        f"classes {name}": described(SEVERAL, kind="multiclass", classes=classes)
        for name, classes in {
            "U": np.array(["a", "bcd", "\u00fc"]),
            "S": np.array([b"a", b"\xff", b""]),
            "O": np.array(["a", "bcd", ""], object),
            "mixed": MIXED,
            "bool": np.array([True, False, True]),
            "big endian": np.array([1, 2, 3], ">i4"),
            **{code: np.array([1, 2, 3], code) for code in "bBhHiIqQefd"},
        }.items()
    },
}


def same(a: Any, b: Any) -> None:
    """Compare descriptions, field by field."""
    assert type(a) is type(b)
    for field in fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if hasattr(x, "__dataclass_fields__"):
            same(x, y)
        elif isinstance(x, np.ndarray):
            assert x.dtype.newbyteorder("=") == y.dtype, field.name
            np.testing.assert_array_equal(x, y, field.name)
            assert [type(label) for label in x.tolist()] == [type(label) for label in y.tolist()]
        elif isinstance(x, dict):
            assert {key: list(value) for key, value in x.items()} == {k: list(v) for k, v in y.items()}
        else:
            assert x == y, field.name


@pytest.mark.parametrize("name", MODELS)
def test_what_is_saved_is_loaded(name: str, tmp_path: Path) -> None:
    description = MODELS[name]
    model = Forest(description)
    path = tmp_path / "m"
    model.save(path)
    found = load(path)
    same(description, found._description)
    x = close_rows(description.trees, 60, 1)
    for method in ("raw", "predict", "predict_proba", "decision_function", "score_samples", "leaf_index"):
        try:
            expected = getattr(model, method)(x)
        except ValueError:  # not of this kind
            continue
        answer = getattr(found, method)(x)
        assert answer.dtype == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(answer, expected)
    assert repr(found) == repr(model)
    found.save(path)  # over what it maps
    same(description, load(path)._description)
    np.testing.assert_array_equal(found.raw(x), model.raw(x))
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


def test_labels_that_would_not_load_are_not_saved() -> None:
    uneven = ["x" * 1000, *[""] * 2000]
    pack_labels(np.array(uneven, object), {}, {})
    for kind in ("U", "S"):
        with pytest.raises(ValueError, match=r"^classes\.labels: expected labels of about one length"):
            pack_labels(np.array(uneven, kind), {}, {})


@pytest.mark.parametrize("dtype", [np.bool_, np.int32, np.int64, np.uint64, np.float16, np.float64])
def test_labels_are_of_the_type_they_were(dtype: type, tmp_path: Path) -> None:
    Forest(plain(kind="binary", classes=np.array([0, 1], dtype))).save(tmp_path / "m")
    (label,) = load(tmp_path / "m").predict(np.zeros((1, 3)))
    assert type(label) is dtype  # also of those that compare the same, as np.longlong


def test_labels_that_no_file_holds(tmp_path: Path) -> None:
    for labels in (np.array([1, None], object), np.array([1j, 2]), np.array(["2020", "2021"], "M8[Y]")):
        model = Forest(plain(kind="binary", classes=labels))
        with pytest.raises(ValueError, match="classes"):
            model.save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def fail(*_: Any) -> None:
    raise OSError("no more")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m"
    Forest(plain(0)).save(path)
    before = path.read_bytes()
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="no more"):
        Forest(plain(1)).save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


def test_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "m"
    Forest(plain(0)).save(path)
    before = path.read_bytes()
    with little_disk(), pytest.raises(OSError, match="too large"):
        Forest(described(random_trees(1, num_trees=100))).save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Forest(plain()).save(tmp_path / "none" / "m")


# What is wrong in files.


def written(tmp_path: Path, description: ModelDescription | None = None) -> Path:
    path = tmp_path / "m"
    files.write(path, *pack(description or plain()))
    return path


def refused(path: Path, message: str = "") -> None:
    """Refused with the path and the place, and without memory for what is only said."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="expected") as caught:
            load(path, format="pyscale")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 600 + len(str(path))
    assert peak < 20 * path.stat().st_size + 2_000_000


def test_files_that_are_cut_off(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="expected") as caught:
            load(path)
        assert str(caught.value).startswith(f"{path}: ")
    path.write_bytes(content + b"\0")
    refused(path, "added to")


def every_byte(tmp_path: Path, description: ModelDescription, change: int) -> int:
    path = written(tmp_path, description)
    content = bytearray(path.read_bytes())
    rows = np.zeros((3, description.trees.num_features))
    refusals = 0
    for place in range(len(content)):
        content[place] ^= change
        path.write_bytes(content)
        content[place] ^= change
        try:
            found = load(path, format="pyscale")
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017 - not all are refused
            refusals += 1
            continue
        if found.num_features == 3:
            found.predict(rows)
            found.leaf_index(rows)
    return refusals


@pytest.mark.parametrize("change", [1, 0x80, 0xFF])
def test_every_byte(change: int, tmp_path: Path) -> None:
    small = described(random_trees(3, num_trees=1, num_features=3, most_leaves=2, categories=True))
    assert every_byte(tmp_path, small, change) > PREAMBLE


def test_every_byte_of_labels(tmp_path: Path) -> None:
    trees = random_trees(0, num_trees=0, num_features=3, num_outputs=2)
    text = described(trees, kind="multiclass", classes=np.array(["a", "b"]), feature_names=("x", "y", "z"))
    assert every_byte(tmp_path, text, 1) > PREAMBLE


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write a file's header anew; the arrays stay."""
    content = path.read_bytes()
    length = int.from_bytes(content[len(files.MAGIC) : PREAMBLE], "little")
    document = json.loads(content[PREAMBLE : PREAMBLE + length])
    change(document)
    store(path, json.dumps(document).encode(), content[-(-(PREAMBLE + length) // 64) * 64 :])


def store(path: Path, header: bytes, rest: bytes = b"") -> None:
    size = PREAMBLE + len(header)
    path.write_bytes(
        files.MAGIC + len(header).to_bytes(8, "little") + header + b"\0" * (-size % 64 if rest else 0) + rest
    )


def setting(*place: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for key in place[:-1]:
            document = document[key]
        document[place[-1]] = value

    return change


def array(which: str, **entries: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        next(entry for entry in document["arrays"] if entry["name"] == which).update(entries)

    return change


def test_files_from_before_bases_could_be_last(tmp_path: Path) -> None:
    description = plain()
    path = written(tmp_path, description)
    changed(path, without("header", "base_last"))
    same(unpack(*files.read(path)), description)
    changed(path, setting("header", "base_last", value=0))
    refused(path, "base_last")


def without(*place: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for key in place[:-1]:
            document = document[key]
        del document[place[-1]]

    return change


WRONG: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (setting("version", value=2), "version: expected 1, got 2"),
    (setting("version", value=10**400), "version: expected 1"),
    (setting("version", value=True), "version: expected a value of type int, got True"),
    (without("version"), "version: expected"),
    (without("bytes"), "bytes: expected"),
    (setting("bytes", value=-64), "the file: expected"),
    (setting("bytes", value=10**300), "the file: expected"),
    (setting("bytes", value=0.5), "bytes: expected"),
    (setting("header", value=[]), "header: expected"),
    (setting("arrays", value={}), "arrays: expected"),
    (setting("arrays", value=[]), "bytes: expected 0"),
    (setting("arrays", 0, value=7), "arrays[0]: expected name"),
    (setting("arrays", 0, value={"name": "first"}), "arrays[0]: expected name"),
    (array("first", name=7), "arrays[0]: expected a name that is text"),
    (array("output", name="first"), "arrays[1]: expected another array's name"),
    (array("first", at=64), "arrays[0]: expected another array's name, and 0"),
    (array("first", at=-64), "arrays[0]"),
    (array("first", at="0"), "arrays[0]"),
    (array("first", dtype="|O"), "arrays[0].dtype: expected one of"),
    (array("first", dtype="<U1000000000"), "arrays[0].dtype"),
    (array("first", dtype=["<i8"]), "arrays[0].dtype"),
    (array("first", dtype="<i4"), "first: expected an array of int64 and 1 axes, got 'int32"),
    (array("first", shape=[-4]), "arrays[0].shape: expected whole numbers"),
    (array("first", shape=[4.0]), "arrays[0].shape"),
    (array("first", shape=[True]), "arrays[0].shape"),
    (array("first", shape=4), "arrays[0].shape"),
    (array("first", shape=[2**40]), "arrays[0].shape: expected at most"),
    (array("first", shape=[2**47, 2**47, 2**47]), "arrays[0].shape: expected at most"),
    (array("first", shape=[10**4000]), "arrays[0].shape"),
    (array("first", shape=[0, 2**47, 2**47]), "arrays[0].shape"),
    (array("first", shape=[1] * 100), "arrays[0].shape: expected a list of at most"),
    (array("first", shape=[2, 2]), "first: expected an array of int64 and 1 axes"),
    (array("first", shape=[3]), "first: expected 4 elements, got 3"),
    (array("threshold", name="thresholds"), "threshold: expected an array, got 'none'"),
    (array("values", name="known.x"), "values: expected"),
    (array("base", name="known.1"), "base: expected"),
    (setting("header", "model", value="tree"), "model: expected one of forest, dense, topk"),
    (setting("header", "model", value=[]), "model: expected one of forest"),
    (setting("header", "num_features", value=-1), "num_features: expected a whole number from 0"),
    (setting("header", "num_features", value=1), "feature of node"),
    (setting("header", "num_features", value=2**31), "num_features"),
    (setting("header", "num_features", value=10**300), "num_features"),
    (setting("header", "num_features", value=3.0), "num_features: expected a value of type int"),
    (setting("header", "num_features", value=None), "num_features"),
    (setting("header", "num_outputs", value=0), "num_outputs"),
    (setting("header", "num_outputs", value=2**31 - 1), "base: expected 2147483647 elements"),
    (setting("header", "precision", value="float16"), "precision: expected one of float32, float64"),
    (setting("header", "sums", value=7), "sums: expected"),
    (setting("header", "negative_fractions", value=1), "negative_fractions: expected a value of type bool"),
    (without("header", "whole_categories"), "whole_categories"),
    (setting("header", "kind", value="clusters"), "kind: expected one of regression"),
    (setting("header", "kind", value=[]), "kind"),
    (setting("header", "source", value=None), "source"),
    (setting("header", "trees_per_round", value=0), "trees_per_round: expected a whole number from 1"),
    (setting("header", "trees_per_round", value=2**64), "trees_per_round"),
    (setting("header", "offset", value=float("nan")), "offset: expected a number"),
    (setting("header", "offset", value="1"), "offset"),
    (setting("header", "decides", value="luck"), "decides: expected one of probability"),
    (setting("header", "link", value="identity"), "link: expected"),
    (without("header", "link", "scale"), "link.scale: expected"),
    (setting("header", "link", "name", value="cosine"), "link.name: expected one of identity"),
    (setting("header", "link", "divisor", value=float("nan")), "link.divisor: expected a number"),
    (setting("header", "link", "divisor", value=-1.0), "link.divisor"),
    (setting("header", "link", "divisor", value=True), "link.divisor"),
    (setting("header", "link", "scale", value=0.0), "link.scale: expected a number above 0"),
    (setting("header", "link", "scale", value=float("inf")), "link.scale"),
    (setting("header", "feature_names", value="abc"), "feature_names: expected a list"),
    (setting("header", "feature_names", value=["a", "b"]), "feature_names: expected 3 names, got '2'"),
    (setting("header", "feature_names", value=["a", "b", 3]), "feature_names: expected a tuple of text"),
    (setting("header", "classes", value=["a", "b"]), "classes: expected a value of type dict"),
    (setting("header", "classes", value={"dtype": "U", "labels": ["a", "b"]}), "kind: expected binary"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message[:50] for _, message in WRONG])
def test_headers_that_are_wrong(
    change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    path = written(tmp_path)
    changed(path, change)
    refused(path, message)


LABELS: list[tuple[Any, str]] = [
    ({"dtype": "U", "labels": ["a"]}, "classes: expected 2 labels, got '1'"),
    ({"dtype": "U", "labels": ["a", 3]}, "classes.labels[1]: expected a label"),
    ({"dtype": "O", "labels": ["a", None]}, "classes.labels[1]: expected a label"),
    ({"dtype": "O", "labels": ["a", []]}, "classes.labels[1]: expected a label"),
    ({"dtype": "S", "labels": ["a", "\u0100"]}, "classes.labels: expected bytes"),
    ({"dtype": "M", "labels": ["a", "b"]}, "classes.dtype: expected U, S or O"),
    ({"dtype": "U", "labels": "ab"}, "classes.labels: expected a value of type list"),
    ({"dtype": "U", "labels": ["x" * 10**5] + [""] * 10**5}, "classes.labels: expected labels of about"),
]


@pytest.mark.parametrize(("classes", "message"), LABELS, ids=[message for _, message in LABELS])
def test_labels_that_are_wrong(classes: Any, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, plain(kind="binary"))
    changed(path, setting("header", "classes", value=classes))
    refused(path, message)


@pytest.mark.parametrize(
    "name", ["known.x", "known.", "known.-1", "known.1.5", "known.\u0661", "known." + "9" * 5000]
)
def test_known_categories_of_no_feature(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m"
    header, arrays = pack(plain())
    files.write(path, header, {**arrays, name: np.zeros(1, np.int32)})
    refused(path, "expected known. and the number of a feature")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("known.3", [1], "known_categories[3]: expected a feature from 0 to 2"),
        ("known.0", [1, 1], "known_categories[0]: expected ascending"),
        ("known.0", [-1], "known_categories[0][0]: expected 0 to"),
    ],
)
def test_known_categories(name: str, value: list[int], message: str, tmp_path: Path) -> None:
    path = tmp_path / "m"
    header, arrays = pack(plain())
    files.write(path, header, {**arrays, name: np.array(value, np.int32)})
    refused(path, message)


@pytest.mark.parametrize("missing", ["category_set", "set_first", "set_values", "linear.constant"])
def test_arrays_that_are_missing(missing: str, tmp_path: Path) -> None:
    path = tmp_path / "m"
    header, arrays = pack(described(CATEGORIES if "set" in missing else linear(0)))
    del arrays[missing]
    files.write(path, header, arrays)
    if missing == "category_set":  # without it, there are none
        assert load(path).num_trees == CATEGORIES.num_trees
    else:
        refused(path, missing)


def test_arrays_that_are_no_trees(tmp_path: Path) -> None:
    path = tmp_path / "m"
    header, arrays = pack(plain())
    wrong: list[tuple[str, NDArray[Any], str]] = [
        ("missing_left", arrays["missing_left"].view(np.uint8) + 7, "missing_left: expected 0 or 1"),
        ("values", np.zeros((len(arrays["values"]), 0)), "values: expected leaves x width"),
        ("first", arrays["first"] * 2**60, "first"),
        ("first", arrays["first"][::-1].copy(), "first"),
        ("left", arrays["left"] - 2**20, "left"),
        ("feature", arrays["feature"] + 100, "feature"),
    ]
    for name, value, message in wrong:
        value = value.view(np.bool_) if name == "missing_left" else value
        files.write(path, header, {**arrays, name: value})
        refused(path, message)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 10**5,
        b'{"a":' * 10**5,
        b'{"version":' + b"9" * 10**5 + b"}",
        b"[" + b"[]," * 10**6 + b"[]]",
        b"{}",
        b'{"version":1e400,"header":{},"arrays":[],"bytes":0}',
    ],
    ids=lambda header: str(header[:20]),
)
def test_headers_that_are_none(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m"
    store(path, header)
    refused(path)


@pytest.mark.parametrize("length", [1, 2**26 + 1, 2**40, 2**63, 2**64 - 1])
def test_lengths_that_are_only_said(length: int, tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(files.MAGIC + length.to_bytes(8, "little"))
    refused(path, "it was cut off")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@given(data=st.data())
def test_anything_in_the_header(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    model = MODELS[data.draw(st.sampled_from(["names", "categories", "classes U", "classes O", "linear"]))]
    files.write(path, *pack(model))

    def change(document: dict[str, Any]) -> None:
        place: Any = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
                place = place[key]
                continue
            place[key] = data.draw(JSON)
            return

    changed(path, change)
    try:
        found = load(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017 - not all are refused
        return
    found.raw(np.zeros((2, found.num_features)))


def test_unpacking_is_checked_without_a_file() -> None:
    header, arrays = pack(plain())
    same(plain(), unpack(header, arrays))


def test_a_description_is_checked_wherever_it_comes_from() -> None:
    good = plain()
    trees = good.trees
    cases: list[tuple[dict[str, Any], str]] = [
        (
            {"trees": replace(trees, category_set=np.zeros(trees.num_nodes, np.int32))},
            "set_first, set_values",
        ),
        ({"trees": replace(trees, known_categories={7: np.zeros(1, np.int32)})}, r"known_categories\[7\]"),
        ({"trees": replace(trees, known_categories={-1: np.zeros(1, np.int32)})}, "known_categories"),
        ({"link": Link(name="cosine")}, "link.name"),
        ({"link": Link(scale=float("nan"))}, "link.scale"),
        ({"trees_per_round": 0}, "trees_per_round"),
        ({"feature_names": ("a",)}, "feature_names: expected 3 names"),
        ({"classes": np.arange(2)}, "kind: expected binary or multiclass"),
        ({"classes": np.arange(3), "kind": "binary"}, "classes: expected 2 labels, got '3'"),
        ({"classes": [0, 1], "kind": "binary"}, "classes: expected an array of one axis"),
        ({"kind": "anomaly", "trees": SEVERAL}, "num_outputs: expected 1"),
        ({"decides": "luck"}, "decides"),
        ({"source": 3}, "source"),
    ]
    for wrong, message in cases:
        with pytest.raises(ValueError, match=message):
            Forest(replace(good, **wrong))


def test_what_is_very_wide_takes_no_memory_before_rows_come() -> None:
    """Such a forest is not measured: rows made up for that would be far larger than the file."""
    trees = replace(random_trees(0), num_features=2**31 - 1)
    model = Forest(described(trees))
    assert model.explain_engine()
    wide = random_trees(1, num_outputs=5000)
    x = close_rows(wide, 40, 0)
    model = Forest(described(wide))
    for rows in (1, 5, 40):
        np.testing.assert_array_equal(
            model.raw(x[:rows]), model._native.answer(x[:rows], None, "raw", 0, 20, 1, "walk")
        )
