"""``torch.nn.EmbeddingBag``."""

from __future__ import annotations

from typing import Any

from pyscale.infer.embedding.embedding import EmbeddingBag
from pyscale.infer.importers.dense_torch import on_cpu, refuse_changed

__all__ = ["from_module", "takes"]


def takes(model: Any) -> bool:
    """Tell whether it is ``torch.nn.EmbeddingBag`` itself, and no class derived from it or quantized."""
    kind = type(model)
    return kind.__name__ == "EmbeddingBag" and kind.__module__.startswith("torch.nn.")


def from_module(model: Any) -> EmbeddingBag:
    """
    Take over a ``torch.nn.EmbeddingBag``.

    Parameters
    ----------
    model : torch.nn.EmbeddingBag
        With a table of float32, float16 or bfloat16; answers are float32.

    Returns
    -------
    EmbeddingBag
        With a copy of its table.

    Raises
    ------
    ValueError
        It has hooks, another forward than its class, or a `max_norm`: torch changes rows of the table by it
        as they are used. Or its table has no values.
    """
    refuse_changed(model, "model")
    if model.max_norm is not None:
        raise ValueError(f"model.max_norm: expected None, got {model.max_norm}")
    return EmbeddingBag(
        on_cpu(model.weight.detach(), "model.weight"),
        mode=model.mode,
        padding_idx=model.padding_idx,
        include_last_offset=model.include_last_offset,
    )
