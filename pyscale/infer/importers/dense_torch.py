"""``torch.nn.Sequential``, and a ``state_dict`` with a list of layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.dense.layers import Activation, BatchNorm, DenseDescription, Layer, LayerNorm, Linear

__all__ = ["from_module", "from_state_dict", "on_cpu", "refuse_changed"]

Array = NDArray[Any]
# Class -> our activation, its option and the option's default.
_FUNCTIONS: dict[str, tuple[str, str, float]] = {
    "ReLU": ("relu", "", 0.0),
    "LeakyReLU": ("leaky_relu", "negative_slope", 0.01),
    "ELU": ("elu", "alpha", 1.0),
    "SiLU": ("silu", "", 0.0),
    "Tanh": ("tanh", "", 0.0),
    "Sigmoid": ("sigmoid", "", 0.0),
}
_NOTHING = ("Identity", "Dropout", "AlphaDropout")  # in evaluation
# Class -> the options that matter here, with their defaults.
_OPTIONS: dict[str, dict[str, Any]] = {
    "Linear": {},
    "GELU": {"approximate": "none"},
    "Softmax": {"dim": -1},
    "BatchNorm1d": {"eps": 1e-5},
    "LayerNorm": {"eps": 1e-5},
    **{name: {option: default} if option else {} for name, (_, option, default) in _FUNCTIONS.items()},
    **{name: {} for name in _NOTHING},
}
# Class -> the tensors that it may have.
_TENSORS: dict[str, tuple[str, ...]] = {
    "Linear": ("weight", "bias"),
    "BatchNorm1d": ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"),
    "LayerNorm": ("weight", "bias"),
}
_MOST_NESTED = 50


def from_module(model: Any) -> DenseDescription:
    """
    Describe a ``torch.nn.Sequential`` as it is in evaluation.

    Parameters
    ----------
    model : torch.nn.Module
        A Sequential, or one of the layers that are known: Linear, ReLU, LeakyReLU, ELU, GELU, SiLU, Tanh,
        Sigmoid, Softmax, BatchNorm1d, LayerNorm, Identity and dropout. Sequentials may be nested.

    Returns
    -------
    DenseDescription
        Its kind is ``values``: `predict` gives what the model gives.

    Raises
    ------
    ValueError
        A layer is of another class, has hooks, or has weights of float64; the message names it.
    """
    import torch

    layers: list[Layer] = []
    for where, module in _modules(model, "model", 0):
        name = type(module).__name__
        if name not in _OPTIONS or type(module) is not getattr(torch.nn, name):
            known = ", ".join(sorted(_OPTIONS))
            # Quantized ones are called as these.
            got = f"{type(module).__qualname__} of {type(module).__module__}"
            raise ValueError(f"{where}: expected one of {known} of torch.nn, got {got}")
        refuse_changed(module, where)
        options = {key: getattr(module, key) for key in _OPTIONS[name]}
        if name == "LayerNorm" and len(module.normalized_shape) != 1:
            raise ValueError(f"{where}: expected a norm of one axis, got {tuple(module.normalized_shape)}")
        tensors = {key: _array(value, f"{where}.{key}") for key, value in module.state_dict().items()}
        if name == "LayerNorm" and "weight" not in tensors:
            tensors["weight"] = np.ones(module.normalized_shape[0])
        layers += _layers(name, options, tensors, where)
    return DenseDescription(layers=tuple(layers), source="torch")


def from_state_dict(state: Mapping[str, Any], layers: Sequence[Any]) -> DenseDescription:
    """
    Describe the layers of a ``Sequential`` of which there is the ``state_dict``.

    Parameters
    ----------
    state : mapping
        ``"0.weight"`` -> tensor or array, and so on: the number is the layer's place in `layers`.
    layers : sequence of str or (str, dict)
        The classes' names, with their options where they are not the defaults.

    Returns
    -------
    DenseDescription
        As of :func:`from_module`.

    Raises
    ------
    ValueError
        A layer is not known, has options that are not, or misses a tensor; or a tensor has no layer.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"model: expected a state_dict, got {type(state).__qualname__}")
    if not isinstance(layers, Sequence) or isinstance(layers, str):
        raise TypeError(f"layers: expected a list of names, got {type(layers).__qualname__}")
    left = dict(state)
    out: list[Layer] = []
    for place, entry in enumerate(layers):
        where = f"layers[{place}]"
        name, given = (entry, {}) if isinstance(entry, str) else _pair(entry, where)
        if name not in _OPTIONS:
            raise ValueError(f"{where}: expected one of {', '.join(sorted(_OPTIONS))}, got {name!r}")
        for option in given:
            if option not in _OPTIONS[name]:
                raise ValueError(f"{where}: expected options of {name}, got {option!r}")
        prefix = f"{place}."
        own = [key for key in left if str(key).startswith(prefix)]
        tensors = {key.removeprefix(prefix): _array(left.pop(key), f"model[{key!r}]") for key in own}
        out += _layers(name, {**_OPTIONS[name], **given}, tensors, where)
    if left:
        raise ValueError(f"model: expected tensors of the layers, got {', '.join(map(str, left))[:200]} too")
    return DenseDescription(layers=tuple(out), source="torch")


