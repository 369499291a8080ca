"""The linear heads of a classifier, one per shape of the features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from avssl.evaluation.logistic import Logistic
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
    weight, bias = (_by_blocks if probe.by_blocks(bank) else _sklearn)(bank, rows, probe, strength)
    head = LinearHead(weight.shape[1], bank.classes)
    head.load_state_dict({"weight": weight, "bias": bias})
    return head


def _by_blocks(bank: Bank, rows: Sequence[int], probe: LinearProbe, strength: float) -> tuple[Tensor, Tensor]:
    model = Logistic(bank, rows, [strength], rows).fit(probe.iterations)
    weight, bias = torch.zeros(bank.classes, bank.features.shape[2]), torch.zeros(bank.classes)
    found = model.affine()[0]
    weight[model.target.classes], bias[model.target.classes] = (each.cpu() for each in found)
    for label, value in model.target.constant.items():  # below zero: the other of two classes
        bias[label] = 0 if value < 0 else SURE if value > 0 else -SURE
    return weight, bias


def _sklearn(bank: Bank, rows: Sequence[int], probe: LinearProbe, strength: float) -> tuple[Tensor, Tensor]:
    x, labels = bank.features[list(rows)], bank.labels[list(rows)]
    mean = x.mean((0, 1))
    std = scales(mean, x.std((0, 1)))
    samples, marks = ((x - mean) / std).reshape(-1, x.shape[-1]), np.repeat(labels, x.shape[1], axis=0)
    weight, bias = np.zeros((bank.classes, samples.shape[1])), np.zeros(bank.classes)
    if marks.ndim == 1:
        model = probe._fit(samples, marks, strength)
        shown = slice(-1, None) if len(model.coef_) == 1 else model.classes_  # one row for two classes
        weight[shown], bias[shown] = model.coef_, model.intercept_
    else:
        for number, column in enumerate(marks.T):
            if len(np.unique(column)) < 2:
                bias[number] = SURE if column[0] > 0 else -SURE
            else:
                model = probe._fit(samples, column, strength)
                weight[number], bias[number] = model.coef_[0], model.intercept_[0]
    weight = weight / std
    return torch.tensor(weight).float(), torch.tensor(bias - weight @ mean).float()
