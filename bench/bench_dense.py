"""Times pyscale.infer.Dense beside torch eager and onnxruntime, one thread each.

    OMP_NUM_THREADS=1 python bench/bench_dense.py [--quick] [--json FILE]

Networks with relu between their layers and random weights; all contestants have the same, and their answers
are compared first. They take turns; a ratio is the median over the turns of the faster peer's time by ours.
bfloat16 and int8 are no contestants, since their answers are others. The batch of
65536 is cut to what takes a few seconds where a network is large.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _machine import machine
from numpy.typing import NDArray

from pyscale.infer import Activation, Dense, Linear
from pyscale.infer.dense.layers import Layer

Array = NDArray[Any]
Calls = dict[str, Callable[[], Any]]

NETWORKS = ((64, 128, 10), (256, 512, 512, 10), (1024, 4096, 1024))
BATCHES = (1, 8, 64, 1024, 65536)
_MOST_PRODUCTS = 4e10
_TURN = 0.02  # seconds, at least
_PEERS = ("torch", "onnxruntime")


def weights_of(network: tuple[int, ...]) -> list[tuple[Array, Array]]:
    """Draw the weights and biases of a network."""
    random = np.random.default_rng(0)
    return [
        (
            (random.normal(size=(outputs, inputs)) / np.sqrt(inputs)).astype(np.float32),
            random.normal(size=outputs).astype(np.float32),
        )
        for inputs, outputs in itertools.pairwise(network)
    ]


def ours(weights: list[tuple[Array, Array]]) -> list[Layer]:
    """Describe a network."""
    layers: list[Layer] = []
    for weight, bias in weights:
        layers += [Linear(weight, bias), Activation("relu")]
    return layers[:-1]


def torch_call(weights: list[tuple[Array, Array]]) -> Callable[[Array], Any]:
    """Make the network of torch."""
    import torch

    torch.set_num_threads(1)
    modules: list[Any] = []
    for weight, bias in weights:
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight))
            linear.bias.copy_(torch.from_numpy(bias))
        modules += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*modules[:-1]).eval()

    def call(x: Array) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(x)).numpy()

    return call


def onnx_call(weights: list[tuple[Array, Array]]) -> Callable[[Array], Any]:
    """Make the network of onnxruntime."""
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    nodes, constants, last = [], [], "x"
    for place, (weight, bias) in enumerate(weights):
        names = [f"w{place}", f"b{place}"]
        constants += [
            numpy_helper.from_array(array, name) for array, name in zip((weight, bias), names, strict=True)
        ]
        nodes.append(helper.make_node("Gemm", [last, *names], [f"g{place}"], transB=1))
        last = f"g{place}"
        if place < len(weights) - 1:
            nodes.append(helper.make_node("Relu", [last], [f"r{place}"]))
            last = f"r{place}"
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, weights[0][0].shape[1]])],
        [helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(None, {"x": x})[0]


def take_turns(calls: Calls, rounds: int) -> dict[str, Array]:
    """Return the seconds of a call in each round."""
    counts = {}
    for name, call in calls.items():
        count, spent = 1, 0.0
        while spent < _TURN / 4:
            count *= 2 if spent else 1
            start = time.perf_counter()
            for _ in range(count):
                call()
            spent = time.perf_counter() - start
        counts[name] = max(1, round(_TURN / spent * count))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds):
        names = list(calls)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            for _ in range(counts[name]):
                calls[name]()
            times[name].append((time.perf_counter() - start) / counts[name])
    return {name: np.array(seconds) for name, seconds in times.items()}


def measure(network: tuple[int, ...], batch: int, rounds: int) -> dict[str, Any]:
    """Time one network and batch."""
    weights = weights_of(network)
    products = sum(weight.size for weight, _ in weights)
    batch = min(batch, int(_MOST_PRODUCTS // products))
    x = np.random.default_rng(1).normal(size=(batch, network[0])).astype(np.float32)
    model = Dense(ours(weights))
    half, byte = Dense(ours(weights), weights="bfloat16"), Dense(ours(weights), weights="int8")
    for one in (model, half, byte):
        one._native.threads = 1
    peers = {"torch": torch_call(weights), "onnxruntime": onnx_call(weights)}
    calls: Calls = {
        "pyscale": lambda: model.predict(x),
        "bfloat16": lambda: half.predict(x),
        "int8": lambda: byte.predict(x),
    }
    for name, peer in peers.items():
        calls[name] = partial(peer, x)
    wanted = calls["pyscale"]()
    for name in _PEERS:
        assert np.abs(calls[name]() - wanted).max() < 1e-4 * np.abs(wanted).max(), name
    times = take_turns(calls, max(3, rounds if batch * products < 1e9 else rounds // 3))
    best = np.minimum(times["torch"], times["onnxruntime"])
    return {
        "network": "-".join(map(str, network)),
        "batch": batch,
        "seconds": {name: float(np.median(seconds)) for name, seconds in times.items()},
        "best peer / pyscale": float(np.median(best / times["pyscale"])),
        "pyscale / int8": float(np.median(times["pyscale"] / times["int8"])),
        "GFLOP/s": 2e-9 * products * batch / float(np.median(times["pyscale"])),
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small batches, few turns")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    print("\n".join(machine()), end="\n\n")
    names = ("pyscale", "bfloat16", "int8", *_PEERS)
    print(
        f"| network | batch | {' | '.join(f'{name}, us' for name in names)} "
        "| best peer / pyscale | pyscale / int8 | GFLOP/s |"
    )
    print("|---" * (len(names) + 5) + "|")
    results = []
    for network in NETWORKS:
        for batch in BATCHES[:3] if options.quick else BATCHES:
            found = measure(network, batch, 5 if options.quick else 15)
            results.append(found)
            spent = " | ".join(f"{found['seconds'][name] * 1e6:.1f}" for name in names)
            ratio = found["best peer / pyscale"]
            print(
                f"| {found['network']} | {found['batch']} | {spent} | {ratio:.2f} "
                f"| {found['pyscale / int8']:.2f} | {found['GFLOP/s']:.0f} |",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
