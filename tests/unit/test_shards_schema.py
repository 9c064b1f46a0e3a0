"""Blocks of files are checked as they are read: each once, and nothing that fails is delivered."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyscale.data import Check, Column, Loader, ParquetShards, Profile, Schema, SchemaError, validate
from pyscale.data.schema.validator import Validator
from pyscale.errors import DataError

pa = pytest.importorskip("pyarrow")
import pyarrow.csv as csv  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

SCHEMA = Schema({"id": Column("int64", Check.ge(0)), "x": Column("float64", nullable=True, nan=False)})


def table(*, bad: int | None = None) -> Any:
    ids = np.arange(1000)
    if bad is not None:
        ids[bad] = -1
    return pa.table({"id": ids, "x": ids / 2})


def write(path: Path, data: Any) -> None:
    if path.suffix == ".csv":
        csv.write_csv(data, path)
    elif path.suffix == ".parquet":
        pq.write_table(data, path, row_group_size=100)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, data.schema) as writer:
            writer.write_table(data, max_chunksize=100)


@pytest.mark.parametrize("ending", ["parquet", "arrow", "csv"])
def test_the_first_block_that_fails_is_told_as_validate_does(tmp_path: Path, ending: str) -> None:
    write(tmp_path / f"a.{ending}", table())
    write(tmp_path / f"b.{ending}", table(bad=723))
    shards = ParquetShards(tmp_path, schema=SCHEMA, shuffle=False, streams=1, window=50)
    batches = iter(Loader(shards, batch_size=50))
    delivered = [row for batch in islice(batches, 20) for row in batch["id"].tolist()]
    with pytest.raises(SchemaError) as raised:
        delivered.extend(row for batch in batches for row in batch["id"].tolist())
    assert -1 not in delivered
    [failure] = raised.value.report.failures
    [told] = validate(tmp_path, SCHEMA).failures
    assert [str(example.value) for example in told.examples] == ["-1"]  # of CSV as text
    assert replace(told, examples=()) == replace(failure, examples=())
    assert (failure.column, failure.file, failure.count) == ("id", str(tmp_path / f"b.{ending}"), 1)
    assert failure.row_group == (7 if ending == "parquet" else None)
    assert failure.examples[0] == (723, -1)


def test_each_block_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.parquet", table())
    looks = []
    original = Validator.add_as

    def noted(self: Validator, data: Any, file: str, row_group: int | None, *rest: Any, **more: Any) -> None:
        looks.append(row_group)
        original(self, data, file, row_group, *rest, **more)

    monkeypatch.setattr(Validator, "add_as", noted)
    loader = Loader(
        ParquetShards(tmp_path, schema=SCHEMA, streams=2, window=200), batch_size=50, num_threads=1
    )
    for _ in range(2):
        assert sum(len(batch["id"]) for batch in loader) == 1000
    assert sorted(looks, key=str) == list(range(10))


def test_what_is_read_is_what_is_checked(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", table(bad=5))
    some: dict[str, Any] = {"shuffle": False, "streams": 1}
    assert len(
        list(Loader(ParquetShards(tmp_path, ["x"], schema=SCHEMA.select(["x"]), **some), batch_size=1000))
    )
    wanted = ParquetShards(
        tmp_path, {"id": "f4", "x": "f4"}, schema=SCHEMA, filters=[("id", ">=", 0)], **some
    )
    assert sum(len(batch["id"]) for batch in Loader(wanted, batch_size=100)) == 999
    write(tmp_path / "a.parquet", table().set_column(0, "id", pa.array(np.arange(1000.0))))
    with pytest.raises(SchemaError, match="id"):  # of another type
        list(Loader(ParquetShards(tmp_path, schema=SCHEMA), batch_size=100))


def test_schemas_that_take_all_data_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", table())
    like = Check.like(Profile.of(table())["x"])
    whole = [
        Schema({"id": Column("int64", unique=True)}),
        Schema({"id": Column("int64"), "x": Column("float64")}, unique=["id", "x"]),
        Schema({"x": Column("float64", like)}),
    ]
    for schema in whole:
        with pytest.raises(ValueError, match="schema: expected checks that a row group can be asked for"):
            ParquetShards(tmp_path, schema=schema)
    with pytest.raises(ValueError, match=r"schema: expected columns that are read, \['x'\], got 'id'"):
        ParquetShards(tmp_path, ["x"], schema=SCHEMA)
    with pytest.raises(TypeError, match="schema: expected a Schema, got dict"):
        ParquetShards(tmp_path, schema={"x": "f8"})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="expected a column 'y'"):
        ParquetShards(tmp_path, ["y"], schema=SCHEMA)
