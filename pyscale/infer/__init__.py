"""Many rows through one model: other libraries' models, faster, with the same answers."""

from pyscale.errors import BatcherClosed, QueueFull
from pyscale.infer.batching.batcher import Batcher
from pyscale.infer.categories import Categories
from pyscale.infer.compress.prune import prune
from pyscale.infer.compress.quantize import quantize
from pyscale.infer.compress.report import CompressionReport
from pyscale.infer.dense.dense import Dense
from pyscale.infer.dense.layers import (
    ACTIVATIONS,
    Activation,
    Affine,
    BatchNorm,
    DenseDescription,
    LayerNorm,
    Linear,
    QuantizedLinear,
)
from pyscale.infer.embedding.embedding import EmbeddingBag
from pyscale.infer.forest.forest import Forest
from pyscale.infer.forest.trees import LinearLeaves, Link, ModelDescription, Trees
from pyscale.infer.graph.model import OnnxModel
from pyscale.infer.loading import FORMATS, convert, load
from pyscale.infer.offline.predict import Progress, predict_distributed
from pyscale.infer.pipeline.pipeline import Pipeline
from pyscale.infer.pipeline.stages import Imputer, Scaler
from pyscale.infer.topk.topk import TopK

__all__ = [
    "ACTIVATIONS",
    "FORMATS",
    "Activation",
    "Affine",
    "BatchNorm",
    "Batcher",
    "BatcherClosed",
    "Categories",
    "CompressionReport",
    "Dense",
    "DenseDescription",
    "EmbeddingBag",
    "Forest",
    "Imputer",
    "LayerNorm",
    "Linear",
    "LinearLeaves",
    "Link",
    "ModelDescription",
    "OnnxModel",
    "Pipeline",
    "Progress",
    "QuantizedLinear",
    "QueueFull",
    "Scaler",
    "TopK",
    "Trees",
    "convert",
    "load",
    "predict_distributed",
    "prune",
    "quantize",
]
