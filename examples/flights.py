"""Train a neural network on the flights that left New York in 2013, the same on any number of ranks.

    python examples/flights.py                  one process
    mpirun -n 4 python examples/flights.py      four, each with a quarter of every batch

It predicts, as a plane leaves the gate, how late it will arrive. The network is plain NumPy; `train` is where
the ranks meet.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one thread a rank: the ranks are what shares the cores

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import flights_data
import numpy as np
import numpy.typing as npt

import pyscale as ps

# Double precision throughout: another number of ranks sums in another order, and the loss shall not show it.
Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

GLOBAL_BATCH = 4096
LEARNING_RATE = 2e-3
HIDDEN = (64, 32)


@dataclass
class Result:
    """What a training ends with."""

    ranks: int
    samples_per_second: float
    loss: float
    error_minutes: float


def train(epochs: int) -> Result:
    """Train on all ranks together and return the result, the same on each."""
    ps.init()
    comm = ps.world()
    data = Data(load_once_a_node(comm))
    training, held_out = np.split(np.random.default_rng(2013).permutation(data.rows), [data.rows * 9 // 10])

    network = Network(data.width)
    adam = Adam(network.parameters)
    # The gradient in shared memory: it is reduced where it lies. One more element carries the loss along.
    reduced = comm.empty(network.parameters.size + 1, np.float64)
    gradient = reduced[:-1]

    seconds = 0.0
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        for batch in batches(training, seed=epoch):
            mine = np.array_split(batch, comm.size)[comm.rank]
            inputs, targets = data[mine]
            reduced[-1] = network.loss_and_gradient(inputs, targets, gradient)
            # Sums over rows, divided by the rows of all ranks: a row counts the same in any share.
            ps.all_reduce(reduced, op="sum", out=reduced)
            reduced /= len(batch)
            adam.step(gradient)
            total += reduced[-1] * len(batch)
        seconds += time.perf_counter() - start
        loss = total / len(training)
        error = root_mean_square_error(comm, network, data, held_out)
        if comm.rank == 0:
            speed = len(training) * (epoch + 1) / seconds
            progress = f"epoch {epoch + 1}/{epochs}  loss {loss:.6f}  held-out error {error:.2f} min"
            print(f"{progress}  {speed:,.0f} samples/s", flush=True)
    return Result(comm.size, len(training) * epochs / seconds, loss, error)


def load_once_a_node(comm: ps.Communicator) -> flights_data.Flights:
    """Let one rank of each node read the slow text; the others then find the cache."""
    if comm.local_rank == 0:
        flights_data.load()
    comm.barrier()
    return flights_data.load()


def batches(rows: Rows, seed: int) -> Iterator[Rows]:
    """Yield the global batches of an epoch, the same on every rank; the last one is smaller."""
    shuffled = np.random.default_rng(seed).permutation(rows)
    for start in range(0, len(rows), GLOBAL_BATCH):
        yield shuffled[start : start + GLOBAL_BATCH]


def root_mean_square_error(comm: ps.Communicator, network: Network, data: Data, rows: Rows) -> float:
    """Return the error in minutes over `rows`, of which each rank predicts a part."""
    inputs, targets = data[np.array_split(rows, comm.size)[comm.rank]]
    squares = np.array([np.sum((network.predict(inputs) - targets) ** 2)])
    return float(np.sqrt(ps.all_reduce(squares)[0] / len(rows)) * data.delay_scale)


class Data:
    """The flights as inputs of the network: categories one-hot, numbers and delay standardized."""

    def __init__(self, flights: flights_data.Flights) -> None:
        sizes = flights.categories.max(axis=0) + 1
        self._ones = flights.categories + np.cumsum(sizes) - sizes  # the columns that are 1
        self._numbers = standardized(flights.numbers)
        self._delay = standardized(flights.delay)
        self.delay_scale = float(flights.delay.std(dtype=np.float64))
        self.rows = len(flights)
        self.width = int(sizes.sum()) + self._numbers.shape[1]

    def __getitem__(self, rows: Rows) -> tuple[Array, Array]:
        inputs = np.zeros((len(rows), self.width))
        inputs[np.arange(len(rows))[:, None], self._ones[rows]] = 1.0
        inputs[:, self.width - self._numbers.shape[1] :] = self._numbers[rows]
        return inputs, self._delay[rows]


def standardized(x: npt.NDArray[np.float32]) -> Array:
    """Return the columns with mean 0 and standard deviation 1."""
    wide = x.astype(np.float64)
    result: Array = (wide - wide.mean(axis=0)) / wide.std(axis=0)
    return result


class Network:
    """Three dense layers with ReLU between them; all parameters lie in one flat array."""

    def __init__(self, width: int) -> None:
        sizes = [width, *HIDDEN, 1]
        self._shapes = [shape for n, m in pairwise(sizes) for shape in ((n, m), (m,))]
        self.parameters = np.zeros(sum(int(np.prod(shape)) for shape in self._shapes))
        random = np.random.default_rng(0)
        for weights in self._views(self.parameters)[::2]:
            weights[...] = random.normal(0.0, np.sqrt(2.0 / len(weights)), weights.shape)

    def _views(self, flat: Array) -> list[Array]:
        parts = np.split(flat, np.cumsum([int(np.prod(shape)) for shape in self._shapes])[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def _forward(self, x: Array) -> tuple[Array, Array, Array]:
        w1, b1, w2, b2, w3, b3 = self._views(self.parameters)
        h1 = np.maximum(x @ w1 + b1, 0.0)
        h2 = np.maximum(h1 @ w2 + b2, 0.0)
        return h1, h2, (h2 @ w3 + b3)[:, 0]

    def predict(self, x: Array) -> Array:
        """Return the standardized delays, one a row of `x`."""
        return self._forward(x)[2]

    def loss_and_gradient(self, x: Array, y: Array, gradient: Array) -> float:
        """Return the squared error summed over the rows, and leave its gradient in `gradient`."""
        _, _, w2, _, w3, _ = self._views(self.parameters)
        dw1, db1, dw2, db2, dw3, db3 = self._views(gradient)
        h1, h2, predicted = self._forward(x)
        error = predicted - y

        d3 = 2.0 * error[:, None]
        d2 = (d3 @ w3.T) * (h2 > 0)
        d1 = (d2 @ w2.T) * (h1 > 0)
        for below, above, weights, biases in ((h2, d3, dw3, db3), (h1, d2, dw2, db2), (x, d1, dw1, db1)):
            np.matmul(below.T, above, out=weights)
            np.sum(above, axis=0, out=biases)
        return float(error @ error)


class Adam:
    """Adam (Kingma and Ba, 2015) on a flat array of parameters, which `step` changes in place."""

    def __init__(self, parameters: Array) -> None:
        self._parameters = parameters
        self.mean = np.zeros_like(parameters)
        self.square = np.zeros_like(parameters)
        self.steps = 0

    def step(self, gradient: Array) -> None:
        """Move the parameters by one step."""
        self.steps += 1
        self.mean += 0.1 * (gradient - self.mean)
        self.square += 0.001 * (gradient**2 - self.square)
        mean = self.mean / (1 - 0.9**self.steps)
        square = self.square / (1 - 0.999**self.steps)
        self._parameters -= LEARNING_RATE * mean / (np.sqrt(square) + 1e-8)


def main() -> None:
    """Read the command line, train, and write the result where that is wished."""
    parser = argparse.ArgumentParser(description="Predict the delays of flights, on any number of ranks.")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    options = parser.parse_args()
    result = train(options.epochs)
    if options.json and ps.rank() == 0:
        options.json.write_text(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
