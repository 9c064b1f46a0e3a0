"""Samplers that are given a communicator: what is wrong on one rank, or differs, is an error on all."""

from __future__ import annotations

import pytest
from launch import run
from worker_samplers import N

SAID = {  # a part of what every rank says; the last is at fault
    "nan": "ValueError: BalancedBatchSampler: expected lengths from 0, got nan at 5",
    "lengths": "ValueError: BalancedBatchSampler: expected lengths to be the same on every rank, got ",
    "cost": "ValueError: BalancedBatchSampler: expected quadratic to be the same on every rank",
    "few lengths": f"ValueError: BalancedBatchSampler: expected lengths of {N} samples, got {N - 1}",
    "n": "ValueError: ShardedSampler: expected data to be the same on every rank, got ",
    "negative": "ValueError: ShardedSampler: expected a length from 0",
    "text": "TypeError: ",
    "seed": "ValueError: ShardedSampler: expected seed to be the same on every rank, got 0 on",
    "bad seed": "ValueError: ShardedBatchSampler: expected seed from 0",
    "remainder": "ValueError: ShardedSampler: expected remainder to be the same on every rank",
    "both": "ValueError: ShardedSampler: expected drop_last or remainder='pad', got both",
    "drop_last": "ValueError: ShardedBatchSampler: expected drop_last to be the same on every rank",
    "batch_size": "ValueError: ShardedBatchSampler: expected batch_size to be the same on every rank",
    "bad batch_size": "ValueError: ShardedBatchSampler: expected batch_size from 1",
    "plan": "ValueError: ShardedSampler: expected data to be the same on every rank, got {'kind'",
    "weights": "ValueError: ShardedSampler: expected data to be the same on every rank, got ",
    "class": "Sampler: expected sampler to be the same on every rank, got 'ShardedSampler' on rank 0 and 'Sh",
}


@pytest.mark.parametrize("ranks", [2, 3])
def test_every_rank_says_what_is_wrong(ranks: int) -> None:
    for mine in run("worker_samplers.py", ranks).results:
        said = mine["said"]
        assert said.pop("right") == ""
        assert said.keys() == SAID.keys()
        for case, expected in SAID.items():
            assert expected in said[case]
        assert mine["exact"]
        assert all(state == mine["states"][0] for state in mine["states"][:ranks])
        assert mine["states"][0][0] == mine["states"][0][1]  # handed out, and said
        assert mine["states"][0][0]["position"] == N
        assert all(state == mine["states"][ranks] for state in mine["states"][ranks:])
        assert mine["states"][ranks][0]["position"] == 8 * ranks
