"""What a confidence means: the probability that an estimated offset is right, measured on recordings held out.

The confidence of an estimator has a scale of its own, on which a threshold can only be guessed. A calibration maps it
to the probability that the offset lies within 40 ms of the truth, as counted on recordings in sync whose sound was
shifted by known amounts, and on pairs of picture and sound that don't belong together, of which no estimate is right.
Estimates of one recording are right or wrong together, however its sound is shifted: a recording counts as one,
whatever the number of its trials.

>>> import numpy as np
>>> from avssl.sync.calibration import fit
>>> confidences = np.arange(200.0)
>>> found = fit(confidences, confidences >= 100, np.arange(200) // 4, "an estimator", 0.6, 2.4)
>>> found.probability(50.0) < 0.05, found.probability(150.0) > 0.95
(True, True)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avssl.runtime.files import write_text

WITHIN = 0.04  # seconds from the truth at which an estimate is right
FOLDS = 5
DRAWS = 100  # of recordings, for the lower bounds
LOWER = 0.05  # quantile of the draws


@dataclass(frozen=True)
class Bin:
    """Held-out trials of similar predicted probability."""

    predicted: float  # mean
    right: float  # share of estimates within 40 ms
    trials: int


@dataclass(frozen=True)
class Calibration:
    """A map from confidence to the probability that the offset is within 40 ms.

    Attributes:
        estimator: name of the estimator, with what its estimates depend on.
        reach: largest offset searched, in seconds.
        seconds: length of the clips; shorter ones carry less evidence than was measured.
        confidences: ``[K]`` ascending.
        probabilities: ``[K]`` ascending; each holds from its confidence to the next.
        recordings: number of recordings it rests on.
        trials: number of estimates.
        reliability: predictions for recordings that were left out, against what was right.
        brier: mean squared error of those predictions.
        brier_of_mean: the same of one probability for all, the share that was right.
        lower: ``[K]`` probabilities that 95 of 100 draws of as many recordings, with replacement, exceed in the middle
            of each step; empty in files of before.
        clips: clips that each estimate rests on.
        together: the same of estimates from all clips of a recording together; None if most have only one.
    """

    estimator: str
    reach: float
    seconds: float
    confidences: tuple[float, ...]
    probabilities: tuple[float, ...]
    recordings: int
    trials: int
    reliability: tuple[Bin, ...] = ()
    brier: float = float("nan")
    brier_of_mean: float = float("nan")
    lower: tuple[float, ...] = ()
    clips: int = 1
    together: Calibration | None = None

    def probability(self, confidence: float) -> float:
        """Return the probability that an estimate of this confidence is within 40 ms of the truth."""
        place = int(np.searchsorted(self.confidences, confidence, side="right")) - 1
        return self.probabilities[max(place, 0)]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is no calibration.
        """
        try:
            return cls._of(json.loads(path.read_text(encoding="utf-8")))
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            remedy = "write one with `avssl build RECORDINGS_IN_SYNC -o FOLDER --calibrate`"
            raise ValueError(f"{path}: this is no calibration ({error}); {remedy}") from error

    @classmethod
    def _of(cls, values: dict[str, Any]) -> Calibration:
        """Make one of what JSON holds."""
        made: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        made["reliability"] = tuple(Bin(**entry) for entry in values["reliability"])
        together = values.get("together")
        return cls(**{**made, "together": None if together is None else cls._of(together)})


