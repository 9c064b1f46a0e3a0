"""Trains one model, and makes of it what pyscale and the peers load: all that is kept and not timed.

python bench/infer_prepare.py MODEL [--json FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from _infer_models import MODELS
from _infer_peers import OURS, PEERS
from _infer_unsupported import NotSupported
from _recording import Figure, Note, main


def measure(options: argparse.Namespace) -> Iterator[Figure | Note]:
    """Make all files; note who has none."""
    model = MODELS[options.model]
    model.truth()
    model.file("pyscale").unlink(missing_ok=True)  # perhaps of another version of pyscale
    for one in (OURS, *PEERS):
        try:
            one.prepare(model)
        except NotSupported:  # by its nature: the tables show it
            continue
        except Exception as error:
            if one is OURS:
                raise
            reason = str(error).splitlines()[0][:200] if str(error) else ""
            yield Note(f"{one.name} does not take {model.name}: {type(error).__name__}: {reason}")


if __name__ == "__main__":
    main(__doc__, measure, list(MODELS), "model")
