"""The peers of `pyscale.infer`: those of one kind of model in one environment, to take turns in a process."""

from __future__ import annotations

from _environments import BUILD
from _python_environment import Environment

FOLDER = BUILD / "inference"  # models, and what was made of them

#: Of forests.
FORESTS = Environment(
    BUILD / "infer",
    (
        "numpy",
        "ml_dtypes",
        "pandas",
        "pyarrow",
        "cffi",  # without which LightGBM takes no table of Arrow
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
        "ydf",
    ),
)

#: Of networks, and of searching.
NETWORKS = Environment(
    BUILD / "infer-networks",
    (
        "numpy",
        "ml_dtypes",
        "threadpoolctl",
        "torch==2.13.0",
        "onnxruntime",
        "onnx",
        "openvino",
        "faiss-cpu",
        "scikit-learn",
    ),
)
