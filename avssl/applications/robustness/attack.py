"""Attacks on frames by projected gradient descent.

A. Madry, A. Makelov, L. Schmidt, D. Tsipras, A. Vladu: Towards Deep Learning Models Resistant to Adversarial Attacks.
ICLR 2018 (section 2.1); with the turn head as a second aim: Hendrycks et al., NeurIPS 2019, section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from avssl.applications.robustness.heads import TurnClassifier
from avssl.evaluation.features import Normalise
from avssl.evaluation.finetune import Classifier
from avssl.pixels import normalise

STEPS, STEP = 10, 2 / 255
TURN_SHARE = 1 / 8  # of the turn task's cost in what is attacked, per unit of its weight


def attacked(model: Classifier, clips: Tensor, labels: Tensor, reach: float, statistics: Normalise) -> Tensor:
    """Change every pixel by at most ``reach`` so that the class is missed, and the turn if the model is asked for it.

    Args:
        model: in eval mode; its parameters get no gradient.
        clips: uint8 ``[B, T, 3, S, S]``.
        labels: ``[B]`` true classes.
        reach: largest change of a pixel, of white as 1.
        statistics: of the pixels that the model's encoder was trained with.

    Returns:
        The model's logits of the changed clips, ``[B, K]``.
    """
    clean = clips.to(statistics.mean.device).float() / 255
    rng = torch.Generator().manual_seed(0)
    start = (2 * torch.rand(clean.shape, generator=rng) - 1).to(clean.device)
    changed = (clean + reach * start).clamp(0, 1)
    labels = labels.to(clean.device)
    for _ in range(STEPS):
        changed.requires_grad_()
        with torch.enable_grad():
            seen = normalise(255 * changed, statistics.mean, statistics.std)
            cost = functional.cross_entropy(model(seen).float(), labels, reduction="sum")
            if isinstance(model, TurnClassifier):
                cost = cost + TURN_SHARE * model.weight * model.turn_costs(seen).sum()
            (slope,) = torch.autograd.grad(cost, changed)
        moved = changed.detach() + STEP * slope.sign()
        changed = torch.minimum(torch.maximum(moved, clean - reach), clean + reach).clamp(0, 1)
    with torch.no_grad():
        return model(normalise(255 * changed, statistics.mean, statistics.std)).float()
