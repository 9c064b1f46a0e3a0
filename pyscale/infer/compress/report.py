"""What a smaller model costs and brings, measured on rows that its user gives."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.dense.dense import Dense
from pyscale.infer.dense.saving import pack
from pyscale.infer.forest.forest import Forest

__all__ = ["CompressionReport", "Score", "compare"]

Array = NDArray[Any]

#: How good predictions are: of the true answers and the predicted ones; more is better.
Score = Callable[[Array, Array], float]

_ROUNDS = 11
_TURN = 0.002  # seconds, at least, of a turn
_LONG = 0.2  # seconds of one call from which fewer rounds have to do


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressionReport:
    """
    A model before and after: what it takes, how fast it is, how good it is. Printed, it is a small table.

    Attributes
    ----------
    rows : int
        On which all but the size was measured.
    size_before, size_after : int
        Bytes of the model's arrays, which is about the size of its file.
    speed_before, speed_after : float
        Rows a second of one thread, in calls for all rows: the best of some turns, taken in turn.
    max_error, mean_error : float
        How far the answers are from those before: absolute, over all outputs; of probabilities for models
        that classify, of what ``raw`` gives where these have none or several targets, and for isolation
        forests, else of what ``predict`` gives.
    measure : str
        What the scores are. ``accuracy``, of labels, and ``R2``, of values: against the `y` given.
        ``agreement``, without it: the same, of the predictions after against those before. Or ``score``: what
        the function given says.
    score_before, score_after : float
        More is better; 1 is the best accuracy, R2 and agreement.
    notes : tuple of str
        What was done.
    """

    rows: int
    size_before: int
    size_after: int
    speed_before: float
    speed_after: float
    max_error: float
    mean_error: float
    measure: str
    score_before: float
    score_after: float
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{'':<12}{'before':>12}{'after':>12}"]
        for name, before, after in (
            ("bytes", self.size_before, self.size_after),
            ("rows/s", self.speed_before, self.speed_after),
        ):
            ratio = f"{after / before:>10.2f} x" if before else ""
            lines.append(f"{name:<12}{before:>12,.0f}{after:>12,.0f}{ratio}")
        lines.append(
            f"{self.measure:<12}{self.score_before:>12.4f}{self.score_after:>12.4f}"
            f"{self.score_after - self.score_before:>+12.4f}"
        )
        lines.append(f"largest change {self.max_error:.3g}, mean {self.mean_error:.3g}; {self.rows:,} rows")
        return "\n".join([*lines, *self.notes])


def compare(
    before: Forest | Dense,
    after: Forest | Dense,
    rows: Any,
    *,
    y: Any = None,
    score: Score | None = None,
    notes: tuple[str, ...] = (),
) -> CompressionReport:
    """
    Measure two models on the same rows.

    Parameters
    ----------
    before, after : Forest or Dense
        The models.
    rows : array
        Rows x features; one or more.
    y : array, optional
        The true labels or values.
    score : callable, optional
        ``score(y, predicted)``; takes `y`.
    notes : tuple of str
        For the report.

    Returns
    -------
    CompressionReport
        The figures.

    Raises
    ------
    ValueError
        No rows, a `y` of another shape or kind than the predictions, or a `score` without one.
    """
    answers, changed = _answers(before, rows), _answers(after, rows)
    if not len(answers):
        raise ValueError("rows: expected one or more, got none")
    measured = measure_of(before, rows, y, score)
    speed_before, speed_after = _speeds(before, after, rows, len(answers))
    with np.errstate(invalid="ignore"):  # infinities that stay
        off = np.abs(changed.astype(np.float64) - answers)
    off[(answers == changed) | (np.isnan(answers) & np.isnan(changed))] = 0
    return CompressionReport(
        rows=len(answers),
        size_before=_size(before),
        size_after=_size(after),
        speed_before=speed_before,
        speed_after=speed_after,
        max_error=float(off.max()),
        mean_error=float(off.mean()),
        measure=measured.name,
        score_before=measured(before),
        score_after=measured(after),
        notes=notes,
    )


@dataclass(frozen=True, slots=True)
class Measure:
    """How good a model is."""

    name: str
    rows: Any
    y: Array
    labels: bool
    function: Score

    def __call__(self, model: Forest | Dense) -> float:
        """Give the score of a model."""
        return float(self.function(self.y, _predictions(model, self.rows, self.labels)))


def measure_of(model: Forest | Dense, rows: Any, y: Any, score: Score | None) -> Measure:
    """Choose how models are compared with this one, or with true answers; errors as of :func:`compare`."""
    if y is None:
        if score is not None:
            raise ValueError("score: expected y beside it, got none")
        labels = model.kind in ("binary", "multiclass", "scores", "anomaly")
        predicted = _predictions(model, rows, labels)
        return Measure("agreement", rows, predicted, labels, _accuracy if labels else _r2)
    wanted = np.asarray(y)
    answers = _answers(model, rows)
    if wanted.ndim == 0 or len(wanted) != len(answers):
        raise ValueError(f"y: expected {len(answers)} values, got shape {wanted.shape}")
    if wanted.ndim == 2 and wanted.shape[1] == 1:
        wanted = wanted[:, 0]
    # A chain that ends with one number a class says nothing of classes.
    classes = answers.ndim == 2 and answers.shape[1] > 1 and wanted.ndim == 1 and wanted.dtype.kind in "iu"
    labels = model.kind in ("binary", "multiclass", "scores", "anomaly") or classes
    if score is not None:
        return Measure("score", rows, wanted, labels, score)
    predicted = _predictions(model, rows, labels)
    if predicted.shape != wanted.shape:
        raise ValueError(f"y: expected shape {predicted.shape}, got {wanted.shape}")
    if labels:
        (label,), (got,) = predicted.ravel()[:1].tolist(), wanted.ravel()[:1].tolist()
        if isinstance(label, str) != isinstance(got, str):
            raise ValueError(f"y: expected labels such as {label!r}, got {got!r}")
        return Measure("accuracy", rows, wanted, True, _accuracy)
    try:
        wanted = wanted.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"y: expected numbers, got {wanted.dtype}") from None
    if not np.isfinite(wanted).all():
        raise ValueError("y: expected finite numbers, got NaN or infinity")
    return Measure("R2", rows, wanted, False, _r2)


def _answers(model: Forest | Dense, rows: Any, num_threads: int | None = None) -> Array:
    if isinstance(model.classes, tuple):
        return model.raw(rows, num_threads=num_threads)
    if model.kind in ("binary", "multiclass"):
        return model.predict_proba(rows, num_threads=num_threads)
    call = model.raw if model.kind in ("anomaly", "scores") else model.predict
    return call(rows, num_threads=num_threads)


def _predictions(model: Forest | Dense, rows: Any, labels: bool) -> Array:
    if model.kind == "anomaly" or (model.classes is not None and model.kind != "values"):
        return model.predict(rows)
    answers = _answers(model, rows)
    if answers.ndim == 2 and answers.shape[1] == 1 and model.kind != "multiclass":
        answers = answers[:, 0]
    if not labels:
        return answers
    # Without labels, the number of the class.
    found: Array = answers.argmax(axis=1) if answers.ndim == 2 else (answers > 0).astype(np.intp)
    return found


def _accuracy(wanted: Array, predicted: Array) -> float:
    return float((wanted == predicted).mean())


def _r2(wanted: Array, predicted: Array) -> float:
    wanted = wanted.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinite predictions: NaN
        lost = float(((wanted - predicted) ** 2).sum())
        spread = float(((wanted - wanted.mean(axis=0)) ** 2).sum())
    if spread == 0:
        return 1.0 if lost == 0 else 0.0
    return 1 - lost / spread


def _size(model: Forest | Dense) -> int:
    if isinstance(model, Dense):
        _, arrays = pack(model._description, model.weights)
        return sum(array.nbytes for name, array in arrays.items() if name != "classes")
    trees = model._description.trees
    found = (getattr(trees, field.name) for field in dataclasses.fields(trees))
    return sum(array.nbytes for array in found if isinstance(array, np.ndarray))


def _speeds(before: Forest | Dense, after: Forest | Dense, rows: Any, count: int) -> tuple[float, float]:
    """Give rows a second of both."""
    models = (before, after)
    # The first calls say how many make a turn.
    best = [_seconds(model, rows, 1) for model in models]
    calls = [max(1, round(_TURN / max(seconds, 1e-7))) for seconds in best]
    for turn in range(_ROUNDS if max(best) < _LONG else 3):
        for which in (0, 1) if turn % 2 else (1, 0):
            best[which] = min(best[which], _seconds(models[which], rows, calls[which]))
    return count / best[0], count / best[1]


def _seconds(model: Forest | Dense, rows: Any, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        _answers(model, rows, num_threads=1)
    return (time.perf_counter() - start) / calls
