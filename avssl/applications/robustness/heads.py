"""Classifiers that are compared: with the turn task beside the class, on labels of which a share is wrong.

D. Hendrycks, M. Mazeika, S. Kadavath, D. Song: Using Self-Supervised Learning Can Improve Model Robustness and
Uncertainty. NeurIPS 2019. https://arxiv.org/abs/1906.12340
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from avssl.encoders import Encoder
from avssl.evaluation.finetune import Classifier
from avssl.methods.temporal.rotation import TURNS, turned


class TurnClassifier(Classifier):
    """A classifier that is also asked by which multiple of 90 degrees a clip is turned (section 3.1).

    Training shows every clip at all four turns. The cost is the cross-entropy of the class of the upright clip, plus
    ``weight`` times that of the turn over all four. `avssl.methods.S4L` with all labels is this model but for the
    turned clips' classes, which it asks for as well.

    Args:
        encoder: any.
        classes: number of classes.
        weight: of the turn task (paper: 0.5; 1 to detect strange classes).
    """

    def __init__(self, encoder: Encoder, classes: int, weight: float = 0.5) -> None:
        super().__init__(encoder, classes)
        self.turn = nn.Linear(encoder.num_features, TURNS)
        self.weight = weight

    def beside(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits ``[B, K]`` of clips ``[B, T, 3, S, S]`` and the weighted cost of the turn task."""
        features = self.features(turned(clips[:, None]).flatten(0, 2))  # [B 4, D]
        upright = features[::TURNS]
        upright = functional.normalize(upright) if self.unit else upright
        return self.head(self.dropout(upright)), self.weight * self._turns(features).mean()

    def turn_costs(self, clips: Tensor) -> Tensor:
        """Return the cross-entropy of the turn, the mean over a clip's four: ``[B]`` (section 5: what is odd)."""
        return self._turns(self.features(turned(clips[:, None]).flatten(0, 2))).unflatten(0, (-1, TURNS)).mean(1)

    def _turns(self, features: Tensor) -> Tensor:
        target = torch.arange(TURNS, device=features.device).repeat(len(features) // TURNS)
        return functional.cross_entropy(self.turn(features).float(), target, reduction="none")


def with_noise(
    labels: NDArray[np.signedinteger], rows: NDArray[np.int64], share: float, classes: int, seed: int
) -> NDArray[np.signedinteger]:
    """Return labels ``[V]`` of which a share of those of ``rows`` is another class, each equally likely.

    Labels that are wrong at a small share are wrong in the same way at a larger one; all others are as they were.
    """
    rng = np.random.default_rng([seed, len(rows)])
    order, steps = rng.permutation(rows), rng.integers(1, classes, len(rows))
    wrong = round(share * len(rows))
    noisy = labels.copy()
    noisy[order[:wrong]] = (labels[order[:wrong]] + steps[:wrong]) % classes
    return noisy
