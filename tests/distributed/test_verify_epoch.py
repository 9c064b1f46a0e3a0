"""An epoch that several ranks got: what is wrong with it is said on all of them."""

from __future__ import annotations

import pytest
from launch import run
from worker_verify import N

from pyscale.data import Permutation


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_every_rank_says_what_is_wrong(ranks: int) -> None:
    said = run("worker_verify.py", ranks).results
    for mine in said:
        assert mine["right"] == mine["array"] == ""
        assert mine["few"] == ("" if ranks > 1 else FEW)
        assert mine["again"].startswith(f"EpochError: verify_epoch: expected each of {N} samples once")
        assert f"got {N + 1} samples" in mine["again"]
        assert "77 came once too often" in mine["again"]
        assert f"{Permutation(N)[N - 1]} is missing" in mine["lost"]
        assert f"got {N - len(range(ranks - 1, N, ranks))} samples" in mine["lost_rank"]
        for case in ("again", "lost", "lost_rank"):
            assert mine[case] == said[0][case]
    assert said[0]["resumed"] == str(N)


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_every_rank_hears_of_one_that_differs(ranks: int) -> None:
    said = run("worker_verify.py", ranks).results
    last = ranks - 1
    for rank, mine in enumerate(said):
        assert mine["another_n"] == (
            "CommMismatch: verify_epoch: expected the same n on every rank, "
            f"got {N} on rank 0, {N + 1} on rank {last}"
        )
        for case, words in (
            ("outside", f"IndexError: Seen.add: expected indices of {N} samples, got {N}"),
            ("no_n", "TypeError: verify_epoch: expected n beside an array of indices, got None"),
            ("threads", "TypeError: 'str' object cannot be interpreted as an integer"),
        ):
            others = f"CommMismatch: verify_epoch: expected good arguments on every rank, got on rank {last} "
            assert mine[case] == (words if rank == last else others + words)


FEW = """EpochError: verify_epoch: expected each of 2 samples once, got 1 samples
  samples 1 to 1: expected 1, got 0: 1 is missing"""
