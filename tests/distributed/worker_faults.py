"""What goes wrong, by name: `mpirun -n 3 python worker_faults.py NAME`. The last rank is at fault."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from launch import note, report

import pyscale as ps
from pyscale.comm import bootstrap

LARGE = 500_000


class Fault:
    """One rank's view: whether it is the one at fault, and what the others get."""

    def __init__(self, timeout: float) -> None:
        ps.init(timeout=timeout)
        self.is_mine = ps.rank() == ps.world_size() - 1
        ps.barrier()
        note(f"ready.{ps.rank()}")

    def wait(self, call: Callable[[], object] = ps.barrier) -> None:
        """Make a call that cannot succeed, and report what comes of it."""
        start = time.monotonic()
        try:
            call()
            kind, message = "nothing", ""
        except (ps.CommError, KeyboardInterrupt) as error:
            kind, message = type(error).__name__, str(error)
        first = time.monotonic()
        try:  # the communicator is of no more use, and says so at once
            ps.all_reduce(np.ones(3))
            again = "nothing"
        except ps.CommError as error:
            again = type(error).__name__
        report(
            {
                "kind": kind,
                "message": message,
                "seconds": first - start,
                "again": again,
                "again_seconds": time.monotonic() - first,
            }
        )
        time.sleep(0.5)  # mpirun ends the job at the first rank that fails: let the others report too
        if self.is_mine:
            os._exit(0)  # MPI_Finalize would wait for those who have given up


def reduce_much() -> None:
    ps.all_reduce(np.ones(LARGE, np.float32))


def stopped() -> None:
    fault = Fault(timeout=1.5)
    if fault.is_mine:
        os.kill(os.getpid(), signal.SIGSTOP)
    fault.wait(reduce_much)


def late() -> None:
    fault = Fault(timeout=1.0)
    if fault.is_mine:
        time.sleep(2.0)
    fault.wait(lambda: ps.all_reduce(np.ones((2, 3), np.float32), "max"))


def late_async() -> None:
    fault = Fault(timeout=1.0)
    if fault.is_mine:
        time.sleep(2.0)
    fault.wait(lambda: ps.all_reduce_async(np.ones(7)).wait())


def killed() -> None:
    fault = Fault(timeout=3.0)
    if fault.is_mine:
        os.kill(os.getpid(), signal.SIGKILL)
    fault.wait(reduce_much)


def killed_and_nobody_catches_it() -> None:
    fault = Fault(timeout=30.0)
    if fault.is_mine:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
    ps.barrier()


def exits() -> None:
    fault = Fault(timeout=30.0)
    if not fault.is_mine:
        fault.wait()


def exits_by_sys_exit() -> None:
    fault = Fault(timeout=30.0)
    if fault.is_mine:
        sys.exit(3)
    fault.wait(reduce_much)


def exits_at_once() -> None:
    fault = Fault(timeout=30.0)
    if fault.is_mine:
        os._exit(0)
    fault.wait()


class Refusing:
    """MPI's communicator, on which nothing can be sent to the last rank any more."""

    def __init__(self, mpi: Any) -> None:
        self._mpi = mpi

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mpi, name)

    def Isend(self, message: object, rank: int, tag: int) -> object:
        from mpi4py import MPI

        if rank == self._mpi.size - 1:
            raise MPI.Exception(MPI.ERR_OTHER)
        return self._mpi.Isend(message, rank, tag)


def cannot_be_reached() -> None:
    """MPI fails to send to the last rank: before it is known that it died, or though it lives."""
    fault = Fault(timeout=30.0)
    if fault.is_mine:
        time.sleep(0.2)
        if sys.argv[2] == "died":
            os._exit(0)
        time.sleep(1.0)
    wire = vars(ps.world()._transport)["wire"]
    wire.mpi = Refusing(wire.mpi)
    fault.wait()


def shuts_down() -> None:
    fault = Fault(timeout=30.0)
    if fault.is_mine:
        ps.shutdown()
        time.sleep(1.0)
    else:
        fault.wait(lambda: ps.all_gather(np.ones(3)))


def raises() -> None:
    fault = Fault(timeout=30.0)
    if fault.is_mine:
        time.sleep(0.3)
        raise ValueError("the cause of it all")
    ps.barrier()


def raises_without_being_waited_for() -> None:
    fault = Fault(timeout=30.0)
    if fault.is_mine:
        raise ValueError("the cause of it all")
    time.sleep(20.0)  # busy with something else


def all_raise() -> None:
    Fault(timeout=30.0)
    raise ValueError("the cause of it all")


