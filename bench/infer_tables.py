"""Predicts from tables: one model, the same rows as an array, a data frame of pandas and a table of Arrow.

    python bench/infer_tables.py MODEL [--quick] [--json FILE]

Beside the library that trained the model, where it takes the table. OMP_NUM_THREADS says with how many
threads.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from _infer_measure import Asked, timed_batches
from _infer_models import MODELS, Model
from _infer_peers import LIBRARIES, OURS, Contestant, answers
from _recording import Figure, Note, main
from numpy.typing import NDArray

from pyscale.config import num_threads

SUBJECTS = ("xgb50", "lgb2000", "hist300")
BATCHES = (1, 64, 1024, 65536)

Make = Callable[[NDArray[Any], Sequence[str]], Any]


def _frame(rows: NDArray[Any], names: Sequence[str]) -> Any:
    import pandas

    return pandas.DataFrame(rows, columns=list(names))


def _arrow(rows: NDArray[Any], names: Sequence[str]) -> Any:
    import pyarrow

    return pyarrow.Table.from_arrays([pyarrow.array(column) for column in rows.T], names=list(names))


KINDS: Mapping[str, Make] = {
    "array": lambda rows, names: rows,
    "data frame of pandas": _frame,
    "table of Arrow": _arrow,
}


def task_of(model: str, kind: str) -> str:
    """Name what all do."""
    return f"{model}, {kind}"


def _asked(model: Model, one: Contestant, make: Make, names: Sequence[str] | None) -> Asked:
    predict = one.load(model, one.prepare(model), num_threads())
    rows = model.rows().astype(one.dtype(model))
    table = make(rows, names or [f"f{k}" for k in range(rows.shape[1])])
    predict(table[:1])  # so that a table that is refused is so here
    expected = answers(model.truth()["probability"], model)
    return Asked(predict, table, lambda found: answers(found, model), expected)


def measure(options: argparse.Namespace) -> Iterator[Figure | Note]:
    """Each kind of table, by pyscale and by the library."""
    model = MODELS[options.model]
    forest = OURS.load(model, OURS.prepare(model), 1).__self__  # type: ignore[attr-defined]
    for kind, make in KINDS.items():
        contestants = {}
        for one in (OURS, LIBRARIES[model.library]):
            try:
                contestants[one.name] = _asked(model, one, make, forest.feature_names)
            except Exception as error:
                if one is OURS:
                    raise
                yield Note(f"{one.name}, {task_of(model.name, kind)}: {str(error).splitlines()[0][:200]}")
        yield from timed_batches(
            task_of(model.name, kind),
            contestants,
            BATCHES[:-1] if options.quick else BATCHES,
            budget=0.05 if options.quick else 1.0,
            rounds=3 if options.quick else 7,
        )


if __name__ == "__main__":
    main(__doc__, measure, SUBJECTS, "model")
