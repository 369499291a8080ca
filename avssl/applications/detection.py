"""How well scores tell what is odd from what is normal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score

from avssl.evaluation.metrics import RESAMPLES, interval, units_of
from avssl.evaluation.results import Score


def auroc(scores: ArrayLike, odd: ArrayLike, groups: Sequence[str] | Sequence[int], seed: int = 0) -> Score:
    """Area under the receiver operating characteristic, chance 0.5, with an interval over whole groups.

    Args:
        scores: ``[V]``, higher where an item seems odd.
        odd: ``[V]``, whether it is.
        groups: ``[V]``; items of one group are resampled together.
        seed: of the 2000 resamples; those that hold one kind alone are left out.

    Raises:
        ValueError: if all items are odd, or none is, or a score is no number.
    """
    found, draws = areas(np.asarray(scores, np.float64)[None], np.asarray(odd, bool)[None], groups, seed)
    return Score(float(found[0]), interval(draws[:, 0]) if len(draws) else (0.0, 1.0))


def areas(
    scores: NDArray[np.float64], odd: NDArray[np.bool_], groups: Sequence[str] | Sequence[int], seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the areas of C detectors of the same V items, ``[C]``, and in resamples of groups, ``[R, C]``.

    Resamples of one seed are the same for all detectors, so that differences of draws have intervals of their own.

    Args:
        scores: ``[C, V]``, higher where an item seems odd.
        odd: ``[C, V]``, whether it is.
        groups: ``[V]``.
        seed: of the 2000 resamples; those in which some detector has items of one kind alone are left out.

    Raises:
        ValueError: as `auroc`.
    """
    units = units_of(groups)
    for values, truth in zip(scores, odd, strict=True):
        if truth.all() or not truth.any():
            raise ValueError(f"auroc: {int(truth.sum())} of {len(truth)} items are odd; it takes both kinds")
        if not np.isfinite(values).all():
            raise ValueError(f"auroc: {int((~np.isfinite(values)).sum())} of {len(values)} scores are not finite")
    members: list[NDArray[np.intp]] = [np.flatnonzero(units == unit) for unit in range(units.max() + 1)]
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([members[unit] for unit in rng.integers(len(members), size=len(members))])
        shares = odd[:, rows].mean(1)
        if ((shares > 0) & (shares < 1)).all():
            draws.append([_area(*pair) for pair in zip(scores[:, rows], odd[:, rows], strict=True)])
    found = [float(roc_auc_score(truth, values)) for values, truth in zip(scores, odd, strict=True)]
    return np.array(found), np.array(draws).reshape(-1, len(found))


def _area(values: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return the area from ranks: `roc_auc_score` many times as fast on few items (Mann and Whitney, 1947)."""
    order = np.sort(values[~truth])
    below = np.searchsorted(order, values[truth], "left")
    ties = np.searchsorted(order, values[truth], "right") - below
    return float((below + ties / 2).mean() / len(order))
