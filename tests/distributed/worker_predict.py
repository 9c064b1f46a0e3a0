"""Predicts over several ranks: `mpirun -n 3 python worker_predict.py MODEL SOURCE OUT ROWS HOW AT [KEPT]`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import numpy as np
from launch import report

import pyscale as ps


class Slow:
    """A model whose last rank dies, or fails, at its n-th batch."""

    def __init__(self, model: Any, how: str, at: int) -> None:
        self._model, self._how, self._left = model, how, at

    def predict(self, x: Any) -> Any:
        if ps.rank() == ps.world_size() - 1:
            self._left -= 1
            if self._left < 0 and self._how == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if self._left < 0 and self._how == "fails":
                raise ArithmeticError("a model that has had enough")
        return self._model.predict(x)


def main() -> None:
    path, source, out, rows, how, at, *kept = sys.argv[1:]
    ps.init(timeout=10)
    model = Slow(ps.infer.load(path), how, int(at)) if how != "lasts" else ps.infer.load(path)
    data: Any = np.load(source, mmap_mode="r") if source.endswith(".npy") else source
    if how != "lasts":  # so that the job is the same as with the model itself
        from pyscale.infer.offline import predict

        job = predict._job
        predict._job = lambda model, *rest: job(model._model, *rest)
    if how == "differs" and ps.rank() > 0:
        data = data[:-1]
    if how == "asks for nothing" and ps.rank() > 0:
        rows = "0"
    reached = []

    def progress(now: Any) -> None:
        reached.append(now.rows)
        if how == "interrupts" and len(reached) == int(at):
            raise ArithmeticError("a callback that has had enough")

    try:
        done = ps.infer.predict_distributed(
            model,
            data,
            ps.world(),
            out=out,
            batch_rows=int(rows),
            keep=kept,
            columns=None,
            progress=progress,
        )
        report({"rows": done.rows, "total": done.total, "reached": reached})
    except Exception as error:
        report(
            {"error": type(error).__name__, "message": str(error), "notes": getattr(error, "__notes__", [])}
        )


main()
