"""Changes of files, at random: of their bytes, of the numbers in text, and of the structure of JSON."""

from __future__ import annotations

import copy
import re
import struct
from random import Random
from typing import Any

INTEGERS = [0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 2**15, 2**16, 2**24, 2**31 - 1, 2**31, -(2**31), 2**32]
INTEGERS += [2**48, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30]
FLOATS = [
    0.0,
    -0.0,
    0.5,
    -1.5,
    1e-40,
    5e-324,
    1e-35,
    1e30,
    3.5e38,
    1e300,
    float("inf"),
    float("-inf"),
    float("nan"),
]
TOKENS = [str(value) for value in INTEGERS + FLOATS] + [
    "",
    " ",
    "x",
    "NaN",
    "1e999",
    "0x10",
    "-",
    "1 2",
    "9" * 400,
]
VALUES: list[Any] = [*INTEGERS, *FLOATS, None, True, False, "", "x", "1", "-1", [], {}, [0], [[]], {"a": 1}]
NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")


def mutated_bytes(content: bytes, other: bytes, random: Random) -> bytes:
    """Change a few bytes, or move, repeat or cut off some; `other` is a file to take some from."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 4))):
        size = len(data)
        at = random.randrange(size + 1)
        length = min(random.choice((1, 1, 2, 4, 8, 30)), size - at)
        match random.randrange(8):
            case 0 if at < size:
                data[at] ^= 1 << random.randrange(8)
            case 1 if at < size:
                data[at] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
            case 2:
                data[at:at] = random.randbytes(length)
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length] * random.choice((1, 2, 50))
            case 5:
                data[at : at + length] = packed(random)[:length] or b"\0"
            case 6:
                begin = random.randrange(len(other) + 1)
                data[at : at + length] = other[begin : begin + length]
            case 7 if random.random() < 0.2:
                del data[at:]
    return bytes(data)


def packed(random: Random) -> bytes:
    """Give a number that is apt to be wrong, as files have it."""
    order = random.choice("<>")
    if random.random() < 0.5:
        return struct.pack(order + "d", random.choice(FLOATS))
    kind = random.choice("BHIQ")
    return struct.pack(order + kind, random.choice(INTEGERS) % 256 ** struct.calcsize(kind))


def mutated_text(content: bytes, random: Random) -> bytes:
    """Change, repeat or leave out numbers, words or lines."""
    if random.random() < 0.3:
        lines = content.split(b"\n")
        at = random.randrange(len(lines))
        match random.randrange(3):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, random.choice(lines))
            case 2:
                other = random.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
        return b"\n".join(lines)
    places = [match.span() for match in NUMBER.finditer(content)]
    if not places:
        return content
    begin, end = random.choice(places)
    if random.random() < 0.3:
        a, b = random.choice(places)
        return content[:begin] + content[a:b] + content[end:]
    return content[:begin] + random.choice(TOKENS).encode() + content[end:]


def mutated_document(document: Any, random: Random) -> Any:
    """Change, move, repeat or leave out something of what JSON holds."""
    document = copy.deepcopy(document)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        parent, key = place(document, random)
        if parent is None:
            continue
        match random.randrange(6):
            case 0 | 1:
                parent[key] = copy.deepcopy(random.choice(VALUES))
            case 2:
                del parent[key]
            case 3:
                other, name = place(document, random)
                if other is not None:
                    parent[key] = copy.deepcopy(other[name])
            case 4:
                value = parent[key]
                parent[key] = str(random.choice(INTEGERS)) if isinstance(value, str) else near(value, random)
            case 5 if isinstance(parent, list):
                parent.insert(key, copy.deepcopy(parent[key]))
    return document


def place(document: Any, random: Random) -> tuple[Any, Any]:
    """Give an object or list in the document and a key of it; None and None if it is empty."""
    if not isinstance(document, dict | list) or not document:
        return None, None
    parent = document
    while True:
        key = random.choice(list(parent)) if isinstance(parent, dict) else random.randrange(len(parent))
        inner = parent[key]
        if not isinstance(inner, dict | list) or not inner or random.random() < 0.1:
            return parent, key
        parent = inner


def near(value: Any, random: Random) -> Any:
    """Give a number that is close to one; of another value, one that is not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return random.choice(INTEGERS)
    return value + random.choice((1, -1, 2, 0.5))
