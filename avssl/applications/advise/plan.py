"""How the time of an advice is divided between short trials, the best of them, and what has to follow."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

TRIALS = 0.5  # share of the time for training that goes into trials
TIMING = 20.0  # seconds in which the speed of a task is measured, its start included
SHORTEST = 25.0  # seconds: a trial that is shorter says nothing
REPORT = 12.0  # seconds for pictures and the report
LONG = 30.0  # minutes from which two tasks are continued, not one
ROOM = 0.95  # share of the steps that fit into the time which a run is given


@dataclass(frozen=True)
class Plan:
    """The trials that fit into a budget.

    Attributes:
        trials: number of tasks that are tried; 0 if there is no time for any.
        trial: seconds of training in each.
        judging: seconds that judging an encoder takes.
        finalists: number of tasks that are continued.
        reserve: seconds kept for what follows the trainings.
    """

    trials: int
    trial: float
    judging: float
    finalists: int
    reserve: float

    @property
    def each(self) -> float:
        """Seconds that a trial takes with all that belongs to it."""
        return TIMING + self.trial + self.judging

    def continued(self, left: float, trials: int) -> float:
        """Return the seconds for each finalist, with ``left`` seconds and a number of trials still to come."""
        return max(0.0, (left - self.reserve - trials * self.each) / self.finalists)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def make_plan(left: float, minutes: float, tasks: int, judging: float, labelled: bool) -> Plan:
    """Divide the time that is left.

    Args:
        left: seconds.
        minutes: of the whole budget.
        tasks: number of tasks that fit.
        judging: seconds that judging an encoder takes.
        labelled: whether a classifier is made at the end.
    """
    finalists = 2 if minutes >= LONG and tasks > 1 else 1
    reserve = REPORT + finalists * judging + (judging if labelled else 0)
    free = left - reserve
    shortest = TIMING + SHORTEST + judging
    trials = min(tasks, int(TRIALS * free / shortest)) or int(tasks > 0 and free >= shortest)
    trial = max(SHORTEST, TRIALS * free / trials - TIMING - judging) if trials else 0.0
    return Plan(trials, trial, judging, min(finalists, max(1, trials)), reserve)
