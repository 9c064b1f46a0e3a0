"""Any ONNX graph as a model, through onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.files import Saved
from pyscale.infer.graph.pieces import batch_of, run_in_pieces
from pyscale.infer.graph.ports import feeds_of, port_of, scores_of
from pyscale.infer.graph.session import open_session
from pyscale.infer.graph.zipmap import without_zipmaps
from pyscale.infer.inputs import output_of, threads_of
from pyscale.infer.labels import pack_labels

__all__ = ["OnnxModel"]

Array = NDArray[Any]

_PROVIDERS = ("CPUExecutionProvider",)
_MOST_THREADS = 1024  # onnxruntime starts as many as it is told, and ends the process where it cannot


class OnnxModel(Saved):
    """
    An ONNX graph of any kind, which onnxruntime runs.

    For what :func:`pyscale.infer.load` does not take over as a forest or a chain of dense layers: those are
    faster, and promise more. onnxruntime does not promise that a row's answer is the same in any batch, nor
    on any machine: the last bits may differ. What a hostile graph can do inside it, it decides.

    The first axis of all inputs and outputs is that of the rows. A graph that says it takes `k` rows gets
    them in pieces of `k`, the last one filled up with its last row, whose answers are cut off.

    Any number of threads may call at once; they share the model's threads, which sleep between calls. Each
    model has its own: onnxruntime could share them between models only as long as nobody else in the process
    has used it, and would let them spin. A process that was forked opens the graph again when it first needs
    it; it has to end by ``os._exit``, as those of ``multiprocessing`` do, since onnxruntime hangs otherwise.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        The graph. Weights in other files are read of a path only.
    num_threads : int, optional
        Threads that compute a node, 1024 at most; by default :func:`pyscale.config`'s: the cores that
        this process may use, shared with the ranks on its node.
    output : str or sequence of str, optional
        What `predict` gives: one output, or, of several, a dictionary of them. By default the only one, the
        labels of a classifier, or all.
    providers : str or sequence of str, optional
        Those of onnxruntime, in order; by default ``CPUExecutionProvider``.

    Attributes
    ----------
    inputs, outputs : tuple of Port
        Names, types and shapes of what the graph takes and gives.
    num_features : int or None
        Columns of an input, where there is one of rows x columns, or as many as there are inputs of a column.
    feature_names : tuple of str or None
        The inputs' names, where there are several and each is a column.
    classes : numpy.ndarray or None
        The labels, where a node ``ZipMap`` says them.
    num_threads : int
        Threads that compute a node.

    Raises
    ------
    TypeError
        `model`, `output` or `providers` is none of these.
    ValueError
        onnxruntime does not take the graph, or not in such pieces; there is no such output or provider.
    OSError
        The file cannot be read.
    ImportError
        onnxruntime is not installed, or onnx, which only a graph with ``ZipMap`` needs.

    Examples
    --------
    >>> model = ps.infer.OnnxModel("network.onnx")  # doctest: +SKIP
    >>> model.predict(X)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Any,
        *,
        num_threads: int | None = None,
        output: str | Sequence[str] | None = None,
        providers: str | Sequence[str] | None = None,
    ) -> None:
        self.num_threads = min(threads_of(num_threads), _MOST_THREADS)
        self._providers = _PROVIDERS if providers is None else _names(providers, "providers")
        self._given = (output, num_threads)
        self._content, self._path = _opened(model)
        self._open()
        self.classes: Array | None = None
        zipped = [value.name for value in self._session.get_outputs() if value.type.startswith("seq(map(")]
        if zipped:
            content, classes = without_zipmaps(self._content)
            self.classes = next((classes[name] for name in zipped if name in classes), None)
            self._content, self._path = content, None
            self._open()
        self.inputs = tuple(port_of(value, "input") for value in self._session.get_inputs())
        self.outputs = tuple(port_of(value, "output") for value in self._session.get_outputs())
        self._batch = batch_of(self.inputs)
        self._proba = scores_of(self.outputs)
        self._names, self._one = self._asked(output)
        columns = len(self.inputs) > 1 and all(port.is_column for port in self.inputs)
        self.feature_names = tuple(port.name for port in self.inputs) if columns else None
        self.num_features: int | None = len(self.inputs) if columns else None
        if len(self.inputs) == 1 and len(self.inputs[0].shape) == 2:
            self.num_features = self.inputs[0].shape[1]

    def __reduce__(self) -> tuple[Any, ...]:
        output, num_threads = self._given
        return _again, (self._whole("pickle"), num_threads, output, self._providers, self.classes)

    def __repr__(self) -> str:
        taken, given = (", ".join(port.name for port in ports) for ports in (self.inputs, self.outputs))
        return f"<pyscale.infer.OnnxModel: {taken} -> {given}, {self.num_threads} threads>"

    def predict(self, X: Any, *, out: Array | None = None) -> Any:
        """
        Run the graph.

        Parameters
        ----------
        X : array, table, or mapping of names to arrays
            Rows, the first axis: NumPy, torch, DLPack, or a table, of the graph's types, or of those that
            become them without a loss. A mapping where the graph has several inputs; where each of them is a
            column, also a table with columns of their names, or rows x inputs.
        out : numpy.ndarray, optional
            Where the answer goes: contiguous, of its shape and type. Not of text, nor of several outputs.

        Returns
        -------
        numpy.ndarray or dict of numpy.ndarray
            The output; a dictionary by their names where several were asked for.

        Raises
        ------
        TypeError
            `X` is of another type than the graph's.
        ValueError
            Other inputs or another shape, an `out` that does not fit, or answers that are not one a row.
        """
        return self._answer(X, self._names, self._one, out)

    def predict_proba(self, X: Any, *, out: Array | None = None) -> Array:
        """
        Give what a classifier gives beside its labels: mostly the probability of each class.

        Parameters
        ----------
        X, out
            As of :meth:`predict`.

        Returns
        -------
        numpy.ndarray
            Rows x classes.

        Raises
        ------
        ValueError
            The graph does not give labels and, after these, an array of rows x classes.
        """
        if self._proba is None:
            raise ValueError(
                "predict_proba: expected a graph that gives labels and probabilities, "
                f"got the outputs {', '.join(port.name for port in self.outputs)}"
            )
        answer: Array = self._answer(X, (self._proba,), True, out)
        return answer

    def _check_saved(self) -> None:
        self._whole("save")

    def _packed(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Give what :func:`pyscale.infer.files.write` takes; of weights in other files, their names."""
        output = self._given[0]
        asked = output if output is None or isinstance(output, str) else list(output)
        header: dict[str, Any] = {"model": "onnx", "output": asked}
        arrays: dict[str, Array] = {"graph": np.frombuffer(self._content, np.uint8)}
        pack_labels(self.classes, header, arrays)  # the graph has no ZipMap any more that says them
        return header, arrays

    def _open(self) -> None:
        try:
            self._session = open_session(self._content, self.num_threads, self._providers)
            self._path = None
        except ValueError:
            if self._path is None:
                raise
            # Its weights may be in other files, which are looked for beside it.
            self._session = open_session(self._path, self.num_threads, self._providers)
        self._process = os.getpid()

    def _whole(self, what: str) -> bytes:
        if self._path is not None:
            raise ValueError(
                f"{what}: expected a graph in one file, got {self._path}, whose weights are in others"
            )
        return self._content

    def _asked(self, output: str | Sequence[str] | None) -> tuple[tuple[str, ...], bool]:
        """Name the outputs that `predict` gives, and say whether it is one array."""
        names = tuple(port.name for port in self.outputs)
        if output is None:
            if self._proba is not None:
                return names[:1], True
            return names, len(names) == 1
        asked = _names(output, "output")
        if not asked or any(name not in names for name in asked):
            raise ValueError(f"output: expected some of {', '.join(names)}, got {output!r}")
        return asked, isinstance(output, str)

    def _answer(self, X: Any, names: tuple[str, ...], one: bool, out: Array | None) -> Any:
        feeds, rows = feeds_of(self.inputs, X)
        if out is not None and not one:
            raise ValueError("out: expected none where several outputs are asked for")
        if self._process != os.getpid():  # a fork does not take the threads along
            self._open()
        found = run_in_pieces(self._session, names, feeds, rows, self._batch)
        if not one:
            return dict(zip(names, found, strict=True))
        if out is None:
            return found[0]
        for array in feeds.values():
            out = output_of(out, found[0].shape, found[0].dtype, array)
        np.copyto(out, found[0])
        return out


def _again(
    content: bytes,
    num_threads: int | None,
    output: str | Sequence[str] | None,
    providers: Sequence[str],
    classes: Array | None,
) -> OnnxModel:
    model = OnnxModel(content, num_threads=num_threads, output=output, providers=providers)
    model.classes = classes
    return model


def _names(given: str | Sequence[str], what: str) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, Sequence) or not all(isinstance(name, str) for name in given):
        raise TypeError(f"{what}: expected a name, or several, got {given!r}")
    return tuple(given)


def _opened(model: Any) -> tuple[bytes, Path | None]:
    """Give the bytes of a graph, and its path where it has one."""
    if isinstance(model, bytes | bytearray | memoryview):
        return bytes(model), None
    if isinstance(model, str | os.PathLike):
        path = Path(model)
        return path.read_bytes(), path
    if hasattr(model, "SerializeToString"):
        return model.SerializeToString(), None
    raise TypeError(f"model: expected a path, bytes or an onnx.ModelProto, got {type(model).__qualname__}")
