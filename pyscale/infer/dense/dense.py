"""Chains of dense layers that predict: the same bits for any number of rows at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pyscale import _core
from pyscale.config import num_threads as default_threads
from pyscale.infer.dense.folding import folded
from pyscale.infer.dense.layers import (
    KINDS,
    Activation,
    Affine,
    DenseDescription,
    Layer,
    LayerNorm,
    Linear,
    QuantizedLinear,
)
from pyscale.infer.dense.quantized import quantized
from pyscale.infer.dense.saving import pack
from pyscale.infer.files import Saved
from pyscale.infer.inputs import output_of, rows_of, threads_of

__all__ = ["Dense", "WeightType"]

Array = NDArray[Any]
WeightType = Literal["float32", "bfloat16", "int8"]


class Dense(Saved):
    """
    Linear layers, activations and norms, one after the other.

    Made of layers, by :func:`pyscale.infer.load` or by :func:`pyscale.infer.convert`. Answers depend on a row
    alone: they are the same bits whatever the batch, the number of threads, the callers at the same time and
    the instruction set. Any number of threads may call at once; none waits for another.

    Numbers between layers are float32, and so are inputs, but for an :class:`Affine` that comes first. A
    linear layer adds its products to its bias one after the other, each rounded once; activations and norms
    are computed in float64 and rounded once, softmax twice. So answers have about six digits of the largest
    number that a layer adds up; inputs far from zero beside their spread, as seconds since 1970, need an
    :class:`Affine` first that centres them (of scikit-learn, a ``StandardScaler`` before the model).

    Parameters
    ----------
    layers : DenseDescription, or iterable of layers
        :class:`Linear`, :class:`Activation`, :class:`Affine`, :class:`BatchNorm`, :class:`LayerNorm`,
        :class:`QuantizedLinear`.
    weights : {"float32", "bfloat16", "int8"}
        How the weights of :class:`Linear` layers are kept. bfloat16, rounded to nearest, takes half the
        memory, which is what limits small batches of large models; the arithmetic stays that of float32. int8
        takes a quarter, and is faster on machines with VNNI, but less exact: each output's weights are
        rounded to 255 levels, as are the inputs of each row, in front of every linear layer; the sums are
        exact. The layers become :class:`QuantizedLinear`; :func:`pyscale.infer.quantize` says what that
        costs, and can make them with fixed ranges of inputs.

    Attributes
    ----------
    num_features : int
        Columns of an input.
    num_outputs : int
        Columns of the last layer.
    kind : str
        ``values``, ``binary``, ``multiclass`` or ``scores``.
    classes : numpy.ndarray or None
        The labels, where `predict` gives labels.
    feature_names : tuple of str or None
        The columns' names, where the model knows them.
    source : str
        The library that the model is of.
    dtype : numpy.dtype
        float32.

    Raises
    ------
    TypeError
        One of `layers` is none.
    ValueError
        One does not fit that before it; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> model = Dense([Linear(np.eye(3)), Activation("relu")])
    >>> model.predict(np.array([[1.0, -2.0, 3.0]]))
    array([[1., 0., 3.]], dtype=float32)
    """

    def __init__(
        self, layers: DenseDescription | Iterable[Layer], *, weights: WeightType = "float32"
    ) -> None:
        if weights not in ("float32", "bfloat16", "int8"):
            raise ValueError(f"weights: expected float32, bfloat16 or int8, got {weights!r}")
        given = layers if isinstance(layers, DenseDescription) else DenseDescription(layers=tuple(layers))
        checked = folded(given.layers)
        if weights == "int8":
            checked = folded(
                [
                    quantized(layer, f"layers[{place}]") if isinstance(layer, Linear) else layer
                    for place, layer in enumerate(checked)
                ]
            )
        self._description = dataclasses.replace(given, layers=checked)
        self.weights = weights
        self.num_features = _width(checked[0])
        self._native = _core.Dense(self.num_features)
        for layer in checked:
            _add(self._native, layer, weights)
        self.num_outputs = self._native.outputs
        self.kind, self.classes, self.source = given.kind, given.classes, given.source
        self.feature_names = given.feature_names
        self.dtype = np.dtype(np.float32)
        _check_kind(given, self.num_outputs)
        _check_names(given.feature_names, self.num_features)
        self._native.threads = default_threads()
        self._native.flat = given.flat
        self._native.values = given.kind == "values"
        self._native.outputs_are_proba = given.kind == "multiclass"
        self._quick = _core.capsule_of_dense(self._native)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._description, self.weights)

    def __repr__(self) -> str:
        widths, kinds = [self.num_features], []
        for layer in self._description.layers:
            if isinstance(layer, Linear | QuantizedLinear):
                widths.append(len(layer.weight))
                kinds.append(_kind_of(layer, self.weights))
        kept = " and ".join(dict.fromkeys(kinds)) or self.weights
        return f"<pyscale.infer.Dense: {'-'.join(map(str, widths))}, {kept}, from {self.source}>"

    @property
    def flat(self) -> bool:
        """Whether one output is an axis less."""
        return self._description.flat

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, batch norms folded."""
        return self._description.layers

    def raw(self, X: Any, *, num_threads: int | None = None, out: Array | None = None) -> Array:
        """
        Give the outputs of the last layer.

        Parameters
        ----------
        X : array
            Rows x features: NumPy, torch, DLPack, in any layout, or a data frame of pandas whose columns are
            of one type and lie in one array: float32 and float64 are taken without a copy. Other data frames
            (pandas, polars) and Arrow's tables are copied once, other numbers converted.
        num_threads : int, optional
            Threads, at most; by default :func:`pyscale.config`'s. Little work takes one whatever this says.
        out : numpy.ndarray, optional
            Where the answer goes: contiguous, of its shape and float32.

        Returns
        -------
        numpy.ndarray
            float32, rows x outputs; rows, where a library gives one output so.

        Raises
        ------
        TypeError
            `X` is no array of numbers.
        ValueError
            Another number of columns, other names of them, or an `out` that does not fit.
        """
        x = rows_of(X, self.num_features, self.feature_names)
        threads = threads_of(num_threads)
        if out is not None:
            flat = self._description.flat and self.num_outputs == 1
            shape = (len(x),) if flat else (len(x), self.num_outputs)
            out = output_of(out, shape, self.dtype, x)
        answer: Array = self._native.answer(x, out, threads)
        return answer

    def predict(self, X: Any, *, num_threads: int | None = None, out: Array | None = None) -> Array:
        """
        Predict what the model's library predicts.

        Parameters
        ----------
        X, num_threads, out
            As of :meth:`raw`.

        Returns
        -------
        numpy.ndarray
            Labels, where the model has `classes`; else the outputs of the last layer.
        """
        if self.classes is None or self.kind == "values":
            return self.raw(X, num_threads=num_threads, out=out)
        if out is not None:
            raise ValueError("out: expected none, since labels are predicted; predict_proba and raw take one")
        found = self.raw(X, num_threads=num_threads)
        if self.num_outputs == 1 and self.kind != "multiclass":
            second = found.reshape(-1) > (0.5 if self.kind == "binary" else 0)
            labels: Array = self.classes[second.astype(np.intp)]
        else:
            labels = self.classes[found.argmax(axis=1)]
        return labels

    def predict_proba(self, X: Any, *, num_threads: int | None = None, out: Array | None = None) -> Array:
        """
        Give the probability of each class.

        Parameters
        ----------
        X, num_threads, out
            As of :meth:`raw`.

        Returns
        -------
        numpy.ndarray
            Rows x classes, float32.

        Raises
        ------
        ValueError
            The model does not classify.
        """
        if self.kind == "multiclass":
            return self.raw(X, num_threads=num_threads, out=out)
        if self.kind != "binary":
            raise ValueError(f"predict_proba: expected a model of probabilities, got one of {self.kind}")
        second = self.raw(X, num_threads=num_threads).reshape(-1)
        shape = (len(second), 2)
        out = np.empty(shape, np.float32) if out is None else output_of(out, shape, self.dtype, second)
        np.subtract(1, second, out=out[:, 0])
        out[:, 1] = second
        return out

    def _packed(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return all that is saved."""
        return pack(self._description, self.weights)


def _again(description: DenseDescription, weights: WeightType) -> Dense:
    return Dense(description, weights=weights)


def _kind_of(layer: Linear | QuantizedLinear, weights: str) -> str:
    if isinstance(layer, Linear):
        return weights
    return "int8" if layer.input_scale is None else "static int8"


def _width(layer: Layer) -> int:
    if isinstance(layer, Linear | QuantizedLinear):
        return int(layer.weight.shape[1])
    assert isinstance(layer, Affine | LayerNorm)
    return len(layer.scale if isinstance(layer, Affine) else layer.weight)


def _add(native: _core.Dense, layer: Layer, weights: str) -> None:
    if isinstance(layer, Linear):
        native.add_linear(layer.weight, layer.bias, weights)
    elif isinstance(layer, QuantizedLinear):
        native.add_linear_int8(layer.weight, layer.scale, layer.bias, layer.input_scale, layer.input_zero)
    elif isinstance(layer, Activation):
        native.add_activation(layer.name, layer.parameter)
    elif isinstance(layer, Affine):
        native.add_affine(layer.scale, layer.shift)
    else:
        assert isinstance(layer, LayerNorm)
        native.add_layer_norm(layer.weight, layer.bias, layer.epsilon)


def _check_kind(given: DenseDescription, outputs: int) -> None:
    if given.kind not in KINDS:
        raise ValueError(f"kind: expected {', '.join(KINDS[:-1])} or {KINDS[-1]}, got {given.kind!r}")
    if given.kind == "binary" and outputs != 1:
        raise ValueError(f"kind: expected one output of a binary model, got {outputs}")
    if given.classes is not None and given.kind != "values":
        wanted = 2 if given.kind == "binary" or (given.kind, outputs) == ("scores", 1) else outputs
        if given.classes.shape != (wanted,):
            raise ValueError(f"classes: expected {wanted}, got shape {given.classes.shape}")


def _check_names(names: Any, features: int) -> None:
    if names is None:
        return
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"feature_names: expected a tuple of text, got {names!r:.80}")
    if len(names) != features:
        raise ValueError(f"feature_names: expected {features}, got {len(names)}")


_core.shorten_dense(Dense)
