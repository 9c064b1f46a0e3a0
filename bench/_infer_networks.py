"""The networks that inference is measured with, and who predicts with them, each by its fastest way.

It runs in the environment of the networks' peers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _infer_environment import FOLDER
from _infer_measure import BATCHES
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pyscale.infer import Dense

Array = NDArray[Any]
Predict = Callable[[Array], Any]


@dataclass(frozen=True)
class Network:
    """Linear layers with relu between them, and weights that were drawn."""

    name: str
    batches: tuple[int, ...] = BATCHES

    @property
    def widths(self) -> tuple[int, ...]:
        """Inputs, and outputs of each layer."""
        return tuple(map(int, self.name.split("-")))

    @cached_property
    def layers(self) -> list[tuple[Array, Array]]:
        """Weights, outputs x inputs, and biases."""
        random = np.random.default_rng(0)
        return [
            (
                (random.normal(size=(outputs, inputs)) / np.sqrt(inputs)).astype(np.float32),
                random.normal(size=outputs).astype(np.float32),
            )
            for inputs, outputs in itertools.pairwise(self.widths)
        ]

    @cached_property
    def rows(self) -> Array:
        """Return inputs enough for the largest batch."""
        count = max(4096, max(self.batches))
        return np.random.default_rng(1).standard_normal((count, self.widths[0]), np.float32)

    def expected(self, count: int) -> Array:
        """Compute the answers to the first rows in float64."""
        x = self.rows[:count].astype(np.float64)
        for place, (weight, bias) in enumerate(self.layers):
            x = x @ weight.T.astype(np.float64) + bias
            if place < len(self.layers) - 1:
                x = np.maximum(x, 0)
        return x


NETWORKS = {
    network.name: network
    for network in (
        Network("64-128-10"),
        Network("256-512-512-10"),
        Network("1024-4096-1024", (*BATCHES[:-1], 8192)),
    )
}


def pyscale_call(network: Network, threads: int) -> Predict:
    """Threads are those of OMP_NUM_THREADS: the quick way into `predict` is without keywords."""
    return _dense(network).predict


def _dense(network: Network) -> Dense:
    from pyscale.infer import Activation, Dense, Linear

    layers: list[Linear | Activation] = []
    for weight, bias in network.layers:
        layers += [Linear(weight, bias), Activation("relu")]
    return Dense(layers[:-1])


def _quantized_call(network: Network, activations: Any) -> Predict:
    """Ranges are learnt from other rows than those that are asked for."""
    from pyscale.infer import quantize

    others = np.random.default_rng(2).standard_normal((256, network.widths[0]), np.float32)
    return quantize(_dense(network), others, activations=activations)[0].predict


def _torch_model(network: Network) -> Any:
    import torch

    modules: list[Any] = []
    for weight, bias in network.layers:
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight))
            linear.bias.copy_(torch.from_numpy(bias))
        modules += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*modules[:-1]).eval().requires_grad_(False)


def _torch_call(network: Network, threads: int) -> Predict:
    import torch

    torch.set_num_threads(threads)
    model = _torch_model(network)

    def call(x: Array) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(x)).numpy()

    return call


def _compiled_call(network: Network, threads: int) -> Predict:
    import torch
    import torch._inductor.config

    torch.set_num_threads(threads)
    torch._inductor.config.freezing = True  # weights are constants, and laid out for the kernels
    model = torch.compile(_torch_model(network), dynamic=False)

    def call(x: Array) -> Any:
        with torch.no_grad():
            return model(torch.from_numpy(x)).numpy()

    return call


def _onnx_file(network: Network) -> Path:
    import onnx
    from onnx import helper, numpy_helper

    path = FOLDER / f"{network.name}.onnx"
    if path.exists():
        return path
    nodes, constants, last = [], [], "x"
    for place, (weight, bias) in enumerate(network.layers):
        names = [f"w{place}", f"b{place}"]
        constants += [numpy_helper.from_array(*pair) for pair in zip((weight, bias), names, strict=True)]
        nodes.append(helper.make_node("Gemm", [last, *names], [f"g{place}"], transB=1))
        last = f"g{place}"
        if place < len(network.layers) - 1:
            nodes.append(helper.make_node("Relu", [last], [f"r{place}"]))
            last = f"r{place}"
    shape = [None, network.widths[0]]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def _onnx_session(path: Path, threads: int) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    ask = session.run
    return lambda x: ask(None, {"x": x})[0]


def _onnx_call(network: Network, threads: int) -> Predict:
    return _onnx_session(_onnx_file(network), threads)


def _onnx_int8_call(network: Network, threads: int) -> Predict:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = FOLDER / f"{network.name}.int8.onnx"
    if not path.exists():
        quantize_dynamic(_onnx_file(network), path, per_channel=True, weight_type=QuantType.QInt8)
    return _onnx_session(path, threads)


def _openvino_call(network: Network, threads: int) -> Predict:
    import openvino  # type: ignore[import-not-found, unused-ignore]

    options = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    request = openvino.Core().compile_model(_onnx_file(network), "CPU", options).create_infer_request()
    infer = request.infer
    return lambda x: infer([x], share_inputs=True, share_outputs=True)[0]


#: Those whose numbers are float32.
FLOAT32: Mapping[str, Callable[[Network, int], Predict]] = {
    "pyscale": pyscale_call,
    "torch": _torch_call,
    "torch.compile": _compiled_call,
    "ONNX Runtime": _onnx_call,
    "OpenVINO": _openvino_call,
}
#: Those with smaller weights, beside our own float32: it is to be slower.
SMALLER: Mapping[str, Callable[[Network, int], Predict]] = {
    "float32 of pyscale": pyscale_call,
    "pyscale, int8": lambda network, threads: _quantized_call(network, "dynamic"),
    "pyscale, static int8": lambda network, threads: _quantized_call(network, "static"),
    "ONNX Runtime, int8": _onnx_int8_call,
}
