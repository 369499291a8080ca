"""How alike two encoders represent the same videos: RSA, linear CKA, CCA; and how one matrix tells of another.

K. Dwivedi, G. Roig: Representation Similarity Analysis for Efficient Task Taxonomy and Transfer Learning. CVPR 2019.
S. Kornblith, M. Norouzi, H. Lee, G. Hinton: Similarity of Neural Network Representations Revisited. ICML 2019.
M. Raghu, J. Gilmer, J. Yosinski, J. Sohl-Dickstein: SVCCA. NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Numbers = NDArray[np.float64]
KEPT = 0.99  # share of the variance that CCA sees, as in SVCCA
FEWEST = 5  # samples for each axis of CCA, at least: with fewer, anything correlates
PERMUTATIONS = 2000


def rsa(first: Numbers, second: Numbers) -> float:
    """Return the Spearman correlation of the dissimilarities of every two samples (Dwivedi & Roig, section 3.1).

    The dissimilarity of two samples is 1 less the Pearson correlation of their features, after the mean over samples is
    taken from each feature.

    Args:
        first: ``[N, D]`` features of N samples.
        second: ``[N, E]`` features of the same samples by another encoder.
    """
    above = np.triu_indices(len(first), 1)
    sides = [np.asarray(np.corrcoef(_centred(values)))[above] for values in (first, second)]
    return float(stats.spearmanr(*sides).statistic)


def cka(first: Numbers, second: Numbers) -> float:
    """Return the linear centred kernel alignment (Kornblith et al., equation 4 with linear kernels), 0 to 1.

    It does not change if either side is rotated or scaled as a whole. Takes what `rsa` takes.
    """
    one, two = (_centred(values) @ _centred(values).T for values in (first, second))
    return float((one * two).sum() / (np.linalg.norm(one) * np.linalg.norm(two)))


def cca(first: Numbers, second: Numbers) -> float:
    """Return the mean canonical correlation (Raghu et al., section 2), 0 to 1; takes what `rsa` takes.

    Each side is first reduced to the axes of 99 % of its variance, and to one axis for five samples. It does not change
    under any invertible linear map of a side, as far as these axes don't.
    """
    bases = []
    for values in (first, second):
        axes, lengths, _ = np.linalg.svd(_centred(values), full_matrices=False)
        share = np.cumsum(lengths**2) / (lengths**2).sum()
        bases.append(axes[:, : min(int(np.searchsorted(share, KEPT)) + 1, max(1, len(values) // FEWEST))])
    return float(np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).mean())


MEASURES: dict[str, Callable[[Numbers, Numbers], float]] = {"RSA": rsa, "CKA": cka, "CCA": cca}


def similarities(features: Sequence[Numbers], measure: Callable[[Numbers, Numbers], float]) -> Numbers:
    """Return the symmetric matrix ``[S, S]`` of a measure between every two of S encoders, 1 on its diagonal."""
    found = np.eye(len(features))
    for row, column in combinations(range(len(features)), 2):
        found[row, column] = found[column, row] = measure(features[row], features[column])
    return found


@dataclass(frozen=True)
class Agreement:
    """A correlation of ranks, and the share of permutations that reach as much (p)."""

    value: float
    p: float


def matrices_agree(first: Numbers, second: Numbers, seed: int = 0) -> Agreement | None:
    """Correlate two symmetric matrices over the pairs of S things, by ranks (Mantel, 1967).

    The p value is of permuting the things of one side; None with fewer than four things or if a side is constant.
    """
    things = len(first)
    above = np.triu_indices(things, 1)
    if things < 4 or any(np.ptp(side[above]) == 0 for side in (first, second)):
        return None

    ranks, others = np.zeros((things, things)), _unit_ranks(second[above])
    ranks[above] = _unit_ranks(first[above])
    ranks += ranks.T
    return _permuted(lambda order: float(ranks[np.ix_(order, order)][above] @ others), things, seed)


def vectors_agree(first: Numbers, second: Numbers, seed: int = 0) -> Agreement | None:
    """Correlate two vectors by ranks, with the p value of permuting one; None as in `matrices_agree`."""
    if len(first) < 4 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    ranks, others = _unit_ranks(first), _unit_ranks(second)
    return _permuted(lambda order: float(ranks[order] @ others), len(first), seed)


def _unit_ranks(values: Numbers) -> Numbers:
    """Return ranks less their mean, of unit length: products of two such vectors are Spearman correlations."""
    ranks = _centred(stats.rankdata(values))
    return ranks / np.linalg.norm(ranks)


def _permuted(value: Callable[[NDArray[np.int64]], float], things: int, seed: int) -> Agreement:
    rng, own = np.random.default_rng(seed), value(np.arange(things))
    reached = sum(value(rng.permutation(things)) >= own - 1e-12 for _ in range(PERMUTATIONS))
    return Agreement(own, (1 + reached) / (1 + PERMUTATIONS))


def _centred(values: Numbers) -> Numbers:
    return np.asarray(values, dtype=np.float64) - np.mean(values, axis=0, dtype=np.float64)
