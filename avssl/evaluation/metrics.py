"""Scores of clips and videos to accuracies with intervals."""

from __future__ import annotations

from collections.abc import Sequence
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
        value, pooled, per_seed, per_fold, ci95_bootstrap (over groups and seeds), for several folds ci95_folds; and
        ``confusion[true][predicted]``, counts of videos over all seeds.
    """
    classes = runs[0][0].scores.shape[2]
    result: dict[str, Any] = {"video": {}, "clip": {}}
    for level in ("video", "clip"):
        for name, rank in (("top1", 1), ("top5", 5)):
            if rank < classes:
                hits = [[_hits(prediction, level, rank) for prediction in run] for run in runs]
                result[level][name] = _accuracy(runs, hits, groups, seed)
    confusion = np.zeros((classes, classes), dtype=np.int64)
    for run in runs:
        for prediction in run:
            np.add.at(confusion, (prediction.labels, prediction.scores.mean(1).argmax(1)), 1)
    seen = confusion.sum(1)
    result["video"]["mean_per_class"] = {"value": float((confusion.diagonal()[seen > 0] / seen[seen > 0]).mean())}
    result["confusion"] = confusion.tolist()
    return result


def bootstrap(values: NDArray[np.float64], groups: Sequence[str], seed: int) -> tuple[float, float]:
    """95 % interval of the mean of ``values`` (percentile bootstrap, 2000 draws) over whole groups and seeds.

    Args:
        values: ``[S, V]``: S seeds, V tested videos.
        groups: V names of the units that videos are drawn in.
        seed: of the draws.
    """
    _, unit = np.unique(np.asarray(groups), return_inverse=True)
    counts = np.bincount(unit)
    sums = np.stack([np.bincount(unit, row) for row in values])  # [S, G]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(counts), size=(RESAMPLES, len(counts)))
    runs = rng.integers(len(values), size=(RESAMPLES, len(values)))
    means = [sums[run].mean(0)[group].sum() / counts[group].sum() for run, group in zip(runs, drawn, strict=True)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def over_folds(values: Sequence[float]) -> tuple[float, float]:
    """95 % Student-t interval of a mean over folds. Folds share training videos, so it is only a guide."""
    spread = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return float(np.mean(values) - spread), float(np.mean(values) + spread)


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
