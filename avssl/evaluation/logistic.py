"""Logistic regression by blocks on a device, for several strengths at once: scikit-learn's objective and criterion.

Every pass over the rows serves all strengths. L-BFGS starts each direction from the inverse of h Σ + λ I instead of a
multiple of I: Σ is the covariance of the features, and h the curvature of the loss at zero weights. That is the Hessian
there (Böhning: Multinomial logistic regression algorithm, Annals of the Institute of Statistical Mathematics, 1992), so
that correlated features cost few passes more than independent ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from avssl.evaluation.blocks import Scale, blocks
from avssl.evaluation.descent import TOLERANCE, descend
from avssl.evaluation.readout import Bank, Floats

WIDEST = 4096  # features up to which their covariance is worth its decomposition
SAMPLES = 16_384  # rows that it is estimated from
WEIGHTS = 12_000_000  # numbers of the weights that are fitted at once; L-BFGS keeps about 24 times as many


def at_once(strengths: Sequence[float], bank: Bank) -> list[Sequence[float]]:
    """Divide strengths into lots whose weights fit into memory."""
    size = max(1, WEIGHTS // ((bank.features.shape[2] + 1) * bank.classes))
    return [strengths[start : start + size] for start in range(0, len(strengths), size)]


@dataclass(frozen=True)
class Target:
    """What a view shows: ``marks`` ``[V]`` are places in ``classes``; or ``[V, len(classes)]`` 1, -1 or 0 (unknown).

    Each column of marks is a problem of its own; two classes that exclude each other are one.
    """

    classes: NDArray[np.int64]
    marks: Tensor
    constant: dict[int, float]  # classes that all training videos show (1), or none (0)

    @classmethod
    def of(cls, bank: Bank, rows: Sequence[int]) -> Target:
        """Find the classes that some of the training videos show and others don't."""
        labels = bank.labels[list(rows)]
        if labels.ndim == 2:
            both = [len(np.unique(column[column != 0])) == 2 for column in labels.T]
            constant = {k: float((column > 0).any()) for k, column in enumerate(labels.T) if not both[k]}
            return cls(np.flatnonzero(both), torch.from_numpy(bank.labels[:, both].astype(np.int8)), constant)
        classes = np.unique(labels)
        if len(classes) < 2:
            raise ValueError(f"all {len(rows)} training videos are of class {classes[0]}: nothing can be told apart")
        if len(classes) == 2:
            marks = np.where(bank.labels == classes[1], 1, -1).astype(np.int8)[:, None]
            return cls(classes[1:], torch.from_numpy(marks), {int(classes[0]): -1.0})
        return cls(classes, torch.from_numpy(np.searchsorted(classes, bank.labels)), {})


