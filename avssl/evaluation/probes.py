"""Read-outs of frozen features: linear probe, few labels, weighted nearest neighbours, SVMs, retrieval."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

from avssl.evaluation.blocks import is_large
from avssl.evaluation.choosing import choose
from avssl.evaluation.descent import TOLERANCE
from avssl.evaluation.logistic import Logistic, at_once
from avssl.evaluation.metrics import bootstrap
from avssl.evaluation.nearest import nearest_views, vote
from avssl.evaluation.precision import average_precisions
from avssl.evaluation.readout import Bank, Floats, Ints, Scores, TooFewLabels, scales
from avssl.evaluation.results import Score
from avssl.evaluation.settings import LATER
from avssl.evaluation.splits import Fold, Folds
from avssl.runtime.checks import check_ranges
from avssl.runtime.threads import threads

ROUGH = 1e-4  # derivative at which strengths are compared, as scikit-learn's default
SMALL = 20_000_000  # numbers; below, BLAS threads cost more than they give


@dataclass(frozen=True)
class LinearProbe:
    """Logistic regression with an L2 penalty on standardised features; every view is a sample.

    It is multinomial; with several classes per video there is one of two classes for each, all of one strength.

    Args:
        strengths: candidates for C, the inverse strength of the penalty; chosen by inner folds of the training videos.
        inner_folds: number of inner folds.
        iterations: largest number of L-BFGS iterations.
        solver: ``"sklearn"``; ``"device"`` minimises the same by blocks of rows on the machine's device, all strengths
            at once; ``"auto"`` takes that where features lie on disk or are many.
    """

    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    inner_folds: int = 3
    iterations: int = 500
    solver: Literal["auto", "sklearn", "device"] = field(default="auto", metadata=LATER)

    def __post_init__(self) -> None:
        check_ranges("linear", self, strengths="(0, inf)", inner_folds="[2, inf)", iterations="[1, inf)")

    def by_blocks(self, bank: Bank) -> bool:
        """Decide which solver is taken."""
        return self.solver == "device" or (self.solver == "auto" and is_large(bank, bank.classes))

    def scores(self, bank: Bank, fold: Fold) -> Scores:
        """Return class probabilities and the chosen strength."""
        chosen = choose(self.strengths, bank, fold, self.inner_folds, self.candidates)
        return Scores(self.fit_predict(bank, fold.train, fold.test, chosen), chosen)

    def fit_predict(
        self, bank: Bank, train: Sequence[int], test: Sequence[int], strength: float, scale_on: Sequence[int] = ()
    ) -> Floats:
        """Return class probabilities ``[V_test, M, K]`` at one strength.

        Features are standardised by the videos ``scale_on``, labelled or not; if empty, by the training videos.
        """
        return next(self.candidates(bank, train, test, (strength,), scale_on, tolerance=TOLERANCE))

    def candidates(
        self,
        bank: Bank,
        train: Sequence[int],
        test: Sequence[int],
        strengths: Sequence[float],
        scale_on: Sequence[int] = (),
        combine: bool = False,
        tolerance: float = ROUGH,
    ) -> Iterator[Floats]:
        """Yield what `fit_predict` returns, for each of several strengths, to choose among them.

        By blocks of rows, weights are sought until no derivative is above ``tolerance``.

        With ``combine``, and fewer samples than features, weights are sought among the combinations of samples, which
        hold the minimum of the same objective: this is faster, and equal but for where the iterations end.
        """
        if self.by_blocks(bank):
            for some in at_once(strengths, bank):
                yield from Logistic(bank, train, some, scale_on or train).fit(self.iterations, tolerance).predict(test)
            return
        x, labels = bank.features[list(train)], bank.labels[list(train)]
        base = bank.features[list(scale_on or train)]
        mean = base.mean((0, 1))
        std = scales(mean, base.std((0, 1)))
        samples = ((x - mean) / std).reshape(-1, x.shape[-1])
        rows = ((bank.features[list(test)] - mean) / std).reshape(-1, x.shape[-1])
        if combine and samples.shape[0] < samples.shape[1]:
            axes = np.linalg.qr(samples.T)[0]  # [D, N]
            samples, rows = samples @ axes, rows @ axes
        for strength in strengths:
            scores = self._sklearn(samples, np.repeat(labels, x.shape[1], axis=0), rows, bank.classes, strength)
            yield scores.reshape(len(test), -1, bank.classes)

    def _sklearn(
        self, samples: Floats, labels: NDArray[np.signedinteger], rows: Floats, classes: int, strength: float
    ) -> Floats:
        scores = np.zeros((len(rows), classes), dtype=np.float32)
        with warnings.catch_warnings(), threads(1 if samples.size < SMALL else None):
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of iterations is part of the protocol
            if labels.ndim == 1:
                model = self._fit(samples, labels, strength)
                scores[:, model.classes_] = model.predict_proba(rows)
            for number, marks in enumerate(labels.T if labels.ndim == 2 else ()):
                known = marks != 0
                if len(np.unique(marks[known])) < 2:  # nothing to tell apart: all show it, or none does
                    scores[:, number] = (marks[known] > 0).any()
                else:
                    model = self._fit(samples[known], marks[known], strength)
                    scores[:, number] = model.predict_proba(rows)[:, 1]
        return scores

    def _fit(self, samples: Floats, labels: NDArray[np.signedinteger], strength: float) -> LogisticRegression:
        return LogisticRegression(C=strength, max_iter=self.iterations).fit(samples, labels)


@dataclass(frozen=True)
class FewLabels:
    """Linear probe on ``shots`` labelled videos per class, drawn at random with the seed ``draw``.

    Features are scaled by all training videos, without their labels. ``strength`` is C, which can't be chosen with so
    few labels.
    """

    shots: int
    draw: int
    strength: float

    def scores(self, bank: Bank, fold: Fold) -> Scores:
        """Return class probabilities."""
        drawn = draw_labels(bank.labels, fold, self.shots, self.draw)
        if drawn is None:
            raise TooFewLabels(f"{fold.name}: a class has fewer than {self.shots} training videos")
        return Scores(LinearProbe().fit_predict(bank, drawn, fold.test, self.strength, scale_on=fold.train))


@dataclass(frozen=True)
class LinearSVMs:
    """One linear SVM per class on features of unit length, as Goyal et al. (ICCV 2019) do on VOC07.

    Squared hinge loss and an L2 penalty; images that show the class have twice the weight.

    Args:
        costs: candidates for C, chosen per class by its average precision over inner folds of the training images
            (theirs: powers of ten from -7 to 2, powers of two from -19 to -4).
        inner_folds: number of inner folds.
        iterations: largest number of LIBLINEAR iterations.
    """

    costs: tuple[float, ...] = (*(10.0**power for power in range(-7, 3)), *(2.0**power for power in range(-19, -3)))
    inner_folds: int = 3
    iterations: int = 2000

    def scores(self, bank: Bank, fold: Fold) -> Scores:
        """Return signed distances from the planes, and the cost chosen for each class.

        The bank has features ``[V, 1, D]`` and labels ``[V, K]``; 0 is left out of training. The fold has at least
        ``inner_folds`` training images of each class, and as many without it.
        """
        unit = _unit(bank.features[:][:, 0])
        scores, chosen = [], []
        for column in bank.labels.T:
            rows = np.asarray(fold.train)[column[list(fold.train)] != 0]
            x, y = unit[rows], column[rows]
            folds = StratifiedKFold(self.inner_folds, shuffle=True, random_state=0)
            reached = dict.fromkeys(self.costs, 0.0)
            for inner, held in folds.split(x, y):
                once = np.ones((1, len(held)), dtype=np.int64)
                for cost in self.costs:
                    found = self._fit(x[inner], y[inner], cost).decision_function(x[held])
                    reached[cost] += float(average_precisions(y[held], found, once)[0][0])
            chosen.append(max(self.costs, key=lambda cost: reached[cost]))
            scores.append(self._fit(x, y, chosen[-1]).decision_function(unit[list(fold.test)]))
        return Scores(np.stack(scores, axis=1)[:, None], chosen)

    def _fit(self, x: Floats, y: NDArray[np.int8], cost: float) -> LinearSVC:
        model = LinearSVC(C=cost, class_weight={1: 2, -1: 1}, dual="auto", max_iter=self.iterations, random_state=0)
        with warnings.catch_warnings(), threads(1):
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of iterations is part of the protocol
            return model.fit(x, y)


@dataclass(frozen=True)
class NearestNeighbours:
    """Votes of the k nearest training views, weighted by exp(cosine / temperature) (Wu et al., CVPR 2018, section 3.4).

    Args:
        ks: candidates for the number of neighbours; chosen by inner folds of the training videos.
        temperature: temperature of the weights.
        inner_folds: number of inner folds.
    """

    ks: tuple[int, ...] = (1, 5, 10, 20, 50)
    temperature: float = 0.07
    inner_folds: int = 3

    def __post_init__(self) -> None:
        check_ranges("neighbours", self, ks="[1, inf)", temperature="(0, inf)", inner_folds="[2, inf)")

    def scores(self, bank: Bank, fold: Fold) -> Scores:
        """Return class votes, and the chosen k."""
        chosen = choose(self.ks, bank, fold, self.inner_folds, self.candidates)
        return Scores(self.fit_predict(bank, fold.train, fold.test, chosen), chosen)

    def fit_predict(self, bank: Bank, train: Sequence[int], test: Sequence[int], k: int) -> Floats:
        """Return class votes ``[V_test, M, K]`` of k neighbours.

        They sum to 1; with several classes per video each is the share, by weight, of the neighbours that show it.
        """
        return next(self.candidates(bank, train, test, (k,)))

    def candidates(self, bank: Bank, train: Sequence[int], test: Sequence[int], ks: Sequence[int]) -> Iterator[Floats]:
        """Yield what `fit_predict` returns, for each of several k."""
        if is_large(bank):
            cosine, places = nearest_views(bank, test, train, max(ks))
            for k in ks:
                votes = vote(bank, cosine[:, :k], places[:, :k], train, self.temperature)
                yield votes.reshape(len(test), -1, bank.classes)
            return
        for k in ks:
            yield self._votes(bank, train, test, k)

    def _votes(self, bank: Bank, train: Sequence[int], test: Sequence[int], k: int) -> Floats:
        views = bank.features.shape[1]
        known = _unit(bank.features[list(train)]).reshape(-1, bank.features.shape[-1])
        labels = np.repeat(bank.labels[list(train)], views, axis=0)
        k = min(k, len(known))
        votes = []
        for video in test:
            cosine = _unit(bank.features[video]) @ known.T  # [M, views of training]
            nearest = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
            weight = np.exp((np.take_along_axis(cosine, nearest, 1) - 1) / self.temperature)
            if labels.ndim == 2:
                votes.append(np.einsum("mn,mnk->mk", weight / weight.sum(1, keepdims=True), labels[nearest] > 0))
                continue
            vote = np.zeros((views, bank.classes), dtype=np.float32)
            np.add.at(vote, (np.arange(views)[:, None], labels[nearest]), weight)
            votes.append(vote / vote.sum(1, keepdims=True))
        return np.stack(votes)


def retrieval(banks: Sequence[Bank], folds: Folds, ranks: Sequence[int]) -> dict[str, Score]:
    """Measure how often a video of the same class is among the R nearest training videos (Xu et al., CVPR 2019, 4.4).

    Returns:
        ``R@<rank>`` for each R in ``ranks``: mean over all tested videos and over seeds, of one bank each.
    """
    found = [np.concatenate([retrieval_hits(bank, fold, ranks) for fold in folds.folds]) for bank in banks]
    hits = np.stack(found).astype(np.float64)  # [seeds, all tested videos, ranks]
    tested = [folds.groups[row] for fold in folds.folds for row in fold.test]
    return {
        f"R@{rank}": Score(float(hits[..., i].mean()), bootstrap(hits[..., i], tested, 0))
        for i, rank in enumerate(ranks)
    }


def retrieval_hits(bank: Bank, fold: Fold, ranks: Sequence[int]) -> NDArray[np.bool_]:
    """Return ``[V_test, len(ranks)]``: is a video of the same class among the R nearest training videos?"""
    order = nearest_videos(bank, fold.test, fold.train, max(ranks))  # [V_test, R]
    same = bank.labels[order] == bank.labels[list(fold.test)][:, None]
    return np.stack([same[:, :rank].any(1) for rank in ranks], axis=1)


def nearest_videos(bank: Bank, queries: Sequence[int], pool: Sequence[int], count: int) -> Ints:
    """Return the videos of ``pool`` nearest to each query by cosine of mean features: ``[queries, count]``."""
    if is_large(bank):
        return np.asarray(pool)[nearest_views(bank, queries, pool, count, mean=True)[1].cpu().numpy()]
    videos = _unit(bank.video_means(range(len(bank.features))))
    cosine = videos[list(queries)] @ videos[list(pool)].T
    return np.asarray(pool)[np.argsort(-cosine, axis=1, kind="stable")[:, :count]]


def draw_labels(labels: Ints, fold: Fold, shots: int, seed: int) -> tuple[int, ...] | None:
    """Draw ``shots`` training videos of each class; None if a class has fewer.

    The draw depends on (seed, shots) and the fold's training videos only.
    """
    rng = np.random.default_rng([seed, shots])
    drawn: list[int] = []
    train = np.asarray(fold.train)
    for label in np.unique(labels[train]):
        members = train[labels[train] == label]
        if len(members) < shots:
            return None
        drawn += rng.choice(members, shots, replace=False).tolist()
    return tuple(drawn)


def _unit(features: Any) -> Floats:
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12)
