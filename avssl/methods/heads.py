"""Heads that sit on an encoder while it is trained and are thrown away afterwards."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


def projection(features: int, hidden: int, out: int, layers: int = 2) -> nn.Sequential:
    """An MLP with batch normalisation and ReLU after each layer but the last (SimCLR, Chen et al. 2020, section 4.2).

    Args:
        features: width of the encoder's vector.
        hidden: width of the layers in between.
        out: width of the result.
        layers: number of linear layers.
    """
    widths = [features] + [hidden] * (layers - 1)
    blocks: list[nn.Module] = []
    for before, after in pairwise(widths):
        blocks += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*blocks, nn.Linear(widths[-1], out))


def fully_connected(features: int, hidden: int, grid: int) -> nn.Sequential:
    """``[M, features, H, W]`` to ``[M, hidden]``: one layer over maps pooled to a grid, which keeps where things are.

    It stands in for the fully connected layers of CaffeNet, on which the papers of the time put their heads.

    Args:
        features: channels of the maps.
        hidden: width of the result.
        grid: height and width to which the maps are pooled.
    """
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(grid),
        nn.Flatten(),
        nn.Linear(features * grid**2, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
    )


class LateFusion(nn.Module):
    """Vectors of several parts to one answer (late fusion: Doersch et al., ICCV 2015, figure 3).

    A layer with shared weights for each part (fc6 of the papers), one over all parts side by side (fc7), the answer.

    Args:
        features: width of a part's vector.
        parts: how many are put side by side.
        width: of the layer for each part.
        hidden: width of the layer over all parts, which is batch-normalised.
        out: width of the answer.
    """

    def __init__(self, features: int, parts: int, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.part = nn.Sequential(nn.Linear(features, width), nn.ReLU())
        fused = nn.Linear(parts * width, hidden, bias=False)
        self.fused = nn.Sequential(fused, nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, parts: Tensor) -> Tensor:
        """``[M, ..., parts, width]`` of what ``part`` gives to ``[M, ..., out]`` float32."""
        flat = parts.flatten(-2)  # [M, ..., parts width]
        return self.fused(flat.flatten(0, -2)).float().unflatten(0, flat.shape[:-1])
