"""Runs the conformance suite inside every rank: `mpirun -n 4 python worker_conformance.py [-k REGEX]`.

Rank 0 prints what failed, with where and why, and one closing line. The exit status is that of the worst
rank. After each test the ranks exchange their verdicts over plain mpi4py: a rank that fails alone is no
reason to wait for ever.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import re
import sys
import time
import traceback
import unittest
from typing import Any

from conformance import SUITES, Conformance
from launch import FOLDER, report

import pyscale as ps

LIMIT = 120.0  # seconds for one test


class MpiPeers:
    """The ranks over MPI, polled gently: a rank that is done does not take the core from one that is not."""

    def __init__(self) -> None:
        from mpi4py import MPI

        self.comm = MPI.COMM_WORLD.Dup()

    def gather(self, obj: Any) -> list[Any]:
        """Exchange inside a test; raises where another rank has left the test."""
        answers = self._exchange((False, obj))
        if any(final for final, _ in answers):
            raise RuntimeError("another rank has left this test")
        return [answer for _, answer in answers]

    def verdicts(self, obj: Any) -> list[Any]:
        """Exchange at the end of a test, once all ranks have come there."""
        while True:
            answers = self._exchange((True, obj))
            if all(final for final, _ in answers):
                return [answer for _, answer in answers]

    def _exchange(self, obj: Any) -> list[Any]:
        request = self.comm.Ibarrier()
        while not request.Test():
            time.sleep(0.0002)
        return self.comm.allgather(obj)


class Alone:
    def gather(self, obj: Any) -> list[Any]:
        return [obj]

    verdicts = gather


def suite_for(transport: str) -> type[Conformance]:
    algorithm = os.environ.get("PYSCALE_ALLREDUCE_ALGORITHM", "auto")
    suites = [suite for suite in SUITES if transport == suite.TRANSPORT]
    return next((suite for suite in suites if algorithm == suite.ALGORITHM), suites[0])


def tests_of(suite: type[Conformance], words: str) -> list[str]:
    """Return the names in the order of the text, those of the base class first."""
    names = [name for kind in reversed(suite.__mro__) for name in vars(kind) if name.startswith("test_")]
    return [name for name in dict.fromkeys(names) if re.search(suite.ONLY, name) and re.search(words, name)]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-k", default="", metavar="REGEX", help="run the tests in whose names this is found")
    parser.add_argument("--timeout", type=float, default=30.0, help="of the communicator, in seconds")
    parser.add_argument("--verbose", action="store_true", help="name each test and its seconds")
    options = parser.parse_args()

    ps.init(timeout=options.timeout)
    rank, size, transport = ps.rank(), ps.world_size(), ps.world().transport
    peers = MpiPeers() if size > 1 else Alone()
    suite = suite_for(transport)(peers)
    passed, skipped, failed = [], {}, {}
    digests = {}
    started = time.monotonic()
    for name in tests_of(type(suite), options.k):
        suite.begin()
        raised, reason = False, ""
        begin = time.monotonic()
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        try:
            getattr(suite, name)()
        except unittest.SkipTest as skip:
            reason = str(skip)
        except BaseException:
            raised = True
            suite.failures.append(traceback.format_exc())
        verdicts = peers.verdicts((suite.failures, suite.digest, raised))
        faulthandler.cancel_dump_traceback_later()
        failures = {r: texts for r, (texts, _, _) in enumerate(verdicts) if texts}
        if not failures and len({digest for _, digest, _ in verdicts}) > 1:
            failures = {0: [f"the ranks' results differ: {[digest for _, digest, _ in verdicts]}"]}
        if failures:
            failed[name] = failures
        elif reason:
            skipped[name] = reason
        else:
            passed.append(name)
            digests[name] = suite.digest
        if rank == 0 and (options.verbose or failures):
            print(
                f"{name}: {'FAILED' if failures else reason or 'passed'} ({time.monotonic() - begin:.2f} s)",
                flush=True,
            )
            for r, texts in failures.items():
                for text in texts[:4]:
                    print(f"  rank {r}: {text.strip()[-3000:]}")
                if len(texts) > 4:
                    print(f"  rank {r}: … and {len(texts) - 4} more")
            sys.stdout.flush()
        if any(raised for _, _, raised in verdicts):  # some ranks may have been left waiting: begin anew
            ps.shutdown()
            peers.verdicts(None)
            ps.init(timeout=options.timeout)
    if rank == 0:
        print(
            f"{type(suite).__name__} on {size} rank(s), transport {transport}: {len(passed)} passed, "
            f"{len(skipped)} skipped, {len(failed)} failed in {time.monotonic() - started:.1f} s",
            flush=True,
        )
    if FOLDER in os.environ:
        report(
            {
                "transport": transport,
                "passed": passed,
                "skipped": skipped,
                "failed": list(failed),
                "digests": digests,
            }
        )
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
