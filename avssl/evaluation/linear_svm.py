"""Linear SVM over many classes, the usual read-out of sounds."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from avssl.evaluation.classes import divide
from avssl.evaluation.readout import Bank, Floats, Scores
from avssl.evaluation.splits import Fold
from avssl.runtime.checks import check_ranges
from avssl.runtime.threads import threads


@dataclass(frozen=True)
class LinearSVM:
    """One linear SVM per class against all others, on features of unit length; every view is a sample.

    As audio-visual papers read ESC-50 (Korbar et al., NeurIPS 2018; Morgado et al., CVPR 2021). Squared hinge loss and
    an L2 penalty. A view's scores are its distances from the planes.

    Args:
        costs: candidates for C, chosen by inner folds of the training recordings, which keep groups whole (those of
            CrissCross; some papers choose by the test set).
        inner_folds: number of inner folds.
        iterations: largest number of LIBLINEAR iterations.
    """

    costs: tuple[float, ...] = (1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 1.0)
    inner_folds: int = 3
    iterations: int = 1000

    def __post_init__(self) -> None:
        check_ranges("svm", self, costs="(0, inf)", inner_folds="[2, inf)", iterations="[1, inf)")

    def scores(self, bank: Bank, fold: Fold) -> Scores:
        """Return distances from the planes ``[V_test, M, K]``, and the chosen cost."""
        chosen = self._choose(bank, np.asarray(fold.train))
        return Scores(self._fit_predict(bank, fold.train, fold.test, chosen), chosen)

    def _choose(self, bank: Bank, train: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
        if len(self.costs) == 1:
            return self.costs[0]
        units = np.unique(bank.groups[train], return_inverse=True)[1]
        if units.max() < 1:
            raise ValueError("svm: all training recordings are in one group: give a single cost (svm.costs)")
        shown = np.where(bank.labels[train][:, None] == np.arange(bank.classes), 1, -1).astype(np.int8)
        parts = divide(shown, units, min(self.inner_folds, int(units.max()) + 1), seed=0)
        right = dict.fromkeys(self.costs, 0)
        for part in np.unique(parts):
            inner, held = train[parts != part], train[parts == part]
            for cost in self.costs:
                found = self._fit_predict(bank, inner.tolist(), held.tolist(), cost).mean(1).argmax(1)
                right[cost] += int((found == bank.labels[held]).sum())
        return max(self.costs, key=lambda cost: right[cost])

    def _fit_predict(self, bank: Bank, train: Sequence[int], test: Sequence[int], cost: float) -> Floats:
        x, y = _unit(bank.features[list(train)]), bank.labels[list(train)]
        rows = _unit(bank.features[list(test)])
        model = LinearSVC(C=cost, dual="auto", max_iter=self.iterations, random_state=0)
        with warnings.catch_warnings(), threads(1):
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of iterations is part of the protocol
            model.fit(x.reshape(-1, x.shape[2]), np.repeat(y, x.shape[1]))
        found = model.decision_function(rows.reshape(-1, rows.shape[2]))
        if found.ndim == 1:  # two classes have one plane
            found = np.stack([-found, found], axis=1)
        scores = np.full((len(found), bank.classes), found.min() - 1, dtype=np.float32)  # untrained classes are last
        scores[:, model.classes_] = found
        return scores.reshape(len(test), -1, bank.classes)


def _unit(features: Floats) -> Floats:
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12)
