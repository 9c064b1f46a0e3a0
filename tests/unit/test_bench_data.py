"""What the figures of the data part stand on: checked answers, fair turns, bars and losses."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import _comparison
import _data_report
import numpy as np
import pytest
from _data_measure import flaw_of, time_and_memory
from _data_report import Measured
from _recording import Figure, Recording, quantity
from _turns import in_turn


def figure(contestant: str, seconds: float, task: str = "whole part of 8", wrong: str = "") -> Figure:
    return Figure(task, contestant, "seconds", [seconds] * 3, 8, "indices", wrong)


def test_an_order_that_loses_an_index_is_told_from_one_that_does_not() -> None:
    order = np.random.default_rng(1).permutation(1000)
    assert flaw_of(order, 1000) == ""
    order[5] = order[6]
    assert flaw_of(order, 1000) == "1 of 1,000 lost, 1 repeated"
    assert flaw_of([0, 1, 2, 0], 3) == "0 of 3 lost, 1 repeated"
    assert flaw_of([0, 1, 2, 3], 3)  # one too many
    assert flaw_of([], 2) == "2 of 2 lost, 0 repeated"


def test_turns_begin_with_another_each_round() -> None:
    called: list[str] = []
    found = in_turn({name: partial(called.append, name) for name in "abc"}, 3)
    assert "".join(called) == "abcbcacab"
    assert {name: len(rounds) for name, rounds in found.items()} == dict.fromkeys("abc", 3)


def test_memory_at_its_highest_is_told_though_it_is_given_back() -> None:
    def hold(small: bool) -> None:
        np.ones(1000 if small else 8_000_000)

    _, least = time_and_memory(lambda small: None)
    seconds, most = time_and_memory(hold)
    assert seconds > 0
    assert least < 1e6
    assert 60e6 < most < 70e6


def test_quantities_have_their_units() -> None:
    assert quantity(figure("pyscale", 2e-6)) == "4 M indices/s"
    assert quantity(Figure("t", "c", "seconds", [0.002, 5, 0.001])) == "2 ms"
    assert quantity(Figure("t", "c", "bytes", [2e6])) == "2.0 MB"
    assert quantity(Figure("t", "c", "bytes", [4096.0])) == "< 0.5 MB"


def recordings(ours: float, theirs: float, wrong: str = "") -> dict[str, Recording]:
    figures = [
        figure("pyscale ShardedSampler", ours),
        figure("torch DistributedSampler", theirs, wrong=wrong),
    ]
    return {"data_sampler torch": Recording(figures, notes=["a note"])}


def bar(found: dict[str, Recording], begins: str = "| iterating", **records: Any) -> str:
    [line] = [line for line in _data_report.bars(Measured(found, records)) if line.startswith(begins)]
    return line


def test_a_bar_is_reached_or_missed_or_not_measured() -> None:
    assert "| 1.6 (torch DistributedSampler; whole part of 8) | reached |" in bar(recordings(1, 1.6))
    assert "| 1.4 (torch DistributedSampler; whole part of 8) | **missed** |" in bar(recordings(1, 1.4))
    assert "| not measured |" in bar(recordings(1, 2, wrong="1 of 8 lost, 1 repeated"))
    assert "| not measured |" in bar({})


def test_bars_of_modules_take_the_worst_record() -> None:
    rows = [
        {"what": "gather", "row": row, "threads": 2, "times take, raise": times}
        for row, times in ((4, 0.5), (256, 2.5), (512, 1.9))
    ]
    assert "| 1.9 (row 512, threads 2) | **missed** |" in bar(
        {}, "| the same, against numpy.take with out", bench_rows=rows
    )
    exchanged = [{"row_bytes": 64, "ratio": 1.6}, {"row_bytes": 4, "ratio": None}]
    assert "| 1.6 (row bytes 64) | reached |" in bar({}, "| exchange", bench_exchange=exchanged)


def test_losses_name_every_peer_that_was_right_and_faster() -> None:
    assert list(_comparison.losses(recordings(1, 2))) == ["None: no peer took less of anything."]
    assert "torch DistributedSampler" in list(_comparison.losses(recordings(2, 1)))[-1]
    assert len(list(_comparison.losses(recordings(2, 1, wrong="all")))) == 1
    found = list(_comparison.found(recordings(2, 1, wrong="all")))
    assert found == ["- torch DistributedSampler, whole part of 8: all.", "- a note"]


def test_losses_are_of_the_modules_too() -> None:
    records: dict[str, list[dict[str, Any]]] = {
        "bench_rows": [
            {
                "what": "scatter",
                "row": 4096,
                "threads": threads,
                "seconds": {"pyscale": ours, "assignment": 2.0},
            }
            for threads, ours in ((1, 2.1), (2, 1.5))
        ],
        "bench_exchange": [
            {
                "row_bytes": 4,
                "ranks": 2,
                "seconds": {"pyscale": 3.0, "argsort": 4.0, "take, arrays used again": 1.0},
            }
            | {"ratio": None}
        ],
        "bench_balance": [
            {"workload": "zipf", "n": 9, "ranks": 2, "method": method, "seconds": seconds, "imbalance": 0.1}
            for method, seconds in (("pyscale", 0.2), ("largest first", 0.1), ("pyscale, any counts", 0.15))
        ],
    }
    records["bench_rows"][1]["seconds"] |= {"C++, tuned": 0.1, "in order": 0.1}
    rows = list(_comparison.losses({**recordings(1, 2), **_data_report.in_figures(records)}))[2:]
    assert [[*row.split(" | ")[:2], row.split(" | ")[-1]] for row in rows] == [
        ["| balance, zipf, n 9, ranks 2", "largest first", "0.67 |"],
        ["| scatter, row 4,096, threads 1", "assignment", "0.95 |"],
    ]


def test_tables_have_the_ratio_to_the_best_of_ours() -> None:
    held = recordings(1, 3)
    held["data_sampler torch"].figures.append(figure("pyscale, slower", 2))
    rows = list(_data_report.table(held, "data_sampler"))[2:]
    assert rows[1] == "|  | torch DistributedSampler | 2.67 indices/s |  | 3 |"


def test_recordings_survive_json(tmp_path: Path) -> None:
    [recording] = recordings(1, 2).values()
    (tmp_path / "a.json").write_text(json.dumps(asdict(recording)))
    assert Recording.load(tmp_path / "a.json") == recording


@pytest.mark.parametrize("value", [None, True, 3, 2.5, "x"])
def test_records_of_any_values_make_a_table(value: object) -> None:
    lines = list(_data_report.records([{"a_b": value}, {"c": {"d": 1, "e": 2}}, {"a_b": value}]))
    assert [lines[0], lines[5]] == ["| a b |", "| c: d | c: e |"]
    assert lines[2] == lines[3]
