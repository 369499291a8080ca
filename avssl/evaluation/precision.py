"""Average precision of videos that show several classes each, or none, with intervals."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from avssl.evaluation.metrics import RESAMPLES, Prediction, Scoring, interval, units_of
from avssl.evaluation.results import AveragePrecision, Score

TOGETHER = 10_000_000  # numbers in memory: resamples times videos


def summarise_several(
    runs: Sequence[Sequence[Prediction]],
    groups: Sequence[str],
    classes: Sequence[str],
    seed: int = 0,
    scoring: Scoring = Scoring(),  # noqa: B008
) -> dict[str, AveragePrecision]:
    """Compute the mean average precisions of one list of predictions per seed, with one prediction per fold.

    A video's score is by default the mean over its views. The test videos of all folds are ranked together, so that a
    class needs no video in every fold. ``groups`` has the group of each video of the collection; see
    `mean_average_precision`.
    """
    present = scoring.counted(np.concatenate([one.labels for one in runs[0]]))
    scores = [np.concatenate([scoring.pool(one.scores) for one in run]) for run in runs]
    tested = [groups[row] for one in runs[0] for row in one.videos]
    return mean_average_precision(present, scores, classes, tested, seed)


def average_precisions(
    present: NDArray[np.signedinteger], scores: NDArray[np.floating[Any]], weights: NDArray[np.number[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the average precision of one class, as area under the curve and as mean over eleven recalls.

    The area is the sum of precision times rise in recall over the ranking, without interpolation. VOC2007's own measure
    (Everingham et al., IJCV 2010, section 4.2) is the mean, over the recalls 0, 0.1, ..., 1, of the largest precision
    at that recall or above. Videos of equal score enter the ranking together.

    Args:
        present: ``[N]`` 1 where the video shows the class, -1 where it does not; 0 is ignored.
        scores: ``[N]``, larger where the class is likelier.
        weights: ``[R, N]`` number of times that each video counts in each of R resamples.

    Returns:
        Area and mean, each ``[R]``; NaN if a resample has no video of the class.
    """
    right = np.flatnonzero(present > 0)
    if not len(right):
        return np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    places = -np.unique(-scores[right])  # [P] scores at which the recall rises, and the precision is largest
    found, seen = (_at_or_above(places, scores, rows, weights) for rows in (right, np.flatnonzero(present)))
    total = found[-1].copy()
    total[total == 0] = np.nan
    precision = found / np.maximum(seen, 1)
    area = (np.diff(found, axis=0, prepend=0) * precision).sum(0) / total
    best = np.maximum.accumulate(precision[::-1])[::-1]  # at this place of the ranking or below
    eleven = np.zeros_like(area)
    for tenths in range(11):
        place = (10 * found < tenths * total).sum(0)  # the first at which the recall is reached
        eleven += np.take_along_axis(best, np.minimum(place, len(best) - 1)[None], 0)[0] / 11
    return area, np.where(np.isnan(area), np.nan, eleven)


def _at_or_above(
    places: NDArray[np.floating[Any]],
    scores: NDArray[np.floating[Any]],
    rows: NDArray[np.integer[Any]],
    weights: NDArray[np.number[Any]],
) -> NDArray[np.float64]:
    """Return ``[P, R]``: how often the videos ``rows`` count whose score is one of P falling ``places`` or higher."""
    first = np.searchsorted(-places, -scores[rows])  # [rows] the highest place that they are not below
    entries = (np.ones(len(rows), weights.dtype), (first, rows))
    sums = csr_array(entries, shape=(len(places) + 1, len(scores))) @ weights.T  # [P + 1, R]: faster than sorting
    return sums[:-1].cumsum(0, dtype=np.float64)


