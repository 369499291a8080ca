"""Scores of clips and videos to accuracies with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 2000


@dataclass(frozen=True)
class Prediction:
    """What a read-out said about the test videos of one fold.

    Attributes:
        fold: name of the fold.
        part: folds of a part are averaged first.
        videos: ``[V]`` positions in the collection.
        labels: ``[V]`` classes.
        scores: ``[V, M, K]`` class probabilities of the M views of each video.
    """

    fold: str
    part: str
    videos: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]


def summarise(runs: Sequence[Sequence[Prediction]], groups: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Accuracies of one or several seeds over all folds.

    A video's class is the one with the largest mean probability over its views. ``value`` is the mean over folds of a
    part, then over parts, then over seeds; ``pooled`` counts every tested video once.

    Args:
        runs: for each seed the predictions of every fold.
        groups: for each video of the collection the unit that is resampled for the bootstrap interval.
        seed: of the resampling.

    Returns:
        JSON values: ``video`` and ``clip`` with ``top1`` and ``top5`` (and ``mean_per_class`` for videos), each with
        value, pooled, per_seed, per_fold, ci95_bootstrap (over groups and seeds), for several folds ci95_folds;
        ``confusion[true][predicted]``, counts of videos over all seeds; and what `gain` needs: ``hits``, for each seed
        a string with 1 for every tested video that was right, and ``units``, the number of each one's group, null
        where each is its own.
    """
    classes = runs[0][0].scores.shape[2]
    result: dict[str, Any] = {"video": {}, "clip": {}}
    for level in ("video", "clip"):
        for name, rank in (("top1", 1), ("top5", 5)):
            if rank < classes:
                hits = [[_hits(prediction, level, rank) for prediction in run] for run in runs]
                result[level][name] = _accuracy(runs, hits, groups, seed)
                if (level, rank) == ("video", 1):
                    result["hits"] = ["".join(map(str, np.concatenate(run).astype(int))) for run in hits]
    confusion = np.zeros((classes, classes), dtype=np.int64)
    for run in runs:
        for prediction in run:
            np.add.at(confusion, (prediction.labels, prediction.scores.mean(1).argmax(1)), 1)
    seen = confusion.sum(1)
    result["video"]["mean_per_class"] = {"value": float((confusion.diagonal()[seen > 0] / seen[seen > 0]).mean())}
    result["confusion"] = confusion.tolist()
    units = _units([groups[index] for prediction in runs[0] for index in prediction.videos])
    result["units"] = units.tolist() if len(np.unique(units)) < len(units) else None
    return result


def gain(ours: Sequence[Mapping[str, Any]], base: Mapping[str, Any], seed: int = 0) -> dict[str, Any] | None:
    """How much better the runs of a method are than a baseline that was tested on the same videos.

    Whether a video is easy counts on both sides, so that this interval is narrower than two intervals beside each
    other suggest.

    Args:
        ours: for each run what `summarise` gave.
        base: the same of the baseline.
        seed: of the resampling.

    Returns:
        ``value``, the difference of the video top-1 accuracies, and ``ci95_bootstrap``: groups are drawn for both at
        once, runs and the baseline's seeds apart. None where a result is of before ``hits`` were kept.

    Raises:
        ValueError: where they were not tested on the same groups of videos.
    """
    if not all("hits" in summary for summary in (*ours, base)):
        return None
    if any(one["units"] != base["units"] or len(one["hits"][0]) != len(base["hits"][0]) for one in ours):
        raise ValueError("accuracies can only be compared on the same videos")
    runs, fresh = marks([row for one in ours for row in one["hits"]]), marks(base["hits"])
    units = np.arange(runs.shape[1]) if base["units"] is None else _units(base["units"])
    rng = np.random.default_rng(seed)
    drawn = _draws(units, rng)
    low, high = np.percentile(_resampled(runs, units, drawn, rng) - _resampled(fresh, units, drawn, rng), [2.5, 97.5])
    means = [np.mean([one["video"]["top1"]["value"] for one in side]) for side in (ours, [base])]
    return {"value": float(means[0] - means[1]), "ci95_bootstrap": (float(low), float(high))}


def marks(hits: Sequence[str]) -> NDArray[np.float64]:
    """``hits`` as `summarise` gives them, S strings, to ``[S, V]``: 1 where a tested video was right."""
    return np.array([[int(mark) for mark in row] for row in hits], dtype=np.float64)


def bootstrap(values: NDArray[np.float64], groups: Sequence[str], seed: int) -> tuple[float, float]:
    """95 % interval of the mean of ``values`` (percentile bootstrap, 2000 draws) over whole groups and seeds.

    Args:
        values: ``[S, V]``: S seeds, V tested videos.
        groups: V names of the units that videos are drawn in.
        seed: of the draws.
    """
    units, rng = _units(groups), np.random.default_rng(seed)
    low, high = np.percentile(_resampled(values, units, _draws(units, rng), rng), [2.5, 97.5])
    return float(low), float(high)


