"""The linear head of a classifier."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from avssl.evaluation.probes import LinearProbe
from avssl.evaluation.readout import Bank, scales

SURE = 16.0  # log-odds of a class that all videos show, or none


class LinearHead(nn.Module):
    """Logits of samples of features: ``[N, D] -> [N, K]``."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(classes, features))
        self.register_buffer("bias", torch.zeros(classes))

    def forward(self, samples: Tensor) -> Tensor:  # noqa: D102
        return nn.functional.linear(samples, self.weight, self.bias)  # type: ignore[arg-type]


def linear_head(bank: Bank, rows: Sequence[int], probe: LinearProbe, strength: float) -> LinearHead:
    """Train what `LinearProbe.fit_predict` predicts with; its scaling of the features becomes part of the weights."""
    x, labels = bank.features[list(rows)], bank.labels[list(rows)]
    mean = x.mean((0, 1))
    std = scales(mean, x.std((0, 1)))
    samples, marks = ((x - mean) / std).reshape(-1, x.shape[-1]), np.repeat(labels, x.shape[1], axis=0)
    weight, bias = np.zeros((bank.classes, samples.shape[1])), np.zeros(bank.classes)
    if marks.ndim == 1:
        model = probe._fit(samples, marks, strength)
        weight[-len(model.coef_) :], bias[-len(model.coef_) :] = (
            model.coef_,
            model.intercept_,
        )  # one row for two classes
    else:
        for number, shown in enumerate(marks.T):
            if len(np.unique(shown)) < 2:
                bias[number] = SURE if shown[0] > 0 else -SURE
            else:
                model = probe._fit(samples, shown, strength)
                weight[number], bias[number] = model.coef_[0], model.intercept_[0]
    head = LinearHead(samples.shape[1], bank.classes)
    weight = weight / std
    head.load_state_dict({"weight": torch.tensor(weight).float(), "bias": torch.tensor(bias - weight @ mean).float()})
    return head