def mean_average_precision(
    present: NDArray[np.signedinteger],
    runs: Sequence[NDArray[np.float32]],
    classes: Sequence[str],
    groups: Sequence[str] | Sequence[int],
    seed: int = 0,
) -> dict[str, AveragePrecision]:
    """Average `average_precisions` over classes, from labels ``[N, K]`` and the scores ``[N, K]`` of each seed.

    A class that no video shows has no precision and is left out.

    Returns:
        ``mAP`` (area under the curve) and ``mAP 11-point``. Intervals come from 2000 draws of seeds and of whole
        ``groups``, of which there is one per video. A video drawn twice supports itself, which raises precision, so the
        interval is shifted by the mean of that bias.

    Raises:
        ValueError: if no video shows any class.
    """
    shown = np.flatnonzero((present > 0).any(0)).tolist()
    if not shown:
        raise ValueError(f"none of the {len(present)} tested videos shows any of the classes {list(classes)}")
    rng, units = np.random.default_rng(seed), units_of(groups)
    number = units.max() + 1

    def precisions(weights: NDArray[np.float32]) -> NDArray[np.float64]:  # [R, N] -> [seeds, K, 2, R]
        found = [[average_precisions(present[:, k], scores[:, k], weights) for k in shown] for scores in runs]
        return np.array(found)

    values = precisions(np.ones((1, len(present)), dtype=np.float32))[..., 0]
    parts, at_once = [], max(1, TOGETHER // len(present))
    for start in range(0, RESAMPLES, at_once):
        count = min(at_once, RESAMPLES - start)
        drawn = rng.multinomial(number, np.full(number, 1 / number), size=count)  # [R, G]
        weights = drawn.T.astype(np.float32)[units].T  # [R, N]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Mean of empty slice")  # a draw may show no class at all
            parts.append(np.nanmean(precisions(weights), axis=1))
    draws = np.concatenate(parts, axis=2)  # [seeds, 2, 2000]
    result = {}
    chosen = rng.integers(len(runs), size=(RESAMPLES, len(runs)))
    for place, name in enumerate(("mAP", "mAP 11-point")):
        column = values[..., place]  # [seeds, K]
        value, spread = float(column.mean()), draws[chosen, place, np.arange(RESAMPLES)[:, None]].mean(1)
        low, high = np.clip(_around(value, spread), 0, 1).tolist()
        per_class = {classes[k]: float(mean) for k, mean in zip(shown, column.mean(0), strict=True)}
        result[name] = AveragePrecision(value, (low, high), column.mean(1).tolist(), per_class)
    kept = [" ".join(f"{value:.4f}" for value in row) for row in draws[:, 0]]
    return result | {"mAP": replace(result["mAP"], draws=kept)}


def precision_gain(ours: Sequence[AveragePrecision], base: AveragePrecision, seed: int = 0) -> Score | None:
    """Compare the runs of a method with a baseline tested on the same videos, like `avssl.evaluation.metrics.gain`.

    Returns:
        Difference of the mean average precisions. Its interval draws groups for both sides at once, and the runs and
        the baseline's seeds independently. None if a result has no ``draws``.
    """
    if base.draws is None or any(one.draws is None for one in ours):
        return None
    rng, means = np.random.default_rng(seed), []
    for side in (ours, [base]):
        draws = np.array([row.split() for one in side for row in one.draws or ()], dtype=np.float64)  # [seeds, 2000]
        chosen = rng.integers(len(draws), size=draws.T.shape)
        means.append(draws[chosen, np.arange(RESAMPLES)[:, None]].mean(1))
    value = float(np.mean([one.value for one in ours])) - base.value
    return Score(value, _around(value, means[0] - means[1]))


def _around(value: float, spread: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of draws, shifted to have their mean at ``value``; draws that show no class are NaN."""
    known = spread[~np.isnan(spread)]
    return interval(known - known.mean() + value)


def chance_precision(present: NDArray[np.signedinteger]) -> float:
    """Return the mean average precision that ``[N, K]`` labels give on average over all rankings of their videos.

    Of n videos, p show a class. The ranking has one of them at place k with probability p / n, and k - 1 others above
    it, each of which shows the class with probability (p - 1) / (n - 1). For many videos it is the share p / n.
    """
    found = []
    for column in present[:, (present > 0).any(0)].T:
        known, shown = int((column != 0).sum()), int((column > 0).sum())
        first = (1 / np.arange(1, known + 1)).mean()  # of 1 / k
        found.append(first + (shown - 1) / max(known - 1, 1) * (1 - first))
    return float(np.mean(found))
