"""Accuracies with intervals, from the scores of views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from avssl.evaluation.results import Accuracy, Score, Summary

RESAMPLES = 2000
AT_ONCE = 100_000  # numbers that are resampled together


@dataclass(frozen=True)
class Prediction:
    """Scores of a read-out for the test videos of one fold.

    Attributes:
        fold: name of the fold.
        part: name of the fold's part.
        videos: ``[V]`` positions in the collection.
        labels: ``[V]`` classes; with several classes per video ``[V, K]`` of 1, 0 and -1.
        scores: ``[V, M, K]`` class probabilities of the M views of each video.
        chosen: hyperparameter chosen in this fold, None if nothing is chosen.
    """

    fold: str
    part: str
    videos: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    chosen: Any = None


@dataclass(frozen=True)
class Scoring:
    """How the scores of a video's views become one, and whether videos without any class count.

    Args:
        views: a video's score is the mean over its views or, as is usual on Charades, the largest.
        empty: with several classes per video, a test video that shows none of them is a ``negative`` of every class, or
            ``ignored``, as in Charades' own evaluation, which ranks such videos behind all others.
    """

    views: Literal["mean", "max"] = "mean"
    empty: Literal["negative", "ignored"] = "negative"

    def pool(self, scores: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Return one score per video and class, ``[V, K]``, of those of its views ``[V, M, K]``."""
        return scores.mean(1) if self.views == "mean" else scores.max(1)

    def counted(self, present: NDArray[np.signedinteger]) -> NDArray[np.signedinteger]:
        """Return the labels ``[V, K]`` of test videos, 0 where they are ignored."""
        if self.empty == "negative":
            return present
        return np.where((present > 0).any(1, keepdims=True), present, 0)


def summarise(
    runs: Sequence[Sequence[Prediction]],
    groups: Sequence[str],
    seed: int = 0,
    scoring: Scoring = Scoring(),
) -> Summary:
    """Compute accuracies over all folds, from one list of predictions per seed with one prediction per fold.

    The class predicted for a video is the one with the largest probability, by default the mean over its views. The
    bootstrap resamples ``groups``, which has the group of each video of the collection.
    """
    classes = runs[0][0].scores.shape[2]
    ranks = {name: rank for name, rank in (("top1", 1), ("top5", 5)) if rank < classes}
    hits = {
        level: {
            name: [[_hits(one, level, rank, scoring) for one in run] for run in runs] for name, rank in ranks.items()
        }
        for level in ("video", "clip")
    }
    levels = {
        level: {name: _accuracy(runs, marked, groups, seed) for name, marked in ranked.items()}
        for level, ranked in hits.items()
    }
    confusion = np.zeros((classes, classes), dtype=np.int64)
    for run in runs:
        for prediction in run:
            np.add.at(confusion, (prediction.labels, scoring.pool(prediction.scores).argmax(1)), 1)
    seen = confusion.sum(1)
    units = units_of([groups[index] for prediction in runs[0] for index in prediction.videos])
    chosen = [[prediction.chosen for prediction in run] for run in runs]
    return Summary(
        **levels,
        mean_per_class=float((confusion.diagonal()[seen > 0] / seen[seen > 0]).mean()),
        confusion=confusion.tolist(),
        hits=["".join(map(str, np.concatenate(run).astype(int))) for run in hits["video"]["top1"]],
        units=units.tolist() if len(np.unique(units)) < len(units) else None,
        chosen=None if chosen[0][0] is None else chosen,
    )


def gain(ours: Sequence[Summary], base: Summary, seed: int = 0) -> Score | None:
    """Compare the runs of a method with a baseline tested on the same videos.

    The same videos are easy or hard for both sides, so this interval is narrower than comparing the two accuracies'
    own intervals suggests.

    Returns:
        Difference of the video top-1 accuracies. Its interval draws groups for both sides at once, and the runs and the
        baseline's seeds independently. None if a result is older than ``hits``.

    Raises:
        ValueError: if they were not tested on the same groups of videos.
    """
    if base.hits is None or any(one.hits is None for one in ours):
        return None
    if any(one.units != base.units or len(row) != len(base.hits[0]) for one in ours for row in one.hits or ()):
        raise ValueError("accuracies can only be compared on the same videos")
    runs, fresh = marks([row for one in ours for row in one.hits or ()]), marks(base.hits)
    units = np.arange(runs.shape[1]) if base.units is None else units_of(base.units)
    rng = np.random.default_rng(seed)
    drawn = _draws(units, rng)
    means = [np.mean([one.top1.value for one in side]) for side in (ours, [base])]
    spread = _resampled(runs, units, drawn, rng) - _resampled(fresh, units, drawn, rng)
    return Score(float(means[0] - means[1]), interval(spread))