def mismatched() -> None:
    fault = Fault(timeout=30.0)
    ps.all_reduce(np.ones(3 + fault.is_mine))


def interrupted() -> None:
    fault = Fault(timeout=30.0)
    if fault.is_mine:
        time.sleep(20.0)
    else:
        note(f"waiting.{ps.rank()}")
        fault.wait()


def interrupted_and_nobody_catches_it() -> None:
    fault = Fault(timeout=30.0)
    if fault.is_mine:
        time.sleep(20.0)
    else:
        note(f"waiting.{ps.rank()}")
        ps.all_reduce(np.ones(LARGE))


def handles_signals() -> None:
    """A handler of the user's runs during a wait, which goes on."""
    fault = Fault(timeout=30.0)
    seen: list[float] = []
    signal.signal(signal.SIGALRM, lambda *_: seen.append(time.monotonic()))
    start = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    if fault.is_mine:
        time.sleep(1.0)
    ps.barrier()
    report({"handled": seen[0] - start if seen else None})


def forks() -> None:
    """A child process that ends as it likes takes nothing of its parent's with it."""
    fault = Fault(timeout=10.0)
    if fault.is_mine:
        child = os.fork()
        if child == 0:
            atexit._run_exitfuncs()
            os._exit(0)  # not sys.exit: mpi4py would finalize its parent's MPI, with pyscale or without
        os.waitpid(child, 0)
        time.sleep(0.5)
    total = ps.all_reduce(np.ones(LARGE, np.float32))
    report({"sum": float(total[-1])})


def thread_waits() -> None:
    """A failure reaches a rank that waits in a thread other than the first."""
    fault = Fault(timeout=30.0)
    if fault.is_mine:
        os.kill(os.getpid(), signal.SIGKILL)
    thread = threading.Thread(target=fault.wait)
    thread.start()
    thread.join()


# Where a rank can be lost outside the collectives on arrays: `at PLACE HOW`.


def end(how: str) -> None:
    """End this rank, or make it late."""
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(1.5)
    if how == "absent":
        os._exit(0)


def at() -> None:
    place, how = sys.argv[2:]
    fault = Fault(timeout=1.0 if how != "killed" else 30.0)
    world = ps.world()
    calls: dict[str, Callable[[], object]] = {
        "split": lambda: world.split(0),
        "MPI's split": lambda: world.split(0),
        "broadcast_object": lambda: world.broadcast_object("x" * LARGE, world.size - 1),
        "the middle of broadcast_object": lambda: world.broadcast_object("x" * LARGE, world.size - 1),
        "all_gather_object": lambda: world.all_gather_object("x" * LARGE),
    }
    if fault.is_mine:
        if place == "MPI's split":
            vars(bootstrap)["within"] = lambda *_: end(how)
        elif place == "the middle of broadcast_object":
            send = world._transport.broadcast

            def broadcast(x: np.ndarray, root: int, call: str = "") -> None:
                end(how) if x.nbytes >= LARGE else send(x, root, call)

            vars(world._transport)["broadcast"] = broadcast
        else:
            end(how)
    fault.wait(calls[place])


def in_init() -> None:
    """The job ends also where the exception of a rank that did not come is caught."""
    from mpi4py import MPI

    mine = MPI.COMM_WORLD.rank == MPI.COMM_WORLD.size - 1
    if mine:
        end(sys.argv[2])
    start = time.monotonic()
    try:
        ps.init(timeout=0.5)
    except ps.CommError as error:
        report({"kind": type(error).__name__, "message": str(error), "seconds": time.monotonic() - start})


def within_init() -> None:
    """The last rank dies after it was seen, and before the world is there."""
    from mpi4py import MPI

    if MPI.COMM_WORLD.rank == MPI.COMM_WORLD.size - 1:
        vars(bootstrap)[sys.argv[2]] = lambda *_, **__: end("killed")
    start = time.monotonic()
    try:
        ps.init(timeout=30.0)
    except ps.CommError as error:
        report({"kind": type(error).__name__, "message": str(error), "seconds": time.monotonic() - start})


def killed_in_shutdown() -> None:
    """A rank that nobody waits for is lost while the others leave."""
    fault = Fault(timeout=30.0)
    if fault.is_mine:
        time.sleep(0.5)
        report(time.monotonic())
        end("killed")
    ps.shutdown()


def gives_up_alone() -> None:
    """One rank gives up for want of the last, which is late to no call of its own."""
    fault = Fault(timeout=0.5)
    if ps.rank() == 0:
        fault.wait()
    time.sleep(1.5)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
