"""Schedules of learning rate, weight decay and momentum, as functions of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from avssl.recipe.lengths import Length, in_steps
from avssl.recipe.recipe import Recipe

Schedule = Literal["cosine", "linear", "step", "constant"]


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
