"""A U-Net over spectrograms, which separates them into tracks."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 4  # halvings of frequency and time


class SpectrogramUNet(nn.Module):
    """Masks over a spectrogram, and what is heard at each of a few moments.

    An encoder of convolutions with stride 2 and a decoder that also sees the encoder's maps (Ronneberger et al., MICCAI
    2015). Its deepest maps, averaged over frequency, say what is heard.

    Args:
        masks: number of masks (K).
        width: channels of the first level, doubled at each but the last.
    """

    def __init__(self, masks: int, width: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        self.first = _layer(1, width, 1)
        self.down = nn.ModuleList(_layer(a, b, 2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(_layer(a + b, a, 1) for a, b in pairwise(widths))
        self.out = nn.Conv2d(width, masks, 1)
        self.num_features = widths[-1]

    def forward(self, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """Map magnitudes ``[B, F, T]`` to masks ``[B, K, F, T]`` in [0, 1], and what is heard ``[B, D, T / 16]``."""
        height, width = magnitude.shape[1:]
        step = 2**LEVELS
        level = (magnitude[:, None] + 1e-3).log()  # [B, 1, F, T]
        x = F.pad(level, (0, -width % step, 0, -height % step), mode="replicate")
        maps = [self.first(x)]
        for layer in self.down:
            maps.append(layer(maps[-1]))
        x = maps[-1]
        for layer, skipped in zip(reversed(self.up), reversed(maps[:-1]), strict=True):
            x = layer(torch.cat([skipped, F.interpolate(x, size=skipped.shape[2:])], 1))
        return self.out(x)[..., :height, :width].float().sigmoid(), maps[-1].mean(2).float()


def _layer(before: int, after: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU())
