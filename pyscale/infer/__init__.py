"""Many rows through one model: other libraries' models, faster, with the same answers."""

from pyscale.errors import BatcherClosed, QueueFull
from pyscale.infer.batching.batcher import Batcher
from pyscale.infer.forest.forest import Forest
from pyscale.infer.forest.trees import LinearLeaves, Link, ModelDescription, Trees
from pyscale.infer.loading import FORMATS, convert, load

__all__ = [
    "FORMATS",
    "Batcher",
    "BatcherClosed",
    "Forest",
    "LinearLeaves",
    "Link",
    "ModelDescription",
    "QueueFull",
    "Trees",
    "convert",
    "load",
]