def both_right(first: Summary, second: Summary, seed: int = 0) -> Score:
    """Return the share of videos that are right under both of two labellings, such as verbs and nouns of EPIC-KITCHENS.

    That is the accuracy of actions, an action being a verb and a noun, with two classifiers.

    Raises:
        ValueError: if they were not tested on the same videos with as many seeds, or are older than ``hits``.
    """
    if first.hits is None or second.hits is None:
        raise ValueError("results without hits: evaluate again")
    sides = marks(first.hits), marks(second.hits)
    if sides[0].shape != sides[1].shape:
        raise ValueError(f"{sides[0].shape} and {sides[1].shape} (seeds, tested videos) can't be compared")
    right = sides[0] * sides[1]
    units = list(range(right.shape[1])) if first.units is None else list(first.units)
    return Score(float(right.mean()), bootstrap(right, units, seed))


def marks(hits: Sequence[str]) -> NDArray[np.float64]:
    """Turn the S strings of ``Summary.hits`` into ``[S, V]``: 1 where a tested video was right."""
    return np.array([[int(mark) for mark in row] for row in hits], dtype=np.float64)


def bootstrap(values: NDArray[np.float64], groups: Sequence[str] | Sequence[int], seed: int) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of ``values [S, V]`` (S seeds, V tested videos).

    It comes from 2000 resamples of seeds and of whole groups, of which there is one per video.
    """
    units, rng = units_of(groups), np.random.default_rng(seed)
    return interval(_resampled(values, units, _draws(units, rng), rng))


def interval(draws: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Return the 2.5 and 97.5 % percentiles."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def over_folds(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % Student-t interval of a mean over folds; only a guide, as folds share training videos."""
    spread = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return float(np.mean(values) - spread), float(np.mean(values) + spread)


def units_of(groups: Sequence[str] | Sequence[int]) -> NDArray[np.int64]:
    """Return the number of each video's group, from 0, ``[V]``."""
    return np.unique(np.asarray(groups), return_inverse=True)[1]


def _draws(units: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw G units with replacement, 2000 times: ``[2000, G]``."""
    number = len(np.unique(units))
    return rng.integers(number, size=(RESAMPLES, number))


def _resampled(
    values: NDArray[np.float64], units: NDArray[np.int64], drawn: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Average ``values [S, V]`` over the videos of the drawn units and over seeds drawn here: ``[2000]``."""
    counts = np.bincount(units)
    sums = np.stack([np.bincount(units, row) for row in values])  # [S, G]
    runs, means = rng.integers(len(values), size=(RESAMPLES, len(values))), []
    together = max(1, AT_ONCE // sums.size)
    for some in (slice(start, start + together) for start in range(0, RESAMPLES, together)):
        over_seeds = sums[runs[some]].mean(1)  # [some, G]
        drawn_sums = np.take_along_axis(over_seeds, drawn[some], axis=1)
        means.append(drawn_sums.sum(1) / counts[drawn[some]].sum(1))
    return np.concatenate(means)


def _hits(prediction: Prediction, level: str, rank: int, scoring: Scoring) -> NDArray[np.float64]:
    """Return ``[V]``: 0 or 1 for videos; for clips the share of a video's views that are right."""
    scores = scoring.pool(prediction.scores)[:, None] if level == "video" else prediction.scores
    best = np.argsort(-scores, axis=2, kind="stable")[:, :, :rank]  # [V, M, rank]
    return (best == prediction.labels[:, None, None]).any(2).mean(1)


def _accuracy(
    runs: Sequence[Sequence[Prediction]],
    hits: Sequence[Sequence[NDArray[np.float64]]],
    groups: Sequence[str],
    seed: int,
) -> Accuracy:
    folds = runs[0]
    per_fold = np.array([[values.mean() for values in run] for run in hits])  # [seeds, folds]
    parts = sorted({fold.part for fold in folds})
    per_part = {part: per_fold[:, [fold.part == part for fold in folds]].mean(1) for part in parts}  # [seeds] each
    per_seed = np.mean(list(per_part.values()), axis=0)
    pooled = np.stack([np.concatenate(run) for run in hits])  # [seeds, all tested videos]
    tested = [groups[index] for fold in folds for index in fold.videos]
    return Accuracy(
        float(per_seed.mean()),
        bootstrap(pooled, tested, seed),
        pooled=float(pooled.mean()),
        per_seed=per_seed.tolist(),
        per_fold={fold.fold: float(value) for fold, value in zip(folds, per_fold.mean(0), strict=True)},
        ci95_folds=over_folds(per_fold.mean(0).tolist()) if len(folds) > 1 else None,
        per_part={part: float(values.mean()) for part, values in per_part.items()} if len(parts) > 1 else None,
    )
