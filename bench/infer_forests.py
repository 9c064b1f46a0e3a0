"""Predicts with one model by pyscale and by all peers that take it, in turn, in batches of many sizes.

    python bench/infer_forests.py MODEL [--quick] [--json FILE]

OMP_NUM_THREADS says with how many threads. A process has one model and one number of threads, so that the
thread pools of several do not meet.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from _infer_measure import BATCHES, Asked, timed_batches
from _infer_models import MODELS, Model
from _infer_peers import OURS, PEERS, Contestant, answers
from _infer_unsupported import NotSupported
from _recording import Figure, Note, main

from pyscale.config import num_threads


def task_of(model: str, threads: int) -> str:
    """Name what all do."""
    return f"{model}, {threads} thread{'s' if threads > 1 else ''}"


def ready(model: Model, contestant: Contestant, threads: int) -> Asked:
    """Load the model, and have the rows and what the library says of them."""
    truth = model.truth()
    predict = contestant.load(model, contestant.prepare(model), threads)
    rows = model.rows().astype(contestant.dtype(model))
    if not contestant.same:
        return Asked(predict, rows)
    expected = answers(truth["probability"], model)
    if contestant is not OURS:
        return Asked(predict, rows, lambda found: answers(found, model), expected)
    forest = predict.__self__  # type: ignore[attr-defined]
    raw, sums = (forest.raw, truth["raw"]) if "raw" in truth else (predict, truth["probability"])
    return Asked(predict, rows, lambda found: answers(found, model), expected, raw, sums)


def measure(options: argparse.Namespace) -> Iterator[Figure | Note]:
    """All that is measured with one model."""
    model, threads = MODELS[options.model], num_threads()
    contestants = {}
    for one in (OURS, *PEERS):
        try:
            contestants[one.name] = ready(model, one, threads)
        except NotSupported:
            continue
        except Exception as error:
            if one is OURS:
                raise
            yield Note(
                f"{one.name}, {model.name}: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
            )
    yield from timed_batches(
        task_of(model.name, threads),
        contestants,
        BATCHES[:-1] if options.quick else BATCHES,
        budget=0.05 if options.quick else 1.0,
        rounds=3 if options.quick else 7,
    )


if __name__ == "__main__":
    main(__doc__, measure, list(MODELS), "model")