class Logistic:
    """Weights ``[D + 1, P, O]`` of P problems with O outputs each, the last row without penalty; fitted by `fit`.

    With classes that exclude each other a problem is a strength, and O their number; otherwise it is a strength and a
    class.
    """

    def __init__(self, bank: Bank, train: Sequence[int], strengths: Sequence[float], scale_on: Sequence[int]) -> None:
        self.bank, self.train, self.strengths = bank, train, strengths
        self.target, self.scale = Target.of(bank, train), Scale(bank, scale_on)
        self.marks = self.target.marks.to(bank.device)
        outputs, features, views = len(self.target.classes), bank.features.shape[2], bank.features.shape[1]
        self.exclusive = self.marks.ndim == 1
        problems, each = (len(strengths), outputs) if self.exclusive else (len(strengths) * outputs, 1)
        self.weights = torch.zeros(features + 1, problems, each, device=bank.device)
        used = self.marks[list(train)]
        count = torch.tensor([len(train)]) if self.exclusive else (used != 0).sum(0).cpu()
        self.count = (count * views).repeat(len(strengths)).to(bank.device)  # [P] samples of each problem
        costs = torch.tensor(strengths, device=bank.device).repeat_interleave(1 if self.exclusive else outputs)
        self.penalty = 1 / (costs * self.count)  # [P]
        self.curvature = 1 / outputs if self.exclusive else 1 / 4

    def loss(self, weights: Tensor, problems: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss with its penalty, ``[P]`` float64, and its gradient, of some of the problems."""
        views, outputs = self.bank.features.shape[1], weights.shape[2]
        flat = weights.flatten(1)  # [D + 1, P O]
        total = torch.zeros(weights.shape[1], dtype=torch.float64, device=flat.device)
        gradient = torch.zeros_like(flat)
        for places, x in blocks(self.bank, self.train, width=2 * flat.shape[1]):
            x = self.scale(x)
            logits = torch.addmm(flat[-1], x, flat[:-1]).unflatten(1, (-1, outputs))  # [N, P, O]
            marks = self.marks[torch.from_numpy(places)].repeat_interleave(views, 0)
            if self.exclusive:
                normaliser = logits.logsumexp(2, keepdim=True)
                where = marks[:, None, None].expand(-1, logits.shape[1], 1)
                total += (normaliser - logits.gather(2, where)).double().sum((0, 2))
                slope = logits.sub_(normaliser).exp_()
                slope.scatter_add_(2, where, torch.full_like(normaliser, -1.0))
            else:
                shown = marks[:, problems % marks.shape[1], None]  # [N, P, 1]
                known = (shown != 0).float()
                total += (F.softplus(-shown * logits) * known).double().sum((0, 2))
                slope = (logits.sigmoid() - (shown > 0).float()) * known
            slope = slope.flatten(1)
            gradient[:-1].addmm_(x.T, slope)
            gradient[-1] += slope.sum(0)
        count, penalty = self.count[problems], self.penalty[problems]
        found = gradient.unflatten(1, (-1, outputs)) / count[None, :, None]
        found[:-1] += penalty[None, :, None] * weights[:-1]
        return total / count + 0.5 * penalty * weights[:-1].double().square().sum((0, 2)), found

    def fit(self, iterations: int, tolerance: float = TOLERANCE) -> Logistic:
        """Minimise the loss of every problem until no derivative is above ``tolerance``."""
        spectrum = _spectrum(self.bank, self.train, self.scale)
        self.weights = descend(
            self.loss, self.weights, _Inverse(spectrum, self.curvature, self.penalty), iterations, tolerance
        )
        return self

    def affine(self) -> list[tuple[Tensor, Tensor]]:
        """Return weight ``[O, D]`` and bias ``[O]`` of ``target.classes`` on unscaled features, for each strength."""
        weight = self.weights[:-1].flatten(1).T.double() / self.scale.std  # [S O, D]
        bias = self.weights[-1].flatten().double() - weight @ self.scale.mean.double()
        strengths = len(self.strengths)
        return list(zip(weight.float().chunk(strengths), bias.float().chunk(strengths), strict=True))

    def predict(self, rows: Sequence[int]) -> list[Floats]:
        """Return class probabilities ``[len(rows), M, K]`` for each strength."""
        bank, strengths = self.bank, len(self.strengths)
        flat = self.weights.flatten(1)
        found = [np.zeros((len(rows), bank.features.shape[1], bank.classes), np.float32) for _ in self.strengths]
        done = 0
        for places, x in blocks(bank, rows, width=2 * flat.shape[1]):
            logits = torch.addmm(flat[-1], self.scale(x), flat[:-1]).unflatten(1, (strengths, -1))  # [N, S, O]
            scores = (logits.softmax(2) if self.exclusive else logits.sigmoid()).cpu().numpy()
            for number, values in enumerate(found):
                part = values[done : done + len(places)].reshape(len(x), -1)  # a view
                part[:, self.target.classes] = scores[:, number]
                for label, value in self.target.constant.items():
                    part[:, label] = 1 - scores[:, number, 0] if value < 0 else value
            done += len(places)
        return found


class _Inverse:
    """Product with the inverse of h Σ + λ I, for the λ of each problem."""

    def __init__(self, spectrum: tuple[Tensor, Tensor] | None, curvature: float, penalty: Tensor) -> None:
        self.spectrum, self.curvature, self.penalty = spectrum, curvature, penalty

    def __call__(self, vectors: Tensor, problems: Tensor) -> Tensor:
        """Multiply ``[D + 1, P, O]``."""
        found = vectors / self.curvature
        penalty = self.penalty[problems][None, :, None]
        if self.spectrum is None:
            found[:-1] = vectors[:-1] / (self.curvature + penalty)
            return found
        values, axes = self.spectrum
        turned = (axes.T @ vectors[:-1].flatten(1)).view_as(vectors[:-1])
        turned = turned / (self.curvature * values[:, None, None] + penalty)
        found[:-1] = (axes @ turned.flatten(1)).view_as(turned)
        return found


def _spectrum(bank: Bank, rows: Sequence[int], scale: Scale) -> tuple[Tensor, Tensor] | None:
    """Return eigenvalues and eigenvectors of the features' covariance, estimated from evenly spread videos.

    None for so many features that the decomposition would take longer than it saves.
    """
    features = bank.features.shape[2]
    if features > WIDEST:
        return None
    step = max(1, len(rows) * bank.features.shape[1] // SAMPLES)
    covariance, count = torch.zeros(features, features, device=bank.device), 0
    for _, x in blocks(bank, rows[::step]):
        x = scale(x)
        covariance.addmm_(x.T, x)
        count += len(x)
    values, axes = torch.linalg.eigh(covariance / count)
    return values.clamp_min(0), axes
