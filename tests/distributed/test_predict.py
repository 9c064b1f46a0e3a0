"""Offline inference: every row once and in order, at any number of ranks, also after a rank was lost."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forest_random import close_rows, random_trees
from launch import Job, run

import pyscale as ps
from pyscale.infer import Dense, DenseDescription, Forest, Linear, Link, ModelDescription

ROWS = 10_000
UNIT = 700


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, rows for it as an array and as Parquet, and its answers."""
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    folder = tmp_path_factory.mktemp("predict")
    trees = random_trees(1, num_trees=50)
    names = tuple("abcdef")
    model = Forest(
        ModelDescription(trees=trees, link=Link(), kind="regression", source="a test", feature_names=names)
    )
    model.save(folder / "model")
    x = close_rows(trees, ROWS, 1)
    np.save(folder / "rows.npy", x)
    np.save(folder / "answers.npy", model.predict(x))
    table = pa.table({"id": np.arange(ROWS), **{name: x[:, place] for place, name in enumerate(names)}})
    (folder / "rows").mkdir()
    for number, begin in enumerate(range(0, ROWS, 3000)):
        parquet.write_table(
            table.slice(begin, 3000), folder / "rows" / f"{number}.parquet", row_group_size=500
        )
    return folder


def predict(
    data: Path, source: str, out: Path, ranks: int, how: str = "lasts", at: int = 0, **options: Any
) -> Job:
    kept = ["id"] if source == "rows" else []
    arguments = [str(data / "model"), str(data / source), str(out), str(UNIT), how, str(at), *kept]
    return run("worker_predict.py", ranks, *arguments, timeout=60, **options)


def check(data: Path, out: Path) -> None:
    answers = np.load(data / "answers.npy")
    if out.suffix == ".npy":
        assert np.array_equal(np.load(out), answers)
    else:
        import pyarrow.parquet as parquet

        assert {path.suffix for path in out.iterdir()} == {".parquet"}
        found = [parquet.read_table(path) for path in sorted(out.iterdir())]
        assert np.concatenate([table["id"].to_numpy() for table in found]).tolist() == list(range(ROWS))
        assert np.array_equal(np.concatenate([table["prediction"].to_numpy() for table in found]), answers)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize(("source", "name"), [("rows.npy", "out.npy"), ("rows", "out")])
def test_each_row_once_and_in_order(data: Path, tmp_path: Path, source: str, name: str, ranks: int) -> None:
    job = predict(data, source, tmp_path / name, ranks)
    first = job.results[0]
    assert first["rows"] == first["total"] == ROWS
    assert first["reached"][-1] == ROWS
    assert first["reached"] == sorted(first["reached"])
    check(data, tmp_path / name)


@pytest.mark.parametrize(("source", "name"), [("rows.npy", "out.npy"), ("rows", "out")])
def test_goes_on_after_a_kill_with_other_ranks(data: Path, tmp_path: Path, source: str, name: str) -> None:
    out = tmp_path / name
    job = predict(data, source, out, 3, "dies", 2, hide_deaths=True, check=False)
    assert [result and result["error"] for result in job.results] == ["CommError", "CommError", None]
    assert not out.exists()
    draft = tmp_path / f".{name}.draft"
    done = len([*draft.glob("*.done"), *draft.glob("parts/*.parquet")])
    assert done >= 3  # of a round, whose units are a batch or two
    again = predict(data, source, out, 2)
    assert again.results[0]["reached"][0] > UNIT * done // 2
    check(data, out)


def test_all_learn_what_failed_on_one(data: Path, tmp_path: Path) -> None:
    job = predict(data, "rows.npy", tmp_path / "out.npy", 3, "fails", 1)
    assert {result["error"] for result in job.results} == {"ArithmeticError"}
    assert job.results[0]["notes"] == ["predict_distributed: raised on rank 2"]
    assert predict(data, "rows.npy", tmp_path / "out.npy", 1).results[0]["rows"] == ROWS
    check(data, tmp_path / "out.npy")


