"""Many rows through one model: other libraries' models, faster, with the same answers."""

from pyscale.infer.forest.forest import Forest
from pyscale.infer.forest.pruning import PruneReport, prune
from pyscale.infer.forest.trees import LinearLeaves, Link, ModelDescription, Trees
from pyscale.infer.loading import FORMATS, convert, load
from pyscale.infer.offline.predict import Progress, predict_distributed

__all__ = [
    "FORMATS",
    "Forest",
    "LinearLeaves",
    "Link",
    "ModelDescription",
    "Progress",
    "PruneReport",
    "Trees",
    "convert",
    "load",
    "predict_distributed",
    "prune",
]
