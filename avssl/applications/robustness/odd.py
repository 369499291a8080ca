"""Strange classes: test videos of classes that were left out of training, told by a classifier of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from avssl.applications.detection import areas
from avssl.applications.robustness.results import TUNED, TURNS, Odd
from avssl.applications.robustness.testing import CLEAN, answers
from avssl.applications.robustness.training import Trainer, fit_handmade
from avssl.evaluation.metrics import interval
from avssl.evaluation.results import Score
from avssl.evaluation.training_clips import Pixels

OURS = "turns: -KL(U||p) + turn cost"
LEAST = 1e-7  # smallest probability that counts
WEIGHT = 1.0  # of the turn task (Hendrycks et al., NeurIPS 2019, section 5)
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def halves(classes: int, divisions: int) -> list[list[int]]:
    """Draw the classes that are left in, half of all, so many times; none with fewer than four classes."""
    rng = np.random.default_rng(0)
    drawn = [sorted(rng.permutation(classes)[: classes // 2].tolist()) for _ in range(divisions)]
    return drawn if classes >= 4 else []


@dataclass(frozen=True)
class Divided:
    """Scores of a fold's test videos under one division of the classes.

    Attributes:
        scores: ``[V]`` by name, higher where a video seems strange.
        odd: ``[V]`` whether its class was left out.
    """

    scores: dict[str, Floats]
    odd: NDArray[np.bool_]

    @staticmethod
    def summary(
        divisions: Sequence[Sequence[Divided]], classes: Sequence[Sequence[str]], groups: Ints
    ) -> Odd | str | None:
        """Average the areas over divisions, each of which has one part per fold; ``groups`` are ``[V]``.

        The intervals draw whole groups, the same for all scores.
        """
        if not divisions:
            return None
        if not classes:
            return "strange classes need at least four classes, so that two are left in"
        names = list(divisions[0][0].scores)
        scores = [[np.concatenate([fold.scores[name] for fold in folds]) for name in names] for folds in divisions]
        odd = [[np.concatenate([fold.odd for fold in folds])] * len(names) for folds in divisions]
        found_areas, draws = areas(np.concatenate(scores), np.concatenate(odd), groups.tolist())  # by division and name
        area = found_areas.reshape(len(divisions), len(names)).mean(0)
        drawn = draws.reshape(len(draws), len(divisions), len(names)).mean(1)
        found = {name: Score(float(area[at]), interval(drawn[:, at])) for at, name in enumerate(names)}
        first = names.index(OURS)
        gain = {
            name: Score(float(area[first] - area[at]), interval(drawn[:, first] - drawn[:, at]))
            for at, name in enumerate(names)
            if name != OURS
        }
        return Odd(found, gain, classes)


def judged(
    trainer: Trainer, pixels: Pixels, described: NDArray[np.float32], rows: Ints, tested: Ints, inside: Sequence[int]
) -> Divided:
    """Train on the classes ``inside`` alone, and score test videos of all classes.

    Args:
        trainer: makes the classifiers; the weight of the turn task is 1.
        pixels: all videos.
        described: hand-made features of ``rows``.
        rows: training videos.
        tested: test videos.
        inside: numbers of the classes that are left in.
    """
    known = np.isin(pixels.labels[rows], inside)
    numbers = np.searchsorted(inside, pixels.labels)
    few = replace(pixels, labels=np.where(np.isin(pixels.labels, inside), numbers, -1), classes=len(inside))
    own = replace(trainer, turn_weight=WEIGHT)
    networks = [own.train(kind, few, rows[known], 0) for kind in (TUNED, TURNS)]
    baseline = fit_handmade(described[known], few.labels[rows[known]])
    tuned, turns, hand = answers(networks, [baseline], few, tested, damaged=False)
    assert turns.turn_costs is not None
    chances = np.log(np.maximum(turns.probabilities[CLEAN], LEAST))
    # KL(U||p) = -log K - mean_k log p_k
    scores = {OURS: chances.mean(1) + np.log(len(inside)) + turns.turn_costs}
    for name, one in (("turns: softmax", turns), ("fine_tuned: softmax", tuned), ("handmade: softmax", hand)):
        scores[name] = -one.probabilities[CLEAN].max(1)
    return Divided(scores, ~np.isin(pixels.labels[tested], inside))