def _pair(entry: Any, where: str) -> tuple[str, dict[str, Any]]:
    if not (
        isinstance(entry, Sequence)
        and len(entry) == 2
        and isinstance(entry[0], str)
        and isinstance(entry[1], Mapping)
    ):
        raise ValueError(f"{where}: expected a name, or a name and a dict of options, got {entry!r}")
    return entry[0], dict(entry[1])


def _modules(model: Any, where: str, depth: int) -> Iterator[tuple[str, Any]]:
    import torch

    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"{where}: expected a torch.nn.Module, got {type(model).__qualname__}")
    if not isinstance(model, torch.nn.Sequential):
        yield where, model
        return
    if type(model).forward is not torch.nn.Sequential.forward:
        raise ValueError(f"{where}: expected a Sequential as it is, got one with another forward")
    refuse_changed(model, where)
    if depth > _MOST_NESTED:
        raise ValueError(f"{where}: expected at most {_MOST_NESTED} Sequentials in each other, got more")
    for name, module in model._modules.items():  # named_children has one that comes twice only once
        yield from _modules(module, f"{where}[{name}]", depth + 1)


def refuse_changed(module: Any, where: str) -> None:
    """Refuse a module that does more than its class says."""
    if module._forward_hooks or module._forward_pre_hooks:
        raise ValueError(f"{where}: expected no hooks, got some")
    if "forward" in vars(module):
        raise ValueError(f"{where}: expected the forward of its class, got another one")


def _array(tensor: Any, where: str) -> Array:
    if hasattr(tensor, "detach"):
        tensor = on_cpu(tensor.detach(), where)
        if str(tensor.dtype) in ("torch.bfloat16", "torch.float16"):
            tensor = tensor.float()
        try:
            tensor = tensor.numpy()
        except (TypeError, RuntimeError):  # sparse, quantized, of no values
            got = f"{tensor.dtype}, {tensor.layout}"
            raise ValueError(f"{where}: expected a tensor that NumPy can have, got {got}") from None
    try:
        array = np.asarray(tensor)
    except ValueError:  # lists of other lengths in a list
        raise ValueError(f"{where}: expected a tensor, got {type(tensor).__qualname__}") from None
    if array.dtype == np.float64:
        raise ValueError(f"{where}: expected float32 or narrower, got float64")
    return array


def on_cpu(tensor: Any, where: str) -> Any:
    """Give a tensor's values where NumPy can have them; ValueError where it has none."""
    if tensor.is_meta:
        raise ValueError(f"{where}: expected a tensor with values, got one on the device meta")
    return tensor.cpu()


def _layers(name: str, options: Mapping[str, Any], tensors: dict[str, Array], where: str) -> list[Layer]:
    def take(key: str) -> Array:
        if key not in tensors:
            raise ValueError(f"{where}: expected a tensor {key}, got {', '.join(tensors) or 'none'}")
        return tensors[key]

    known = _TENSORS.get(name, ())
    if more := [key for key in tensors if key not in known]:  # as of weights that are made of others
        wanted = ", ".join(known) or "no tensors"
        raise ValueError(f"{where}: expected {wanted} of {name}, got {', '.join(more)}")
    if name == "Linear":
        return [Linear(take("weight"), tensors.get("bias"))]
    if name == "BatchNorm1d":
        mean, variance = take("running_mean"), take("running_var")
        weight, bias = tensors.get("weight"), tensors.get("bias")
        return [BatchNorm(mean, variance, weight, bias, _number(options["eps"], f"{where}.eps"))]
    if name == "LayerNorm":
        weight = take("weight")
        bias = tensors.get("bias", np.zeros(weight.shape))
        return [LayerNorm(weight, bias, _number(options["eps"], f"{where}.eps"))]
    if name in _NOTHING:
        return []
    if name == "GELU":
        if options["approximate"] not in ("none", "tanh"):
            raise ValueError(f"{where}.approximate: expected none or tanh, got {options['approximate']!r}")
        return [Activation("gelu" if options["approximate"] == "none" else "gelu_tanh")]
    if name == "Softmax":
        if options["dim"] not in (1, -1):
            raise ValueError(f"{where}.dim: expected 1 or -1, got {options['dim']!r}")
        return [Activation("softmax")]
    function, option, default = _FUNCTIONS[name]
    return [Activation(function, _number(options[option], f"{where}.{option}") if option else default)]


def _number(value: Any, where: str) -> float:
    if not isinstance(value, int | float):
        raise ValueError(f"{where}: expected a number, got {value!r}")
    return float(value)