def average_precisions(
    present: NDArray[np.int8], scores: NDArray[np.floating[Any]], weights: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average precision of one class, as the area under the curve and as the mean over eleven recalls.

    The area is the sum of precision times rise in recall over the ranking, without interpolation. VOC2007's own measure
    (Everingham et al., IJCV 2010, section 4.2) is the mean, over the recalls 0, 0.1, ..., 1, of the largest precision
    at that recall or above. Images of equal score enter the ranking together.

    Args:
        present: ``[N]`` 1 where the image shows the class, -1 where it does not; 0 is left out.
        scores: ``[N]`` larger where the class is likelier.
        weights: ``[R, N]`` how often each image counts, in each of R resamples.

    Returns:
        Twice ``[R]``; not a number where a resample has no image of the class.
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
) -> dict[str, Any]:
    """Mean over classes of `average_precisions`, of one or several seeds.

    Args:
        present: ``[N, K]``.
        runs: for each seed scores ``[N, K]``.
        classes: K names.
        seed: of the resampling.

    Returns:
        JSON values: ``mAP`` (area under the curve) and ``mAP 11-point``, each with value, per_seed, per_class and
        ci95_bootstrap (2000 draws of images and seeds). An image drawn twice vouches for itself, which raises
        precision: the interval is shifted by the mean of that, so that it lies about the value.
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
        value = float(values[..., place].mean())
        low, high = np.percentile(spread, [2.5, 97.5]) - spread.mean() + value
        result[name] = {
            "value": value,
            "ci95_bootstrap": (float(low), float(high)),
            "per_seed": values[..., place].mean(1).tolist(),
            "per_class": dict(zip(classes, values[..., place].mean(0).tolist(), strict=True)),
        }
    return result


def over_folds(values: Sequence[float]) -> tuple[float, float]:
    """95 % Student-t interval of a mean over folds. Folds share training videos, so it is only a guide."""
    spread = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return float(np.mean(values) - spread), float(np.mean(values) + spread)


def _units(groups: Sequence[str]) -> NDArray[np.int64]:
    """``[V]`` names to numbers."""
    return np.unique(np.asarray(groups), return_inverse=True)[1]


def _draws(units: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """``[2000, G]``: as many of G units as there are, drawn with replacement."""
    number = len(np.unique(units))
    return rng.integers(number, size=(RESAMPLES, number))


def _resampled(
    values: NDArray[np.float64], units: NDArray[np.int64], drawn: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """``[2000]`` means of ``values [S, V]`` over the videos of the units that were drawn, and over seeds drawn here."""
    counts = np.bincount(units)
    sums = np.stack([np.bincount(units, row) for row in values])  # [S, G]
    runs = rng.integers(len(values), size=(RESAMPLES, len(values)))
    means = [sums[run].mean(0)[group].sum() / counts[group].sum() for run, group in zip(runs, drawn, strict=True)]
    return np.array(means)


def _hits(prediction: Prediction, level: str, rank: int) -> NDArray[np.float64]:
    """``[V]`` for videos 0 or 1, for clips the share of a video's views that are right."""
    scores = prediction.scores.mean(1, keepdims=True) if level == "video" else prediction.scores
    best = np.argsort(-scores, axis=2, kind="stable")[:, :, :rank]  # [V, M, rank]
    return (best == prediction.labels[:, None, None]).any(2).mean(1)


def _accuracy(
    runs: Sequence[Sequence[Prediction]],
    hits: Sequence[Sequence[NDArray[np.float64]]],
    groups: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    folds = runs[0]
    per_fold = np.array([[values.mean() for values in run] for run in hits])  # [seeds, folds]
    parts = sorted({fold.part for fold in folds})
    per_part = {part: per_fold[:, [fold.part == part for fold in folds]].mean(1) for part in parts}  # [seeds] each
    per_seed = np.mean(list(per_part.values()), axis=0)
    pooled = np.stack([np.concatenate(run) for run in hits])  # [seeds, all tested videos]
    tested = [groups[index] for fold in folds for index in fold.videos]
    result = {
        "value": float(per_seed.mean()),
        "pooled": float(pooled.mean()),
        "ci95_bootstrap": bootstrap(pooled, tested, seed),
        "per_seed": per_seed.tolist(),
        "per_fold": {fold.fold: float(value) for fold, value in zip(folds, per_fold.mean(0), strict=True)},
    }
    if len(folds) > 1:
        result["ci95_folds"] = over_folds(per_fold.mean(0).tolist())
    if len(parts) > 1:
        result["per_part"] = {part: float(values.mean()) for part, values in per_part.items()}
    return result