def test_all_learn_that_the_callback_failed(data: Path, tmp_path: Path) -> None:
    job = predict(data, "rows.npy", tmp_path / "out.npy", 3, "interrupts", 2)
    assert {result["error"] for result in job.results} == {"ArithmeticError"}
    assert job.results[1]["notes"] == ["predict_distributed: raised on rank 0"]


def test_ranks_with_other_rows_are_refused(data: Path, tmp_path: Path) -> None:
    job = predict(data, "rows.npy", tmp_path / "out.npy", 2, "differs", 1)
    assert {result["error"] for result in job.results} == {"ValueError"}
    assert "units_of_source to be the same on every rank" in job.results[0]["message"]


def test_all_learn_of_a_wrong_argument_on_one(data: Path, tmp_path: Path) -> None:
    job = predict(data, "rows.npy", tmp_path / "out.npy", 2, "asks for nothing")
    assert {result["message"] for result in job.results} == {"batch_rows: expected 1 or more, got 0"}


def test_refuses(data: Path, tmp_path: Path) -> None:
    model = ps.infer.load(data / "model")
    x = np.load(data / "rows.npy")
    out = tmp_path / "out.npy"
    done = ps.infer.predict_distributed(model, x, out=out, batch_rows=UNIT)
    assert done.rows == ROWS
    assert done.rows_per_second > 0
    with pytest.raises(FileExistsError, match="expected nothing there"):
        ps.infer.predict_distributed(model, x, out=out)
    with pytest.raises(ValueError, match=r"expected a file that ends with \.npy for an array"):
        ps.infer.predict_distributed(model, x, out=tmp_path / "folder")
    with pytest.raises(ValueError, match="expected none for an array"):
        ps.infer.predict_distributed(model, x, out=tmp_path / "b.npy", keep=["id"])
    with pytest.raises(TypeError, match="keep: expected a sequence of names, got the text 'id'"):
        ps.infer.predict_distributed(model, str(data / "rows"), out=tmp_path / "b", keep="id")
    with pytest.raises(TypeError, match=r"keep: expected a sequence of names, got \[1\]"):
        ps.infer.predict_distributed(model, str(data / "rows"), out=tmp_path / "b", keep=[1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"keep: expected each name once, got \['id', 'id'\]"):
        ps.infer.predict_distributed(model, str(data / "rows"), out=tmp_path / "b", keep=["id", "id"])
    with pytest.raises(ValueError, match="none called 'nothing'"):
        ps.infer.predict_distributed(model, str(data / "rows"), out=tmp_path / "b", keep=["nothing"])
    with pytest.raises(ValueError, match="X: expected"):  # a column too many
        ps.infer.predict_distributed(model, str(data / "rows"), out=tmp_path / "b")
    with pytest.raises(FileNotFoundError, match="expected Parquet files, got none"):
        ps.infer.predict_distributed(model, str(tmp_path / "nowhere"), out=tmp_path / "c")
    with pytest.raises(ValueError, match="expected rows, got none"):
        ps.infer.predict_distributed(model, x[:0], out=tmp_path / "c.npy")
    assert not (tmp_path / ".c.npy.draft").exists()
    with pytest.raises(ValueError, match="got Python objects"):
        ps.infer.predict_distributed(Constant(np.array(["a"], object)), x, out=tmp_path / "c.npy")
    with pytest.raises(TypeError, match="batch_rows: expected a whole number, got '1'"):
        ps.infer.predict_distributed(model, x, out=tmp_path / "c.npy", batch_rows="1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="model: expected one with a method 'nope', got Forest"):
        ps.infer.predict_distributed(model, x, out=tmp_path / "c.npy", method="nope")
    with pytest.raises(TypeError, match="model_version: expected a text, got 1"):
        ps.infer.predict_distributed(model, x, out=tmp_path / "c.npy", model_version=1)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["out.npy"]


def test_what_failed_before_anything_was_done_leaves_nothing(data: Path, tmp_path: Path) -> None:
    """So that the corrected call begins anew."""
    model = ps.infer.load(data / "model")
    rows, out = str(data / "rows"), tmp_path / "out"
    with pytest.raises(ValueError, match="X: expected"):  # a column too many
        ps.infer.predict_distributed(model, rows, out=out)
    assert not list(tmp_path.iterdir())
    ps.infer.predict_distributed(model, rows, out=out, keep=["id"])
    check(data, out)


def failing(_: Any) -> None:
    raise ArithmeticError


def test_a_model_that_nothing_tells_from_others(tmp_path: Path) -> None:
    """Constant(1.0) and Constant(2.0) have one class: only what the caller says tells them apart."""
    x, out = np.zeros((5000, 2)), tmp_path / "out.npy"

    def predict(value: float, **options: Any) -> None:
        ps.infer.predict_distributed(Constant(value), x, out=out, batch_rows=UNIT, **options)

    with pytest.raises(ArithmeticError):
        predict(1.0, progress=failing)
    for value in (1.0, 2.0):
        with pytest.raises(ValueError, match="expected the draft of a model with a model_version"):
            predict(value)
    with pytest.raises(ValueError, match="expected the draft of this job"):
        predict(1.0, model_version="1")
    shutil.rmtree(tmp_path / ".out.npy.draft")
    with pytest.raises(ArithmeticError):
        predict(1.0, model_version="unknown", progress=failing)
    with pytest.raises(ValueError, match="expected the draft of this job"):
        predict(2.0, model_version="2")
    predict(1.0, model_version="unknown")
    assert np.load(out).tolist() == [1.0] * len(x)


def test_a_graph_whose_weights_are_in_other_files_needs_a_version(tmp_path: Path) -> None:
    """Two such graphs may differ in these alone."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    weight = onnx.numpy_helper.from_array(np.zeros((2, 1), np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights")
    ports = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", width])
        for name, width in (("x", 2), ("y", 1))
    ]
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "a test", ports[:1], ports[1:], [weight])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / "graph.onnx").write_bytes(made.SerializeToString())
    options: dict[str, Any] = {"out": tmp_path / "out.npy", "batch_rows": UNIT}

    def predict(value: float, **more: Any) -> None:
        (tmp_path / "weights").write_bytes(np.full(2, value, np.float32).tobytes())
        model = ps.infer.OnnxModel(tmp_path / "graph.onnx")
        ps.infer.predict_distributed(model, np.ones((5000, 2), np.float32), **options, **more)

    with pytest.raises(ArithmeticError):
        predict(1.0, progress=failing)
    with pytest.raises(ValueError, match="expected the draft of a model with a model_version"):
        predict(2.0)


def test_a_model_that_cannot_be_saved_predicts(tmp_path: Path) -> None:
    model = Dense(
        DenseDescription(
            layers=(Linear(np.eye(2)),), kind="multiclass", classes=np.array([b"a", b"b"], object)
        )
    )
    with pytest.raises(ValueError, match="to be saved"):
        model.save(tmp_path / "model")
    done = ps.infer.predict_distributed(
        model, np.ones((5, 2)), out=tmp_path / "out.npy", method="predict_proba"
    )
    assert done.rows == 5


def test_a_mapped_file_that_was_written_again_is_another_job(tmp_path: Path) -> None:
    """Though none of the rows that an array is known by differs."""
    x = np.zeros((5000, 2))
    np.save(tmp_path / "x.npy", x)
    options: dict[str, Any] = {"out": tmp_path / "out.npy", "batch_rows": UNIT, "model_version": "1"}
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    with pytest.raises(ArithmeticError):
        ps.infer.predict_distributed(Constant(1.0), mapped, progress=failing, **options)
    x[1] = 1
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match="expected the draft of this job"):
        ps.infer.predict_distributed(Constant(1.0), np.load(tmp_path / "x.npy", mmap_mode="r"), **options)


def test_a_draft_of_another_job_is_refused(data: Path, tmp_path: Path) -> None:
    class Fails:
        def predict(self, x: Any) -> Any:
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls > 3:
                raise ArithmeticError
            return np.zeros(len(x))

    x = np.load(data / "rows.npy")
    out = tmp_path / "out.npy"
    with pytest.raises(ArithmeticError):
        ps.infer.predict_distributed(Fails(), x, out=out, batch_rows=UNIT)
    with pytest.raises(ValueError, match="expected the draft of this job, got that of another"):
        ps.infer.predict_distributed(Fails(), x, out=out, batch_rows=UNIT + 1)
    with pytest.raises(ValueError, match="expected the draft of this job, got that of another"):
        ps.infer.predict_distributed(ps.infer.load(data / "model"), x, out=out, batch_rows=UNIT)
    with pytest.raises(ValueError, match="expected an answer for each of"):
        ps.infer.predict_distributed(Sums(), x, out=tmp_path / "b.npy", batch_rows=UNIT)


@pytest.mark.parametrize("then", ["nothing", "a new one"])
def test_a_draft_that_another_job_removes_just_now(
    tmp_path: Path, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the opening of its lock and the asking for it: nobody else would hear of that lock."""
    lock, draft = fcntl.flock, tmp_path / ".out.npy.draft"

    def removes(*arguments: Any) -> None:
        shutil.rmtree(draft)
        if then == "a new one":
            draft.mkdir()
            (draft / "lock").touch()
        lock(*arguments)

    monkeypatch.setattr(fcntl, "flock", removes)
    with pytest.raises(RuntimeError, match="expected nobody to write there"):
        ps.infer.predict_distributed(Constant(1.0), np.zeros((5000, 2)), out=tmp_path / "out.npy")


def test_other_rows_of_the_same_shape_are_another_job(tmp_path: Path) -> None:
    x = np.zeros((5000, 2))
    out = tmp_path / "out.npy"

    options: dict[str, Any] = {"out": out, "batch_rows": UNIT, "model_version": "1"}
    with pytest.raises(ArithmeticError):
        ps.infer.predict_distributed(Constant(1.0), x, progress=failing, **options)
    with pytest.raises(ValueError, match="expected the draft of this job"):
        ps.infer.predict_distributed(Constant(1.0), x + 1, **options)
    ps.infer.predict_distributed(Constant(1.0), x, **options)
    assert np.load(out).tolist() == [1.0] * len(x)


@pytest.mark.parametrize(("source", "name"), [("rows.npy", "out.npy"), ("rows", "out")])
def test_a_kill_while_the_draft_is_removed_does_no_harm(
    data: Path, tmp_path: Path, source: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ps.infer.load(data / "model")
    x: Any = np.load(data / "rows.npy") if source.endswith(".npy") else str(data / source)
    keep = [] if source.endswith(".npy") else ["id"]
    out = tmp_path / name
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # as far as it came
        ps.infer.predict_distributed(model, x, out=out, keep=keep, batch_rows=UNIT)
    with pytest.raises(FileExistsError):
        ps.infer.predict_distributed(model, x, out=out, keep=keep, batch_rows=UNIT)
    if out.is_dir():
        shutil.rmtree(out)
    else:
        out.unlink()
    done = ps.infer.predict_distributed(model, x, out=out, keep=keep, batch_rows=UNIT)
    assert done.rows == ROWS
    check(data, out)


def test_row_groups_without_rows_and_columns_of_text_and_nulls(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    schema = pa.schema([("a", pa.float32()), ("name", pa.string()), ("when", pa.timestamp("us"))])
    whole = pa.table({"a": [1.0, None, 3.0], "name": ["x", None, "z"], "when": [None, 5, 6]}, schema=schema)
    with parquet.ParquetWriter(tmp_path / "rows.parquet", schema) as writer:
        for piece in (whole[:0], whole[:1], whole[:0], whole[1:]):
            writer.write_table(piece)

    class Numbers:
        def predict(self, table: Any) -> Any:
            assert len(table) > 0
            assert table.column_names == ["a"]
            return table["a"].to_numpy()

    ps.infer.predict_distributed(
        Numbers(), str(tmp_path / "rows.parquet"), out=tmp_path / "out", keep=["name", "when"]
    )
    found = parquet.read_table(tmp_path / "out")
    assert found["name"].to_pylist() == ["x", None, "z"]
    assert found["when"].to_pylist() == whole["when"].to_pylist()
    assert np.array_equal(found["prediction"].to_numpy(), [1.0, np.nan, 3.0], equal_nan=True)


class Constant:
    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def predict(self, x: Any) -> Any:
        return np.full(len(x), self._answer)


class Sums:
    def predict(self, x: Any) -> Any:
        return np.zeros(6)
