"""What the environment asks for: read by each rank, and the same on all."""

from __future__ import annotations

import numbers
import os
from collections.abc import Sequence
from dataclasses import dataclass

from pyscale import _core
from pyscale.comm.transports.agreement import who_said

# The values that a variable may have; the first is the default.
CHOICES = {
    "PYSCALE_TRANSPORT": ("auto", "shm", "mpi"),
    "PYSCALE_ALLREDUCE_ALGORITHM": ("auto", "eager", "one_shot", "two_shot", "direct"),
    "PYSCALE_CHECK_CALLS": ("1", "0"),
}


def setting(name: str) -> str:
    """Return the value of a variable; ValueError where it is none of its choices."""
    value, choices = os.environ.get(name) or CHOICES[name][0], CHOICES[name]
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
    return value


@dataclass(frozen=True)
class Settings:
    """One rank's settings.

    Attributes
    ----------
    values : tuple of str
        Of the variables, in the order of `CHOICES`.
    wrong : str
        What is wrong with them; empty where nothing is.
    """

    values: tuple[str, ...]
    wrong: str

    @classmethod
    def of_this_process(cls, timeout: float) -> Settings:
        """Read them, and check the time-out that was given to `init`."""
        try:
            if not isinstance(timeout, numbers.Real) or not timeout > 0:
                raise ValueError(
                    f"init: expected timeout to be a positive number of seconds, got {timeout!r}"
                )
            values = tuple(setting(name) for name in CHOICES)
            _core.isa()  # refuses a PYSCALE_ISA that this machine has not
        except ValueError as error:
            return cls((), str(error))
        return cls(values, "")


def agree(settings: Sequence[Settings]) -> dict[str, str]:
    """Return the settings of all ranks; ValueError, saying who has what, where one is wrong or differs."""

    def said(values: Sequence[str]) -> str:
        return who_said((value, rank) for rank, value in enumerate(values) if value)

    wrongs = [one.wrong for one in settings]
    if any(wrongs):
        raise ValueError(said(wrongs) if len(settings) > 1 else wrongs[0])
    for name, values in zip(CHOICES, zip(*(one.values for one in settings), strict=True), strict=True):
        if len(set(values)) > 1:
            raise ValueError(f"{name}: expected the same on every rank, got {said(values)}")
    return dict(zip(CHOICES, settings[0].values, strict=True))
