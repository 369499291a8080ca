"""Accuracies and average precisions with intervals, from the scores of views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from avssl.evaluation.results import Accuracy, AveragePrecision, Score, Summary

RESAMPLES = 2000


@dataclass(frozen=True)
class Prediction:
    """Scores of a read-out for the test videos of one fold.

    Attributes:
        fold: name of the fold.
        part: name of the fold's part.
        videos: ``[V]`` positions in the collection.
        labels: ``[V]`` classes, or ``[V, K]`` of 1, 0 and -1 for several classes per image.
        scores: ``[V, M, K]`` class probabilities of the M views of each video.
        chosen: hyperparameter chosen in this fold, None if nothing is chosen.
    """

    fold: str
    part: str
    videos: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    chosen: Any = None


def summarise(runs: Sequence[Sequence[Prediction]], groups: Sequence[str], seed: int = 0) -> Summary:
    """Compute accuracies over all folds, from one list of predictions per seed with one prediction per fold.

    The class predicted for a video is the one with the largest mean probability over its views. The bootstrap resamples
    ``groups``, which has the group of each video of the collection.
    """
    classes = runs[0][0].scores.shape[2]
    ranks = {name: rank for name, rank in (("top1", 1), ("top5", 5)) if rank < classes}
    hits = {
        level: {name: [[_hits(one, level, rank) for one in run] for run in runs] for name, rank in ranks.items()}
        for level in ("video", "clip")
    }
    levels = {
        level: {name: _accuracy(runs, marked, groups, seed) for name, marked in ranked.items()}
        for level, ranked in hits.items()
    }
    confusion = np.zeros((classes, classes), dtype=np.int64)
    for run in runs:
        for prediction in run:
            np.add.at(confusion, (prediction.labels, prediction.scores.mean(1).argmax(1)), 1)
    seen = confusion.sum(1)
    units = _units([groups[index] for prediction in runs[0] for index in prediction.videos])
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
    units = np.arange(runs.shape[1]) if base.units is None else _units(base.units)
    rng = np.random.default_rng(seed)
    drawn = _draws(units, rng)
    means = [np.mean([one.top1.value for one in side]) for side in (ours, [base])]
    spread = _resampled(runs, units, drawn, rng) - _resampled(fresh, units, drawn, rng)
    return Score(float(means[0] - means[1]), interval(spread))


def marks(hits: Sequence[str]) -> NDArray[np.float64]:
    """Turn the S strings of ``Summary.hits`` into ``[S, V]``: 1 where a tested video was right."""
    return np.array([[int(mark) for mark in row] for row in hits], dtype=np.float64)


def bootstrap(values: NDArray[np.float64], groups: Sequence[str] | Sequence[int], seed: int) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of ``values [S, V]`` (S seeds, V tested videos).

    It comes from 2000 resamples of seeds and of whole groups, of which there is one per video.
    """
    units, rng = _units(groups), np.random.default_rng(seed)
    return interval(_resampled(values, units, _draws(units, rng), rng))


def interval(draws: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Return the 2.5 and 97.5 % percentiles."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def average_precisions(
    present: NDArray[np.int8], scores: NDArray[np.floating[Any]], weights: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the average precision of one class, as area under the curve and as mean over eleven recalls.

    The area is the sum of precision times rise in recall over the ranking, without interpolation. VOC2007's own measure
    (Everingham et al., IJCV 2010, section 4.2) is the mean, over the recalls 0, 0.1, ..., 1, of the largest precision
    at that recall or above. Images of equal score enter the ranking together.

    Args:
        present: ``[N]`` 1 where the image shows the class, -1 where it does not; 0 is ignored.
        scores: ``[N]``, larger where the class is likelier.
        weights: ``[R, N]`` number of times that each image counts in each of R resamples.

    Returns:
        Area and mean, each ``[R]``; NaN if a resample has no image of the class.
    """
    order = np.argsort(-scores, kind="stable")
    falling = -scores[order]
    last = np.searchsorted(falling, falling, side="right") - 1  # of the images of equal score
    counted = (weights * (present != 0))[:, order]
    right = counted * (present[order] > 0)
    found = right.cumsum(1)[:, last]  # [R, N]
    total = found[:, -1].astype(np.float64)
    total[total == 0] = np.nan
    precision = found / np.maximum(counted.cumsum(1)[:, last], 1)
    area = (right * precision).sum(1) / total
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]  # at this place of the ranking or below
    eleven = np.zeros_like(area)
    for tenths in range(11):
        place = (10 * found < tenths * total[:, None]).sum(1)  # the first at which the recall is reached
        eleven += np.take_along_axis(best, np.minimum(place, best.shape[1] - 1)[:, None], 1)[:, 0] / 11
    return area, np.where(np.isnan(area), np.nan, eleven)


def mean_average_precision(
    present: NDArray[np.int8], runs: Sequence[NDArray[np.float32]], classes: Sequence[str], seed: int = 0
) -> dict[str, AveragePrecision]:
    """Average `average_precisions` over classes, from labels ``[N, K]`` and the scores ``[N, K]`` of each seed.

    Returns:
        ``mAP`` (area under the curve) and ``mAP 11-point``. Intervals come from 2000 draws of images and seeds. An
        image drawn twice supports itself, which raises precision, so the interval is shifted by the mean of that bias.
    """
    rng = np.random.default_rng(seed)
    once = np.ones((1, len(present)), dtype=np.int64)
    drawn = rng.multinomial(len(present), np.full(len(present), 1 / len(present)), size=RESAMPLES)  # [R, N]
    chosen = rng.integers(len(runs), size=(RESAMPLES, len(runs)))
    points, means = [], []
    for scores in runs:
        columns = list(zip(present.T, scores.T, strict=True))
        points.append([average_precisions(*column, once) for column in columns])  # [K, 2, 1]
        parts = [[average_precisions(*column, part) for column in columns] for part in np.array_split(drawn, 20)]
        means.append(np.nanmean(np.concatenate(parts, axis=2), axis=0))  # [2, R]
    values = np.array(points)[..., 0]  # [seeds, K, 2]
    result = {}
    for place, name in enumerate(("mAP", "mAP 11-point")):
        spread = np.stack(means)[chosen, place, np.arange(RESAMPLES)[:, None]].mean(1)
        value, column = float(values[..., place].mean()), values[..., place]  # [seeds, K]
        low, high = np.percentile(spread, [2.5, 97.5]) - spread.mean() + value
        per_class = dict(zip(classes, column.mean(0).tolist(), strict=True))
        result[name] = AveragePrecision(value, (float(low), float(high)), column.mean(1).tolist(), per_class)
    return result


def over_folds(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % Student-t interval of a mean over folds; only a guide, as folds share training videos."""
    spread = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return float(np.mean(values) - spread), float(np.mean(values) + spread)


def _units(groups: Sequence[str] | Sequence[int]) -> NDArray[np.int64]:
    """Return the number of each video's group, ``[V]``."""
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
    pairs = zip(rng.integers(len(values), size=(RESAMPLES, len(values))), drawn, strict=True)
    return np.array([sums[runs].mean(0)[group].sum() / counts[group].sum() for runs, group in pairs])


def _hits(prediction: Prediction, level: str, rank: int) -> NDArray[np.float64]:
    """Return ``[V]``: 0 or 1 for videos; for clips the share of a video's views that are right."""
    scores = prediction.scores.mean(1, keepdims=True) if level == "video" else prediction.scores
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
