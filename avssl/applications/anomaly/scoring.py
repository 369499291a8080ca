"""How odd clips are, by features of normal ones; nothing is fitted to any other clip."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma
from sklearn.covariance import ledoit_wolf
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from avssl.evaluation.readout import Floats, scales

How: TypeAlias = Literal["neighbours", "mahalanobis", "log_softmax", "dirichlet"]
OF_FEATURES: tuple[How, ...] = ("neighbours", "mahalanobis")
OF_JUDGES: tuple[How, ...] = ("dirichlet", "log_softmax")
NEIGHBOURS = 5
QUERIES = 1024  # clips compared with all normal ones at once
ROUNDS, NEWTON = 500, 6  # of the fixed point, and of the inverse of the digamma function within each
Reals: TypeAlias = NDArray[np.float64]


class Scorer(Protocol):
    """A measure of oddity that is fitted to normal clips."""

    def fit(self, normal: Floats) -> None:
        """Learn from the features ``[N, D]`` of normal clips."""
        ...

    def scores(self, clips: Floats) -> Reals:
        """Return how odd clips ``[Q, D]`` are, ``[Q]``; higher is odder."""
        ...


def scorer(how: How) -> Scorer:
    """Return a scorer by its name."""
    kinds: dict[How, type[Scorer]] = {
        "neighbours": Neighbours,
        "mahalanobis": Mahalanobis,
        "log_softmax": LogSoftmax,
        "dirichlet": Dirichlets,
    }
    return kinds[how]()


class Neighbours:
    """Mean cosine distance to the five nearest normal clips, of features standardised by the normal ones."""

    def fit(self, normal: Floats) -> None:  # noqa: D102
        mean = normal.mean(0, dtype=np.float64)
        self.mean, self.spread = mean, scales(mean, normal.std(0, dtype=np.float64))
        self.known = self._unit(normal)

    def scores(self, clips: Floats) -> Reals:  # noqa: D102
        count = min(NEIGHBOURS, len(self.known))
        found = []
        for start in range(0, len(clips), QUERIES):
            cosine = self._unit(clips[start : start + QUERIES]) @ self.known.T
            found.append(1 - np.partition(cosine, -count, axis=1)[:, -count:].mean(1))
        return np.concatenate(found).astype(np.float64)

    def _unit(self, values: Floats) -> Floats:
        scaled = ((values - self.mean) / self.spread).astype(np.float32)
        return scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)


class Mahalanobis:
    """Mahalanobis distance to the mean of normal clips, with the covariance of Ledoit and Wolf (2004)."""

    def fit(self, normal: Floats) -> None:  # noqa: D102
        if len(normal) < 2:
            raise ValueError(
                f"Mahalanobis distance needs two normal clips, here is {len(normal)}: give more normal videos, or more "
                "clips of each"
            )
        self.mean = normal.mean(0, dtype=np.float64)
        self.spread = scales(self.mean, normal.std(0, dtype=np.float64))
        with threadpool_limits(1):
            covariance, _ = ledoit_wolf((normal - self.mean) / self.spread, assume_centered=True)
            self.precision = np.linalg.pinv(covariance, hermitian=True)

    def scores(self, clips: Floats) -> Reals:  # noqa: D102
        away = (clips - self.mean) / self.spread
        return np.sqrt(np.maximum(np.einsum("qd,de,qe->q", away, self.precision, away, optimize=True), 0))


class LogSoftmax:
    """Minus the mean log-probability of the right transformation over all K of them, ``[Q, K * K]`` given.

    Golan and El-Yaniv (2018), the simplified score of section 4.2. It needs no normal clips.
    """

    def fit(self, normal: Floats) -> None:  # noqa: D102
        pass

    def scores(self, clips: Floats) -> Reals:  # noqa: D102
        return -np.diagonal(_square(clips), axis1=1, axis2=2).mean(1)


class Dirichlets:
    """Minus the log-likelihood of the K softmax outputs under Dirichlet distributions fitted to normal clips.

    Golan and El-Yaniv (2018), section 4.2 and algorithm 1: one distribution per transformation, its normalising
    constant left out, as it is the same for all clips. ``[Q, K * K]`` log-probabilities are given.
    """

    def fit(self, normal: Floats) -> None:  # noqa: D102
        mean = _square(normal).mean(0)  # [K, K] mean log-probabilities in each transformation
        self.alpha = fit_dirichlets(mean)

    def scores(self, clips: Floats) -> Reals:  # noqa: D102
        return -np.einsum("kj,qkj->q", self.alpha - 1, _square(clips), optimize=True)


def fit_dirichlets(means: Reals) -> Reals:
    """Return the most likely parameters ``[T, K]`` of T Dirichlet distributions from mean log-probabilities ``[T, K]``.

    By Minka's fixed point (Estimating a Dirichlet distribution, 2000, equation 9):
    psi(alpha_k) = psi(sum of alpha) + mean log p_k.
    """
    alpha = np.ones_like(means)
    for _ in range(ROUNDS):
        before = alpha
        alpha = inverse_digamma(digamma(alpha.sum(1, keepdims=True)) + means)
        if np.abs(alpha - before).max() <= 1e-6 * np.abs(alpha).max():
            break
    return alpha


def inverse_digamma(values: Reals) -> Reals:
    """Return x with digamma(x) = values, by Newton's method (Minka 2000, appendix C)."""
    found = np.where(values >= -2.22, np.exp(np.minimum(values, 30.0)) + 0.5, -1 / (values - digamma(1.0)))
    for _ in range(NEWTON):
        found = found - (digamma(found) - values) / polygamma(1, found)
    return found


def _square(clips: Floats) -> Reals:
    """Return log-probabilities ``[Q, K * K]`` as ``[Q, K, K]``, none below that of one in 10^7."""
    count = round(clips.shape[1] ** 0.5)
    return np.maximum(clips.reshape(len(clips), count, count), np.log(1e-7)).astype(np.float64)
