"""How accuracy grows with the number of labels, and what more of them would bring.

The error falls with the number n of labels per class about as a power, a + b n^-c (C. Cortes et al.: Learning Curves:
Asymptotic Values and Rate of Convergence. NIPS 1993; J. Hestness et al.: Deep Learning Scaling is Predictable,
Empirically. 2017, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avssl.evaluation.layout import Layouts, MeanOfShapes
from avssl.evaluation.metrics import interval, units_of
from avssl.evaluation.probes import LinearProbe, draw_labels
from avssl.evaluation.readout import Scores, TooFewLabels, predictions
from avssl.evaluation.results import Interval
from avssl.evaluation.splits import Fold, Folds

FOLDS = 20  # most folds
DRAWS = 25  # of the labels, over all folds; but at least `LEAST` in each
LEAST = 3
POINTS = 3  # fewest numbers of labels through which a curve is drawn
POWERS = np.geomspace(0.05, 2.0, 100)  # candidates for c
RESAMPLES = 500

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Accuracy over labels per class.

    Attributes:
        shots: N numbers of labels per class that were tried.
        accuracy: of each.
        ci95: interval of each, over groups of videos and draws of the labels.
        labels: labels per class that there are (the median over classes).
        ahead: numbers of labels per class beyond, 2 and 4 times as many.
        reached: accuracy that the fitted curve reaches with ``labels`` and then with each of ``ahead``.
        gained: intervals of what each of ``ahead`` gains over ``labels``.
        fitted: (a, b, c) of the error a + b n^-c.
    """

    shots: Sequence[int]
    accuracy: Sequence[float]
    ci95: Sequence[Interval]
    labels: int
    ahead: Sequence[int]
    reached: Sequence[float]
    gained: Sequence[Interval]
    fitted: Sequence[float]

    def words(self) -> str:
        """Say what more labels would bring, and how far that can be trusted."""
        now, *later = self.reached
        lines = [
            f"{count} would give about {value:.3f} (gain {value - now:+.3f}, 95 % interval {low:+.3f} to {high:+.3f})"
            for count, value, (low, high) in zip(self.ahead, later, self.gained, strict=True)
        ]
        verdict = (
            "More labels of the same kind pay."
            if self.gained[0][0] > 0.01
            else "How much more labels of the same kind pay can't be told from so few."
            if self.gained[0][1] > 0.02
            else "More labels of the same kind hardly pay: another encoder, or clips of another kind, may."
        )
        return (
            f"measured up to {self.shots[-1]} labels a class in training ({self.accuracy[-1]:.3f}). If the curve goes "
            f"on as it did, the {self.labels} of this classifier give {now:.3f}; {'; '.join(lines)}. {verdict} "
            f"This is extrapolated from {len(self.shots)} points: the interval covers which labels were drawn and "
            "which videos were tested, not that the curve may bend or that new videos differ"
        )


@dataclass(frozen=True)
class FewOfShapes:
    """Mean of linear probes on all shapes, on ``shots`` labelled videos per class drawn with the seed ``draw``."""

    shots: int
    draw: int
    strengths: Mapping[str, float]

    def scores(self, source: Layouts, fold: Fold) -> Scores:
        """Return class probabilities."""
        drawn = draw_labels(source.labels, fold, self.shots, self.draw)
        if drawn is None:
            raise TooFewLabels(f"{fold.name}: a class has fewer than {self.shots} training videos")
        mean = MeanOfShapes(LinearProbe())
        return Scores(mean.predict(source, drawn, fold.test, self.strengths, scale_on=fold.train))


