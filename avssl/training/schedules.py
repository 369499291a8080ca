"""Schedules of learning rate, weight decay and momentum, as functions of the step."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from avssl.runtime.checks import check_ranges

if TYPE_CHECKING:
    from avssl.training.recipe import Recipe

Schedule = Literal["cosine", "linear", "step", "constant"]
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


def scale(recipe: Recipe, batch_size: int) -> float:
    """Return by what the learning rates of a config are multiplied, with ``batch_size`` videos per forward pass."""
    return 1.0 if recipe.lr_per is None else batch_size * recipe.accumulate / recipe.lr_per


@dataclass(frozen=True)
class Timetable:
    """The schedules of a run.

    Args:
        recipe: see `avssl.training.Recipe`.
        schedule: of the learning rate after the warm-up.
        warmup: length over which the learning rate rises.
        steps: number of steps of the run.
        per_epoch: steps per epoch.
    """

    recipe: Recipe
    schedule: Schedule
    warmup: Length
    steps: int
    per_epoch: float = 1.0

    @property
    def rising(self) -> int:
        """The number of steps over which the learning rate rises, at least 1."""
        return max(1, in_steps(self.warmup, self.steps, self.per_epoch))

    @property
    def drops(self) -> list[int]:
        """The steps from which on ``schedule: step`` multiplies the learning rate once more."""
        return [in_steps(length, self.steps, self.per_epoch) for length in self.recipe.lr_steps]

    def rate(self, step: int, lr: float) -> float:
        """Return the learning rate of a step (from 0) relative to ``lr``, the one that the config gives."""
        recipe, rising = self.recipe, self.rising
        if step < rising:
            start = recipe.lr_start / lr
            return start + (1 - start) * ((step + 1) / rising)
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "step":
            return math.prod(recipe.lr_factor for drop in self.drops if step >= drop)
        falling = max(1, recipe.stretch * self.steps - rising)
        after = step - rising
        left = 0.5 * (1 + math.cos(math.pi * after / falling)) if self.schedule == "cosine" else 1 - after / falling
        end = recipe.lr_end / lr
        return end + (1 - end) * left

    def decay(self, step: int, weight_decay: float) -> float:
        """Return the weight decay of a step (from 0), which begins at ``weight_decay``, the optimiser's."""
        end = self.recipe.decay_end
        if end is None:
            return weight_decay
        done = step / (self.recipe.stretch * self.steps)
        return end + (weight_decay - end) * 0.5 * (1 + math.cos(math.pi * done))

    def momentum(self, start: float, progress: float) -> float:
        """Return the momentum of a momentum encoder that began at ``start``, at a progress of the run in [0, 1]."""
        recipe = self.recipe
        if recipe.ema == "constant":
            return start
        done = progress / recipe.stretch
        left = (math.cos(math.pi * done) + 1) / 2 if recipe.ema == "cosine" else 1 - done
        return recipe.ema_end - (recipe.ema_end - start) * left
