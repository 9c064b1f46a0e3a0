"""Pipelines of stages: what is fused, what is refused, what users may do with them."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forest_random import random_model
from numpy.typing import NDArray

import pyscale as ps
from pyscale.infer import (
    Activation,
    Affine,
    BatchNorm,
    Dense,
    DenseDescription,
    Forest,
    Imputer,
    LayerNorm,
    Linear,
    Pipeline,
    QuantizedLinear,
    Scaler,
)

Array = NDArray[Any]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)
