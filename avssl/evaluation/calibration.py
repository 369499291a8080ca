"""Calibration of class probabilities: a temperature, and how far probabilities are from how often they are right.

C. Guo et al.: On Calibration of Modern Neural Networks. ICML 2017 (section 2: reliability and ECE; 4.2: temperature).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from avssl.evaluation.metrics import Prediction

BINS = 10
LEAST = 1e-7  # smallest probability that counts, so that one certain mistake does not decide everything
REACH = 3.0  # temperatures lie between exp(-REACH) and exp(REACH)

Numbers = NDArray[np.float64]
Labels = NDArray[np.signedinteger]


@dataclass(frozen=True)
class Reliability:
    """How often predictions of a probability are right, by bins of equal width over [0, 1].

    Attributes:
        count: ``[BINS]`` predictions.
        stated: ``[BINS]`` their mean probability; 0 in an empty bin.
        right: ``[BINS]`` share of them that is right; 0 in an empty bin.
    """

    count: Sequence[int]
    stated: Sequence[float]
    right: Sequence[float]

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance between both, weighted by the number of predictions."""
        count, stated, right = (np.asarray(part) for part in (self.count, self.stated, self.right))
        return float((count * np.abs(stated - right)).sum() / count.sum())


@dataclass(frozen=True)
class Calibration:
    """Temperature of a classifier, and what it does.

    Attributes:
        temperature: fitted on the predictions of all test videos, each by the classifier of its own fold.
        before: reliability of these predictions.
        after: the same, each fold with the temperature of the other folds' predictions.
    """

    temperature: float
    before: Reliability
    after: Reliability


def temper(probabilities: Numbers, temperature: float) -> Numbers:
    """Divide the logarithms of class probabilities ``[V, K]``, which sum to 1, by a temperature; they do so again."""
    logits = np.log(np.maximum(probabilities, LEAST)) / temperature
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def temper_each(probabilities: Numbers, temperature: float) -> Numbers:
    """Divide the log-odds of probabilities ``[V, K]`` that each class is shown by a temperature."""
    inside = np.clip(probabilities, LEAST, 1 - LEAST)
    return 1 / (1 + np.exp(-np.log(inside / (1 - inside)) / temperature))


def fit_temperature(probabilities: Numbers, labels: Labels) -> float:
    """Return the temperature with the smallest mean negative log-likelihood of the labels.

    Args:
        probabilities: ``[V, K]``.
        labels: ``[V]`` classes; with several classes per video ``[V, K]`` of 1 and -1.
    """

    def loss(log_temperature: float) -> float:
        if labels.ndim == 1:
            found = temper(probabilities, float(np.exp(log_temperature)))[np.arange(len(labels)), labels]
        else:
            shown = temper_each(probabilities, float(np.exp(log_temperature)))
            found = np.where(labels > 0, shown, 1 - shown)
        return float(-np.log(np.maximum(found, LEAST)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-REACH, REACH), method="bounded").x))


def reliability(probabilities: Numbers, labels: Labels) -> Reliability:
    """Sort predictions into bins: the likeliest class of each video, or every class of videos that show several."""
    if labels.ndim == 1:
        stated, right = probabilities.max(1), probabilities.argmax(1) == labels
    else:
        stated, right = probabilities.ravel(), (labels > 0).ravel()
    places = np.minimum((stated * BINS).astype(int), BINS - 1)
    count = np.bincount(places, minlength=BINS)
    sums = [np.bincount(places, weights=values, minlength=BINS) for values in (stated, right)]
    means = [np.divide(values, count, out=np.zeros(BINS), where=count > 0).tolist() for values in sums]
    return Reliability(count.tolist(), *means)


def calibrate(predictions: Sequence[Prediction]) -> Calibration:
    """Fit a temperature on predictions of the test videos of each fold, and measure what it changes.

    A video's probabilities are the mean over its views.
    """
    scores = [one.scores.mean(1).astype(np.float64) for one in predictions]
    labels = [one.labels for one in predictions]
    apply = temper if labels[0].ndim == 1 else temper_each
    after = []
    for place, values in enumerate(scores):
        others = [number for number in range(len(scores)) if number != place] or [place]
        known = [np.concatenate([part[number] for number in others]) for part in (scores, labels)]
        after.append(apply(values, fit_temperature(*known)))
    every, marks = np.concatenate(scores), np.concatenate(labels)
    return Calibration(
        fit_temperature(every, marks), reliability(every, marks), reliability(np.concatenate(after), marks)
    )
