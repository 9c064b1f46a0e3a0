"""Sizes in bytes as people write them."""

from __future__ import annotations


def parse_size(text: str) -> int:
    """`64K`, `1M` or `4096` in bytes."""
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:].upper())
    return int(text) if factor is None else int(text[:-1]) * factor


def human_size(size: float) -> str:
    """`65536` as `64 KiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:g} {unit}"
        size /= 1024
    return f"{size:g} GiB"
