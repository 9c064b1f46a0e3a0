"""The peers of `pyscale.infer`: all in one virtual environment, so that they can take turns in a process."""

from __future__ import annotations

from _environments import BUILD
from _python_environment import Environment

FOLDER = BUILD / "inference"  # models, and what was made of them

ENVIRONMENT = Environment(
    BUILD / "infer",
    (
        "numpy",
        "ml_dtypes",
        "pandas",
        "threadpoolctl",
        "xgboost-cpu",
        "lightgbm",
        "scikit-learn",
        "scikit-learn-intelex>=2026",  # brings daal4py; older ones do not know this scikit-learn
        "onnxruntime",
        "onnx",
        "protobuf<7",  # later ones refuse what skl2onnx makes of histogram boosting
        "skl2onnx",
        "onnxmltools",
        "treelite",
        "tl2cgen",
        "lleaves",
        "llvmlite<0.45",  # what lleaves compiles with is gone from later ones
    ),
)