def learning_curve(source: Layouts, folds: Folds, strengths: Mapping[str, float]) -> Curve | str:
    """Measure the mean of linear probes on 1, 2, 4, ... labels per class, and extrapolate.

    Args:
        source: features, with one class per video.
        folds: where to test; at most `FOLDS` of them are used.
        strengths: C of the probe on each shape.

    Returns:
        The curve, or why there is none.
    """
    folds = folds.spread(FOLDS)
    counts = [np.bincount(source.labels[list(fold.train)], minlength=source.first.classes) for fold in folds.folds]
    most = int(np.min(counts))
    shots = sorted({*(2**power for power in range(12) if 2**power < most), most} - {0})
    if len(shots) < POINTS:
        least = 2 ** (POINTS - 2) + 1
        return f"a class has {most} training video(s) in a fold, and a curve takes at least {least}: label some more"
    draws = range(max(LEAST, DRAWS // len(folds.folds)))
    hits = []  # [draws, tested videos] for each number of labels
    for count in shots:
        runs = predictions([FewOfShapes(count, draw, strengths) for draw in draws], [source], folds)
        right = [np.concatenate([one.scores.mean(1).argmax(1) == one.labels for one in run]) for run in runs]
        hits.append(np.stack(right).astype(np.float64))
    tested = [folds.groups[row] for fold in folds.folds for row in fold.test]
    drawn = _resampled(np.stack(hits), tested)
    labels = int(np.median(np.bincount(source.labels[folds.rows], minlength=source.first.classes)))
    ahead = (2 * labels, 4 * labels)
    at = (labels, *ahead)
    accuracy = np.stack(hits).mean((1, 2))
    fitted = fit_power(shots, 1 - accuracy)
    ours = 1 - power(at, fit_power(shots, 1 - drawn))  # [resamples, 1 + ahead]
    gained = [interval(ours[:, place] - ours[:, 0]) for place in range(1, len(at))]
    spread = [interval(drawn[:, place]) for place in range(len(shots))]
    reached = (1 - power(at, fitted)).tolist()
    return Curve(shots, accuracy.tolist(), spread, labels, ahead, reached, gained, fitted.tolist())


def power(counts: Sequence[int] | Numbers, fitted: Sequence[float] | Numbers) -> Numbers:
    """Return the errors a + b n^-c, ``[..., N]``, of N numbers of labels n and (a, b, c), ``[..., 3]``."""
    a, b, c = np.moveaxis(np.asarray(fitted)[..., None], -2, 0)
    return a + b * np.asarray(counts, dtype=np.float64) ** -c


def fit_power(shots: Sequence[int], errors: Numbers) -> Numbers:
    """Fit a + b n^-c with a, b >= 0 to errors ``[..., N]`` by least squares; return (a, b, c), ``[..., 3]``."""
    rows = errors.reshape(-1, len(shots))
    mean, best = rows.mean(1), np.zeros((len(rows), 3))
    least = np.full(len(rows), np.inf)
    for c in POWERS:
        x = np.asarray(shots, dtype=np.float64) ** -c
        centred, none = x - x.mean(), np.zeros(len(rows))
        slope = rows @ centred / (centred @ centred)
        for a, b in ((mean - slope * x.mean(), slope), (none, rows @ x / (x @ x)), (mean, none)):
            loss = np.where((a >= 0) & (b >= 0), ((a[:, None] + b[:, None] * x - rows) ** 2).sum(1), np.inf)
            better = loss < least
            least[better] = loss[better]
            best[better] = np.stack([a, b, np.full(len(rows), c)], 1)[better]
    return best.reshape(*errors.shape[:-1], 3)


def _resampled(hits: Numbers, groups: Sequence[str]) -> Numbers:
    """Draw groups of videos and draws of labels: accuracies ``[RESAMPLES, N]`` of hits ``[N, draws, V]``."""
    rng, units = np.random.default_rng(0), units_of(groups)
    number = units.max() + 1
    found = []
    for _ in range(RESAMPLES):
        weights = np.bincount(rng.integers(number, size=number), minlength=number)[units]
        chosen = rng.integers(hits.shape[1], size=hits.shape[1])
        found.append((hits[:, chosen].mean(1) * weights).sum(1) / weights.sum())
    return np.array(found)
