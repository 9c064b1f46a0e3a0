"""UBJSON is read as XGBoost writes it, and bad documents are refused before anything is made of them."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyscale.infer.importers.ubjson import read_ubjson


def length(count: int) -> bytes:
    return b"L" + struct.pack(">q", count)


def written(value: Any) -> bytes:
    """A document, as XGBoost writes it."""
    if value is None or isinstance(value, bool):
        return {None: b"Z", True: b"T", False: b"F"}[value]
    if isinstance(value, str):
        return b"S" + length(len(value.encode())) + value.encode()
    if isinstance(value, float):
        return b"d" + struct.pack(">f", value)
    if isinstance(value, int):
        for marker, form in (("i", "b"), ("I", "h"), ("l", "i"), ("L", "q")):
            if abs(value) < 2 ** (8 * struct.calcsize(form) - 1) or marker == "L":
                return marker.encode() + struct.pack(">" + form, value)
    if isinstance(value, list):
        return b"[#" + length(len(value)) + b"".join(map(written, value))
    if isinstance(value, dict):
        pairs = (length(len(key.encode())) + key.encode() + written(item) for key, item in value.items())
        return b"{" + b"".join(pairs) + b"}"
    raise AssertionError(value)


leaves = (
    st.none()
    | st.booleans()
    | st.text(max_size=8)
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(width=32, allow_nan=False)
)
documents = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


@settings(max_examples=100, deadline=None)
@given(documents)
def test_what_is_written_is_read(document: Any) -> None:
    assert read_ubjson(written(document)) == document


@settings(max_examples=60, deadline=None)
@given(documents, st.data())
def test_cut_off_or_changed(document: Any, data: st.DataObject) -> None:
    """Only a ValueError may come of it."""
    content = written(document)
    with pytest.raises(ValueError, match=r"byte [0-9]+: expected"):
        read_ubjson(content[: data.draw(st.integers(0, len(content) - 1))])
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        read_ubjson(bytes(changed))


@pytest.mark.parametrize(
    ("marker", "dtype"),
    [("i", "i1"), ("U", "u1"), ("I", ">i2"), ("l", ">i4"), ("L", ">i8"), ("d", ">f4"), ("D", ">f8")],
)
def test_typed_arrays_stay_in_place(marker: str, dtype: str) -> None:
    values = np.array([1, 2, 100], dtype)
    found = read_ubjson(b"[$" + marker.encode() + b"#" + length(3) + values.tobytes())
    assert found.dtype == values.dtype
    assert not found.flags.writeable
    np.testing.assert_array_equal(found, values)


def test_other_forms() -> None:
    assert read_ubjson(b"[i\x01U\xff]") == [1, 255]
    assert read_ubjson(b"D" + struct.pack(">d", 1e300)) == 1e300
    assert read_ubjson(b"CA") == 65


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "byte 0: expected a value of 1 bytes, got '0 bytes'"),
        (b"Zx", "byte 1: expected the end of the document, got b'x'"),
        (b"H", "byte 0: expected the marker of a value, got b'H'"),
        (b"Si\x01a", "byte 1: expected the marker L of a length, got b'i'"),
        (b"S" + length(-1), "byte 2: expected a number of letters that 0 bytes can hold, got -1"),
        (
            b"S" + length(2**62),
            "byte 2: expected a number of letters that 0 bytes can hold, got 4611686018427387904",
        ),
        (b"S" + length(1) + b"\xff", "byte 1: expected UTF-8, got b'\\xff'"),
        (
            b"[$l#" + length(2**61),
            "expected a number of numbers that 0 bytes can hold, got 2305843009213693952",
        ),
        (b"[$l#" + length(2) + b"1234567", "expected a number of numbers that 7 bytes can hold, got 2"),
        (b"[$S#" + length(1) + b"a", "byte 2: expected a type of numbers and a count, got b'S#'"),
        (b"[$lL", "byte 2: expected a type of numbers and a count, got b'lL'"),
        (
            b"[#" + length(2**40) + b"Z",
            "expected a number of values that 1 bytes can hold, got 1099511627776",
        ),
        (b"{" + length(1) + b"a", "byte 11: expected a value of 1 bytes, got '0 bytes'"),
    ],
)
def test_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared below
        read_ubjson(content)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"[" * 10**6, b"[#" + length(10**5) + b"[]" * 10**5, (b"{" + length(0)) * 10**5]
)
def test_nesting_and_empty_lists(content: bytes) -> None:
    """Neither a crash nor much more memory than the document has."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="fewer lists and objects"):
            read_ubjson(content)
        assert tracemalloc.get_traced_memory()[1] < 12 * len(content) + 10**5
    finally:
        tracemalloc.stop()
