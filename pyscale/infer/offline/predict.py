"""`predict_distributed`: every row of a data set through a model, once, over all ranks."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.comm.communicator import Communicator
from pyscale.comm.together import agree, together
from pyscale.errors import CommError
from pyscale.infer.files import Saved
from pyscale.infer.inputs import whole_number
from pyscale.infer.offline.results import Results
from pyscale.infer.offline.sources import Source, Unit, open_source

__all__ = ["Progress", "predict_distributed"]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Progress:
    """
    How far a job is.

    Attributes
    ----------
    rows : int
        Rows that are done, also by runs before this one.
    total : int
        Rows in all.
    rows_per_second : float
        Of this run, by all ranks together.
    seconds : float
        Since this run began.
    """

    rows: int
    total: int
    rows_per_second: float
    seconds: float


def predict_distributed(
    model: Any,
    source: Any,
    comm: Communicator | None = None,
    *,
    out: str | os.PathLike[str],
    method: str = "predict",
    columns: Sequence[str] | None = None,
    keep: Sequence[str] = (),
    batch_rows: int = 65536,
    model_version: str | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> Progress:
    """
    Predict all rows of a data set, spread over ranks, and write the answers once and in order.

    Collective. A job that was killed goes on where it stood when it is called again, with any number of
    ranks: what a rank had finished stays. Ranks take units of rows in turn, and meet after each, so that all
    learn at once when one fails.

    Parameters
    ----------
    model : Forest, Dense, Pipeline, OnnxModel, TopK, EmbeddingBag or other
        The same on every rank; has `method`, which gives an array with an answer a row.
    source : numpy.ndarray, or paths
        Rows x features, the same on every rank (mapped, with ``np.load(…, mmap_mode="r")``); or Parquet
        files, folders of them, or patterns. A job that goes on knows files, mapped ones too, by their sizes
        and times; an array in memory by its shape and some 1,024 of its rows, spread over all.
    comm : Communicator, optional
        The ranks; by default this process alone.
    out : path
        For an array a file that ends with .npy, for Parquet a folder of Parquet files, whose names have the
        order of the rows. Must not exist yet.
    method : str
        What of the model is called: ``predict``, ``predict_proba``, ``raw``, …
    columns : sequence of str, optional
        The columns that are features, in the model's order; by default all that are not kept.
    keep : sequence of str
        Columns that are written beside the predictions.
    batch_rows : int
        Rows of a unit, of Parquet at least as many: what is done at a time, and again after a kill.
    model_version : str, optional
        What tells this model from others, for a job that goes on. A model of this library that can be saved
        needs none: it is known by all that it is. Of another there is nothing that tells: without a version,
        its job does not go on after a kill.
    progress : callable, optional
        Called on rank 0 after each round of units.

    Returns
    -------
    Progress
        Of the whole job.

    Raises
    ------
    FileExistsError
        `out` is there already.
    TypeError
        A model without `method`, or arguments of another type.
    ValueError
        Rows or columns that do not fit the model, arguments that differ between ranks, or a draft that
        another job has left, or one of a model that nothing tells from others.
    RuntimeError
        Another job is writing to the same place.
    """
    with together(comm, "predict_distributed"):
        batch_rows = whole_number(batch_rows, "batch_rows")
        if batch_rows < 1:
            raise ValueError(f"batch_rows: expected 1 or more, got {batch_rows}")
        if model_version is not None and not isinstance(model_version, str):
            raise TypeError(f"model_version: expected a text, got {model_version!r}")
        names = {"columns": columns, "keep": keep}
        for what, value in names.items():
            if isinstance(value, str):
                raise TypeError(f"{what}: expected a sequence of names, got the text {value!r}")
            if value is not None and not all(isinstance(name, str) for name in value):
                raise TypeError(f"{what}: expected a sequence of names, got {value!r}")
        if taken := [name for name in keep if name.startswith("prediction")]:
            raise ValueError(f"keep: expected other names than those of predictions, got {taken[0]!r}")
        if len(set(keep)) < len(keep):
            raise ValueError(f"keep: expected each name once, got {list(keep)}")
        out = os.fspath(out)
    agree(comm, "predict_distributed", out=out, method=method, batch_rows=batch_rows, **names)
    first = comm is None or comm.rank == 0
    with together(comm, "predict_distributed"):
        predict = getattr(model, str(method), None)
        if not callable(predict):
            raise TypeError(f"model: expected one with a method {method!r}, got {type(model).__qualname__}")
        rows = open_source(source, columns, keep, batch_rows)
        job = _job(model, method, rows, model_version)
        results = Results(out, job)
        if results.is_npy == rows.is_table:
            raise ValueError(
                f"out: expected a file that ends with .npy for an array, else a folder, got {out}"
            )
        if not rows.units:
            raise ValueError("source: expected rows, got none")
        units = hashlib.sha256(repr([unit.rows for unit in rows.units]).encode()).hexdigest()
    agree(comm, "predict_distributed", model=job["model"], units_of_source=units)
    try:
        done: set[int] = set()
        with together(comm, "predict_distributed"):
            if first:
                done = results.begin()
                sample = _sample(predict, rows)
                results.prepare(sum(unit.rows for unit in rows.units), sample.shape[1:], sample.dtype)
        if comm is not None:
            done = comm.broadcast_object(done)
        reached = _run(predict, rows, results, done, comm, progress if first else None)
        with together(comm, "predict_distributed"):
            if first:
                results.finish()
        return reached
    except CommError:  # other ranks may still be writing
        raise
    except Exception:
        if first:
            results.remove_if_empty()  # a call with other arguments may be next
        raise
    finally:
        results.abandon()


def _run(
    predict: Callable[[Any], Array],
    rows: Source,
    results: Results,
    done: set[int],
    comm: Communicator | None,
    progress: Callable[[Progress], object] | None,
) -> Progress:
    """Do what is left: each round, a unit a rank."""
    rank, size = (0, 1) if comm is None else (comm.rank, comm.size)
    left = [unit for unit in rows.units if unit.number not in done]
    total = sum(unit.rows for unit in rows.units)
    before = total - sum(unit.rows for unit in left)
    start = time.perf_counter()
    reached = Progress(before, total, 0.0, 0.0)
    for begin in range(0, len(left), size):
        turn = left[begin : begin + size]
        with together(comm, "predict_distributed"):
            if progress is not None and begin > 0:  # here, so that what it raises is raised on all ranks
                progress(reached)
            if rank < len(turn):
                results.write(turn[rank], _predicted(predict, rows, turn[rank]))
        seconds = time.perf_counter() - start
        now = reached.rows + sum(unit.rows for unit in turn)
        reached = Progress(now, total, (now - before) / seconds, seconds)
    with together(comm, "predict_distributed"):
        if progress is not None and left:
            progress(reached)
    return reached


def _predicted(predict: Callable[[Any], Array], rows: Source, unit: Unit) -> Iterator[tuple[Array, Any]]:
    for batch, kept in rows.batches(unit):
        answers = np.asarray(predict(batch))
        if answers.ndim not in (1, 2) or len(answers) != len(batch):
            raise ValueError(
                f"model: expected an answer for each of {len(batch)} rows, got shape {answers.shape}"
            )
        yield answers, kept


def _sample(predict: Callable[[Any], Array], rows: Source) -> Array:
    """Predict one row, to learn the answers' type."""
    batch, _ = next(rows.batches(rows.units[0]))
    return np.asarray(predict(batch[:1]))


def _job(model: Any, method: str, rows: Source, version: str | None = None) -> dict[str, Any]:
    """Describe the job: a draft that another one has left is not gone on with."""
    name = f"{type(model).__module__}.{type(model).__qualname__}"
    known = version is not None
    if known:
        name = f"{name}, version {version}"
    elif isinstance(model, Saved) and (digest := _digest(model)) is not None:
        name, known = digest, True
    return {"model": name, "known": known, "method": method, "source": rows.describe()}


def _digest(model: Saved) -> str | None:
    """Return what tells a model from others: all that its file would have; None if it cannot be saved."""
    try:
        model._check_saved()
        header, arrays = model._packed()
    except ValueError:
        return None
    digest = hashlib.sha256(repr(sorted(header.items())).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