def fit(
    confidences: np.ndarray,
    right: np.ndarray,
    groups: np.ndarray,
    estimator: str,
    reach: float,
    seconds: float,
    clips: int = 1,
) -> Calibration:
    """Fit the map, and measure it on recordings that the fit doesn't see.

    Isotonic regression: the share of right estimates may only rise with confidence. Each recording has the same weight,
    shared by its trials. The share of a step in which n recordings have trials counts as (n share + 1) / (n + 2), so
    that few recordings never stand for certainty: 0.95 takes 18 without an error.

    Args:
        confidences: ``[N]`` of the estimates.
        right: ``[N]`` bool, whether each was within 40 ms.
        groups: ``[N]`` recording of each; they are whole in the folds that measure the reliability.
        estimator: see `Calibration`.
        reach: see `Calibration`.
        seconds: see `Calibration`.
        clips: see `Calibration`.

    Raises:
        ValueError: with fewer than ten recordings.
    """
    members = np.unique(groups, return_inverse=True)[1]  # [N]
    number = int(members.max(initial=-1)) + 1
    if number < 2 * FOLDS:
        raise ValueError(f"a calibration needs at least {2 * FOLDS} recordings in sync, these are {number}: give more")
    lows, values = _steps(confidences, right, members)
    predicted = np.zeros(len(confidences))
    for part in range(FOLDS):
        own = members % FOLDS == part
        predicted[own] = _look_up(*_steps(confidences[~own], right[~own], members[~own]), confidences[own])
    weights = 1 / np.bincount(members)[members]
    mean = np.average(right, weights=weights)
    return Calibration(
        estimator=estimator,
        reach=reach,
        seconds=seconds,
        confidences=tuple(lows.tolist()),
        probabilities=tuple(values.tolist()),
        recordings=number,
        trials=len(confidences),
        reliability=_bins(predicted, right),
        brier=float(np.average((predicted - right) ** 2, weights=weights)),
        brier_of_mean=float(np.average((mean - right) ** 2, weights=weights)),
        lower=tuple(_lower(confidences, right, members, _middles(lows, confidences)).tolist()),
        clips=clips,
    )


def _steps(
    confidences: np.ndarray, right: np.ndarray, members: np.ndarray, times: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the confidences ``[K]`` at which the probability rises, and the probabilities ``[K]`` from there on.

    ``times`` is how many times each recording counts; once by default.
    """
    from scipy.optimize import isotonic_regression

    if times is not None:
        drawn = times[members] > 0
        confidences, right, members = confidences[drawn], right[drawn], members[drawn]
    size = int(members.max()) + 1
    times = np.ones(size) if times is None else times[:size].astype(np.float64)
    heights, place = np.unique(confidences, return_inverse=True)
    weights = (times / np.bincount(members).clip(1))[members]
    each = np.bincount(place, weights)
    level = isotonic_regression(np.bincount(place, weights * right) / each, weights=each).x  # [heights]
    rises = np.diff(level, prepend=-1.0) > 1e-12
    pairs = np.unique((np.cumsum(rises) - 1)[place] * size + members)  # of a step and a recording with trials in it
    counts = np.bincount(pairs // size, times[pairs % size])  # [K] recordings of each step
    return heights[rises], np.maximum.accumulate((counts * level[rises] + 1) / (counts + 2))


def _look_up(lows: np.ndarray, values: np.ndarray, confidences: np.ndarray) -> np.ndarray:
    return values[(np.searchsorted(lows, confidences, side="right") - 1).clip(0)]


def _middles(lows: np.ndarray, confidences: np.ndarray) -> np.ndarray:
    """Return the median confidence ``[K]`` of the trials of each step."""
    step = np.searchsorted(lows, confidences, side="right") - 1
    return np.array([np.median(confidences[step == number]) for number in range(len(lows))])


def _lower(confidences: np.ndarray, right: np.ndarray, members: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the lower bounds ``[K]`` of the probabilities at ``[K]`` confidences, over draws of recordings."""
    rng, number, drawn = np.random.default_rng(0), int(members.max()) + 1, []
    for _ in range(DRAWS):
        times = np.bincount(rng.integers(number, size=number), minlength=number)
        drawn.append(_look_up(*_steps(confidences, right, members, times), places))
    return np.quantile(drawn, LOWER, axis=0)


def _bins(predicted: np.ndarray, right: np.ndarray, most: int = 10) -> tuple[Bin, ...]:
    parts: Sequence[np.ndarray] = np.array_split(np.argsort(predicted, kind="stable"), min(most, len(predicted)))
    return tuple(Bin(float(predicted[own].mean()), float(right[own].mean()), len(own)) for own in parts)
