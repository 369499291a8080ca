"""Lengths of a run and of its parts: in steps, in epochs, or as a share of the run."""

from __future__ import annotations

import re

from avssl.runtime.checks import check_ranges

Length = float | str  # a share of the run, "40 epochs" or "12000 steps"
UNSET = -1  # trainer.max_steps, if it is not given
UNITS = re.compile(r"(\d+(?:\.\d+)?) (epoch|step)s?")


def check_length(place: str, length: Length) -> None:
    """Raise `ValueError`, naming a config's ``place``, unless ``length`` is a share, epochs or steps."""
    if isinstance(length, str):
        if not UNITS.fullmatch(length):
            remedy = "expected a share in [0, 1], or a number with its unit: '40 epochs', '12000 steps'"
            raise ValueError(f"{place} is {length!r}: {remedy}")
    else:
        check_ranges("", {place: length}, **{place: "[0, 1]"})


def in_steps(length: Length, steps: int, per_epoch: float) -> int:
    """Return a length in steps, in a run of ``steps`` with ``per_epoch`` steps per epoch."""
    if not isinstance(length, str):
        return round(length * steps)
    found = UNITS.fullmatch(length)
    assert found is not None, length
    return round(float(found[1]) * (per_epoch if found[2] == "epoch" else 1))


def run_steps(max_steps: int, epochs: float | None, per_epoch: float) -> int:
    """Return the number of steps of a run, whose length is given by steps or by epochs.

    Raises:
        ValueError: if both or none is given, or there is no step.
    """
    if (max_steps == UNSET) == (epochs is None):
        both = "neither" if epochs is None else f"trainer.max_steps={max_steps} and epochs={epochs}"
        raise ValueError(f"a run's length is trainer.max_steps or epochs, got {both}: give one ({UNSET} or null: none)")
    if epochs is None:
        check_ranges("trainer", {"max_steps": max_steps}, max_steps="[1, inf)")
        return max_steps
    return max(1, round(epochs * per_epoch))
