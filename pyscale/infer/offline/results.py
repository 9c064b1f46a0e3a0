"""Where predictions go: a .npy file, or a folder of Parquet files; units in any order, the whole at once."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscale.infer.offline.sources import Unit

__all__ = ["Results"]

Array = NDArray[Any]


class Results:
    """
    A draft beside the output, hidden, which has the units that are done and becomes the output at the end.

    Parameters
    ----------
    out : path
        What there is to be: a file that ends with .npy, or a folder for Parquet files.
    job : dict
        What the job is, in JSON's terms: a draft of another job is refused.
    """

    def __init__(self, out: str | os.PathLike[str], job: dict[str, Any]) -> None:
        self.out = Path(out)
        self.folder = self.out.with_name(f".{self.out.name}.draft")
        self.is_npy = self.out.suffix == ".npy"
        self._job = json.loads(json.dumps(job))
        self._lock: io.BufferedWriter | None = None

    def begin(self) -> set[int]:
        """Make the draft, or take up the one that is there; returns the units that are done. On one rank."""
        if self.out.exists():
            raise FileExistsError(f"{self.out}: expected nothing there, since results are written once")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / "lock", "wb")  # noqa: SIM115
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise RuntimeError(
                f"{self.out}: expected nobody to write there, got another job that does"
            ) from None
        file = self.folder / "job.json"
        if file.exists():
            try:
                found = json.loads(file.read_text())
            except ValueError:
                found = None
            if found != self._job:
                raise ValueError(
                    f"{self.folder}: expected the draft of this job, got that of another one "
                    "(other rows, another model or method): remove it to begin anew"
                )
        else:
            draft = file.with_suffix(".new")
            draft.write_text(json.dumps(self._job))
            os.replace(draft, file)
        return {int(path.stem) for path in self.folder.glob("*.done")}

    def prepare(self, rows: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Make room for all rows; `shape` is of one. On one rank, before any writes."""
        if not self.is_npy:
            return
        path = self.folder / "rows.npy"
        if path.exists():
            return
        draft = self.folder / "rows.new"
        with open(draft, "wb") as file:
            header = {
                "descr": np.lib.format.dtype_to_descr(dtype),
                "fortran_order": False,
                "shape": (rows, *shape),
            }
            np.lib.format.write_array_header_2_0(file, header)
            file.truncate(file.tell() + rows * int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        os.replace(draft, path)

    def write(self, unit: Unit, batches: Iterable[tuple[Array, Any]]) -> None:
        """Write a unit's predictions, and the columns that are kept beside them; then say that it is done."""
        if self.is_npy:
            self._write_rows(unit, batches)
        else:
            self._write_table(unit, batches)
        (self.folder / f"{unit.number:08}.done").touch()

    def _write_rows(self, unit: Unit, batches: Iterable[tuple[Array, Any]]) -> None:
        with open(self.folder / "rows.npy", "r+b") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
            row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
            file.seek(unit.begin * row_bytes, os.SEEK_CUR)
            for predicted, _ in batches:
                if predicted.dtype != dtype or predicted.shape[1:] != shape[1:]:
                    raise ValueError(
                        f"predictions: expected {dtype} of shape {shape[1:]} a row, as of the first rows, "
                        f"got {predicted.dtype} of {predicted.shape[1:]}"
                    )
                file.write(np.ascontiguousarray(predicted).tobytes())
            file.flush()
            os.fsync(file.fileno())

    def _write_table(self, unit: Unit, batches: Iterable[tuple[Array, Any]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        path = self.folder / f"part-{unit.number:08}.parquet"
        draft = path.with_suffix(".new")
        writer = None
        try:
            for predicted, kept in batches:
                columns = {} if kept is None else {name: kept.column(name) for name in kept.column_names}
                if predicted.ndim == 1:
                    columns["prediction"] = pa.array(predicted)
                else:
                    for place in range(predicted.shape[1]):
                        columns[f"prediction_{place}"] = pa.array(predicted[:, place])
                table = pa.table(columns)
                writer = writer or parquet.ParquetWriter(draft, table.schema)
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)

    def finish(self) -> None:
        """Make the draft the output. On one rank, when all units are done."""
        if self.is_npy:
            os.replace(self.folder / "rows.npy", self.out)
            shutil.rmtree(self.folder)
        else:
            for path in self.folder.iterdir():
                if path.suffix != ".parquet" and path.name != "lock":
                    path.unlink()
            os.rename(self.folder, self.out)
            (self.out / "lock").unlink()
        self.abandon()

    def abandon(self) -> None:
        """Let go of the draft, which stays for the next who goes on."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self._lock.close()
            self._lock = None
