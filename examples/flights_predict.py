"""Train XGBoost, LightGBM and scikit-learn on the flights, predict with pyscale, compare answers and times.

    python examples/flights_predict.py [--rows N] [--plot predict.png]

The models learn whether a flight arrives more than 15 minutes late. Each then predicts flights that it has
not seen, with its own library and with pyscale: the table shows the largest difference between their
probabilities (the exit status is 1 if it is not next to nothing), and how many rows a second each predicts,
in batches of one row and of many. pyscale has XGBoost's and LightGBM's models from files that these save,
scikit-learn's from memory. Takes half a minute.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flights_data
import numpy as np
from numpy.typing import NDArray

import pyscale as ps
from pyscale.infer import Forest

BATCHES = (1, 64, 1024, 65536)
LATE = 15  # minutes
TOLERANCE = 1e-6  # of probabilities

Predict = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass
class Contest:
    """A trained model, by its own library and by pyscale."""

    title: str
    theirs: Predict  # probabilities of being late
    ours: Predict
    difference: float = 0.0
    # Of each batch size, rows a second of theirs and of ours.
    speeds: dict[int, tuple[float, float]] = field(default_factory=dict)


def flights() -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the flights' features as float32, rows x 9, and which arrived late; in random order."""
    found = flights_data.load()
    x = np.concatenate([found.categories.astype(np.float32), found.numbers], axis=1)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order], (found.delay > LATE).astype(np.int32)[order]


def contests(x: NDArray[Any], y: NDArray[Any]) -> Iterator[Contest]:
    """Train each model whose library is installed."""
    try:
        import xgboost

        booster = xgboost.train(
            {"objective": "binary:logistic", "max_depth": 6, "eta": 0.1}, xgboost.DMatrix(x, y), 200
        )
        ours = by_file(booster.save_model, "model.json")
        yield Contest("XGBoost, 200 trees of depth 6", booster.inplace_predict, ours.predict)
    except ImportError:
        print("XGBoost is not installed: left out")
    try:
        import lightgbm

        parameters = {"objective": "binary", "num_leaves": 31, "verbose": -1}
        light = lightgbm.train(parameters, lightgbm.Dataset(x.astype(np.float64), y), 200)
        ours = by_file(light.save_model, "model.txt")
        yield Contest("LightGBM, 200 trees of 31 leaves", light.predict, ours.predict)
    except ImportError:
        print("LightGBM is not installed: left out")
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

        models = {
            "scikit-learn, 100 boosted trees": HistGradientBoostingClassifier(random_state=0),
            "scikit-learn, 50 deep random trees": RandomForestClassifier(50, random_state=0, n_jobs=-1),
        }
        for title, model in models.items():
            model.fit(x[:100_000], y[:100_000])
            converted = ps.infer.convert(model)
            yield Contest(title, probability_by(model), probability_by(converted))
    except ImportError:
        print("scikit-learn is not installed: left out")


def by_file(save: Callable[[str], Any], name: str) -> Forest:
    """Load what a library saves."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        save(str(path))
        forest: Forest = ps.infer.load(path)
        return forest


def probability_by(model: Any) -> Predict:
    """Return what gives the probability of the second of two classes."""

    def predict(x: NDArray[Any]) -> NDArray[Any]:
        both: NDArray[Any] = model.predict_proba(x)
        return both[:, 1]

    return predict


def rows_per_second(predict: Predict, x: NDArray[Any], batch: int) -> float:
    """Predict batches of different rows for about a fifth of a second."""
    predict(x[:batch])
    rows, start = 0, time.perf_counter()
    while time.perf_counter() - start < 0.2:
        begin = rows % (len(x) - batch + 1)
        predict(x[begin : begin + batch])
        rows += batch
    return rows / (time.perf_counter() - start)


def draw(found: list[Contest], path: Path) -> None:
    """Plot how many times as many rows a second pyscale predicts."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    width = 0.8 / len(found)
    for place, contest in enumerate(found):
        ratios = [ours / theirs for theirs, ours in contest.speeds.values()]
        bars = axes.bar(np.arange(len(ratios)) + place * width, ratios, width, label=contest.title)
        axes.bar_label(
            bars, [f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}" for ratio in ratios], fontsize=7
        )
    axes.set_yscale("log")
    axes.set_xticks(
        np.arange(len(BATCHES)) + 0.4 - width / 2,
        ["1 row" if batch == 1 else f"{batch:,} rows" for batch in BATCHES],
    )
    axes.set_ylabel("rows a second, pyscale / own library")
    axes.set_title("The same answers, from the same models")
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main() -> int:
    """Read the command line, train, compare, print the table."""
    parser = argparse.ArgumentParser(description="Predict with pyscale what other libraries trained.")
    parser.add_argument("--rows", type=int, default=200_000, help="flights to train on")
    parser.add_argument("--plot", type=Path, help="a picture of the speeds")
    options = parser.parse_args()
    x, y = flights()
    test = np.ascontiguousarray(x[-100_000:])
    found = []
    for contest in contests(x[: options.rows], y[: options.rows]):
        theirs, ours = contest.theirs(test[:20_000]), contest.ours(test[:20_000])
        contest.difference = float(np.abs(theirs.astype(np.float64) - ours).max())
        for batch in BATCHES:
            own = rows_per_second(contest.theirs, test, batch)
            contest.speeds[batch] = own, rows_per_second(contest.ours, test, batch)
        found.append(contest)
    title = "thousand rows a second: own library → pyscale"
    print(f"\n{title:55}", *(f"{f'{batch:,} rows':>18}" for batch in BATCHES))
    for contest in found:
        cells = [f"{theirs / 1e3:9,.1f} →{ours / 1e3:7,.0f}" for theirs, ours in contest.speeds.values()]
        print(f"{contest.title:36} differ by {contest.difference:<7.1g}", *(f"{cell:>18}" for cell in cells))
    if options.plot and found:
        draw(found, options.plot)
        print(f"\n{options.plot}")
    wrong = [contest.title for contest in found if not contest.difference <= TOLERANCE]
    if wrong:
        print(f"expected the same probabilities to {TOLERANCE:g}, got others from {', '.join(wrong)}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
