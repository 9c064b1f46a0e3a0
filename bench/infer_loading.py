"""Times loading one model, from its file to the first answer, in a fresh process every time.

    python bench/infer_loading.py MODEL [--quick] [--json FILE]

The file was read before, so it is in memory. Importing the library is told apart; what its first use imports
counts as loading.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from _infer_models import MODELS
from _infer_peers import LIBRARIES, OURS, PEERS
from _infer_unsupported import NotSupported
from _recording import Figure, Note, main
from _turns import in_turn

Times = list[float]  # importing, loading


def _once(contestant: str, model: str, file: Path) -> Times:
    program = Path(__file__).with_name("_infer_load_once.py")
    command = [sys.executable, "-W", "ignore", str(program), contestant, model, str(file)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(word) for word in found.stdout.split()[-2:]]


def measure(options: argparse.Namespace) -> Iterator[Figure | Note]:
    """All that load one model, in turn."""
    model = MODELS[options.model]
    loads: dict[str, Callable[[], Times]] = {}
    for one in (OURS, *PEERS):
        try:
            loads[one.name] = partial(_once, one.name, model.name, one.prepare(model))
        except NotSupported:
            continue
        except Exception as error:
            yield Note(f"{one.name}, {model.name}: {type(error).__name__}")
    if model.library != "scikit-learn":  # whose file is a pickle
        theirs = LIBRARIES[model.library].prepare(model)
        loads[f"pyscale, {model.library}'s file"] = partial(_once, OURS.name, model.name, theirs)
    working = {}
    for name, load in loads.items():
        try:
            load()  # the files of code and model are then in memory
            working[name] = load
        except subprocess.CalledProcessError as error:
            yield Note(f"{name}, {model.name}, loading: {error.stderr.strip().splitlines()[-1][:200]}")
    for name, times in in_turn(working, 1 if options.quick else 3).items():
        yield Figure(f"{model.name}, from file to first answer", name, "seconds", [t for _, t in times])
        yield Figure(f"{model.name}, import", name, "seconds", [t for t, _ in times])


if __name__ == "__main__":
    main(__doc__, measure, list(MODELS), "model")
