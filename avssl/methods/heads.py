"""Heads that are trained on top of an encoder and discarded afterwards."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


def projection(features: int, hidden: int, out: int, layers: int = 2, batch_norm: bool = True) -> nn.Sequential:
    """Build an MLP with batch normalisation and ReLU after each hidden layer (SimCLR: Chen et al. 2020, section 4.2).

    It has ``layers`` linear layers, from ``features`` over ``hidden`` to ``out`` dimensions. Without ``batch_norm`` the
    hidden layers have biases instead.
    """
    widths = [features] + [hidden] * (layers - 1)
    blocks: list[nn.Module] = []
    for before, after in pairwise(widths):
        norm = [nn.BatchNorm1d(after)] if batch_norm else []
        blocks += [nn.Linear(before, after, bias=not batch_norm), *norm, nn.ReLU()]
    return nn.Sequential(*blocks, nn.Linear(widths[-1], out))


def fully_connected(features: int, hidden: int, grid: int) -> nn.Sequential:
    """Build a fully connected layer over pooled maps, ``[M, features, H, W]`` to ``[M, hidden]``, that keeps location.

    Maps are pooled to ``grid`` x ``grid``. It takes the place of the fully connected layers of CaffeNet, which carried
    the heads of papers of that time.
    """
    layer = nn.Linear(features * grid**2, hidden), nn.BatchNorm1d(hidden), nn.ReLU()
    return nn.Sequential(nn.AdaptiveAvgPool2d(grid), nn.Flatten(), *layer)


class LateFusion(nn.Module):
    """Late-fusion head: the vectors of several parts to one output (Doersch et al., ICCV 2015, figure 3).

    A layer of size ``width``, shared by all parts (fc6 of the papers), a batch-normalised layer of size ``hidden`` over
    their concatenation (fc7), and an output layer.
    """

    def __init__(self, features: int, parts: int, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.part = nn.Sequential(nn.Linear(features, width), nn.ReLU())
        fused = nn.Linear(parts * width, hidden, bias=False)
        self.fused = nn.Sequential(fused, nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, parts: Tensor) -> Tensor:
        """Map ``[M, ..., parts, width]`` outputs of ``part`` to ``[M, ..., out]`` float32."""
        flat = parts.flatten(-2)  # [M, ..., parts width]
        return self.fused(flat.flatten(0, -2)).float().unflatten(0, flat.shape[:-1])
