"""What a confidence means: the probability that an estimated offset is right, measured on recordings held out.

The confidence of an estimator has a scale of its own, on which a threshold can only be guessed. A calibration maps it
to the probability that the offset lies within 40 ms of the truth, as counted on recordings in sync whose sound was
shifted by known amounts, and on pairs of picture and sound that don't belong together, of which no estimate is right.

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

import numpy as np

from avssl.runtime.files import write_text

WITHIN = 0.04  # seconds from the truth at which an estimate is right
FOLDS = 5


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
            values = json.loads(path.read_text(encoding="utf-8"))
            values["reliability"] = tuple(Bin(**entry) for entry in values["reliability"])
            for name in ("confidences", "probabilities"):
                values[name] = tuple(values[name])
            return cls(**values)
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            remedy = "write one with `avssl build RECORDINGS_IN_SYNC -o FOLDER --calibrate`"
            raise ValueError(f"{path}: this is no calibration ({error}); {remedy}") from error


def fit(
    confidences: np.ndarray,
    right: np.ndarray,
    groups: np.ndarray,
    estimator: str,
    reach: float,
    seconds: float,
) -> Calibration:
    """Fit the map, and measure it on recordings that the fit doesn't see.

    Isotonic regression: the share of right estimates may only rise with confidence. The share of a step of n trials
    counts as (right + 1) / (n + 2), so that few trials never stand for certainty: 0.95 takes 18 without an error.

    Args:
        confidences: ``[N]`` of the estimates.
        right: ``[N]`` bool, whether each was within 40 ms.
        groups: ``[N]`` recording of each; they are whole in the folds that measure the reliability.
        estimator: see `Calibration`.
        reach: see `Calibration`.
        seconds: see `Calibration`.

    Raises:
        ValueError: with fewer than ten recordings.
    """
    number = len(np.unique(groups))
    if number < 2 * FOLDS:
        raise ValueError(f"a calibration needs at least {2 * FOLDS} recordings in sync, these are {number}: give more")
    steps = _steps(confidences, right)
    predicted = np.zeros(len(confidences))
    fold = np.unique(groups, return_inverse=True)[1] % FOLDS
    for part in range(FOLDS):
        own = fold == part
        lows, values = _steps(confidences[~own], right[~own])
        places = np.searchsorted(lows, confidences[own], side="right") - 1
        predicted[own] = values[places.clip(0)]
    return Calibration(
        estimator=estimator,
        reach=reach,
        seconds=seconds,
        confidences=tuple(steps[0].tolist()),
        probabilities=tuple(steps[1].tolist()),
        recordings=number,
        trials=len(confidences),
        reliability=_bins(predicted, right),
        brier=float(np.mean((predicted - right) ** 2)),
        brier_of_mean=float(np.mean((right.mean() - right) ** 2)),
    )


def _steps(confidences: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the confidences ``[K]`` at which the probability rises, and the probabilities ``[K]`` from there on."""
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(confidences, kind="stable")
    level = IsotonicRegression().fit_transform(confidences[order], right[order].astype(np.float64))
    starts = np.flatnonzero(np.diff(level, prepend=-1.0) > 1e-12)
    counts = np.diff(np.append(starts, len(level)))
    hits = np.add.reduceat(right[order].astype(np.int64), starts)
    return confidences[order][starts], np.maximum.accumulate((hits + 1) / (counts + 2))


def _bins(predicted: np.ndarray, right: np.ndarray, most: int = 10) -> tuple[Bin, ...]:
    parts: Sequence[np.ndarray] = np.array_split(np.argsort(predicted, kind="stable"), min(most, len(predicted)))
    return tuple(Bin(float(predicted[own].mean()), float(right[own].mean()), len(own)) for own in parts)
