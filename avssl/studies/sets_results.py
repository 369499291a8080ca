"""Results of a study over several sets: accuracies, gains, and what they are over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from avssl.evaluation.metrics import gain
from avssl.evaluation.report import summaries
from avssl.evaluation.results import Results, Score, Summary


@dataclass(frozen=True)
class Found:
    """Results of a study: by set and method, its runs' results under the set's first protocol.

    Attributes:
        results: by set, then method, in the order of the plan; without those that have not been run.
        over: name of the method over which gains are also shown.
    """

    results: Mapping[str, Mapping[str, Sequence[Results]]]
    over: str | None = None
    read_outs: list[str] = field(init=False)

    def __post_init__(self) -> None:
        every = [run for methods in self.results.values() for runs in methods.values() for run in runs]
        names = {name: None for run in every for name, found in summaries(run, "pretrained").items() if _usable(found)}
        object.__setattr__(self, "read_outs", list(names))

    @property
    def methods(self) -> list[str]:
        """Methods that have a result on some set."""
        return list({method: None for methods in self.results.values() for method in methods})

    def runs(self, on: str, method: str, read_out: str, who: str = "pretrained") -> list[Summary]:
        """Return the summaries of a method's runs."""
        found = [summaries(run, who).get(read_out) for run in self.results[on].get(method, [])]
        return [one for one in found if isinstance(one, Summary) and one.hits is not None]

    def value(self, on: str, method: str, read_out: str) -> float:
        """Return the mean accuracy over runs, NaN without any."""
        return float(np.mean([one.top1.value for one in self.runs(on, method, read_out)] or [np.nan]))

    def gain(self, on: str, method: str, read_out: str) -> Score | None:
        """Return the gain over the same network untrained or, where a read-out trains it, from scratch."""
        ours = self.runs(on, method, read_out)
        fresh = (self.runs(on, method, read_out, who) for who in ("random_init", "from_scratch"))
        base = next((found[-1] for found in fresh if found), None)
        return gain(ours, base) if ours and base is not None else None

    def above(self, on: str, method: str, read_out: str) -> Score | None:
        """Return the gain over the method `over`."""
        theirs = self.runs(on, self.over, read_out) if self.over is not None and method != self.over else []
        ours = self.runs(on, method, read_out)
        return gain(ours, theirs[0]) if ours and theirs else None


def _usable(found: Any) -> bool:
    return isinstance(found, Summary) and found.hits is not None
