"""Sessions of onnxruntime whose threads leave ours alone."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["open_session", "run"]

# No such folder: weights that lie in other files are read of a graph that is opened by its path only.
_NOWHERE = "/dev/null/weights"
# Closing a session of the process that was forked would wait for threads that are not in this one.
_open: weakref.WeakSet[Any] = weakref.WeakSet()
_never_closed: list[Any] = []


def open_session(model: bytes | Path, threads: int, providers: Sequence[str]) -> Any:
    """
    Open a graph.

    Parameters
    ----------
    model : bytes or path
        The graph; of a path also what it names of other files beside it.
    threads : int
        Threads that compute one node, the caller's included. They sleep when there is nothing to do: by
        default those of onnxruntime spin, and take the cores from everybody else.
    providers : sequence of str
        Of onnxruntime.

    Returns
    -------
    onnxruntime.InferenceSession
        One that any number of threads may run at once.

    Raises
    ------
    ValueError
        onnxruntime does not take the graph.
    ImportError
        It is not installed.
    """
    onnxruntime = _onnxruntime()
    if missing := [name for name in providers if name not in onnxruntime.get_available_providers()]:
        known = ", ".join(onnxruntime.get_available_providers())
        raise ValueError(f"providers: expected some of {known}, got {missing[0]!r}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what is wrong is raised
    if isinstance(model, bytes):
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NOWHERE)
    try:
        session = onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=list(providers)
        )
    except Exception as error:  # of many classes, which have no other base
        _refuse("model", "an ONNX graph that onnxruntime runs", error)
    _open.add(session)
    return session


def run(session: Any, names: Sequence[str], feeds: dict[str, Any]) -> list[Any]:
    """Run a graph; ValueError where the rows do not fit it."""
    try:
        found: list[Any] = session.run(names, feeds)
    except Exception as error:
        _refuse("X", "rows that the graph takes", error)
    return found


def _refuse(what: str, expected: str, error: Exception) -> NoReturn:
    if not type(error).__module__.startswith("onnxruntime"):
        raise error
    text = " ".join(str(error).split())
    raise ValueError(
        f"{what}: expected {expected}, got {text if len(text) <= 400 else text[:397] + '...'}"
    ) from error


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("running ONNX graphs needs onnxruntime: pip install 'pyscale-ml[onnx]'") from error
    return onnxruntime


def _after_fork() -> None:
    _never_closed.extend(_open)
    _open.clear()


os.register_at_fork(after_in_child=_after_fork)
