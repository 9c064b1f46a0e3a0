"""The distributions of a table's columns, made in one pass and kept as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyscale.comm import Communicator
from pyscale.comm.together import together
from pyscale.data.schema.distribution import BUCKETS, Distribution
from pyscale.data.schema.types import check_chosen, check_names, is_comparable
from pyscale.data.tables.arrow import Stream, as_stream
from pyscale.data.tables.draft import draft, move
from pyscale.data.tables.files import Paths, find_files, look_into_all, spread
from pyscale.data.tables.formats import Reading, read

VERSION = 1  # of the JSON


class Profile(Mapping[str, Distribution]):
    """The distribution of each column, by its name.

    Made with `of`, kept with `save`, and used in `Check.like(profile[name])`.
    """

    def __init__(self, distributions: Mapping[str, Distribution]) -> None:
        self._distributions = dict(distributions)

    @classmethod
    def of(
        cls,
        data: Any,
        columns: Sequence[str] | None = None,
        *,
        categories: Collection[str] = (),
        comm: Communicator | None = None,
        buckets: int = BUCKETS,
    ) -> Profile:
        """Make the profile of data, in one pass and bounded memory. Collective where there is a `comm`.

        Parameters
        ----------
        data : path or sequence of paths, pyarrow.Table, RecordBatch or RecordBatchReader, dict of arrays, …
            Files and folders as `validate` takes them, which the ranks share out (of CSV files, pyarrow
            guesses the types); or this rank's part of a table, or an iterator of its record batches.
        columns : sequence of str, optional
            Which; None takes all but lists, structs, maps and intervals.
        categories : collection of str
            Columns of numbers that are names: of months, of products.
        comm : Communicator, optional
            The ranks whose data is one table; all get its profile.
        buckets : int
            How many different values of a column are told apart.

        Raises
        ------
        KeyError, TypeError, ValueError
            A column is not there, cannot have a distribution, or is there twice; on every rank.
        OSError, pyarrow.ArrowInvalid
            A file cannot be read; on every rank.
        """
        with together(comm, "Profile.of"):
            if buckets < 2:
                raise ValueError(f"Profile.of: expected at least 2 buckets, got {buckets}")
            check_chosen(columns, "Profile.of")
            check_chosen(categories, "Profile.of")
        stream = _of_files(data, columns, comm) if _is_paths(data) else None
        found: dict[str, Distribution] = {}

        def distribution(name: str, kind: Any) -> Distribution:
            if name not in found:
                found[name] = Distribution.for_type(kind, as_category=name in categories, buckets=buckets)
            return found[name]

        with together(comm, "Profile.of"):
            if stream is None:
                stream = as_stream(data, "Profile.of", may_be_nothing=True)
            if stream.schema is not None:
                for name in _names(stream.schema, columns):
                    distribution(name, stream.schema.field(name).type)
            for batch in stream.batches:
                for name in _names(batch.schema, columns):
                    distribution(name, batch.schema.field(name).type).add(batch.column(name))
        return cls(merged(found, comm))

    def __getitem__(self, name: str) -> Distribution:
        return self._distributions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._distributions)

    def __len__(self) -> int:
        return len(self._distributions)

    def __repr__(self) -> str:
        return f"<Profile of {', '.join(self)}>"

    def merge(self, other: Profile) -> Profile:
        """Return the profile of both tables' rows."""
        return Profile(_merged([self._distributions, other._distributions]))

    def to_json(self) -> str:
        """Return it as text."""
        columns = {name: distribution.to_json() for name, distribution in self.items()}
        return json.dumps({"pyscale_profile": VERSION, "columns": columns})

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Return the profile that `to_json` made this text of.

        Raises
        ------
        ValueError
            It is none, or of a later version.
        """
        data = json.loads(text)
        version = data.get("pyscale_profile") if isinstance(data, dict) else None
        if version != VERSION:
            raise ValueError(f"Profile: expected a profile of version {VERSION}, got {version}")
        columns = data.get("columns")
        if not isinstance(columns, dict):
            raise ValueError(f"Profile: expected an object of columns, got {columns!r}")
        return cls({name: _distribution(name, column) for name, column in columns.items()})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, at once or not at all."""
        target = Path(path)
        with draft(target) as folder:
            (folder / "profile").write_text(self.to_json())
            move(folder / "profile", target)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read it from a file."""
        return cls.from_json(Path(path).read_text())


def _distribution(name: str, data: Any) -> Distribution:
    try:
        return Distribution.from_json(data)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"Profile: expected a distribution of column {name!r}, got {what}") from error


def merged(mine: dict[str, Distribution], comm: Communicator | None) -> dict[str, Distribution]:
    """Return the distributions of all ranks' values, the same on every rank. Collective."""
    if comm is None or comm.size == 1:
        return mine
    # One rank's at a time: so the memory does not grow with the number of ranks.
    parts = (comm.broadcast_object(mine, root) for root in range(comm.size))
    return _merged(parts)


def _merged(parts: Iterable[Mapping[str, Distribution]]) -> dict[str, Distribution]:
    total: dict[str, Distribution] = {}
    for part in parts:
        for name, distribution in part.items():
            if name not in total:
                total[name] = distribution.empty()
            total[name].merge(distribution)
    return total


def _is_paths(data: Any) -> bool:
    items = data if isinstance(data, (list, tuple)) and data else [data]
    return all(isinstance(item, (str, os.PathLike)) for item in items)


def _of_files(paths: Paths, columns: Sequence[str] | None, comm: Communicator | None) -> Stream:
    """Return this rank's share of the files, with the schema of the first. Collective, before it returns."""
    reading = Reading(columns=columns)
    contents = look_into_all(find_files(paths, comm), reading, comm)
    for one in contents:
        if one.error:
            raise OSError(f"{one.file}: expected a file that can be read, got {one.error}")
    if not contents:
        raise FileNotFoundError(f"Profile.of: expected files, got none in {paths}")
    units = [unit for one in contents for unit in one.units]
    rank, size = (0, 1) if comm is None else (comm.rank, comm.size)
    mine = spread([unit.size for unit in units], size)[rank]
    return Stream(contents[0].schema, (batch for i in mine for _, batch in read(units[i], reading)))


def _names(schema: Any, columns: Sequence[str] | None) -> list[str]:
    if columns is None:
        columns = [field.name for field in schema if is_comparable(field.type)]
    for name in columns:
        if name not in schema.names:
            raise KeyError(f"Profile.of: expected a column {name!r}, got {', '.join(schema.names)}")
    chosen = set(columns)
    check_names([name for name in schema.names if name in chosen], "Profile.of")
    return list(columns)
