"""How well one ranking of runs predicts another: between sets, between read-outs, from criteria without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from avssl.evaluation.metrics import RESAMPLES, interval
from avssl.evaluation.results import Score

Kind = Literal["spearman", "pearson"]


def rank_correlation(first: ArrayLike, second: ArrayLike, kind: Kind = "spearman", seed: int = 0) -> Score | None:
    """Correlate what the same runs reach in two ways, with the interval over runs.

    Args:
        first: ``[runs]`` numbers; NaN where a run has none, which leaves it out.
        second: ``[runs]`` numbers of the same runs.
        kind: of ranks (Spearman) or of the numbers themselves (Pearson).
        seed: of the 2000 bootstrap resamples of runs, of which those that make one side constant are left out.

    Returns:
        The correlation and its 95 % percentile interval; None with fewer than three runs or if a side is constant.

    Raises:
        ValueError: if the vectors are not of one length.
    """
    pairs = np.array([np.asarray(first, dtype=float), np.asarray(second, dtype=float)])  # [2, runs]
    pairs = pairs[:, ~np.isnan(pairs).any(0)]
    if pairs.shape[1] < 3 or np.isnan(value := float(_correlations(pairs[:, None], kind)[0])):
        return None
    rows = np.random.default_rng(seed).integers(pairs.shape[1], size=(RESAMPLES, pairs.shape[1]))
    drawn = _correlations(pairs[:, rows], kind)
    return Score(value, interval(drawn[~np.isnan(drawn)]))


def rank_correlations(
    table: ArrayLike, names: Sequence[str], kind: Kind = "spearman", seed: int = 0
) -> dict[tuple[str, str], Score | None]:
    """Correlate every two columns of a table ``[runs, columns]``, by their names; see `rank_correlation`."""
    values = np.asarray(table, dtype=float)
    if values.ndim != 2 or values.shape[1] != len(names):
        raise ValueError(f"expected a table [runs, {len(names)}], got {list(values.shape)}")
    return {
        (names[one], names[two]): rank_correlation(values[:, one], values[:, two], kind, seed)
        for one in range(len(names))
        for two in range(one + 1, len(names))
    }


def _correlations(pairs: NDArray[np.float64], kind: Kind) -> NDArray[np.float64]:
    """Return the correlations ``[R]`` of ``[2, R, runs]``, NaN where a side is constant."""
    constant = (np.ptp(pairs, axis=2) == 0).any(0)
    sides = stats.rankdata(pairs, axis=2) if kind == "spearman" else pairs
    sides = sides - sides.mean(2, keepdims=True)
    norms = np.linalg.norm(sides, axis=2).prod(0)
    return np.where(constant, np.nan, (sides[0] * sides[1]).sum(1) / np.where(constant, 1, norms))
