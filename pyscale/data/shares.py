"""How n things in a row are shared out: in order, and as evenly as they can be."""

from __future__ import annotations


def share(n: int, part: int, parts: int) -> tuple[int, int]:
    """Return where a part's share of ``0`` to ``n - 1`` starts and stops; sizes differ by one at most."""
    each, more = divmod(n, parts)
    start = part * each + min(part, more)
    return start, start + each + (part < more)
