"""How good a clustering is: against labels where there are some, and by its stability where there are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from avssl.evaluation.metrics import RESAMPLES, interval, units_of
from avssl.evaluation.readout import Ints
from avssl.evaluation.results import Score

SHUFFLES = 200
PARTS, SHARE = 20, 0.8  # of the groups, for stability
DRAWS = RESAMPLES // 4
Measure = Callable[[Ints, Ints], float]


def accuracy(labels: Ints, clusters: Ints) -> float:
    """Return the share of videos whose cluster is that of their class, in the best one-to-one assignment."""
    counts = np.zeros((labels.max() + 1, clusters.max() + 1), np.int64)
    np.add.at(counts, (labels, clusters), 1)
    rows, columns = linear_sum_assignment(-counts)
    return float(counts[rows, columns].sum() / len(labels))


MEASURES: dict[str, Measure] = {
    "nmi": lambda labels, clusters: float(normalized_mutual_info_score(labels, clusters)),
    "ari": lambda labels, clusters: float(adjusted_rand_score(labels, clusters)),
    "accuracy": accuracy,
}


def against_labels(labels: Ints, clusters: Ints, groups: Sequence[int], seed: int = 0) -> dict[str, Score]:
    """Return NMI, adjusted Rand index and accuracy of ``[V]`` clusters, with intervals over whole groups."""
    units, rng = units_of(groups), np.random.default_rng(seed)
    members = [np.flatnonzero(units == unit) for unit in range(units.max() + 1)]
    draws = [
        np.concatenate([members[unit] for unit in rng.integers(len(members), size=len(members))]) for _ in range(DRAWS)
    ]
    return {
        name: Score(measure(labels, clusters), interval([measure(labels[rows], clusters[rows]) for rows in draws]))
        for name, measure in MEASURES.items()
    }


def by_chance(labels: Ints, clusters: Ints, seed: int = 0) -> dict[str, float]:
    """Return the mean of each measure with the clusters in random order: large ones alone give some accuracy."""
    rng = np.random.default_rng(seed)
    mixed = [rng.permutation(clusters) for _ in range(SHUFFLES)]
    return {name: float(np.mean([measure(labels, one) for one in mixed])) for name, measure in MEASURES.items()}


def stability(make: Callable[[Ints], Ints], whole: Ints, groups: Sequence[int], seed: int = 0) -> Score:
    """Return how alike the clusters of parts of the videos are to those of all: the mean adjusted Rand index.

    Each part has 80 % of the groups; chance is 0. The interval is that of the parts' own values, not of the mean.

    Args:
        make: clusters the videos at some rows.
        whole: ``[V]`` clusters of all.
        groups: ``[V]``.
        seed: of the parts.
    """
    units, rng = units_of(groups), np.random.default_rng(seed)
    count = units.max() + 1
    found = []
    for _ in range(PARTS):
        chosen = rng.permutation(count)[: max(2, round(SHARE * count))]
        rows = np.flatnonzero(np.isin(units, chosen))
        found.append(float(adjusted_rand_score(whole[rows], make(rows))))
    return Score(float(np.mean(found)), interval(found))
