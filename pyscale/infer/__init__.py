"""Many rows through one model: other libraries' models, faster, with the same answers."""

from pyscale.infer.forest.forest import Forest
from pyscale.infer.forest.trees import LinearLeaves, Link, ModelDescription, Trees
from pyscale.infer.loading import FORMATS, convert, load

__all__ = ["FORMATS", "Forest", "LinearLeaves", "Link", "ModelDescription", "Trees", "convert", "load"]
