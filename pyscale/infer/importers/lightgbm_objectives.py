"""What LightGBM's objectives make of the trees' sums."""

from __future__ import annotations

from pyscale.infer.forest.trees import Link
from pyscale.infer.importers.lightgbm_text import Header
from pyscale.infer.importers.reading import refuse

__all__ = ["link_and_kind"]

# LightGBM takes the square root's inverse in these; huber switches it off and the others have a link.
WITH_SQRT = frozenset(("regression", "regression_l1", "fair", "quantile", "mape"))
LINKS = {
    "regression": ("identity", "regression"),
    "regression_l1": ("identity", "regression"),
    "huber": ("identity", "regression"),
    "fair": ("identity", "regression"),
    "quantile": ("identity", "regression"),
    "mape": ("identity", "regression"),
    "poisson": ("exp", "regression"),
    "gamma": ("exp", "regression"),
    "tweedie": ("exp", "regression"),
    "binary": ("logistic", "binary"),
    "cross_entropy": ("logistic", "binary"),
    "cross_entropy_lambda": ("log1p_exp", "regression"),
    "multiclass": ("softmax", "multiclass"),
    "multiclassova": ("logistic", "multiclass"),
    "lambdarank": ("identity", "ranking"),
    "rank_xendcg": ("identity", "ranking"),
    "custom": ("identity", ""),
}
# Names that LightGBM takes for these when it reads a file.
SAME = {
    **dict.fromkeys(("regression_l2", "mean_squared_error", "mse", "l2"), "regression"),
    **dict.fromkeys(("l2_root", "root_mean_squared_error", "rmse"), "regression"),
    **dict.fromkeys(("mean_absolute_error", "l1", "mae"), "regression_l1"),
    "mean_absolute_percentage_error": "mape",
    "xentropy": "cross_entropy",
    "xentlambda": "cross_entropy_lambda",
    **dict.fromkeys(("xendcg", "xe_ndcg", "xe_ndcg_mart", "xendcg_mart"), "rank_xendcg"),
    **dict.fromkeys(("none", "null", "na"), "custom"),
}


def link_and_kind(header: Header) -> tuple[Link, str]:
    """Give the link, and the kind of the model; of an objective of one's own, what its outputs look like."""
    text = header.objective if header.objective is not None else "custom"
    name, *settings = text.split() or [""]
    name = SAME.get(text, name)
    if name not in LINKS:
        refuse("objective", "one of LightGBM's", text)
    link, kind = LINKS[name]
    outputs = header.trees_per_round
    if header.num_class != outputs:
        refuse("num_tree_per_iteration", f"as many as num_class, {header.num_class}", outputs)
    if kind == "multiclass":
        if _setting(settings, "num_class") != outputs:
            refuse("objective", f"num_class:{outputs}", text)
    elif kind and outputs != 1:
        refuse("num_class", f"1, with the objective {name}", outputs)
    scale = 1.0
    if name in ("binary", "multiclassova"):
        scale = _setting(settings, "sigmoid")
        if not 0 < scale < float("inf"):
            refuse("objective", "a sigmoid above 0", text)
    if name in WITH_SQRT and "sqrt" in settings:
        link = "signed_square"
    # An average is of the rounds that are asked for.
    divisor = 0.0 if header.average else 1.0
    return Link(name=link, divisor=divisor, scale=scale), kind or (
        "multiclass" if outputs > 1 else "regression"
    )


def _setting(settings: list[str], name: str) -> float:
    found = dict(setting.partition(":")[::2] for setting in settings)
    if name not in found:
        refuse("objective", f"{name}:…", " ".join(settings))
    try:
        return float(found[name])
    except ValueError:
        refuse(f"objective {name}", "a number", found[name])
