"""Train from files on 4 ranks, lose one at a random step, go on with 3: nothing is lost, nothing repeated.

    python examples/flights_restart.py

Three trainings read the flights from Parquet files through `pyscale.data.Loader`: one that is not disturbed;
one of which a rank is killed; and its continuation on fewer ranks, from the last checkpoint. The flights that
come at each step are the same as in the first, in the same order, and the loss is to a relative 1e-9; or the
exit status is 1.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one thread a rank: the ranks are what shares the cores

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import flights_data
import numpy as np
import numpy.typing as npt
from flights import Adam, Array, Network

import pyscale as ps

GLOBAL_BATCH = 4092  # which 4 and 3 divide: the global batch is the same at both
CHECKPOINT_STEPS = 20
CATEGORIES = ["carrier", "origin", "destination", "month", "weekday", "hour"]
NUMBERS = ["departure_delay", "distance", "minute"]
TOLERANCE = 1e-9


def write_files(folder: Path) -> None:
    """Write the flights as Parquet files, as they stand: by date."""
    flights = flights_data.load()
    columns: dict[str, npt.NDArray[Any]] = {"id": np.arange(len(flights)), "delay": flights.delay}
    columns |= {name: flights.categories[:, i] for i, name in enumerate(CATEGORIES)}
    columns |= {name: flights.numbers[:, i] for i, name in enumerate(NUMBERS)}
    ps.data.to_parquet(columns, folder, files=8, row_group_rows=8192)


class Encoder:
    """Columns as inputs of the network: categories one-hot, numbers and delay standardized."""

    def __init__(self) -> None:
        flights = flights_data.load()
        sizes = flights.categories.max(axis=0) + 1
        self._offsets = np.cumsum(sizes) - sizes
        self._means, self._scales = flights.numbers.mean(axis=0), flights.numbers.std(axis=0)
        self._mean, self._scale = flights.delay.mean(), flights.delay.std()
        self.width = int(sizes.sum()) + len(NUMBERS)

    def __call__(self, batch: dict[str, npt.NDArray[Any]]) -> tuple[Array, Array]:
        """Return inputs and targets."""
        rows = np.arange(len(batch["id"]))
        inputs = np.zeros((len(rows), self.width))
        for name, offset in zip(CATEGORIES, self._offsets, strict=True):
            inputs[rows, batch[name] + offset] = 1.0
        for i, name in enumerate(NUMBERS):
            inputs[:, self.width - len(NUMBERS) + i] = (batch[name] - self._means[i]) / self._scales[i]
        return inputs, (batch["delay"] - self._mean) / self._scale


def train(folder: Path, checkpoint: Path, epochs: int, die_at: int | None) -> None:
    """Train on all ranks, from the checkpoint if there is one; at step `die_at` the last rank is killed."""
    comm = ps.world()
    shards = ps.data.ParquetShards(folder, comm=comm, window=1 << 16, seed=2013)
    encode = Encoder()
    network = Network(encode.width)
    adam = Adam(network.parameters)
    gradient = np.zeros(network.parameters.size + 1)  # one more element carries the loss along
    history: list[tuple[str, float]] = []  # of each step: a hash of the flights in their order, and the loss
    with ps.data.Loader(shards, batch_size=GLOBAL_BATCH // comm.size) as loader:
        if checkpoint.exists():
            saved = np.load(checkpoint)
            state = json.loads(str(saved["state"]))
            network.parameters[:] = saved["parameters"]
            adam.mean[:], adam.square[:], adam.steps = saved["mean"], saved["square"], len(state["history"])
            history = [tuple(step) for step in state["history"]]
            loader.load_state_dict(state["loader"])
        while len(history) < epochs * -(-len(shards) // GLOBAL_BATCH):
            for batch in loader:
                if len(history) == die_at and comm.rank == comm.size - 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                inputs, targets = encode(batch)
                gradient[-1] = network.loss_and_gradient(inputs, targets, gradient[:-1])
                ids = comm.all_gather_object(batch["id"])
                ps.all_reduce(gradient, out=gradient)
                together = np.concatenate(ids)  # in the ranks' order: that of the global batch
                gradient /= len(together)
                adam.step(gradient[:-1])
                history.append((hashlib.sha256(together.tobytes()).hexdigest(), float(gradient[-1])))
                if len(history) % CHECKPOINT_STEPS == 0 and comm.rank == 0:
                    save(checkpoint, network, adam, history, loader.state_dict())
    if comm.rank == 0:
        save(checkpoint, network, adam, history, loader.state_dict())
    comm.barrier()


def save(path: Path, network: Network, adam: Adam, history: list[Any], loader: dict[str, Any]) -> None:
    """Write a checkpoint under another name and rename it: there is always a whole one."""
    state = json.dumps({"loader": loader, "history": history})
    new = path.with_suffix(".new.npz")
    np.savez(new, state=state, parameters=network.parameters, mean=adam.mean, square=adam.square)
    new.replace(path)


def run(ranks: int, folder: Path, checkpoint: Path, epochs: int, die_at: int | None = None) -> list[Any]:
    """Train under mpirun; return the history of the checkpoint that is left."""
    mpirun = shutil.which("mpirun", path=str(Path(sys.executable).parent)) or "mpirun"
    options = ["--train", str(folder), str(checkpoint), "--epochs", str(epochs)]
    if die_at is not None:
        options += ["--die-at", str(die_at)]
    print(f"» {ranks} ranks" + (f", one of which is killed at step {die_at}" if die_at else ""), flush=True)
    command = [mpirun, "-n", str(ranks), sys.executable, __file__, *options]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if (done.returncode != 0) != (die_at is not None):
        raise SystemExit(f"training: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    if not checkpoint.exists():
        return []
    history: list[Any] = json.loads(str(np.load(checkpoint)["state"]))["history"]
    return history


def main() -> int:
    """Read the command line; train thrice and compare, or be one rank of a training."""
    parser = argparse.ArgumentParser(description="Kill a training on 4 ranks and go on with 3.")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, help="of the step at which a rank is killed")
    parser.add_argument(
        "--train", type=Path, nargs=2, metavar=("FOLDER", "CHECKPOINT"), help=argparse.SUPPRESS
    )
    parser.add_argument("--die-at", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        folder, checkpoint = options.train
        train(folder, checkpoint, options.epochs, options.die_at)
        return 0

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_files(folder / "flights")
        steps = options.epochs * -(-len(flights_data.load()) // GLOBAL_BATCH)
        die_at = random.Random(options.seed).randrange(CHECKPOINT_STEPS + 1, steps)
        undisturbed = run(4, folder / "flights", folder / "undisturbed.npz", options.epochs)
        kept = run(4, folder / "flights", folder / "disturbed.npz", options.epochs, die_at)
        print(f"  the last checkpoint is of step {len(kept)}")
        resumed = run(3, folder / "flights", folder / "disturbed.npz", options.epochs)

    same = [one[0] == other[0] for one, other in zip(undisturbed, resumed, strict=True)]
    off = max(abs(one[1] / other[1] - 1) for one, other in zip(undisturbed, resumed, strict=True))
    print(
        f"\n{sum(same)} of {steps} steps had the same flights in the same order; the loss is off by {off:.1e}"
    )
    print(f"loss {undisturbed[0][1]:.4f} at the first step, {undisturbed[-1][1]:.4f} at the last")
    return int(not (all(same) and len(same) == steps and off <= TOLERANCE))


if __name__ == "__main__":
    sys.exit(main())
