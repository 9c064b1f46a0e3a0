"""What the figures of inference stand on: checked answers, fair turns, bars; and its quick form, tiny."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import _comparison
import _infer_report
import _infer_report_batcher
import _infer_report_networks
import _infer_report_search
import _infer_report_tables
import numpy as np
import pytest
from _infer_measure import BATCHES, Asked, _checks, differing, timed_batches
from _infer_report import Measured, Shape
from _recording import Figure, Note, Recording
from _report import fill
from forest_random import random_trees
from infer_callers import figures as caller_figures
from infer_forests import task_of
from infer_large import full_trees
from infer_tables import KINDS
from infer_tables import task_of as table_task

from pyscale.infer import Forest, Link, ModelDescription, load

ROOT = Path(__file__).resolve().parents[2]
ROWS = np.random.default_rng(1).standard_normal((70_000, 6)).astype(np.float32)


def tiny() -> Forest:
    trees = random_trees(3)
    return Forest(ModelDescription(trees=trees, link=Link(name="logistic"), kind="binary", source="tiny"))


def asked(forest: Forest, shift: float = 0.0) -> Asked:
    wanted, sums = forest.predict(ROWS[:8192]), forest.raw(ROWS[:8192])
    return Asked(lambda x: forest.predict(x) + np.float32(shift), ROWS, np.asarray, wanted, forest.raw, sums)


def quick(batches: Sequence[int] = (1, 64), shift: float = 0.0) -> dict[str, Recording]:
    forest = tiny()
    contestants = {"pyscale": asked(forest), "peer": asked(forest, shift)}
    found = list(timed_batches(task_of("tiny", 1), contestants, batches, budget=0.02, rounds=3))
    figures = [one for one in found if isinstance(one, Figure)]
    notes = [one.text for one in found if isinstance(one, Note)]
    return {"infer_forests tiny-1": Recording(figures, notes)}


def measured(recordings: dict[str, Recording], **more: bool) -> Measured:
    return Measured(recordings, {"tiny": Shape("tiny trees", more.get("shallow", True))}, 2)


def bar(found: Measured, begins: str) -> str:
    return next(
        line for line in _comparison.bars(_infer_report.BARS, found) if line.startswith(f"| {begins}")
    )


def test_the_quick_form_times_and_checks_every_batch() -> None:
    recordings = quick(BATCHES)
    figures = recordings["infer_forests tiny-1"].figures
    spent = [figure for figure in figures if figure.quantity == "seconds"]
    assert [figure.amount for figure in spent[::2]] == [1, 8, 64, 1024, 65536]
    assert all(figure.rounds and figure.median > 0 for figure in spent)
    assert {figure.median for figure in figures if figure.quantity == "other sums"} == {0.0}
    assert {figure.median for figure in figures if figure.quantity == "difference"} == {0.0}
    lines = list(_infer_report.forests(measured(recordings)))
    assert lines[2] == "| threads | rows a call | pyscale | peer | best peer / pyscale |"
    assert len([line for line in lines if line.startswith("| 1 | ")]) == 5
    assert "0 of " in bar(measured(recordings), "sums that are not")


def test_a_contestant_that_is_wrong_does_not_count() -> None:
    recordings = quick(shift=0.01)
    assert "differs by up to 0.01" in "\n".join(_comparison.found(recordings))
    assert _infer_report.points(measured(recordings), ["tiny"], _infer_report.LARGE) == []
    assert "| not measured |" in bar(measured(recordings), "trees of up to 64")
    assert any("wrong)" in line for line in _infer_report.forests(measured(recordings)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1.0])
def test_answers_that_are_no_probabilities_are_wrong(bad: float) -> None:
    one = Asked(lambda x: np.full(len(x), bad), ROWS, np.asarray, np.zeros(64))
    assert all(figure.wrong for figure in _checks("t", "c", one, 8) if figure.quantity == "difference")


def test_sums_are_compared_by_their_bits() -> None:
    sums = np.array([0.0, 1.0, np.nan], np.float32)
    assert differing(sums, sums.copy()) == 0
    assert differing(np.array([-0.0, 1.0, np.nan], np.float32), sums) == 1
    assert differing(np.nextafter(sums, np.float32(2)), sums) == 2
    assert differing(sums.astype(np.float64), sums) == 3


def test_a_call_that_would_take_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("_infer_measure._LONGEST", 1e-9)
    figures = quick()["infer_forests tiny-1"]
    assert {figure.amount for figure in figures.figures if figure.quantity == "seconds"} == {1}
    assert len(figures.notes) == 1


def figure(contestant: str, spent: float, batch: int) -> Figure:
    return Figure(f"tiny, 1 thread, batches of {batch:,}", contestant, "seconds", [spent], batch)


def test_bars_take_the_best_peer_at_each_point() -> None:
    figures = [figure("pyscale", 1, 64), figure("a", 8, 64), figure("b", 20, 64)]
    figures += [figure("pyscale", 1, 65536), figure("a", 20, 65536), figure("b", 2, 65536)]
    found = measured({"infer_forests tiny-1": Recording(figures)})
    assert "| 4 | 4 (of 2) | reached |" in bar(found, "trees of up to 64")
    shallow, deep = [
        line
        for line in _comparison.bars(_infer_report.BARS, found)
        if line.startswith("| the same, the least")
    ]
    assert "| 2 (b; tiny, 1 thread, batches of 65,536) | reached |" in shallow
    assert "| not measured |" in deep
    late = measured({"infer_forests tiny-1": Recording(figures)}, shallow=False)
    assert "| 1.5 | 4 (of 2) | reached |" in bar(late, "deeper trees")


def test_callers_are_compared_with_one_alone() -> None:
    forest = tiny()
    rows = [ROWS[k : k + 1] for k in range(500)]
    figures = list(caller_figures("tiny", "pyscale", forest.predict, rows, 0.05))
    assert len(figures) == 6
    by_task = {figure.task: figure for figure in figures}
    by_task["tiny, a row, alone, median"].rounds[:] = [1e-6]
    by_task["tiny, a row, 4 threads at once, 99%"].rounds[:] = [5e-6]
    found = measured({"infer_callers tiny": Recording(figures)})
    assert "| 5 times (5 µs) | **missed** |" in bar(found, "a row, 4 threads")
    by_task["tiny, a row, 4 threads at once, 99%"].rounds[:] = [3e-6]
    assert "| 3 times (3 µs) | reached |" in bar(found, "a row, 4 threads")


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_kind_are_timed_and_checked(kind: str) -> None:
    if kind != "array":
        pytest.importorskip("pandas" if "pandas" in kind else "pyarrow")
    forest = tiny()
    array = asked(forest)
    table = dataclasses.replace(array, rows=KINDS[kind](ROWS, "abcdef"))
    figures = list(
        timed_batches(
            table_task("tiny", kind), {"pyscale": table, "peer": array}, (1, 64), budget=0.02, rounds=3
        )
    )
    assert not [one for one in figures if isinstance(one, Note) or one.wrong]
    found = measured({"infer_tables tiny": Recording([one for one in figures if isinstance(one, Figure)])})
    lines = list(_infer_report_tables.tables(found))
    assert lines[2] == "| rows | rows a call | pyscale | peer | best peer / pyscale |"
    assert [line.split(" | ")[:2] for line in lines[4:6]] == [[f"| {kind}", "1"], [f"| {kind}", "64"]]


def test_full_trees_are_what_they_say(tmp_path: Path) -> None:
    forest = Forest(full_trees(7, 4))
    forest.save(tmp_path / "full")
    x = np.random.default_rng(2).standard_normal((200, forest.num_features))
    assert np.array_equal(load(tmp_path / "full").predict(x), forest.predict(x))
    leaves = forest.leaf_index(x)
    assert leaves.min() >= 15
    assert leaves.max() < 31
    assert (np.array([len(np.unique(column)) for column in leaves.T]) > 4).all()


def test_the_page_has_a_place_for_everything_and_keeps_what_was_written(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "benchmarks_inference.md").read_text()
    found = measured(quick())
    sections = {
        "search": _infer_report_search.search(found),
        "bags": _infer_report_search.bags(found),
        "tables": _infer_report_tables.tables(found),
        "batcher": _infer_report_batcher.batcher(found),
        "networks": _infer_report_networks.networks(found),
        "machine": ["- a machine"],
        "bars": _comparison.bars(_infer_report.BARS, found),
        "forests": _infer_report.forests(found),
        "differences": _infer_report.differences(found),
        "callers": _infer_report.callers(found),
        "loading": _infer_report.loading(found),
        "large": _infer_report.large(found),
        "losses": _comparison.losses(found.recordings),
        "found": _comparison.found(found.recordings),
    }
    filled = fill(page, sections)
    assert "What is missed" in filled
    assert "tiny trees" in filled
    assert "- a machine" in filled
    file = tmp_path / "recording.json"
    [recording] = found.recordings.values()
    file.write_text(json.dumps(asdict(recording)))
    assert Recording.load(file) == recording
