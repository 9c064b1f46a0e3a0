"""Which engine a forest takes, in words."""

from __future__ import annotations

from pyscale import _core

__all__ = ["explain_engine"]


def explain_engine(native: _core.Forest, num_trees: int, num_nodes: int) -> str:
    """Say which engine takes how many rows, and what was measured when the model was made."""
    costs = native.costs()
    trees = max(1, num_trees)
    lines = [f"{num_trees} trees, {num_nodes} nodes; instruction set {_core.isa()}"]
    if native.has_masks:
        lines.append(
            "logic on bits (all nodes for all rows): "
            f"{costs['large_block'] / 512 / trees:.2f} ns a row and tree in blocks of 512 rows, "
            f"{costs['small_block'] / 64 / trees:.2f} in blocks of 64"
        )
    else:
        lines.append(
            "logic on bits: not taken, since a tree has more than 256 leaves or a feature more than "
            "253 categories"
        )
    if native.has_hybrid:
        lines.append(
            "hybrid (logic on bits for the upper part of a tree, then a walk): "
            f"{costs['hybrid'] / 512 / trees:.2f} ns a row and tree in blocks of 512 rows"
        )
    lines.append(
        f"walk from the root: {costs['group'] / 16 / trees:.2f} ns a row and tree "
        f"with 16 rows side by side, {costs['row'] / trees:.2f} with one"
    )
    for rows in (1, 8, 64, 1024, 65536):
        lines.append(f"{rows:6} rows: {native.engine_for(rows)}")
    return "\n".join(lines)
