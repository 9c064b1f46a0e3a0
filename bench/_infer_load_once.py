"""Loads a model and asks it once, and prints the seconds of importing and of that: a process of its own.

python bench/_infer_load_once.py CONTESTANT MODEL FILE
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from _infer_models import MODELS
from _infer_peers import CONTESTANTS
from _turns import seconds


def main() -> None:
    """Import, load, ask."""
    name, model_name, file = sys.argv[1:]
    contestant, model = CONTESTANTS[name], MODELS[model_name]
    row = model.truth()["x"][:1].astype(contestant.dtype(model))
    importing = seconds(lambda: importlib.import_module(contestant.module))
    loading = seconds(lambda: contestant.load(model, Path(file), 1)(row))
    print(importing, loading)


if __name__ == "__main__":
    main()
