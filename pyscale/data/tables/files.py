"""Which files are read, and which rank reads what of them."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Sequence
from glob import glob
from pathlib import Path

from pyscale.comm import Communicator
from pyscale.comm.together import together
from pyscale.data.tables.formats import ENDINGS, Contents, Reading, look_into

_MARKS = "*?["  # of patterns
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def find_files(paths: Paths, comm: Communicator | None) -> list[str]:
    """Return the files that are meant, in order and the same on every rank. Collective.

    Parameters
    ----------
    paths : path or sequence of paths
        Files, which need not exist; folders, whose files with an ending of `ENDINGS` are taken, those of
        folders within and of links included, hidden ones (that begin with a dot or an underscore) not; or
        patterns of either, as `glob` has them, where ``**`` is any number of folders.

    Raises
    ------
    ValueError
        Ranks have given different paths.
    """
    with together(comm, "paths"):
        names = path_names(paths)
    if comm is None or comm.size == 1:
        return _expanded(names)
    told = comm.all_gather_object(names)
    if others := [rank for rank, theirs in enumerate(told) if theirs != told[0]]:
        raise ValueError(f"paths: expected the same on every rank, got others on rank {others[0]}")
    files: list[str] = []
    with together(comm, "paths"):
        if comm.rank == 0:
            files = _expanded(names)
    return comm.broadcast_object(files)  # type: ignore[no-any-return]


def folders_of(names: Sequence[str]) -> set[str]:
    """Return the folders, by absolute paths, that are given, or in which patterns are looked for."""
    folders = set()
    for name in names:
        path = os.path.abspath(name)
        if os.path.isdir(path):
            folders.add(path)
        elif any(mark in name for mark in _MARKS) and not os.path.exists(path):
            parts = path.split(os.sep)
            marked = next(i for i, part in enumerate(parts) if any(mark in part for mark in _MARKS))
            folders.add(os.sep.join(parts[:marked]) or os.sep)
    return folders


def look_into_all(files: Sequence[str], reading: Reading, comm: Communicator | None) -> list[Contents]:
    """Look into all files, each on one rank, and return the same on every rank. Collective."""
    if comm is None or comm.size == 1:
        return [look_into(file, reading) for file in files]
    told = comm.all_gather_object([look_into(file, reading) for file in files[comm.rank :: comm.size]])
    return [told[i % comm.size][i // comm.size] for i in range(len(files))]


def spread(sizes: Sequence[int], ranks: int) -> list[list[int]]:
    """Return for each rank the numbers of what it takes: the largest first, to whom has least.

    The longest-processing-time rule: no rank has more than 4/3 of what the best split leaves the fullest
    (R. Graham, "Bounds on multiprocessing timing anomalies", 1969).
    """
    loads = [(0, rank) for rank in range(ranks)]
    taken: list[list[int]] = [[] for _ in range(ranks)]
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        load, rank = heapq.heappop(loads)
        taken[rank].append(i)
        heapq.heappush(loads, (load + sizes[i], rank))
    return [sorted(numbers) for numbers in taken]


def path_names(paths: Paths) -> list[str]:
    """Return what is given as a list of texts."""
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    if isinstance(paths, bytes) or not isinstance(paths, Iterable):
        raise TypeError(f"paths: expected a path or a sequence of paths, got {type(paths).__name__}")
    given = [os.fspath(path) if isinstance(path, os.PathLike) else path for path in paths]
    if others := [path for path in given if not isinstance(path, str)]:
        raise TypeError(f"paths: expected paths of text, got {others[0]!r}")
    return given


def _expanded(names: Iterable[str]) -> list[str]:
    files: list[str] = []
    for name in names:
        found = [name]
        if any(mark in name for mark in _MARKS) and not os.path.exists(name):
            found = sorted(glob(name, recursive=True)) or [name]  # which is then found missing, by its name
        if "**" in name:  # has all that is in the folders, too
            found = [path for path in found if not os.path.isdir(path)]
        for path in found:
            files += _inside(path) if os.path.isdir(path) else [path]
    return files


def _inside(folder: str) -> list[str]:
    """Return the files of a folder, and of those within; links that lead nowhere as well, to be missed."""
    found: list[Path] = []
    seen = set()
    for path, folders, files in os.walk(folder, followlinks=True):
        where = os.stat(path)
        if (where.st_dev, where.st_ino) in seen:  # a link to a folder that it is in
            folders.clear()
            continue
        seen.add((where.st_dev, where.st_ino))
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        found += [
            Path(path, name)
            for name in files
            if name.lower().endswith(tuple(ENDINGS)) and not name.startswith((".", "_"))
        ]
    return [str(path) for path in sorted(found)]
